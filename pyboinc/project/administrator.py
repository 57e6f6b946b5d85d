"""What people do to a workunit: make it, cancel it, make it run again.

Sources: BOINC ``tools/backend_lib.cpp`` (``create_work2()``, ``cancel_job()``) and
``tools/process_input_template.cpp``.  :func:`expire` and :func:`reissue` are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyboinc.errors import ConfigurationError
from pyboinc.project.states import (
    EXIT_ABORTED_VIA_GUI,
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


def create_workunit(
    id: int,  # noqa: A002 - the name of BOINC's column
    name: str,
    now: float,
    *,
    batch: int = 0,
    priority: int = 0,
    delay_bound: float = 604800.0,
    min_quorum: int = 1,
    target_nresults: int = 1,
    max_error_results: int = 1,
    max_total_results: int = 1,
    max_success_results: int = 1,
) -> Workunit:
    """Return a new workunit, as ``create_work`` makes it; it has no results yet.

    The defaults are BOINC's: no retries at all.  Limits below the target are raised to it,
    as BOINC does; a combination that BOINC refuses raises :class:`ConfigurationError`.
    """
    max_success_results = max(max_success_results, target_nresults)
    max_total_results = max(max_total_results, target_nresults)
    workunit = Workunit(
        id,
        name,
        batch,
        priority,
        delay_bound,
        min_quorum,
        target_nresults,
        max_error_results,
        max_total_results,
        max_success_results,
        transition_time=now,
    )
    _check_limits(workunit)
    return workunit


def _check_limits(workunit: Workunit) -> None:
    """A quorum above the target is allowed, as in BOINC, and can never be reached."""
    for limit in ("min_quorum", "target_nresults", "max_error_results"):
        if getattr(workunit, limit) < 1:
            raise ConfigurationError(
                f"workunit {workunit.name}: {limit} is {getattr(workunit, limit)}, "
                "but must be at least 1"
            )
    total = workunit.max_total_results
    for limit in ("max_success_results", "max_error_results"):
        if getattr(workunit, limit) > total:
            raise ConfigurationError(
                f"workunit {workunit.name}: {limit} is {getattr(workunit, limit)}, more than "
                f"max_total_results, {total}; lower the one or raise the other"
            )


def cancel(workunit: Workunit, results: Sequence[Result], now: float) -> tuple[Workunit, Results]:
    """Return the rows after the workunit was cancelled: nothing more is sent.

    Instances in progress go on until their clients hear of it; see
    :func:`pyboinc.project.abort_request`.
    """
    rows = list(results)
    for index, row in enumerate(rows):
        if row.server_state <= ServerState.UNSENT:
            rows[index] = row = row.copy()
            row.server_state = ServerState.OVER
            row.outcome = Outcome.DIDNT_NEED
    after = workunit.copy()
    after.error_mask |= ErrorMask.CANCELLED
    after.transition_time = now
    return after, tuple(rows)


def expire(
    workunit: Workunit, results: Sequence[Result], instances: Iterable[int], now: float
) -> tuple[Workunit, Results]:
    """Return the rows after the deadline of *instances* was moved to *now*.

    The transitioner will time them out at its next pass.  Only instances in progress have
    a deadline to be moved; others are left as they are.  BOINC has no such command: it is
    an administrator's update of the database, for a host known to be gone.
    """
    rows = list(results)
    for instance in instances:
        index = position(workunit, rows, instance)
        if rows[index].server_state == ServerState.IN_PROGRESS:
            rows[index] = row = rows[index].copy()
            row.report_deadline = min(row.report_deadline, now)
            if workunit.transition_time > now:
                workunit = workunit.copy()
                workunit.transition_time = now
    return workunit, tuple(rows)


def reissue(
    workunit: Workunit,
    results: Sequence[Result],
    now: float,
    *,
    target_nresults: int | None = None,
) -> tuple[Workunit, Results]:
    """Return the rows of a finished workunit after an administrator's "run it again".

    For a workunit that failed, and for one whose delivered output turned out to be damaged.
    Ours, not BOINC's.  The decision is undone: no mask, no canonical result, to be assimilated
    again.  Outputs reported so far are INVALID (credit once given is kept), and the limits
    grow by what has been used up, so that it gets as many attempts as it had at first.
    *target_nresults* instances are made, by default as many as the quorum.  Instances
    still in progress, and late ones, take part.  A workunit that is not finished is returned
    as it is: it is still running.
    """
    if not workunit.finished:
        return workunit, tuple(results)
    rows = list(results)
    for index, row in enumerate(rows):
        if row.outcome == Outcome.SUCCESS and row.validate_state != ValidateState.INVALID:
            rows[index] = row = row.copy()
            row.validate_state = ValidateState.INVALID
    after = workunit.copy()
    after.need_validate = False
    after.canonical_instance = None
    after.error_mask = ErrorMask.NONE
    after.assimilate_state = AssimilateState.INIT
    after.file_delete_state = FileDeleteState.INIT
    after.target_nresults = target_nresults or workunit.min_quorum
    after.max_error_results += sum(1 for row in rows if _is_error(row))
    after.max_total_results += len(rows)
    after.transition_time = now
    return after, tuple(rows)


def _is_error(row: Result) -> bool:
    """Whether the transitioner counts it as an error."""
    if row.outcome == Outcome.CLIENT_ERROR:
        return row.exit_status != EXIT_ABORTED_VIA_GUI
    return row.outcome == Outcome.VALIDATE_ERROR
