"""The rules of a BOINC project, one by one: what the daemons make of what happens.

The numbers are those of the rules in docs/project_model.md.
"""

from __future__ import annotations

import pytest
from project_story import Story

from pyboinc.project import (
    NEVER,
    Assimilation,
    ErrorMask,
    FileDeleteState,
    Outcome,
    Report,
    ServerState,
    assimilate,
    report,
    transition,
    validate,
)

TWO = {"min_quorum": 2, "target_nresults": 2}
THREE = {"min_quorum": 3, "target_nresults": 3}


def test_a_plain_success() -> None:
    """The life that most workunits have: sent, computed, valid, handed over, cleaned up."""
    job = Story().sends(0).succeeds(0, "42")

    assert (job.outcomes, job.verdicts, job.credited) == ("SUCCESS", "VALID", [0])
    assert (job.mask, job.canonical) == (0, 0)
    assert job.assimilations == [Assimilation(0, "42", ErrorMask.NONE)]
    assert job.files == "DONE DONE"
    assert job.workunit.transition_time == NEVER
    assert (job.workunit.succeeded, job.workunit.finished, job.workunit.delivered) == (True,) * 3


def test_rule_1_aborts_timeouts_and_detaches_are_no_errors() -> None:
    """A job is not given up for what volunteers do with their computers."""
    job = Story(max_error_results=1, max_total_results=5)

    job.sends(0).aborts(0).sends(1).times_out(1).sends(2).detaches(2)

    assert job.outcomes == "CLIENT_ERROR NO_REPLY CLIENT_DETACHED UNSENT"
    assert job.mask == 0


def test_rule_1_they_use_up_instances_all_the_same() -> None:
    """... but somebody must answer before max_total_results are spent."""
    job = Story(max_total_results=2).sends(0).aborts(0).sends(1).times_out(1)

    assert job.mask == ErrorMask.TOO_MANY_TOTAL_RESULTS


def test_rule_2_max_error_results_is_the_number_of_errors_allowed() -> None:
    """max_error_results=2 means that the third error is one too many."""
    job = Story(max_error_results=2, max_total_results=8).sends(0).fails(0).sends(1).fails(1)
    assert job.mask == 0

    job.sends(2).fails(2)

    assert job.mask == ErrorMask.TOO_MANY_ERROR_RESULTS
    assert job.assimilations == [Assimilation(None, None, ErrorMask.TOO_MANY_ERROR_RESULTS)]


def test_rule_2_both_limits_may_be_passed_at_once() -> None:
    """With one instance more than errors allowed, failing gives both masks."""
    job = Story(max_error_results=1, max_total_results=2).sends(0).fails(0).sends(1).fails(1)

    assert job.mask == ErrorMask.TOO_MANY_ERROR_RESULTS | ErrorMask.TOO_MANY_TOTAL_RESULTS


def test_rule_2_new_instances_are_numbered_on() -> None:
    """A retry is a new instance of the same workunit, named after it."""
    job = Story(max_error_results=2, max_total_results=3).sends(0).fails(0)

    assert [row.name for row in job.results] == ["job_0", "job_1"]
    assert job.outcomes == "CLIENT_ERROR UNSENT"


def test_rule_2_an_instance_that_could_not_be_sent_ends_the_workunit() -> None:
    """BOINC's wu_check marks instances so when the input file has gone."""
    job = Story(target_nresults=2, max_total_results=4)
    lost = job.results[0].copy()
    lost.server_state, lost.outcome = ServerState.OVER, Outcome.COULDNT_SEND

    workunit, results = transition(job.workunit, (lost, job.results[1]), now=1.0)

    assert workunit.error_mask == ErrorMask.COULDNT_SEND_RESULT
    assert results[1].outcome == Outcome.DIDNT_NEED


def test_rule_3_nothing_is_looked_at_before_the_quorum() -> None:
    """A missing output counts as a success until there are enough to compare."""
    job = Story(**TWO, max_total_results=4).sends(0, 1).succeeds(0, None)
    assert (job.outcomes, job.verdicts) == ("SUCCESS IN_PROGRESS", "INIT INIT")

    job.succeeds(1, "A")

    assert job.outcomes == "VALIDATE_ERROR SUCCESS UNSENT"
    assert job.verdicts == "INVALID INCONCLUSIVE INIT"


