"""Plans of a batch: what they simulate, how seeds become percentiles, and what is refused."""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from pyboinc.errors import ConfigurationError
from simulator.figures import (
    FIGURES,
    WASTE,
    Condition,
    Run,
    Summary,
    find_failures,
)
from simulator.planning import MOST_SAMPLES, SHOWN_HOSTS, Task, simulate, simulate_all
from simulator.plans import Plan, Values, check, describe, read_sweep, sweep

SMALL = Plan(("seti-2016-all:30",), jobs=100, quorum=2, days=60)


@pytest.fixture(scope="module")
def run() -> Run:
    """A run of the small plan, with the lives of some hosts."""
    return simulate(SMALL, 7, lives=True)


# ---------------------------------------------------------------- one run


def test_every_job_ends_and_the_figures_agree(run: Run) -> None:
    """Planning: all jobs are done or failed, and the figures are those of one another."""
    figures = run.figures
    assert set(figures) == set(FIGURES)
    assert set(run.waste) == set(WASTE)
    assert figures["done"] + figures["failed"] == SMALL.jobs and figures["unfinished"] == 0
    assert figures["results"] >= 2 * figures["done"]
    assert figures["results_per_job"] == figures["results"] / figures["done"]
    assert figures["jobs_per_day"] == pytest.approx(figures["done"] / figures["days"])
    assert 0 < figures["tail_days"] < figures["days"]
    assert figures["wasted"] == pytest.approx(sum(run.waste.values()))
    assert 0.5 < figures["wasted"] < 1, "a quorum of 2 wastes a half at least"
    assert run.events > figures["messages_per_day"] * figures["days"]


def test_samples_hold_every_job_once(run: Run) -> None:
    """Jobs by state: at each sample every job is in one state, and none goes back."""
    samples = run.samples
    assert len(samples) <= MOST_SAMPLES + 1
    assert samples[0].waiting == SMALL.jobs
    assert samples[-1].done + samples[-1].failed == SMALL.jobs
    for sample in samples:
        assert sample.waiting + sample.running + sample.done + sample.failed == SMALL.jobs
    for before, after in pairwise(samples):
        assert before.time < after.time
        assert before.waiting >= after.waiting and before.done <= after.done


def test_lives_are_those_of_the_hosts(run: Run) -> None:
    """Host timeline: a sampled host is on as its availability says, and works where it is sent."""
    population = SMALL.draw(7)
    assert 1 < len(run.lives) <= SHOWN_HOSTS
    assert any(life.works for life in run.lives)
    for life in run.lives:
        assert life.gflops == population.flops[life.number] / 1e9
        for start, end in life.ups:
            host = population.availability(life.number)
            host.advance((start + end) / 2)
            assert host.is_up
        for work in life.works:
            assert 0 <= work.sent <= work.over <= run.figures["days"] * 86_400


def test_being_watched_changes_nothing(run: Run) -> None:
    """Determinism: a run that records hosts, or tells how far it is, has the same figures."""
    told: list[float] = []
    plain = simulate(SMALL, 7, lambda share, events, now: told.append(share))
    assert (plain.figures, plain.samples, plain.events) == (run.figures, run.samples, run.events)
    assert told == sorted(told) and told[-1] == 1


def test_long_runs_keep_few_samples() -> None:
    """Samples: a year is told by as many samples as a day, only wider apart."""
    plan = Plan(("reference/0.5:2",), jobs=2_000, job_gflop=20_000, days=300)
    samples = simulate(plan, 1).samples
    assert MOST_SAMPLES / 3 < len(samples) <= MOST_SAMPLES + 1


def test_an_unfinished_batch_says_so() -> None:
    """Planning: when the days are over the rest is left, and no finish is made up."""
    run = simulate(replace(SMALL, jobs=1000, days=0.5), 7)
    assert run.figures["unfinished"] > 0
    assert run.figures["days"] == run.figures["tail_days"] == math.inf
    assert run.samples[-1].time == 43_200


