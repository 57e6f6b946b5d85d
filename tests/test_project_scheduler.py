"""What a project's scheduler takes, ignores and asks for; what an administrator can do."""

from __future__ import annotations

import pytest
from project_story import Story

from pyboinc.errors import ConfigurationError, PyboincError
from pyboinc.project import (
    NEVER,
    AbortRequest,
    ClientState,
    ErrorMask,
    Outcome,
    Report,
    Workunit,
    abort_request,
    assimilate,
    cancel,
    create_workunit,
    detach,
    expire,
    may_send,
    reissue,
    report,
    send,
    transition,
    validate,
)


def test_sending_sets_the_deadline_and_changes_no_other_state() -> None:
    """The deadline is a delay bound, and the project's grace period, after sending."""
    job = Story(delay_bound=100.0)

    workunit, (row,) = send(job.workunit, job.results, 0, "alice", 7.0, grace_period=5.0)

    assert (row.host, row.sent_time, row.report_deadline) == ("alice", 7.0, 112.0)
    assert (workunit.transition_time, workunit.finished) == (112.0, False)


def test_only_an_unsent_instance_can_be_sent() -> None:
    """A scheduler that hands out the same instance twice is told at once."""
    job = Story().sends(0)

    with pytest.raises(PyboincError) as caught:
        send(job.workunit, job.results, 0, "bob", 9.0)
    assert str(caught.value) == (
        "result job_0 can not be sent to bob: it is IN_PROGRESS; only an UNSENT one can be"
    )


def test_an_instance_that_is_not_there_is_named() -> None:
    """Whoever asks for it, the message names workunit and instance, and what may have happened."""
    job = Story(max_total_results=2)
    lost = job.workunit.copy()
    lost.canonical_instance, lost.need_validate = 7, True
    asked = [
        lambda: send(job.workunit, job.results, 7, "bob", 1.0),
        lambda: report(job.workunit, job.results, Report.success(7, "A"), 1.0),
        lambda: expire(job.workunit, job.results, [7], 1.0),
        lambda: assimilate(lost, job.results, 1.0),
        lambda: validate(lost, job.results, 1.0),
        lambda: transition(lost, job.results, 1.0),
    ]
    for ask in asked:
        with pytest.raises(PyboincError) as caught:
            ask()
        assert str(caught.value) == (
            "workunit job: there is no result job_7 among its 1 rows; the project's database has "
            "lost rows or mixed up workunits"
        )


def test_what_a_report_says() -> None:
    """Each way of making a report says which instance, output, state, exit status and host."""
    uploaded, aborted = ClientState.FILES_UPLOADED, ClientState.ABORTED
    assert Report.success(3, "A", "bob") == Report(3, "A", uploaded, 0, "bob")
    assert Report.error(3) == Report(3, None, ClientState.COMPUTE_ERROR, 1, None)
    failed = Report.error(3, 9, ClientState.UPLOAD_FAILED, "bob")
    assert failed == Report(3, None, ClientState.UPLOAD_FAILED, 9, "bob")
    assert Report.abort(3, "bob") == Report(3, None, aborted, 203, "bob")
    assert Report.aborted_by_project(3, "bob") == Report(3, None, aborted, 202, "bob")


def test_may_send() -> None:
    """There is something unsent, and the workunit has not been given up."""
    job = Story(max_error_results=2, max_total_results=4)
    assert may_send("bob", job.workunit, job.results)

    job.sends(0)
    assert not may_send("bob", job.workunit, job.results)

    job.fails(0)
    job.workunit = job.workunit.copy()
    job.workunit.error_mask = ErrorMask.TOO_MANY_SUCCESS_RESULTS
    assert not may_send("bob", job.workunit, job.results)


def test_one_result_per_host() -> None:
    """With the project's setting no host gets a second instance, not even after failing."""
    job = Story(max_error_results=2, max_total_results=4).sends(0).fails(0)

    assert may_send("host_0", job.workunit, job.results)
    assert not may_send("host_0", job.workunit, job.results, one_result_per_host=True)
    assert may_send("bob", job.workunit, job.results, one_result_per_host=True)


