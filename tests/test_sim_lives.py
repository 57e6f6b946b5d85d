"""The table of lives says what the project's rules say, whatever happens in whichever order."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from pyboinc.project import (
    NEVER,
    Daemon,
    Outcome,
    Output,
    Report,
    Result,
    Results,
    ServerState,
    Workunit,
    assimilate,
    create_workunit,
    delete_files,
    expire,
    has_work,
    report,
    send,
    settle,
    transition,
    validate,
)
from simulator.lives import DAEMONS, GARBAGE, KINDS, PASS, RIGHT, Happens, Lives

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here

LIMITS = {
    "min_quorum": 2,
    "target_nresults": 3,
    "max_error_results": 3,
    "max_total_results": 8,
    "max_success_results": 6,
    "delay_bound": 1000.0,
}


class ByTheRules:
    """A workunit that lives by the rules themselves, with times that go on."""

    def __init__(self) -> None:
        self.now = 5.0
        self.workunit = create_workunit(7, "seven", self.now, **LIMITS)  # type: ignore[arg-type] # each is of its type
        self.results: Results = ()

    def do(self, code: int) -> None:
        """Let happen what *code* says, an instant after what was before."""
        self.now += 0.01
        if code in PASS.values():
            self._pass(DAEMONS[-3 - code])
            return
        instance, what = divmod(code, KINDS)
        if what == Happens.SEND:
            host = f"host-{instance}"
            self.workunit, self.results = send(
                self.workunit, self.results, instance, host, self.now
            )
        elif what == Happens.EXPIRE:
            self.workunit, self.results = expire(self.workunit, self.results, [instance], self.now)
        else:
            said = self._said(instance, what)
            self.workunit, self.results, _ = report(self.workunit, self.results, said, self.now)

    def _said(self, instance: int, what: int) -> Report:
        outputs: dict[int, Output] = {
            Happens.RIGHT: RIGHT,
            Happens.WRONG: ("wrong", instance),
            Happens.GARBAGE: GARBAGE,
            Happens.NO_FILE: None,
        }
        if what in outputs:
            return Report.success(instance, outputs[what])
        return Report.error(instance)

    def _pass(self, daemon: Daemon) -> None:
        if daemon is Daemon.TRANSITIONER:
            self.workunit, self.results = transition(self.workunit, self.results, self.now)
        elif daemon is Daemon.VALIDATOR:
            self.workunit, self.results = validate(
                self.workunit, self.results, self.now, valid=usable
            )
        elif daemon is Daemon.ASSIMILATOR:
            self.workunit, _ = assimilate(self.workunit, self.results, self.now)
        else:
            self.workunit, self.results = delete_files(self.workunit, self.results)


def usable(output: Output) -> bool:
    return output is not None and output != GARBAGE


def without_times(workunit: Workunit, results: Results, now: float) -> tuple[object, ...]:
    """What the rows say, but for times, names and hosts."""
    due = workunit.transition_time <= now
    rows = [
        (
            row.instance,
            row.server_state,
            row.outcome,
            row.client_state,
            row.validate_state,
            row.file_delete_state,
            row.output,
            row.credited,
            row.received_time is None,
        )
        for row in results
    ]
    of_workunit = (
        workunit.target_nresults,
        workunit.need_validate,
        workunit.canonical_instance,
        due,
        workunit.error_mask,
        workunit.assimilate_state,
        workunit.file_delete_state,
    )
    return (of_workunit, *rows)


def hurry(rules: ByTheRules) -> None:
    """Let the daemons make those passes that the table does not wait for."""
    workunit, rows, now = rules.workunit, rules.results, rules.now
    if workunit.delivered and all(
        row.server_state == ServerState.OVER and row.outcome != Outcome.NO_REPLY for row in rows
    ):
        rules.workunit, rules.results, _ = settle(workunit, rows, now, valid=usable)
    elif workunit.transition_time <= now:
        passed, after = transition(workunit, rows, now)
        due = replace(passed, transition_time=workunit.transition_time)
        if due == workunit and after == rows:
            rules.workunit = passed


def possible(workunit: Workunit, results: Results, now: float) -> list[int]:
    """The codes of what can happen to these rows."""
    codes = [PASS[one] for one in DAEMONS if has_work(one, workunit, results, now)]
    for row in results:
        if row.server_state == ServerState.UNSENT and not workunit.error_mask:
            codes.append(row.instance * KINDS + Happens.SEND)
        if row.server_state == ServerState.IN_PROGRESS:
            codes.append(row.instance * KINDS + Happens.EXPIRE)
        if row.server_state == ServerState.IN_PROGRESS or is_silent(row):
            said = (Happens.RIGHT, Happens.WRONG, Happens.GARBAGE, Happens.NO_FILE, Happens.ERROR)
            codes += [row.instance * KINDS + one for one in said]
    return codes


def is_silent(row: Result) -> bool:
    return row.server_state == ServerState.OVER and row.report_deadline < NEVER


def test_the_table_says_what_the_rules_say(seed: int) -> None:
    """Fidelity: after any row of events the table is where the rules are."""
    draw = random.Random(seed)
    lives = Lives()
    for _ in range(150):
        rules = ByTheRules()
        state = lives.born(rules.workunit).state
        for _ in range(60):
            codes = possible(rules.workunit, rules.results, rules.now)
            if not codes:
                break
            code = draw.choice(codes)
            rules.do(code)
            hurry(rules)
            state = lives.step(state, code).state
            here = without_times(state.workunit, state.results, 0.0)
            assert here == without_times(rules.workunit, rules.results, rules.now)
            work = [has_work(one, rules.workunit, rules.results, rules.now) for one in DAEMONS]
            assert [bool(state.work >> n & 1) for n in range(len(DAEMONS))] == work


def test_without_intervals_nobody_waits_for_a_daemon(seed: int) -> None:
    """With daemons at once a step ends where settle() ends."""
    draw = random.Random(seed)
    lives = Lives(at_once=True)
    for _ in range(50):
        rules = ByTheRules()
        step = lives.born(rules.workunit)
        rules.workunit, rules.results, _ = settle(
            rules.workunit, rules.results, rules.now, valid=usable
        )
        for _ in range(30):
            codes = possible(rules.workunit, rules.results, rules.now)
            if not codes:
                break
            code = draw.choice(codes)
            rules.do(code)
            rules.workunit, rules.results, handed = settle(
                rules.workunit, rules.results, rules.now, valid=usable
            )
            step = lives.step(step.state, code)
            here = without_times(step.state.workunit, step.state.results, 0.0)
            assert here == without_times(rules.workunit, rules.results, rules.now)
            assert (step.assimilated is not None) == bool(handed)
            assert not step.state.work


@pytest.mark.parametrize("quorum", [1, 2, 3])
def test_a_step_tells_what_it_brings(quorum: int) -> None:
    """New instances, verdicts and the outcome stand in the step that brings them."""
    lives = Lives(at_once=True)
    born = lives.born(
        create_workunit(1, "", 0.0, min_quorum=quorum, target_nresults=quorum, max_total_results=9)
    )
    assert born.made == tuple(range(quorum))
    state = born.state
    for instance in range(quorum):
        assert state.unsent == tuple(range(instance, quorum))
        state = lives.step(state, instance * KINDS + Happens.SEND).state
    for instance in range(quorum):
        step = lives.step(state, instance * KINDS + Happens.RIGHT)
        state = step.state
    assert step.judged == tuple((instance, True) for instance in range(quorum))
    assert step.assimilated is not None and step.assimilated.output == RIGHT
    again = lives.step(state, 0 * KINDS + Happens.RIGHT)
    assert again.ignored and again.state is state


def test_a_step_is_compiled_once() -> None:
    """The same event in the same state is the very same step."""
    lives = Lives()
    state = lives.born(create_workunit(1, "", 0.0)).state
    assert lives.step(state, PASS[Daemon.TRANSITIONER]) is lives.step(
        state, PASS[Daemon.TRANSITIONER]
    )
    assert lives.born(create_workunit(2, "other", 9.0, batch=4, priority=3)).state is state