def test_hosts_that_have_all_left_end_a_run() -> None:
    """Planning: when nothing can happen any more a run ends, long before its days do."""
    hosts = "[[hosts]]\ncount = 3\npreset = 'reference'\nlifetime_days = 0.2\n"
    plan = Plan((_file(hosts),), jobs=500, days=3000)
    run = simulate(plan, 1)
    assert 0 < run.figures["done"] < 500
    assert run.figures["unfinished"] == 500 - run.figures["done"] - run.figures["failed"]


def _file(text: str) -> str:
    path = Path(_file.folder) / f"hosts{abs(hash(text))}.toml"  # type: ignore[attr-defined]  # set below
    path.write_text(text)
    return str(path)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path) -> None:
    _file.folder = tmp_path  # type: ignore[attr-defined]  # where _file writes


def test_reliable_hosts_are_as_quick_as_arithmetic() -> None:
    """Analytic: ten hosts of 5 GFLOPS, always up and never wrong, do 1,200 jobs a day.

    A job takes 720 s; what is lost is the reporting after the last one (at most an hour) and
    the last round, in which not all are busy.
    """
    run = simulate(Plan(("reference:10",), jobs=2_400, days=30), 1)
    assert 2.0 <= run.figures["days"] <= 2.0 + (3_600 + 10 * 720) / 86_400
    assert run.figures["results_per_job"] == 1
    assert run.figures["wasted"] == pytest.approx(0, abs=1e-9)


def test_errors_cost_what_they_must() -> None:
    """Analytic D2-b: with an error rate of e a quorum of q needs q / (1 - e) instances on average.

    Within 4.5 standard errors; the seed is fixed, so this is the same each time.
    """
    hosts = "[[hosts]]\ncount = 60\npreset = 'reference'\nerror_rate = 0.2\n"
    plan = Plan((_file(hosts),), jobs=2_000, quorum=2, max_errors=1_000)
    run = simulate(plan, 3)
    error = math.sqrt(2 * 0.2) / 0.8 / math.sqrt(2_000)
    assert run.figures["results_per_job"] == pytest.approx(2 / 0.8, abs=4.5 * error)


def test_wrong_outputs_are_accepted_without_a_quorum_alone() -> None:
    """Wrong outputs: a quorum of 1 accepts about one in a hundred, a quorum of 2 none."""
    alone = simulate(Plan(("seti-2016-all/always:50",), jobs=1_000), 1)
    assert 1 <= alone.figures["wrong"] <= 30
    assert simulate(Plan(("seti-2016-all/always:50",), jobs=300, quorum=2), 1).figures["wrong"] == 0


# ---------------------------------------------------------------- many runs


def test_a_seed_gives_the_same_run_in_any_process(run: Run) -> None:
    """Determinism: runs in other processes are those of this one, in the order of the tasks."""
    tasks = [Task(SMALL, 7, lives=True), Task(SMALL, 8)]
    seen: list[Sequence[float]] = []
    runs = simulate_all(tasks, 2, lambda shares, events, times: seen.append(shares))
    assert runs[0] == run
    assert runs[1] == simulate(SMALL, 8)
    assert runs[1].figures != run.figures
    assert seen[-1] == [1.0, 1.0]