@pytest.mark.parametrize(
    ("state", "exit_status"),
    [("COMPUTE_ERROR", 0), ("FILES_UPLOADED", 1), ("UPLOAD_FAILED", 0), ("ABORTED", 202)],
)
def test_rule_11_success_takes_uploaded_files_and_exit_status_0(
    state: str, exit_status: int
) -> None:
    """Anything else is an error, also what the project itself had asked to abort."""
    job = Story(max_error_results=2, max_total_results=3).sends(0)

    job.reports(Report(0, "A", ClientState[state], exit_status))

    assert (job.outcomes, job.verdicts) == ("CLIENT_ERROR UNSENT", "INVALID INIT")
    assert job.results[0].exit_status == exit_status


@pytest.mark.parametrize("cancelled", [False, True])
def test_rule_11_a_timed_out_result_is_taken_for_ever(cancelled: bool) -> None:
    """A late answer is better than none, even to a question that was withdrawn."""
    job = Story(max_total_results=2).sends(0).times_out(0)
    if cancelled:
        job.is_cancelled()

    job.succeeds(0, "late")

    assert (job.ignored, job.results[0].outcome) == ((), Outcome.SUCCESS)
    assert job.assimilations[-1].output == "late"


def test_rule_11_reports_that_are_ignored() -> None:
    """They are acknowledged, or the client would repeat them for ever, and change nothing."""
    job = Story(target_nresults=5, max_error_results=5, max_total_results=6, max_success_results=6)
    job.sends(0, 1, 2).fails(1).detaches(2).succeeds(0, "A")
    before = (job.workunit, job.results)

    job.reports(*(Report.success(n, "again") for n in range(5)))

    assert dict(job.ignored) == {
        0: "already reported as success",
        1: "already reported as error",
        2: "its host detached",
        3: "it was not needed, and never sent",
        4: "it was not needed, and never sent",
    }
    assert (job.workunit, job.results) == before
    assert job.results is before[1]


def test_rule_11_what_was_never_sent_and_what_the_validator_refused() -> None:
    """VALIDATE_ERROR is final: the host does not get a second try at the upload."""
    job = Story(target_nresults=1, max_error_results=2, max_total_results=3)
    job.sends(0).succeeds(0, None)

    job.reports(Report.success(0, "A"), Report.success(1, "A"))

    assert dict(job.ignored) == {
        0: "already reported, and refused by the validator",
        1: "it was never sent",
    }


def test_rule_11_only_the_host_that_has_it_may_report_it() -> None:
    """Or another host of the same user, who may have moved the client's directory."""
    job = Story().sends(0)

    job.reports(Report.success(0, "forged", host="mallory"))
    assert job.ignored == ((0, "it was sent to host_0, not to mallory"),)
    assert job.outcomes == "IN_PROGRESS"

    job.reports(Report.success(0, "A", host="laptop"), same_user=True)
    assert (job.ignored, job.canonical, job.results[0].host) == ((), 0, "laptop")


def test_one_request_that_reports_an_instance_twice_loses_it() -> None:
    """BOINC acknowledges both and records neither; the instance runs into its deadline."""
    job = Story(target_nresults=2, max_total_results=4).sends(0, 1)

    job.reports(Report.success(0, "A"), Report.success(0, "A"), Report.error(1))
    assert job.outcomes == "IN_PROGRESS CLIENT_ERROR UNSENT"
    assert job.ignored == ((0, "reported twice in one request"),) * 2

    job.succeeds(0)
    assert job.canonical == 0


def test_one_request_that_repeats_an_old_report_twice_wipes_its_exit_status() -> None:
    """So an abort, which is no error, becomes one: BOINC writes back a status it never read."""
    job = Story(max_error_results=1, max_total_results=9).sends(0).aborts(0).sends(1).fails(1)
    assert job.mask == 0

    job.reports(Report.abort(0), Report.abort(0))

    assert job.results[0].exit_status == 0
    assert job.mask == ErrorMask.TOO_MANY_ERROR_RESULTS


