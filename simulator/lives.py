"""The life of a workunit as a table, compiled while it is used from the rules of the project.

The rules of :mod:`pyboinc.project` look at the time only to see whether a deadline has passed.
If each passing of a deadline is an event like a report, nothing of time is left in a
workunit's rows, nor do its name and its hosts matter to them: a workunit is in one of a few
hundred *states*, and what an event makes of it is always the same *step*.  A simulator
that asks the rules once for each pair of state and event, and remembers what they said, follows
them to the letter at the price of looking into a dictionary.

A state's rows are those of the rules, with every time replaced: due is 0, later is NEVER.
Outputs are labels: right ones are equal, and no wrong one equals any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Final

from pyboinc.project import (
    DEFAULT_ORDER,
    NEVER,
    Assimilation,
    ClientState,
    Daemon,
    ErrorMask,
    Outcome,
    Output,
    Report,
    Result,
    Results,
    ServerState,
    ValidateState,
    Workunit,
    assimilate,
    cancel,
    delete_files,
    expire,
    has_work,
    reissue,
    report,
    send,
    settle,
    transition,
    validate,
)


class Happens(IntEnum):
    """What can happen to one instance."""

    SEND = 0
    RIGHT = 1
    """It is reported with the right output,"""
    WRONG = 2
    """with a wrong one, unlike any other,"""
    GARBAGE = 3
    """with one that can not be used,"""
    NO_FILE = 4
    """as a success without a file,"""
    ERROR = 5
    """as a client error,"""
    UPLOAD_FAILED = 6
    """as a client error because its file could not be uploaded,"""
    ABORTED = 7
    """as aborted by the volunteer."""
    EXPIRE = 8
    """Its deadline passes."""


KINDS: Final = 9
FIRST_ERROR: Final = 5
"""From this on it is a client error."""
# Numbers that a compiler can see.
assert (len(Happens), int(Happens.ERROR)) == (KINDS, FIRST_ERROR)

# Codes of events: instance * KINDS + what happens to it, or one of these for the workunit.
CANCEL = -1
REISSUE = -2
PASS = {daemon: -3 - number for number, daemon in enumerate(DEFAULT_ORDER)}
"""One pass of a daemon."""
REPLICATE = -10
"""REPLICATE - n: n instances are wanted that agree (adaptive replication)."""

RIGHT, GARBAGE = "right", "garbage"
"""Labels of outputs; a wrong one is ("wrong", instance)."""

DAEMONS = DEFAULT_ORDER


class Step:
    """What an event makes of a workunit.

    ``made`` are the numbers of new instances, ``judged`` those that the validator found valid
    or not (it may change its mind), ``assimilated`` is what its owner is given, and ``ignored``
    says that a report was not taken.  ``brings`` says whether there is any of the first three.
    """

    __slots__ = ("assimilated", "brings", "ignored", "judged", "made", "state")

    def __init__(
        self,
        state: State,
        made: tuple[int, ...],
        judged: tuple[tuple[int, bool], ...],
        assimilated: Assimilation | None,
        ignored: bool,
    ) -> None:
        self.state = state
        self.made = made
        self.judged = judged
        self.assimilated = assimilated
        self.ignored = ignored
        self.brings = bool(made or judged or assimilated is not None)


class State:
    """Where a workunit is: its rows without times, hosts and names.

    ``unsent`` are the instances that may be sent, ``work`` the daemons that have something to do
    (bit n for the n-th of DAEMONS), ``unneeded`` says that clients are told to abort what they
    have not started (as pyboinc.project.abort_request()).
    """

    __slots__ = ("results", "steps", "unneeded", "unsent", "work", "workunit")

    def __init__(self, workunit: Workunit, results: Results) -> None:
        self.workunit = workunit
        self.results = results
        self.steps: dict[int, Step] = {}
        may_send = not workunit.error_mask
        self.unsent = tuple(
            row.instance for row in results if may_send and row.server_state == ServerState.UNSENT
        )
        self.unneeded = workunit.delivered or bool(workunit.error_mask & ErrorMask.CANCELLED)
        self.work = sum(
            1 << number
            for number, daemon in enumerate(DAEMONS)
            if has_work(daemon, workunit, results, 0.0)
        )


class Lives:
    """All states and steps that have been met.  With *at_once* no daemon ever has to wait."""

    def __init__(self, at_once: bool = False) -> None:
        self._at_once = at_once
        self._states: dict[Any, State] = {}

    def born(self, workunit: Workunit) -> Step:
        """The first state of a new workunit, and what it brings."""
        return self._step((), *_born(workunit), None, False)

    def step(self, state: State, code: int) -> Step:
        """What the event *code* makes of a workunit in *state*."""
        found = state.steps.get(code)
        if found is None:
            found = state.steps[code] = self._compile(state, code)
        return found

    def _compile(self, state: State, code: int) -> Step:
        workunit, results, assimilated, ignored = _apply(state.workunit, state.results, code)
        return self._step(state.results, workunit, results, assimilated, ignored)

    def _step(
        self,
        before: Results,
        workunit: Workunit,
        results: Results,
        assimilated: Assimilation | None,
        ignored: bool,
    ) -> Step:
        if self._at_once:
            workunit, results, handed = settle(workunit, results, 0.0, valid=_usable)
            assimilated = handed[-1] if handed else assimilated
        else:
            workunit, results = _not_waited_for(*_timeless(workunit, results))
        made = tuple(row.instance for row in results[len(before) :])
        return Step(
            self._state(workunit, results), made, _judged(before, results), assimilated, ignored
        )

    def _state(self, workunit: Workunit, results: Results) -> State:
        workunit, results = _timeless(workunit, results)
        key = _fields(workunit), *map(_fields, results)
        found = self._states.get(key)
        if found is None:
            found = self._states[key] = State(workunit, results)
        return found

    def __len__(self) -> int:
        return len(self._states)


def _not_waited_for(workunit: Workunit, results: Results) -> tuple[Workunit, Results]:
    """The rows after the passes of daemons that nobody can tell from passes later on.

    One of the transitioner that changes nothing: whatever happens until its time makes
    another pass due.  And all of them, when nothing more can come of the workunit.
    """
    if workunit.delivered and all(_closed(row) for row in results):
        workunit, results, _ = settle(workunit, results, 0.0, valid=_usable)
        return workunit, results
    if workunit.transition_time <= 0.0:
        passed, rows = transition(workunit, results, 0.0)
        passed.transition_time = 0.0
        if passed == workunit and rows == results:
            passed.transition_time = NEVER
            return passed, results
    return workunit, results


def _closed(row: Result) -> bool:
    """Whether an instance is over, and no report of it will be taken any more."""
    return row.server_state == ServerState.OVER and row.outcome != Outcome.NO_REPLY


def _born(workunit: Workunit) -> tuple[Workunit, Results]:
    nameless = workunit.copy()
    nameless.id, nameless.name, nameless.batch, nameless.priority = 0, "", 0, 0
    nameless.transition_time = 0.0
    return nameless, ()


def _apply(
    workunit: Workunit, results: Results, code: int
) -> tuple[Workunit, Results, Assimilation | None, bool]:
    """Do to the rows what *code* says, by the rule for it."""
    if code >= 0:
        return _happens(workunit, results, *divmod(code, KINDS))
    if code == CANCEL:
        return *cancel(workunit, results, 0.0), None, False
    if code == REISSUE:
        return *reissue(workunit, results, 0.0), None, False
    if code == PASS[Daemon.TRANSITIONER]:
        return *transition(workunit, results, 0.0), None, False
    if code == PASS[Daemon.VALIDATOR]:
        return *validate(workunit, results, 0.0, valid=_usable), None, False
    if code == PASS[Daemon.ASSIMILATOR]:
        workunit, assimilated = assimilate(workunit, results, 0.0)
        return workunit, results, assimilated, False
    if code == PASS[Daemon.FILE_DELETER]:
        return *delete_files(workunit, results), None, False
    return _replicated(workunit, REPLICATE - code), results, None, False


def _happens(
    workunit: Workunit, results: Results, instance: int, what: int
) -> tuple[Workunit, Results, Assimilation | None, bool]:
    if what == Happens.SEND:
        return *send(workunit, results, instance, "", 0.0), None, False
    if what == Happens.EXPIRE:
        return *expire(workunit, results, (instance,), 0.0), None, False
    workunit, results, ignored = report(workunit, results, _report(instance, what), 0.0)
    return workunit, results, None, bool(ignored)


def _report(instance: int, what: int) -> Report:
    """What a client says, by what happened."""
    outputs: dict[int, Output] = {
        Happens.RIGHT: RIGHT,
        Happens.WRONG: ("wrong", instance),
        Happens.GARBAGE: GARBAGE,
        Happens.NO_FILE: None,
    }
    if what in outputs:
        return Report.success(instance, outputs[what])
    if what == Happens.ABORTED:
        return Report.abort(instance)
    if what == Happens.UPLOAD_FAILED:
        return Report.error(instance, 0, ClientState.UPLOAD_FAILED)
    return Report.error(instance)


def _replicated(workunit: Workunit, wanted: int) -> Workunit:
    """Ask for *wanted* agreeing instances of a workunit made for one, and wake the transitioner.

    BOINC ``sched/sched_send.cpp``, ``add_result_to_reply()``: target and quorum become the
    application's ``target_nresults``.
    """
    after = workunit.copy()
    after.target_nresults = after.min_quorum = wanted
    after.transition_time = 0.0
    return after


def _usable(output: Output) -> bool:
    return output is not None and output != GARBAGE


def _judged(before: Results, after: Results) -> tuple[tuple[int, bool], ...]:
    """Which instances have been found valid or invalid, that were not before."""
    verdicts = (ValidateState.VALID, ValidateState.INVALID)
    known = {row.instance: row.validate_state for row in before}
    return tuple(
        (row.instance, row.validate_state == ValidateState.VALID)
        for row in after
        if row.validate_state in verdicts
        and row.outcome != Outcome.CLIENT_ERROR
        and known.get(row.instance) != row.validate_state
    )


def _timeless(workunit: Workunit, results: Sequence[Result]) -> tuple[Workunit, Results]:
    """The rows with due for what is due, and later for what is not."""
    after = workunit.copy()
    after.transition_time = 0.0 if workunit.transition_time <= 0.0 else NEVER
    rows = [row.copy() for row in results]
    for row in rows:
        open_still = row.server_state != ServerState.OVER and row.report_deadline > 0.0
        row.report_deadline = NEVER if open_still else 0.0
        row.sent_time = None if row.sent_time is None else 0.0
        row.received_time = None if row.received_time is None else 0.0
    return after, tuple(rows)


def _fields(row: Workunit | Result) -> tuple[Any, ...]:
    return tuple([getattr(row, name) for name in row.__slots__])
