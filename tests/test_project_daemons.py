"""When the daemons look, what they leave alone, and rows that no rule leads to."""

from __future__ import annotations

import pytest
from project_story import DAY, Story

from pyboinc.errors import PyboincError
from pyboinc.project import (
    AssimilateState,
    Assimilation,
    Daemon,
    ErrorMask,
    FileDeleteState,
    Outcome,
    Result,
    ServerState,
    ValidateState,
    Workunit,
    assimilate,
    changed,
    create_workunit,
    has_work,
    settle,
    transition,
    validate,
)


def test_timing_the_transitioner_looks_at_the_deadline_and_not_before() -> None:
    """A caller may sleep until transition_time, exactly."""
    job = Story(max_total_results=2, delay_bound=60.0).sends(0)
    deadline = job.workunit.transition_time
    assert deadline == job.now + 60.0

    job.waits_until(deadline - 0.001)
    assert job.outcomes == "IN_PROGRESS"

    job.waits_until(deadline)
    assert job.outcomes == "NO_REPLY UNSENT"


@pytest.mark.parametrize(("delay_bound", "days"), [(7 * DAY, 10.5), (1 * DAY, 10)])
def test_timing_the_safety_net(delay_bound: float, days: float) -> None:
    """An undecided workunit that nobody asks for is looked at now and then."""
    assert Story(delay_bound=delay_bound).workunit.transition_time == days * DAY


def test_timing_a_deadline_beyond_the_safety_net_does_not_move_it() -> None:
    """The project's report_grace_period may be longer than ten days."""
    job = Story(delay_bound=1 * DAY, max_total_results=2)
    safety_net = job.workunit.transition_time
    job.workunit = job.workunit.copy()
    job.workunit.delay_bound = 100 * DAY

    job.sends(0)

    assert job.workunit.transition_time == safety_net


def test_a_quorum_above_the_target_waits_for_ever() -> None:
    """A trap of BOINC's that create_work lets pass: the safety net comes round in vain."""
    job = Story(min_quorum=2).sends(0).succeeds(0)

    job.waits_until(job.workunit.transition_time)

    assert (job.outcomes, job.verdicts, job.workunit.finished) == ("SUCCESS", "INIT", False)
    assert job.workunit.transition_time == job.now + 10.5 * DAY


def test_rows_that_do_not_change_are_the_same_objects() -> None:
    """A caller writes back only what is not identical to what it had."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4).sends(0, 1)
    before = job.results

    job.succeeds(0)

    assert job.results[1] is before[1]
    assert changed(before, job.results) == [job.results[0]]
    again = settle(job.workunit, job.results, job.now)
    assert again == (job.workunit, job.results, ())
    assert (again.workunit is job.workunit, again.results is job.results) == (True, True)
    looked = transition(job.workunit, job.results, job.now)
    assert looked[0] is job.workunit
    assert looked[1] is job.results


def test_each_daemon_says_whether_it_has_work() -> None:
    """A simulator with poll intervals runs them one at a time."""
    workunit = create_workunit(1, "job", 5.0)
    assert not has_work(Daemon.TRANSITIONER, workunit, (), 4.9)
    assert has_work(Daemon.TRANSITIONER, workunit, (), 5.0)

    workunit.need_validate = True
    workunit.assimilate_state = AssimilateState.READY
    workunit.file_delete_state = FileDeleteState.READY

    assert all(has_work(daemon, workunit, (), 5.0) for daemon in Daemon)


def test_assimilating_without_a_decision_is_an_error_of_its_own() -> None:
    """Rows changed by hand: the owner is told, rather than given nothing."""
    workunit = Workunit(1, "job", assimilate_state=AssimilateState.READY)

    after, assimilation = assimilate(workunit, (), 7.0)

    assert assimilation == Assimilation(None, None, ErrorMask.NO_CANONICAL_RESULT)
    assert (after.error_mask, after.assimilate_state, after.transition_time) == (32, 2, 7.0)


def test_a_canonical_result_that_is_not_there_is_said_so() -> None:
    """A database that lost rows does not go unnoticed."""
    workunit = Workunit(1, "job", canonical_instance=3, transition_time=0.0)

    with pytest.raises(PyboincError, match="no result job_3 among its 0 rows"):
        settle(workunit, (), 1.0)


def test_a_time_out_whose_deadline_was_moved_on_is_not_over() -> None:
    """BOINC keeps the files for it until then; only an administrator's update leads here."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4)
    job.sends(0, 1).times_out(1).succeeds(0)
    rows = [row.copy() for row in job.results]
    rows[1].report_deadline = job.now + 60.0
    for row in rows:
        row.file_delete_state = FileDeleteState.INIT

    _, after = transition(job.workunit, rows, job.now)

    assert after[0].file_delete_state == FileDeleteState.INIT
    assert after[1].validate_state == ValidateState.INIT


def test_the_delay_of_deleting_without_any_report() -> None:
    """A workunit that was cancelled before it had results: the delay runs from time 0."""
    cancelled = ErrorMask.CANCELLED
    workunit = Workunit(1, "job", error_mask=cancelled, assimilate_state=AssimilateState.DONE)

    early, _ = transition(workunit, (), 9.0, delete_delay=10.0)
    due, _ = transition(workunit, (), 10.0, delete_delay=10.0)
    unsent = Result(1, "job", 0, ServerState.OVER, Outcome.DIDNT_NEED)
    beside, _ = transition(workunit, (unsent,), 10.0, delete_delay=10.0)

    assert (early.file_delete_state, early.transition_time) == (FileDeleteState.INIT, 10.0)
    assert due.file_delete_state == FileDeleteState.READY
    assert beside.file_delete_state == FileDeleteState.READY


def test_too_many_that_do_not_agree_wake_the_transitioner() -> None:
    """Also where more instances are still wanted: the workunit is given up at once."""
    workunit = Workunit(1, "job", min_quorum=2, target_nresults=9, max_success_results=1)
    workunit.error_mask = ErrorMask.CANCELLED
    rows = [
        Result(1, "job", n, ServerState.OVER, Outcome.SUCCESS, output=f"output {n}")
        for n in range(2)
    ]

    after, judged = validate(workunit, rows, 7.0)

    assert after.error_mask == ErrorMask.TOO_MANY_SUCCESS_RESULTS | ErrorMask.CANCELLED
    assert (after.transition_time, after.target_nresults) == (7.0, 9)
    assert {row.validate_state for row in judged} == {ValidateState.INCONCLUSIVE}
