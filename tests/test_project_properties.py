"""What holds in every life of a workunit, whatever happens to it and in whatever order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from pyboinc.project import (
    NEVER,
    AssimilateState,
    ClientState,
    Daemon,
    FileDeleteState,
    Outcome,
    Report,
    Result,
    ServerState,
    ValidateState,
    Workunit,
    cancel,
    create_workunit,
    detach,
    expire,
    reissue,
    report,
    send,
    settle,
)

OUTPUTS = st.sampled_from(["A", "A", "A", "B", "C", None])
FAILURES = st.sampled_from(
    [
        Report.error(0),
        Report.error(0, 0, ClientState.UPLOAD_FAILED),
        Report.error(0, 1, ClientState.FILES_UPLOADED),
        Report.abort(0),
        Report.aborted_by_project(0),
    ]
)
ORDERS = st.permutations(list(Daemon)[1:]).map(lambda rest: (Daemon.TRANSITIONER, *rest))


@st.composite
def limits(draw: st.DrawFn) -> dict[str, int]:
    """What create_work accepts, with a quorum that the target can reach."""
    total = draw(st.integers(1, 8))
    success = draw(st.integers(1, total))
    target = draw(st.integers(1, success))
    return {
        "max_total_results": total,
        "max_success_results": success,
        "target_nresults": target,
        "min_quorum": draw(st.integers(1, target)),
        "max_error_results": draw(st.integers(1, total)),
    }


def copies(workunit: Workunit, results: tuple[Result, ...]) -> tuple[Workunit, list[Result]]:
    return workunit.copy(), [row.copy() for row in results]


class LifeOfAWorkunit(RuleBasedStateMachine):
    """Anything may happen to a workunit; after each event the daemons come to rest."""

    @initialize(limits=limits(), order=ORDERS)
    def creation(self, limits: dict[str, int], order: tuple[Daemon, ...]) -> None:
        self.now = 0.0
        self.order = order
        self.assimilations = 0
        self.reissued = False
        self.workunit = create_workunit(1, "job", self.now, delay_bound=1000.0, **limits)
        self.results: tuple[Result, ...] = ()
        self.come_to_rest()

    def numbers(self, wanted: Callable[[Result], bool]) -> list[int]:
        return [row.instance for row in self.results if wanted(row)]

    def unsent(self) -> list[int]:
        return self.numbers(lambda row: row.server_state == ServerState.UNSENT)

    def running(self) -> list[int]:
        return self.numbers(lambda row: row.server_state == ServerState.IN_PROGRESS)

    def timed_out(self) -> list[int]:
        return self.numbers(lambda row: row.outcome == Outcome.NO_REPLY)

    def do(self, event: Callable[..., tuple], *arguments: object) -> None:
        """One event, then the daemons; neither may change the rows that it is given."""
        self.now += 1.0
        before = copies(self.workunit, self.results)
        rows = event(self.workunit, self.results, *arguments, self.now)
        assert (self.workunit, list(self.results)) == before
        self.workunit, self.results = rows[:2]
        self.come_to_rest()

    def come_to_rest(self) -> None:
        decided, before = self.workunit.canonical_instance, copies(self.workunit, self.results)
        given_rows = (self.workunit, self.results)
        settled = settle(*given_rows, self.now, order=self.order)
        assert (given_rows[0], list(given_rows[1])) == before
        self.workunit, self.results = settled[:2]
        self.assimilations += len(settled.assimilations)
        if decided is None and self.workunit.succeeded:
            self.check_decision(settled.assimilations[-1].output)

    def check_decision(self, output: object) -> None:
        """The last assimilation handed over an output, if its file had been left for it."""
        deleter, assimilator = map(self.order.index, (Daemon.FILE_DELETER, Daemon.ASSIMILATOR))
        assert output is not None or deleter < assimilator

    @precondition(lambda self: self.unsent())
    @rule(data=st.data())
    def sending(self, data: st.DataObject) -> None:
        instance = data.draw(st.sampled_from(self.unsent()))
        self.do(lambda *rows_and_now: send(*rows_and_now[:2], instance, "host", self.now))

    @precondition(lambda self: self.running() or self.timed_out())
    @rule(data=st.data(), output=OUTPUTS)
    def success(self, data: st.DataObject, output: str | None) -> None:
        instance = data.draw(st.sampled_from(self.running() + self.timed_out()))
        self.do(report, Report.success(instance, output))

    @precondition(lambda self: self.running() or self.timed_out())
    @rule(data=st.data(), failure=FAILURES)
    def failure(self, data: st.DataObject, failure: Report) -> None:
        instance = data.draw(st.sampled_from(self.running() + self.timed_out()))
        self.do(report, failure._replace(instance=instance))

    @precondition(lambda self: len(self.running()) > 1)
    @rule(outputs=st.lists(OUTPUTS, min_size=8, max_size=8))
    def all_at_once(self, outputs: list[str | None]) -> None:
        reports = [Report.success(n, outputs[n % 8]) for n in self.running()]
        self.do(report, reports)

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def time_out(self, data: st.DataObject) -> None:
        self.do(expire, data.draw(st.sets(st.sampled_from(self.running()), min_size=1)))

    @precondition(lambda self: self.running())
    @rule()
    def the_deadline_comes(self) -> None:
        """Waiting until transition_time is enough: something times out then."""
        running = self.running()
        self.now = self.workunit.transition_time
        self.come_to_rest()
        assert len(self.running()) < len(running)

    @precondition(lambda self: self.running())
    @rule()
    def the_host_detaches(self) -> None:
        self.do(detach, "host")

    @rule(chance=st.integers(0, 7))
    def cancellation(self, chance: int) -> None:
        if chance == 0:
            self.do(cancel)

    @precondition(lambda self: self.workunit.finished)
    @rule(chance=st.integers(0, 3))
    def run_again(self, chance: int) -> None:
        if chance == 0:
            self.assimilations = 0
            self.reissued = True
            self.do(reissue)

    @rule(instance=st.integers(0, 7), output=OUTPUTS)
    def a_stranger_reports(self, instance: int, output: str | None) -> None:
        if instance < len(self.results):
            said = Report.success(instance, output, host="stranger")
            answer = report(self.workunit, self.results, said, self.now)
            assert answer.workunit is self.workunit
            assert answer.results is self.results
            assert [number for number, _ in answer.ignored] == [instance]

    # What always holds when the daemons have come to rest.

    @invariant()
    def resting_is_idempotent(self) -> None:
        again = settle(self.workunit, self.results, self.now, order=self.order)
        assert again.workunit is self.workunit
        assert again.results is self.results
        assert again.assimilations == ()

    @invariant()
    def instances_are_numbered_without_gaps_up_to_the_limit(self) -> None:
        numbers = [row.instance for row in self.results]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) <= self.workunit.max_total_results

    @invariant()
    def nothing_waits_to_be_sent_when_it_is_decided(self) -> None:
        if self.workunit.finished:
            assert not self.unsent()

    @invariant()
    def nothing_undecided_is_left_alone(self) -> None:
        """Either it is decided, or there is an instance to be sent or to come back."""
        assert self.workunit.finished or self.unsent() or self.running()

    @invariant()
    def what_is_decided_has_been_assimilated(self) -> None:
        assert self.workunit.delivered == self.workunit.finished
        assert (self.assimilations >= 1) == self.workunit.finished
        assert self.assimilations <= 2

    @invariant()
    def the_canonical_result_is_a_valid_one(self) -> None:
        if self.workunit.canonical_instance is not None:
            row = self.results[self.workunit.canonical_instance]
            assert (row.outcome, row.validate_state) == (Outcome.SUCCESS, ValidateState.VALID)

    @invariant()
    def credit_is_for_valid_results(self) -> None:
        valid = self.numbers(lambda row: row.validate_state == ValidateState.VALID)
        credited = self.numbers(lambda row: row.credited)
        assert credited == valid or self.reissued
        assert set(valid) <= set(credited)
        assert bool(valid) == self.workunit.succeeded

    @invariant()
    def too_late_and_unchecked_results_get_none_and_are_no_errors(self) -> None:
        skipped = (ValidateState.TOO_LATE, ValidateState.NO_CHECK)
        for row in self.results:
            if row.validate_state in skipped:
                assert row.outcome == Outcome.SUCCESS
                assert not row.credited

    @invariant()
    def every_success_of_a_decided_workunit_has_a_verdict(self) -> None:
        pending = (ValidateState.INIT, ValidateState.INCONCLUSIVE)
        if self.workunit.finished:
            for row in self.results:
                assert row.outcome != Outcome.SUCCESS or row.validate_state not in pending

    @invariant()
    def the_next_look_is_due_when_something_may_have_to_be_done(self) -> None:
        deadlines = [self.results[n].report_deadline for n in self.running()]
        at = self.workunit.transition_time
        assert at > self.now
        if deadlines:
            assert at == min(deadlines)
        elif self.workunit.finished:
            assert at == NEVER
        else:
            assert at != NEVER

    @invariant()
    def files_go_when_nobody_needs_them(self) -> None:
        """Inputs go exactly when it is assimilated and nothing runs; nothing stays half-way."""
        gone = self.workunit.file_delete_state == FileDeleteState.DONE
        if not self.reissued:
            assert gone or not self.workunit.delivered or self.running()
        assert self.workunit.assimilate_state != AssimilateState.READY
        for row in self.results:
            assert row.file_delete_state in (FileDeleteState.INIT, FileDeleteState.DONE)
            assert row.output is None or row.file_delete_state == FileDeleteState.INIT


LifeOfAWorkunit.TestCase.settings = settings(max_examples=150, stateful_step_count=40)
TestLifeOfAWorkunit = LifeOfAWorkunit.TestCase


def verdicts_by_hand(quorum: int, outputs: list[str | None]) -> list[str]:
    """The quorum rule written down independently: outputs reported at one moment.

    Missing outputs are out.  If the others reach the quorum, the first value (by instance
    number) that half the quorum and one of them share is right.
    """
    shared = Counter(output for output in outputs if output is not None)
    right = None
    if sum(shared.values()) >= quorum:
        enough = (output for output in outputs if shared.get(output, 0) > quorum // 2)
        right = next(enough, None)
    if len(outputs) < quorum:
        return ["INIT"] * len(outputs)
    return [
        "INVALID"
        if output is None or (right is not None and output != right)
        else ("INCONCLUSIVE" if right is None else "VALID")
        for output in outputs
    ]


@given(
    quorum=st.integers(1, 7),
    outputs=st.lists(st.sampled_from(["A", "B", "C", None]), min_size=1, max_size=9),
)
def test_a_quorum_decides_as_counted_by_hand(quorum: int, outputs: list[str | None]) -> None:
    """The lowest instance that enough agree with wins, those that differ are INVALID."""
    count = len(outputs)
    workunit = create_workunit(
        1,
        "job",
        0.0,
        min_quorum=quorum,
        target_nresults=max(count, quorum),
        max_error_results=30,
        max_total_results=30,
        max_success_results=30,
    )
    workunit, results, _ = settle(workunit, (), 0.0)
    for instance in range(count):
        workunit, results = send(workunit, results, instance, "host", 1.0)
    reports = [Report.success(n, output) for n, output in enumerate(outputs)]

    workunit, results, _ = settle(*report(workunit, results, reports, 2.0)[:2], 2.0)

    expected = verdicts_by_hand(quorum, outputs)
    assert [row.validate_state.name for row in results[:count]] == expected
    assert [row.outcome == Outcome.VALIDATE_ERROR for row in results[:count]] == [
        output is None and count >= quorum for output in outputs
    ]
    canonical = expected.index("VALID") if "VALID" in expected else None
    assert workunit.canonical_instance == canonical


ANSWERS = st.one_of(OUTPUTS.map(lambda output: Report.success(0, output)), FAILURES, st.none())


@given(limits=limits(), order=ORDERS, answers=st.lists(ANSWERS, min_size=1, max_size=20))
def test_it_ends_as_long_as_somebody_computes(
    limits: dict[str, int], order: tuple[Daemon, ...], answers: list[Report | None]
) -> None:
    """No workunit hangs: each instance is an answer or a time-out, and they are numbered."""
    now, turns = 0.0, 0
    workunit = create_workunit(1, "job", now, **limits)
    workunit, results, _ = settle(workunit, (), now, order=order)
    while not workunit.finished:
        assert turns < limits["max_total_results"]
        now += 1.0
        instance = next(r.instance for r in results if r.server_state == ServerState.UNSENT)
        workunit, results = send(workunit, results, instance, "host", now)
        answer = answers[turns % len(answers)]
        if answer is None:
            workunit, results = expire(workunit, results, [instance], now)
        else:
            answer = answer._replace(instance=instance)
            workunit, results, _ = report(workunit, results, answer, now)
        workunit, results, _ = settle(workunit, results, now, order=order)
        turns += 1

    assert workunit.delivered


@given(limits=limits(), order=ORDERS, failures=st.integers(0, 9))
def test_run_again_gives_as_many_attempts_as_at_first(
    limits: dict[str, int], order: tuple[Daemon, ...], failures: int
) -> None:
    """After reissue() errors up to the limit are forgiven, and honest hosts succeed."""
    now = 0.0
    workunit = create_workunit(1, "job", now, **limits)
    workunit, results, _ = settle(*cancel(workunit, (), now), now, order=order)
    # An attempt that fails needs an instance beside those of the quorum.
    room = min(limits["max_error_results"], limits["max_total_results"] - limits["min_quorum"])
    failures = min(failures, room)

    workunit, results, _ = settle(*reissue(workunit, results, now), now, order=order)
    while not workunit.finished:
        now += 1.0
        instance = next(r.instance for r in results if r.server_state == ServerState.UNSENT)
        workunit, results = send(workunit, results, instance, "host", now)
        answer = Report.error(instance) if failures > 0 else Report.success(instance, "A")
        failures -= 1
        workunit, results, _ = report(workunit, results, answer, now)
        workunit, results, _ = settle(workunit, results, now, order=order)

    assert workunit.succeeded
