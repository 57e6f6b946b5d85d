"""The scheduler: what happens to the rows when a host asks for work and when it reports.

Source of the rules: BOINC ``sched/sched_send.cpp`` and ``sched/sched_check.cpp`` (sending),
``sched/sched_result.cpp``, ``handle_results()`` (reports), ``sched/handle_request.cpp`` (hosts
that detach, instances to abort).  Which host gets which instance is the caller's business:
what is here is what may be, and what changes when it is done.

A report is always acknowledged, even if it is ignored, since the client would repeat it
for ever otherwise.  Nothing here runs a daemon: call :func:`pyboinc.project.settle` next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from pyboinc.errors import PyboincError
from pyboinc.project.states import (
    EXIT_ABORTED_BY_PROJECT,
    EXIT_ABORTED_VIA_GUI,
    AssimilateState,
    ClientState,
    ErrorMask,
    Outcome,
    Output,
    Result,
    Results,
    ServerState,
    ValidateState,
    Workunit,
    position,
)

_UNSENT = ServerState.UNSENT
_IN_PROGRESS = ServerState.IN_PROGRESS
_OVER = ServerState.OVER
_FILES_UPLOADED = ClientState.FILES_UPLOADED


class Report(NamedTuple):
    """What a client says about one instance when it has finished with it.

    ``host`` is the one that reports; None stands for the one that the instance was sent to.
    Make one with :meth:`success`, :meth:`error`, :meth:`abort` or :meth:`aborted_by_project`.
    """

    instance: int
    output: Output = None
    client_state: ClientState = _FILES_UPLOADED
    exit_status: int = 0
    host: str | None = None

    @classmethod
    def success(cls, instance: int, output: Output, host: str | None = None) -> Report:
        """Computed and uploaded; an *output* of None means that no file was uploaded."""
        return cls(instance, output, _FILES_UPLOADED, 0, host)

    @classmethod
    def error(
        cls,
        instance: int,
        exit_status: int = 1,
        client_state: ClientState = ClientState.COMPUTE_ERROR,
        host: str | None = None,
    ) -> Report:
        """The slave failed, or a file could not be had."""
        return cls(instance, None, client_state, exit_status, host)

    @classmethod
    def abort(cls, instance: int, host: str | None = None) -> Report:
        """The volunteer aborted it: not counted as an error."""
        return cls(instance, None, ClientState.ABORTED, EXIT_ABORTED_VIA_GUI, host)

    @classmethod
    def aborted_by_project(cls, instance: int, host: str | None = None) -> Report:
        """The client aborted it at the server's request: an ordinary error."""
        return cls(instance, None, ClientState.ABORTED, EXIT_ABORTED_BY_PROJECT, host)


class Reported(NamedTuple):
    """The rows after a report, and which instances' reports were ignored and why."""

    workunit: Workunit
    results: Results
    ignored: tuple[tuple[int, str], ...]


class AbortRequest(Enum):
    """What the server tells a client about an instance that it still has."""

    NONE = "none"
    IF_NOT_STARTED = "if not started"
    NOW = "now"


def may_send(
    host: str,
    workunit: Workunit,
    results: Sequence[Result],
    *,
    one_result_per_host: bool = False,
) -> bool:
    """Whether *host* may be given an instance of this workunit.

    *one_result_per_host* is the project's setting ``one_result_per_host_per_wu``: never two
    instances for one host, not even after the first has failed (``slow_check()``).  The mask
    matters only for the moment before the transitioner has seen it; BOINC looks at it then
    for applications with homogeneous redundancy alone.
    """
    if workunit.error_mask:
        return False
    if one_result_per_host and any(row.host == host for row in results):
        return False
    return any(row.server_state == _UNSENT for row in results)


def send(
    workunit: Workunit,
    results: Sequence[Result],
    instance: int,
    host: str,
    now: float,
    *,
    grace_period: float = 0.0,
) -> tuple[Workunit, Results]:
    """Return the rows after *instance* was sent to *host*.

    The deadline is a delay bound from now, and *grace_period* seconds later still (the
    project's setting ``report_grace_period``).  Sending does not wake the transitioner, it
    only bounds its next look (``add_result_to_reply()``, ``update_wu_on_send()``).  Raises
    :class:`PyboincError` if the instance is not UNSENT.
    """
    index = position(workunit, results, instance)
    row = results[index].copy()
    if row.server_state != _UNSENT:
        raise PyboincError(
            f"result {row.name} can not be sent to {host}: it is "
            f"{ServerState(row.server_state).name}; only an UNSENT one can be"
        )
    row.server_state = _IN_PROGRESS
    row.host = host
    row.sent_time = now
    row.report_deadline = deadline = now + workunit.delay_bound + grace_period
    if deadline < workunit.transition_time:
        workunit = workunit.copy()
        workunit.transition_time = deadline
    return workunit, (*results[:index], row, *results[index + 1 :])


