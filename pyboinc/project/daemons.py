"""The daemons together: run them until none has anything to do.

On a server each daemon wakes every few seconds and takes what is ready for it.  A caller
that does not care for those seconds calls :func:`settle` after each event.  Where two daemons
race on a real server, *order* says who wins: a daemon gets its turn only when those before
it have nothing to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from operator import eq
from typing import NamedTuple

from pyboinc.project.assimilator import Assimilation, assimilate
from pyboinc.project.file_deleter import delete_files, has_released_files
from pyboinc.project.states import AssimilateState, Result, Results, Workunit
from pyboinc.project.transitioner import transition
from pyboinc.project.validator import Same, Valid, present, validate


class Daemon(StrEnum):
    """The daemons that change the rows of a workunit; the values are BOINC's names."""

    TRANSITIONER = "transitioner"
    VALIDATOR = "validator"
    ASSIMILATOR = "assimilator"
    FILE_DELETER = "file_deleter"


TRANSITIONER, VALIDATOR, ASSIMILATOR, FILE_DELETER = Daemon

#: The order in which an unhurried server works.
DEFAULT_ORDER = (TRANSITIONER, VALIDATOR, ASSIMILATOR, FILE_DELETER)

_READY = AssimilateState.READY


class Settled(NamedTuple):
    """The rows when no daemon has anything to do, and what was assimilated on the way."""

    workunit: Workunit
    results: Results
    assimilations: tuple[Assimilation, ...]


def has_work(daemon: Daemon, workunit: Workunit, results: Sequence[Result], now: float) -> bool:
    """Whether *daemon* would find something to do."""
    if daemon is TRANSITIONER:
        return workunit.transition_time <= now
    if daemon is VALIDATOR:
        return workunit.need_validate
    if daemon is ASSIMILATOR:
        return workunit.assimilate_state == _READY
    return has_released_files(workunit, results)


def settle(
    workunit: Workunit,
    results: Sequence[Result],
    now: float,
    *,
    order: Sequence[Daemon] = DEFAULT_ORDER,
    valid: Valid = present,
    same: Same = eq,
    delete_delay: float = 0.0,
) -> Settled:
    """Run the daemons on one workunit until none has anything to do.

    Rows that did not change are returned as they came (the same objects).  *valid* and
    *same* are the validator's hooks, *delete_delay* is the transitioner's (seconds).
    """
    rows: Results = tuple(results)
    assimilations: tuple[Assimilation, ...] = ()
    while True:
        for daemon in order:
            if has_work(daemon, workunit, rows, now):
                break
        else:
            return Settled(workunit, rows, assimilations)
        if daemon is TRANSITIONER:
            workunit, rows = transition(workunit, rows, now, delete_delay=delete_delay)
        elif daemon is VALIDATOR:
            workunit, rows = validate(workunit, rows, now, valid=valid, same=same)
        elif daemon is ASSIMILATOR:
            workunit, assimilation = assimilate(workunit, rows, now)
            assimilations += (assimilation,)
        else:
            workunit, rows = delete_files(workunit, rows)
