"""The transitioner: the daemon that decides what a workunit needs next.

It counts the instances of a workunit by what became of them, and from the counts alone
asks for validation, gives the workunit up, makes new instances, releases files, and says
when it wants to look again.  It looks whenever a workunit's ``transition_time`` has come:
after every event, and at the earliest deadline of an instance in progress.

Source of the rules: BOINC ``sched/transitioner.cpp``, ``handle_wu()``; the comments follow
its order, because the order matters: one pass may ask for validation *and* give up.

Two things differ.  BOINC counts whole seconds and acts when ``now`` is later than a
deadline, that is up to a second after it; here an instance has timed out when ``now`` has
reached the deadline, so a caller can sleep exactly until ``transition_time``.  And BOINC's
extra delay for a transitioner behind schedule is absent: within one pass ``now`` does not
move, and then no transition time in the past can come out of the rules above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import is_
from typing import NamedTuple

from pyboinc.project.states import (
    EXIT_ABORTED_VIA_GUI,
    NEVER,
    AssimilateState,
    ErrorMask,
    FileDeleteState,
    Outcome,
    Result,
    Results,
    ServerState,
    ValidateState,
    Workunit,
    position,
)

# Names of this module: looking a member up in its enumeration costs more than the rule.
_UNSENT = ServerState.UNSENT
_IN_PROGRESS = ServerState.IN_PROGRESS
_OVER = ServerState.OVER
_SUCCESS = Outcome.SUCCESS
_CLIENT_ERROR = Outcome.CLIENT_ERROR
_VALIDATE_ERROR = Outcome.VALIDATE_ERROR
_COULDNT_SEND = Outcome.COULDNT_SEND
_NO_REPLY = Outcome.NO_REPLY
_UNCHECKED = ValidateState.INIT
_INVALID = ValidateState.INVALID
_PENDING = (ValidateState.INIT, ValidateState.INCONCLUSIVE)
_KEPT = FileDeleteState.INIT
_RELEASED = FileDeleteState.READY
_DELETED = FileDeleteState.DONE

TEN_DAYS = 10 * 86400.0


class Census(NamedTuple):
    """How many instances of a workunit there are of each sort, or whether there is one."""

    unsent: int
    in_progress: int
    successes: int
    errors: int
    unsendable: bool
    new_success: bool


def transition(
    workunit: Workunit, results: Sequence[Result], now: float, *, delete_delay: float = 0.0
) -> tuple[Workunit, Results]:
    """Make one pass over a workunit and return its rows as they are afterwards.

    *delete_delay* is the project's setting of that name: files are kept so many seconds
    after the last report.  Rows that need no change are returned as they came.
    """
    rows = list(results)
    _close(workunit, rows, now)
    census = _count(rows)
    after = workunit.copy()
    if census.new_success and census.successes >= workunit.min_quorum:
        after.need_validate = True
    missing, too_many = _missing(workunit, census, len(rows))
    if census.unsendable:
        after.error_mask |= ErrorMask.COULDNT_SEND_RESULT
    if census.errors > workunit.max_error_results:
        after.error_mask |= ErrorMask.TOO_MANY_ERROR_RESULTS
    if too_many:
        after.error_mask |= ErrorMask.TOO_MANY_TOTAL_RESULTS
    if after.error_mask:
        _give_up(after, rows)
    elif missing and workunit.canonical_instance is None:
        rows += _new_instances(workunit, rows, missing)
    release_time = NEVER
    if workunit.assimilate_state == AssimilateState.DONE:
        release_time = _release_files(after, rows, now, delete_delay)
    after.transition_time = min(_next_look(after, rows, now), release_time)
    return _unless_equal(workunit, after), _unless_same(results, rows)


def _close(workunit: Workunit, rows: list[Result], now: float) -> None:
    """Time out what is overdue, and mark the successes that came too late to be judged."""
    canonical_gone = _canonical_file_gone(workunit, rows)
    for index, row in enumerate(rows):
        if row.server_state == _IN_PROGRESS:
            if row.report_deadline <= now:
                rows[index] = row = row.copy()
                row.server_state = _OVER
                row.outcome = _NO_REPLY
        elif canonical_gone and row.outcome == _SUCCESS and row.validate_state == _UNCHECKED:
            rows[index] = row = row.copy()
            row.validate_state = ValidateState.TOO_LATE


def _canonical_file_gone(workunit: Workunit, rows: Sequence[Result]) -> bool:
    """Whether there is a canonical result, but no longer a file to compare others with."""
    if workunit.canonical_instance is None:
        return False
    canonical = rows[position(workunit, rows, workunit.canonical_instance)]
    return canonical.file_delete_state == _DELETED


def _count(rows: Sequence[Result]) -> Census:
    """Time-outs, detached hosts and instances not needed are no errors: not counted here."""
    unsent = in_progress = successes = errors = 0
    unsendable = new_success = False
    for row in rows:
        outcome = row.outcome
        if row.server_state == _IN_PROGRESS:
            in_progress += 1
        elif row.server_state != _OVER:
            unsent += 1
        elif outcome == _SUCCESS:
            new_success = new_success or row.validate_state == _UNCHECKED
            successes += row.validate_state != _INVALID
        elif outcome == _CLIENT_ERROR:
            # A volunteer who aborts has done nothing wrong, and neither has the job.
            errors += row.exit_status != EXIT_ABORTED_VIA_GUI
        elif outcome == _VALIDATE_ERROR:
            errors += 1
        elif outcome == _COULDNT_SEND:
            unsendable = True
    return Census(unsent, in_progress, successes, errors, unsendable, new_success)


def _missing(workunit: Workunit, census: Census, total: int) -> tuple[int, bool]:
    """Return how many new instances are wanted and allowed, and whether the limit was passed.

    When it was, the number says nothing: the workunit is given up.

    INVALID successes, errors, time-outs and instances that were not needed all reopen the
    count, also when there is a canonical result: so a good workunit may get the mask.
    """
    present = census.unsent + census.in_progress + census.successes
    wanted = max(0, workunit.target_nresults - present)
    room = workunit.max_total_results - total
    return min(wanted, room), room < 0 or (room == 0 and wanted > 0)


def _give_up(after: Workunit, rows: list[Result]) -> None:
    """Send nothing more, check nothing more, and have the failure assimilated.

    Instances in progress are left alone: nothing marks them, and they may still report.
    """
    for index, row in enumerate(rows):
        if row.server_state <= _UNSENT:
            rows[index] = row = row.copy()
            row.server_state = _OVER
            row.outcome = Outcome.DIDNT_NEED
        elif row.outcome == _SUCCESS and row.validate_state in _PENDING:
            rows[index] = row = row.copy()
            row.validate_state = ValidateState.NO_CHECK
    if after.assimilate_state == AssimilateState.INIT:
        after.assimilate_state = AssimilateState.READY


def _new_instances(workunit: Workunit, rows: Sequence[Result], count: int) -> list[Result]:
    """Return *count* unsent instances, numbered on from the highest there is."""
    first = max((row.instance for row in rows), default=-1) + 1
    return [Result(workunit.id, workunit.name, n) for n in range(first, first + count)]


def _release_files(after: Workunit, rows: list[Result], now: float, delete_delay: float) -> float:
    """Release for deletion what is no longer needed once the workunit is assimilated.

    Returns when to try again if *delete_delay* has not passed since the last report,
    otherwise NEVER.
    """
    if delete_delay:
        received = [row.received_time or 0.0 for row in rows if row.server_state == _OVER]
        release_time = max(received, default=0.0) + delete_delay
        if now < release_time:
            return release_time
    all_over = all(_over_and_validated(row, now) for row in rows)
    if all_over and after.file_delete_state == _KEPT:
        after.file_delete_state = _RELEASED
    for index, row in enumerate(rows):
        # The canonical output is what stragglers are compared with: it goes last.
        if row.instance == after.canonical_instance and not all_over:
            continue
        if row.file_delete_state == _KEPT and _output_done_with(row):
            rows[index] = row = row.copy()
            row.file_delete_state = _RELEASED
    return NEVER


def _over_and_validated(row: Result, now: float) -> bool:
    """Whether nothing more is to come of an instance (a time-out counts as its end)."""
    if row.server_state != _OVER:
        return False
    if row.outcome == _SUCCESS:
        return row.validate_state != _UNCHECKED
    return row.outcome != _NO_REPLY or row.report_deadline <= now


def _output_done_with(row: Result) -> bool:
    """Whether an output may go: that of an error at once, of a success when it was judged.

    That of a VALIDATE_ERROR never goes: the rule in BOINC knows only these two outcomes.
    """
    if row.outcome == _SUCCESS:
        return row.validate_state != _UNCHECKED
    return row.outcome == _CLIENT_ERROR


def _next_look(after: Workunit, rows: Sequence[Result], now: float) -> float:
    """Return the earliest deadline of an instance in progress, or else the safety net."""
    if after.canonical_instance is not None or after.error_mask:
        look = NEVER
    else:
        look = now + safety_net(after)
    for row in rows:
        if row.server_state == _IN_PROGRESS and row.report_deadline < look:
            look = row.report_deadline
    return look


def safety_net(workunit: Workunit) -> float:
    """Return after how many seconds an undecided workunit is looked at for no reason."""
    return max(float(int(1.5 * workunit.delay_bound)), TEN_DAYS)


def _unless_equal(before: Workunit, after: Workunit) -> Workunit:
    return before if before == after else after


def _unless_same(before: Sequence[Result], rows: list[Result]) -> Results:
    if isinstance(before, tuple) and len(before) == len(rows) and all(map(is_, before, rows)):
        return before
    return tuple(rows)