def report(
    workunit: Workunit,
    results: Sequence[Result],
    reports: Report | Sequence[Report],
    now: float,
    *,
    same_user: bool = False,
) -> Reported:
    """Take the reports that one request of a client holds about this workunit.

    *same_user* says that the reporting host belongs to the user whose host it was sent to:
    then another host's report is taken.
    """
    if isinstance(reports, Report):
        reports = (reports,)
    rows = list(results)
    ignored: list[tuple[int, str]] = []
    twice = _reported_twice(reports)
    for said in reports:
        index = position(workunit, rows, said.instance)
        if said.instance in twice:
            rows[index] = _as_read(rows[index])
            ignored.append((said.instance, "reported twice in one request"))
            continue
        reason = _refusal(rows[index], said, same_user)
        if reason is None:
            rows[index] = _closed(rows[index], said, now)
        else:
            ignored.append((said.instance, reason))
    if len(ignored) == len(reports) and not twice:
        return Reported(workunit, tuple(results), tuple(ignored))
    workunit = workunit.copy()
    workunit.transition_time = now
    return Reported(workunit, tuple(rows), tuple(ignored))


def _reported_twice(reports: Sequence[Report]) -> set[int]:
    """Return the instances that one request reports more than once.

    BOINC acknowledges them all and records none: all reports are checked against the same
    copy of the row, the second one marks it as "not to be written", and what is written is
    a second copy as it was read.  So the instance runs into its deadline.
    """
    if len(reports) == 1:
        return set()
    return {n for n, times in Counter(said.instance for said in reports).items() if times > 1}


def _as_read(row: Result) -> Result:
    """The exit status is not among what ``DB_SCHED_RESULT_ITEM_SET`` reads: it comes out as 0."""
    if row.exit_status:
        row = row.copy()
        row.exit_status = 0
    return row


def _refusal(row: Result, said: Report, same_user: bool) -> str | None:
    """Return why a report is ignored, or None if it is taken.

    Taken are reports of what is in progress, and of what has timed out however long ago:
    a late answer is better than none.  The answer of a detached host is not, because
    detaching has set its received time.
    """
    if row.server_state <= _UNSENT:
        return "it was never sent"
    if row.server_state == _OVER and row.outcome in _REFUSED:
        return _REFUSED[row.outcome]
    if row.received_time is not None:
        return "its host detached"
    if said.host is not None and said.host != row.host and not same_user:
        return f"it was sent to {row.host}, not to {said.host}"
    return None


_REFUSED = {
    Outcome.INIT: "it was never sent",
    Outcome.SUCCESS: "already reported as success",
    Outcome.COULDNT_SEND: "it could not be sent",
    Outcome.CLIENT_ERROR: "already reported as error",
    Outcome.DIDNT_NEED: "it was not needed, and never sent",
    Outcome.VALIDATE_ERROR: "already reported, and refused by the validator",
}


def _closed(row: Result, said: Report, now: float) -> Result:
    """Success takes both: all files uploaded, and exit status 0."""
    row = row.copy()
    row.server_state = _OVER
    row.client_state = said.client_state
    row.exit_status = said.exit_status
    row.received_time = now
    row.output = said.output
    if said.host is not None:
        row.host = said.host
    if said.client_state == _FILES_UPLOADED and said.exit_status == 0:
        row.outcome = Outcome.SUCCESS
    else:
        row.outcome = Outcome.CLIENT_ERROR
        row.validate_state = ValidateState.INVALID
    return row


def detach(
    workunit: Workunit, results: Sequence[Result], host: str, now: float
) -> tuple[Workunit, Results]:
    """Return the rows after *host* attached anew without the instances that it had.

    They are over at once, and no later report of them is taken (``mark_results_over()``).
    """
    rows = list(results)
    for index, row in enumerate(rows):
        if row.server_state == _IN_PROGRESS and row.host == host:
            rows[index] = row = row.copy()
            row.server_state = _OVER
            row.outcome = Outcome.CLIENT_DETACHED
            row.received_time = now
            if workunit.transition_time != now:
                workunit = workunit.copy()
                workunit.transition_time = now
    return workunit, tuple(rows)


def abort_request(workunit: Workunit, result: Result) -> AbortRequest:
    """Return what a client that still has *result* is told (``send_result_abort()``)."""
    if workunit.error_mask & ErrorMask.CANCELLED:
        return AbortRequest.NOW
    if workunit.assimilate_state == AssimilateState.DONE:
        return AbortRequest.IF_NOT_STARTED
    if result.server_state == _OVER and result.outcome == Outcome.NO_REPLY:
        return AbortRequest.IF_NOT_STARTED
    return AbortRequest.NONE