def test_rule_4_a_quorum_of_three_needs_only_two_that_agree() -> None:
    """Half the quorum and one is enough; who disagrees is INVALID, yet no error."""
    job = Story(**THREE, max_total_results=6).sends(0, 1, 2)

    job.succeeds(0, "B").succeeds(1, "A").succeeds(2, "A")

    assert (job.canonical, job.credited) == (1, [1, 2])
    assert (job.outcomes, job.verdicts) == ("SUCCESS SUCCESS SUCCESS", "INVALID VALID VALID")


def test_rule_4_quorum_1_takes_the_lowest_number_against_a_majority() -> None:
    """Without a quorum nobody outvotes anybody."""
    job = Story(target_nresults=3, max_success_results=3).sends(0, 1, 2)

    job.reports(Report.success(2, "A"), Report.success(1, "A"), Report.success(0, "B"))

    assert (job.canonical, job.verdicts) == (0, "VALID INVALID INVALID")


def test_rule_4_the_validator_leaves_waking_the_transitioner_to_the_assimilator() -> None:
    """BOINC's two daemons would race for the row otherwise."""
    job = Story().sends(0)
    workunit, results, _ = report(job.workunit, job.results, Report.success(0, "A"), 9.0)

    workunit, results = validate(*transition(workunit, results, 9.0), 9.0)
    assert (workunit.canonical_instance, workunit.transition_time) == (0, NEVER)

    workunit, _ = assimilate(workunit, results, 9.5)
    assert workunit.transition_time == 9.5


def test_rule_4_unsent_instances_are_not_needed_any_more() -> None:
    """No volunteer computes what is already known."""
    job = Story(target_nresults=2, max_success_results=2).sends(1).succeeds(1)

    assert job.outcomes == "DIDNT_NEED SUCCESS"


def test_rule_4_the_hooks_decide_what_is_usable_and_what_agrees() -> None:
    """An application may compare as it likes: here, by length, and shouting is refused."""
    job = Story(**TWO, max_total_results=6).sends(0, 1)
    rows = [row.copy() for row in job.results]
    for row, output in zip(rows, ("abc", "xyz"), strict=True):
        row.server_state, row.outcome, row.output = ServerState.OVER, Outcome.SUCCESS, output

    def same(a: object, b: object) -> bool:
        return len(str(a)) == len(str(b))

    _, agreed = validate(job.workunit, rows, 9.0, same=same)
    _, refused = validate(job.workunit, rows, 9.0, valid=lambda output: output == "abc")

    assert [row.validate_state.name for row in agreed] == ["VALID", "VALID"]
    assert [row.outcome.name for row in refused] == ["SUCCESS", "VALIDATE_ERROR"]


def test_rule_4_a_quorum_raised_meanwhile_is_waited_for() -> None:
    """A validator that is asked too early, by the quorum of now, compares nothing."""
    job = Story(target_nresults=2, max_success_results=2).sends(0)
    workunit, results, _ = report(job.workunit, job.results, Report.success(0, "A"), 9.0)
    workunit, results = transition(workunit, results, 9.0)
    assert workunit.need_validate
    workunit.min_quorum = 2

    after, rows = validate(workunit, results, 9.0)

    assert (after.need_validate, after.canonical_instance, rows) == (False, None, results)


def test_rule_5_without_consensus_one_more_is_asked() -> None:
    """Two that differ are INCONCLUSIVE, and a third decides."""
    job = Story(**TWO, max_total_results=6, max_success_results=6).sends(0, 1)
    job.succeeds(0, "A").succeeds(1, "B")
    assert (job.verdicts, job.workunit.target_nresults) == ("INCONCLUSIVE INCONCLUSIVE INIT", 3)

    job.sends(2).succeeds(2, "B")

    assert (job.canonical, job.verdicts) == (1, "INVALID VALID VALID")