def test_detaching_ends_all_that_a_host_has_and_nothing_else() -> None:
    """A host that attaches anew has lost its instances; their replacements are made at once."""
    job = Story(target_nresults=3, max_success_results=3, max_total_results=9).sends(0, 1)
    workunit, rows = job.workunit, tuple(row.copy() for row in job.results)
    for row in rows:
        row.host = "bob"

    after, gone = detach(workunit, rows, "bob", 50.0)
    unmoved = detach(workunit, rows, "carol", 50.0)

    assert [row.outcome.name for row in gone] == ["CLIENT_DETACHED", "CLIENT_DETACHED", "INIT"]
    assert [row.reported for row in gone] == [True, True, False]
    assert after.transition_time == 50.0
    assert unmoved == (workunit, rows)
    assert unmoved[0] is workunit


def test_abort_requests() -> None:
    """What a client hears about work that is no use any more."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4).sends(0, 1)
    assert abort_request(job.workunit, job.results[1]) is AbortRequest.NONE

    job.times_out(1)
    assert abort_request(job.workunit, job.results[1]) is AbortRequest.IF_NOT_STARTED
    assert abort_request(job.workunit, job.results[0]) is AbortRequest.NONE

    job.fails(0).is_cancelled()
    assert abort_request(job.workunit, job.results[1]) is AbortRequest.NOW

    done = Story(target_nresults=2, max_success_results=2).sends(0, 1).succeeds(0)
    assert abort_request(done.workunit, done.results[1]) is AbortRequest.IF_NOT_STARTED


def test_create_work_raises_limits_to_the_target() -> None:
    """As BOINC does when an input template leaves them out."""
    workunit = create_workunit(4, "b_1", 3.0, batch=9, priority=2, target_nresults=3)

    assert (workunit.max_total_results, workunit.max_success_results) == (3, 3)
    assert (workunit.id, workunit.name, workunit.batch, workunit.priority) == (4, "b_1", 9, 2)
    assert workunit.transition_time == 3.0
    assert create_workunit(5, "b_2", 3.0) == Workunit(5, "b_2", transition_time=3.0)


ADVICE = "max_total_results, 1; lower the one or raise the other"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"target_nresults": 0}, "target_nresults is 0, but must be at least 1"),
        ({"min_quorum": 0}, "min_quorum is 0, but must be at least 1"),
        ({"max_error_results": 0}, "max_error_results is 0, but must be at least 1"),
        ({"max_error_results": 4}, f"max_error_results is 4, more than {ADVICE}"),
        ({"max_success_results": 2}, f"max_success_results is 2, more than {ADVICE}"),
    ],
)
def test_create_work_refuses_limits_that_contradict(limits: dict[str, int], message: str) -> None:
    """What create_work would refuse is refused here, by name and value."""
    with pytest.raises(ConfigurationError) as caught:
        create_workunit(1, "job", 0.0, **limits)
    assert str(caught.value) == f"workunit job: {message}"


def test_cancel_changes_what_is_unsent_and_the_mask() -> None:
    """The rest follows when the daemons run."""
    job = Story(target_nresults=2, max_success_results=2).sends(0)

    workunit, rows = cancel(job.workunit, job.results, 9.0)

    assert [row.outcome.name for row in rows] == ["INIT", "DIDNT_NEED"]
    assert [row.server_state.name for row in rows] == ["IN_PROGRESS", "OVER"]
    assert (workunit.error_mask, workunit.transition_time) == (ErrorMask.CANCELLED, 9.0)
    assert rows[0] is job.results[0]


def test_expire_moves_deadlines_only_into_the_past_and_only_of_what_is_in_progress() -> None:
    """A host known to be gone need not be waited for."""
    job = Story(target_nresults=2, max_success_results=2, delay_bound=10.0).sends(0)

    workunit, rows = expire(job.workunit, job.results, [0, 1], 5.0)
    later, same_rows = expire(workunit, rows, [0], 8.0)

    assert [row.report_deadline for row in rows] == [5.0, NEVER]
    assert (workunit.transition_time, later.transition_time) == (5.0, 5.0)
    assert same_rows == rows
    assert (later is workunit, same_rows[1] is rows[1]) == (True, True)
    again, _ = expire(workunit, rows, [0], 5.0)
    assert again is workunit, "a caller writes back only what has changed"


def test_reissue_runs_a_failed_workunit_again() -> None:
    """It gets as many attempts as it had at first, and is assimilated again."""
    job = Story(max_error_results=1, max_total_results=2).sends(0).fails(0).sends(1).fails(1)
    assert job.workunit.finished
    job.workunit.need_validate = True

    job.workunit, job.results = reissue(job.workunit, job.results, job.now)
    job.settles()
    assert (job.mask, job.outcomes) == (0, "CLIENT_ERROR CLIENT_ERROR UNSENT")
    assert not (job.workunit.need_validate or job.workunit.delivered)
    assert job.files.split()[-1] == "INIT"

    job.sends(2).fails(2).sends(3).succeeds(3, "at last")
    assert (job.canonical, job.mask) == (3, 0)
    assert [each.output for each in job.assimilations] == [None, "at last"]


def test_reissue_of_a_delivered_workunit_discards_its_output() -> None:
    """For a delivered result that was found damaged: nothing of before is compared again."""
    job = Story(min_quorum=2, target_nresults=2, max_total_results=4, max_success_results=4)
    job.sends(0, 1).succeeds(0, "damaged").succeeds(1, "damaged")

    job.workunit, job.results = reissue(job.workunit, job.results, job.now)
    job.settles().sends(2, 3).succeeds(2, "good").succeeds(3, "good")

    assert job.verdicts == "INVALID INVALID VALID VALID"
    assert [each.output for each in job.assimilations] == ["damaged", "good"]
    assert job.credited == [0, 1, 2, 3]


def test_reissue_counts_only_errors_and_takes_another_target() -> None:
    """An abort had not been an error; more instances may be asked for than the quorum."""
    job = Story(max_error_results=1, max_total_results=3)
    job.sends(0).aborts(0).sends(1).succeeds(1, None).sends(2).fails(2)
    assert job.mask == ErrorMask.TOO_MANY_ERROR_RESULTS | ErrorMask.TOO_MANY_TOTAL_RESULTS

    workunit, rows = reissue(job.workunit, job.results, job.now, target_nresults=2)

    assert (workunit.max_error_results, workunit.max_total_results) == (3, 6)
    assert workunit.target_nresults == 2
    assert rows == job.results
    assert all(row is before for row, before in zip(rows, job.results, strict=True))


def test_reissue_judges_nothing_but_outputs() -> None:
    """What never had an output stays as it was: nobody has found it invalid."""
    job = Story(max_error_results=1, max_total_results=3).sends(0).times_out(0)
    job.sends(1).fails(1).sends(2).fails(2)
    assert job.verdicts == "INIT INVALID INVALID"

    _, rows = reissue(job.workunit, job.results, job.now)

    assert rows == job.results


def test_reissue_leaves_a_running_workunit_alone() -> None:
    """What is not finished need not be run again."""
    job = Story().sends(0)

    again = reissue(job.workunit, job.results, 9.0)

    assert again == (job.workunit, job.results)
    assert again[0] is job.workunit


def test_reports_do_not_change_the_rows_that_they_are_given() -> None:
    """A caller compares old rows with new ones."""
    job = Story().sends(0)
    before = job.results[0].copy()

    answer = report(job.workunit, job.results, Report.success(0, "A"), 5.0)

    assert job.results[0] == before
    assert answer.results[0].outcome == Outcome.SUCCESS
    assert Report.aborted_by_project(0).exit_status == 202