def test_runs_one_after_the_other_tell_how_far_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress: in one process too the share, the events and the time of each run are told."""
    monkeypatch.setattr("simulator.planning.TOLD_EVERY", 0.0)
    told = []
    tasks = [Task(SMALL, 7), Task(SMALL, 8)]
    simulate_all(tasks, 1, lambda *all_of: told.append([list(each) for each in all_of]))
    shares, events, times = told[-1]
    assert shares == [1.0, 1.0]
    assert min(events) > 100 and min(times) > 0


def test_what_stops_the_parent_stops_its_processes() -> None:
    """^C: the processes end at their next look, and none is left."""
    plan = Plan(("seti-2016-all:300",), jobs=5_000, quorum=2)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate_all([Task(plan, seed) for seed in range(3)], 2, interrupted)
    assert multiprocessing.active_children() == []


def test_a_process_that_is_killed_is_told() -> None:
    """Many runs: if a process is killed (for want of memory) the command says so and ends."""
    plan = Plan(("seti-2016-all:300",), jobs=5_000, quorum=2)

    def kill_one(*_: object) -> None:
        for child in multiprocessing.active_children()[:1]:
            child.kill()

    with pytest.raises(ConfigurationError, match="was killed, perhaps for want of memory"):
        simulate_all([Task(plan, seed) for seed in range(3)], 2, kill_one)
    assert multiprocessing.active_children() == []


# ---------------------------------------------------------------- seeds


def made(**figures: Sequence[float]) -> Summary:
    """A summary of runs with these figures, one run for each number."""
    number = max(map(len, figures.values()))
    runs = [
        Run(
            seed=i,
            hosts=1,
            figures={**dict.fromkeys(FIGURES, 0.0), **{k: v[i] for k, v in figures.items()}},
            waste=dict.fromkeys(WASTE, 0.0),
            samples=(),
        )
        for i in range(number)
    ]
    return Summary(tuple(runs))


@pytest.mark.parametrize(
    ("percent", "value"),
    [(1, 1), (10, 1), (11, 2), (50, 5), (90, 9), (91, 10), (99, 10), (100, 10)],
)
def test_percentiles_are_values_of_runs(percent: float, value: float) -> None:
    """Percentiles: the smallest value that so many per cent of the runs do not exceed."""
    assert made(days=[3, 1, 2, 10, 9, 8, 7, 6, 5, 4]).percentile("days", percent) == value


def test_what_never_ended_counts_as_infinite() -> None:
    """Percentiles: a run that was not finished is later than all others."""
    summary = made(days=[1, math.inf, 2])
    assert summary.percentile("days", 50) == 2
    assert summary.percentile("days", 90) == summary.mean("days") == math.inf


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("p50_days>4.9", True),
        ("p50_days>5", False),
        ("p50_days >= 5", True),
        ("days<5", False),
        ("days<=5.5", True),
        ("p99.5_days<1e1", False),
        ("p100_days>9", True),
    ],
)
def test_conditions_are_read_as_they_are_written(text: str, holds: bool) -> None:
    """--fail-if: a percentile or a mean, a comparison and a number."""
    summary = made(days=[1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert Condition.parse(text).holds(summary) == holds


def test_a_condition_that_holds_is_told_with_its_value() -> None:
    """--fail-if: which condition, what the figure was, and where in the sweep."""
    conditions = [Condition.parse("p90_days>3"), Condition.parse("wrong>5")]
    named = [("quorum=1", made(days=[1, 5])), ("quorum=2", made(days=[1, 2]))]
    assert find_failures(conditions, named) == ["p90_days>3: it is 5 with quorum=1"]
    assert find_failures(conditions[:1], [("", made(days=[math.inf]))]) == ["p90_days>3: it is inf"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("days", "can not be read; write for example"),
        ("days>soon", "can not be read"),
        ("days=3", "can not be read"),
        ("p95_dys>7", "no figure 'dys'; did you mean days"),
        ("p0_days>7", "above p0 and at most p100"),
        ("p101_days>7", "above p0 and at most p100"),
        ("days>nan", "give a number"),
    ],
)
def test_a_condition_that_can_not_be_is_refused(text: str, says: str) -> None:
    """Bad input: a condition that says nothing is an error before anything is simulated."""
    with pytest.raises(ConfigurationError, match=says):
        Condition.parse(text)


# ---------------------------------------------------------------- plans


def test_a_sweep_is_all_combinations() -> None:
    """--sweep: each value of one with each of the other, in the order they are given."""
    points = sweep(SMALL, ["quorum=1,2", "delay-bound-days=1,3"])
    names: list[Values] = [values for values, _ in points]
    assert names[1] == (("quorum", "1"), ("delay_bound_days", "3"))
    assert [(plan.quorum, plan.delay_bound_days) for _, plan in points] == [
        (1, 1),
        (1, 3),
        (2, 1),
        (2, 3),
    ]
    assert sweep(SMALL, []) == [((), SMALL)]


def test_policies_and_hosts_can_be_swept() -> None:
    """--sweep: names of policies and of hosts too, each of its own type."""
    points = sweep(SMALL, ["adaptive_target=0,2", "hosts=5,lhc-2016:3", "buffer_min=60"])
    assert [plan.hosts for _, plan in points[:2]] == [("5",), ("lhc-2016:3",)]
    rules = points[-1][1].rules()
    assert (rules.server.adaptive_target, rules.client.buffer_min) == (2, 60.0)
    assert type(rules.server.adaptive_target) is int
    assert SMALL.with_value("deadline_check", "0").rules().server.deadline_check is False


MANY = "{}=" + ",".join(map(str, range(1, 61)))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["quorum"], "write NAME=V1,V2"),
        (["quorum=1,,2"], "write NAME=V1,V2"),
        (["quorum=1,1"], "different values"),
        (["quorum=1", "quorum=2"], "quorum is given twice"),
        (["quorm=1,2"], "nothing named 'quorm'; did you mean quorum"),
        (["quorum=0"], "quorum: 0 can not be; give a whole number from 1"),
        (["quorum=1.5"], "quorum: 1.5 can not be"),
        (["quorum=two"], "quorum: 'two' is not a number"),
        (["days=nan"], "'nan' is not a number"),
        (["jobs=1e99"], "jobs: 1e\\+99 can not be"),
        (["feeder_slots=0"], "no job is ever sent"),
        (["feeder_slots=1.5"], "1.5 is not a whole number"),
        (["buffer_min=-1"], "below 0"),
        ([MANY.format("quorum"), MANY.format("max_errors")], "3600 combinations are too many"),
    ],
)
def test_a_sweep_that_can_not_be_is_refused(texts: list[str], says: str) -> None:
    """Bad input: names, values and numbers of combinations that can not be."""
    with pytest.raises(ConfigurationError, match=says):
        sweep(SMALL, texts)


def test_a_sweep_is_read() -> None:
    """--sweep: blanks do not matter."""
    assert read_sweep("quorum = 1, 2 ,3") == ("quorum", ("1", "2", "3"))


def checked(plan: Plan) -> str:
    return check(plan, plan.draw(1))


def test_what_can_never_end_is_refused() -> None:
    """Bad input: too few hosts for the quorum, or none quick enough for the delay bound."""
    assert checked(SMALL) == ""
    with pytest.raises(ConfigurationError, match="needs as many hosts.* there are 30; take more"):
        checked(replace(SMALL, quorum=31))
    with pytest.raises(ConfigurationError, match="a quorum of 2 .* there is 1; take more"):
        checked(replace(SMALL, hosts=("1",)))
    with pytest.raises(ConfigurationError, match="quorum of 40"):
        checked(replace(SMALL, redundancy=40))
    with pytest.raises(ConfigurationError, match="none of 30 hosts can do a job .* the quickest"):
        checked(replace(SMALL, job_gflop=1e9))
    lonely = replace(SMALL, hosts=("reference:20", "lhc-2016:1"), job_gflop=5 * 86400 * 8)
    with pytest.raises(ConfigurationError, match="1 of 21 hosts can do a job"):
        checked(lonely)


def test_hosts_that_leave_too_soon_can_not_do_a_job() -> None:
    """Bad input: hosts that are gone before a job could be done do not count."""
    hosts = "[[hosts]]\ncount = 3\npreset = 'reference'\nlifetime_days = 0.001\n"
    with pytest.raises(ConfigurationError, match="before it leaves"):
        checked(Plan((_file(hosts),)))


def test_slow_hosts_are_warned_of() -> None:
    """Planning: when more than one host in twenty is too slow one is told."""
    slow = replace(SMALL, hosts=("seti-2016-all:200",), job_gflop=1_000_000)
    assert "of 200 hosts can not do a job of 1e+06 GFLOP within 7 days" in checked(slow)


def test_a_plan_is_described_in_one_line() -> None:
    """Planning: the first line says what is simulated, and not what is swept."""
    line = describe(SMALL, [30])
    assert line == (
        "100 jobs of 3,600 GFLOP on 30 hosts (seti-2016-all:30), quorum 2, delay bound 7 days"
    )
    swept = ["hosts", "jobs", "quorum", "job_gflop"]
    assert describe(SMALL, [30, 1000], swept) == "jobs on 30 to 1,000 hosts, delay bound 7 days"