def test_rule_5_too_many_that_never_agree() -> None:
    """max_success_results=3 fails at the fourth; the target is raised even then."""
    job = Story(**TWO, max_total_results=9, max_success_results=3).sends(0, 1)
    job.succeeds(0, "A").succeeds(1, "B").sends(2).succeeds(2, "C")
    assert job.mask == 0

    job.sends(3).succeeds(3, "D")

    assert job.mask == ErrorMask.TOO_MANY_SUCCESS_RESULTS
    assert job.workunit.target_nresults == 5
    assert job.verdicts == "NO_CHECK NO_CHECK NO_CHECK NO_CHECK"


@pytest.mark.parametrize(
    ("output", "outcome", "verdict", "credited"),
    [
        ("A", "SUCCESS", "VALID", [0, 1]),
        ("B", "SUCCESS", "INVALID", [0]),
        (None, "VALIDATE_ERROR", "INVALID", [0]),
    ],
)
def test_rule_6_stragglers_are_compared_with_the_canonical_result(
    output: str | None, outcome: str, verdict: str, credited: list[int]
) -> None:
    """Who was sent the job before it was decided still gets the credit that is due."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4)
    job.sends(0, 1).succeeds(0)

    job.succeeds(1, output)

    assert (job.outcomes, job.verdicts) == (f"SUCCESS {outcome}", f"VALID {verdict}")
    assert (job.credited, len(job.assimilations)) == (credited, 1)


def test_rule_6_a_late_success_is_too_late_when_the_file_has_gone() -> None:
    """It can not be judged: no credit, no error."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4)
    job.sends(0, 1).times_out(1).succeeds(0)
    assert job.files.startswith("DONE")

    job.succeeds(1, "A")

    assert (job.verdicts.split()[1], job.credited, job.mask) == ("TOO_LATE", [0], 0)


def test_rule_6_delete_delay_keeps_the_file_for_the_late() -> None:
    """With the project's delete_delay a late success can still be compared."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4)
    job.delete_delay = 3600.0
    job.sends(0, 1).times_out(1).succeeds(0)
    assert job.files == "INIT INIT INIT INIT"
    assert job.workunit.transition_time == job.now + 3600.0

    job.succeeds(1, "A")
    assert job.credited == [0, 1]

    job.waits_until(job.workunit.transition_time)
    assert job.files == "DONE DONE INIT DONE"


def test_rule_6_a_file_deleted_under_the_validators_hands_costs_the_straggler() -> None:
    """The order of the daemons can make an honest volunteer's answer a VALIDATE_ERROR."""
    job = Story(target_nresults=2, max_success_results=2).sends(0, 1).succeeds(0)
    canonical, straggler = (row.copy() for row in job.results)
    canonical.output = None
    straggler.server_state, straggler.outcome = ServerState.OVER, Outcome.SUCCESS
    straggler.output = "A"

    _, rows = validate(job.workunit, (canonical, straggler), 9.0)

    assert rows[1].outcome == Outcome.VALIDATE_ERROR


def test_rule_7_a_good_workunit_may_get_a_mask() -> None:
    """Instances that were not needed reopen the count; so ask for the canonical result first."""
    job = Story(target_nresults=2, max_total_results=2).sends(0).succeeds(0)

    assert (job.canonical, job.mask) == (0, ErrorMask.TOO_MANY_TOTAL_RESULTS)
    assert job.assimilations == [Assimilation(0, "A", ErrorMask.NONE)]
    assert job.workunit.succeeded


def test_rule_7_stragglers_that_fail_add_a_mask() -> None:
    """... and so do errors after the decision, without a second assimilation."""
    job = Story(target_nresults=3, max_success_results=3, max_total_results=9)

    job.sends(0, 1, 2).succeeds(0).fails(1, 2)

    assert (job.canonical, job.mask) == (0, ErrorMask.TOO_MANY_ERROR_RESULTS)
    assert len(job.assimilations) == 1


def test_rule_8_a_workunit_that_is_given_up_sends_and_checks_nothing_more() -> None:
    """Unsent instances are dropped, successes go unchecked, and running ones go on."""
    job = Story(min_quorum=3, target_nresults=4, max_success_results=4, max_total_results=8)

    job.sends(0, 1, 2).succeeds(0).is_cancelled()

    assert job.outcomes == "SUCCESS IN_PROGRESS IN_PROGRESS DIDNT_NEED"
    assert job.verdicts == "NO_CHECK INIT INIT INIT"
    assert job.assimilations == [Assimilation(None, None, ErrorMask.CANCELLED)]
    assert job.workunit.transition_time == job.results[1].report_deadline


