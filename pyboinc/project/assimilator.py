"""The assimilator: the daemon that hands a finished workunit to its owner.

Source of the rules: BOINC ``sched/assimilator.cpp``, ``do_pass()``.  The handing over itself is
the caller's business; what is here is the change of the rows and the word of what to hand
over.  A workunit may be assimilated twice: once as failed, and again when an instance that
was still running brings a good output after all.  Left out: deferred assimilation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pyboinc.project.states import (
    AssimilateState,
    ErrorMask,
    Output,
    Result,
    Workunit,
    position,
)


class Assimilation(NamedTuple):
    """What the owner of a workunit gets: a good output, or the reasons why there is none.

    ``instance`` is the number of the canonical result and ``output`` its output, both None
    if the workunit failed.  ``error_mask`` may be set beside a canonical result: look for
    the result first.  There may be a canonical result without an output: a success after
    the failure is validated and released for deletion at once, and a file deleter that is
    quicker than the assimilator leaves nothing to hand over.
    """

    instance: int | None
    output: Output
    error_mask: ErrorMask


def assimilate(
    workunit: Workunit, results: Sequence[Result], now: float
) -> tuple[Workunit, Assimilation]:
    """Return the workunit as assimilated, and what its owner is to be given."""
    after = workunit.copy()
    output = None
    if workunit.canonical_instance is not None:
        output = results[position(workunit, results, workunit.canonical_instance)].output
    elif not workunit.error_mask:
        # Nothing in these rules leads here; rows changed by hand do.
        after.error_mask = ErrorMask.NO_CANONICAL_RESULT
    after.assimilate_state = AssimilateState.DONE
    after.transition_time = now
    return after, Assimilation(workunit.canonical_instance, output, after.error_mask)