def test_rule_9_a_success_after_the_failure_is_delivered_after_all() -> None:
    """The workunit keeps its mask, and is assimilated a second time, now with an output."""
    job = Story(max_total_results=1).sends(0).times_out(0)
    assert job.assimilations == [Assimilation(None, None, ErrorMask.TOO_MANY_TOTAL_RESULTS)]

    job.succeeds(0, "late")

    assert job.assimilations[1:] == [Assimilation(0, "late", ErrorMask.TOO_MANY_TOTAL_RESULTS)]
    assert (job.canonical, job.credited, job.mask) == (0, [0], 8)


def test_rule_9_a_quorum_is_lost_when_its_files_are() -> None:
    """Outputs that went unchecked are deleted; a late one finds nobody to agree with."""
    job = Story(**TWO, max_total_results=2).sends(0, 1).succeeds(0).times_out(1)
    assert (job.mask, job.files) == (8, "DONE INIT DONE")

    job.succeeds(1)

    assert job.canonical is None
    assert job.outcomes == "VALIDATE_ERROR SUCCESS"
    assert len(job.assimilations) == 1


@pytest.mark.parametrize(
    ("order", "canonical"),
    [
        ("transitioner validator assimilator file_deleter", 0),
        ("transitioner file_deleter validator assimilator", None),
    ],
)
def test_rule_9_the_daemons_race_for_the_file(order: str, canonical: int | None) -> None:
    """One pass asks for validation and releases the output: who comes first decides."""
    job = Story(max_total_results=1, order=order).sends(0).times_out(0)

    job.succeeds(0)

    assert job.canonical == canonical


def test_rule_9_the_assimilator_may_find_the_file_gone() -> None:
    """A quick file deleter: there is a canonical result, and nothing to hand over."""
    order = "transitioner validator file_deleter assimilator"
    job = Story(max_total_results=1, order=order).sends(0).times_out(0)

    job.succeeds(0)

    mask = ErrorMask.TOO_MANY_TOTAL_RESULTS
    assert job.assimilations == [Assimilation(None, None, mask), Assimilation(0, None, mask)]


def test_rule_10_cancel() -> None:
    """A cancelled job is assimilated as failed at once, even while instances run."""
    job = Story(target_nresults=2, max_total_results=4).sends(0).is_cancelled()

    assert job.outcomes == "IN_PROGRESS DIDNT_NEED"
    assert job.assimilations == [Assimilation(None, None, ErrorMask.CANCELLED)]
    assert job.workunit.file_delete_state == FileDeleteState.INIT


def test_rule_10_cancel_after_success_changes_the_mask_and_denies_stragglers() -> None:
    """They agree with the canonical result, but a mask says that nobody looks."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4)
    job.sends(0, 1).succeeds(0).is_cancelled()
    assert (job.canonical, job.mask, len(job.assimilations)) == (0, 16, 1)

    job.succeeds(1)

    assert (job.verdicts, job.credited) == ("VALID NO_CHECK", [0])


def test_rule_12_files_that_are_never_released() -> None:
    """Those of VALIDATE_ERROR, NO_REPLY and DIDNT_NEED stay; the inputs go with the last one."""
    job = Story(min_quorum=2, target_nresults=4, max_success_results=4, max_total_results=4)

    job.sends(0, 1, 2).times_out(0)
    job.reports(Report.success(1, None), Report.error(2))

    assert job.outcomes == "NO_REPLY SUCCESS CLIENT_ERROR DIDNT_NEED"
    assert job.files == "INIT DONE DONE INIT DONE"


def test_rule_12_inputs_stay_while_an_instance_runs() -> None:
    """A client may still have to fetch them."""
    job = Story(target_nresults=2, max_total_results=4, max_success_results=4)
    job.sends(0, 1).succeeds(0)
    assert job.files == "INIT INIT INIT"

    job.succeeds(1)

    assert job.files == "DONE DONE DONE"
