"""What can be calculated: the simulator gives what formulas give, exactly or in an interval.

Each interval is four standard errors wide on either side, with the seed of the run: a test that
is right fails once in fifteen thousand runs.
"""

from __future__ import annotations

import itertools
import math
import statistics

import pytest

from simulator import draws, trust
from simulator.availability import Always, Model, Renewal
from simulator.distributions import Distribution, Exponential, Fixed, Uniform
from simulator.network import DataServer
from simulator.policies import DAY, Limits, Policies
from simulator.population import Hosts, Population
from simulator.world import World

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here

AT_ONCE = dict.fromkeys(
    (
        "transitioner_interval",
        "validator_interval",
        "assimilator_interval",
        "deleter_interval",
        "feeder_interval",
    ),
    0.0,
)
"""Daemons that never sleep, so that nothing is waited for but what a test is about."""

IDLE_ASKS = {"buffer_min": 0.0, "buffer_extra": 1.0, "fetch_period": 0.0, "daily_result_quota": 0}
"""Clients that ask for one job when they have none."""


ALWAYS = Always()


def hosts(
    count: int,
    gflops: Distribution | float = 1.0,
    availability: Model = ALWAYS,
    errors: float = 0.0,
    wrong: float = 0.0,
    joining_days: Distribution | None = None,
) -> Hosts:
    return Hosts(
        count=count,
        speed_gflops=Fixed(gflops) if isinstance(gflops, float) else gflops,
        availability=availability,
        error_rate=Fixed(errors),
        wrong_rate=Fixed(wrong),
        joining_days=joining_days or Fixed(0.0),
    )


def world(seed: int, *groups: Hosts, **policies: float) -> World:
    rules = Policies().changed(**{**AT_ONCE, **IDLE_ASKS, **policies})
    return World(Population(groups, seed), rules, seed)


def test_throughput_without_errors_is_the_sum_of_speeds(seed: int) -> None:
    """D2-a: always on, quorum 1: in t seconds a host does speed * t / flops jobs, exactly."""
    groups = [hosts(3, gflops) for gflops in (0.5, 1.0, 2.0, 4.0, 8.0)]
    simulated = world(seed, *groups)
    simulated.endless(flops=1e12, limits=Limits())
    simulated.run(8000.0)
    expected = sum(3 * gflops * 8000.0 / 1000.0 for gflops in (0.5, 1.0, 2.0, 4.0, 8.0))
    assert simulated.measures.successes == expected
    assert simulated.measures.valid == simulated.measures.done == expected


@pytest.mark.parametrize(
    ("quorum", "errors", "wrong"), [(1, 0.3, 0.0), (2, 0.2, 0.0), (2, 0, 0.25)]
)
def test_results_for_a_workunit(seed: int, quorum: int, errors: float, wrong: float) -> None:
    """D2-b: with a share e of bad results, a workunit takes quorum / (1 - e) of them."""
    jobs, bad = 4000, errors + wrong
    simulated = world(seed, hosts(400, errors=errors, wrong=wrong))
    limits = Limits(quorum, max_error_results=900, max_total_results=1000, max_success_results=900)
    for number in range(jobs):
        simulated.create("", number, flops=1e12, limits=limits)
    while simulated.measures.done < jobs:
        assert simulated.run_until_outcome()
    mean = simulated.measures.sent / jobs
    spread = math.sqrt(quorum * bad) / (1 - bad) / math.sqrt(jobs)
    assert mean == pytest.approx(quorum / (1 - bad), abs=4 * spread)
    assert simulated.measures.wrong == 0


def test_workunits_that_run_out_of_results(seed: int) -> None:
    """D2-b: at quorum 2 with n results at most, e^n + n e^(n-1) (1 - e) of them fail."""
    jobs, errors, most = 4000, 0.5, 4
    simulated = world(seed, hosts(400, errors=errors))
    limits = Limits(2, max_error_results=most, max_total_results=most, max_success_results=most)
    for number in range(jobs):
        simulated.create("", number, flops=1e12, limits=limits)
    outcomes = []
    while len(outcomes) < jobs:
        outcomes += simulated.run_until_outcome()
    expected = errors**most + most * errors ** (most - 1) * (1 - errors)
    share = simulated.measures.failed / jobs
    assert share == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / jobs))
    assert {int(one.error_mask) for one in outcomes} == {0, 8}  # too many total results


def test_turnaround_on_computers_that_are_off_at_times(seed: int) -> None:
    """D2-c: on for exponential times, off for any: a task takes W (1 + E[off] / E[on])."""
    number, task, on, off = 3000, 5.0, 4.0, Uniform(0.5, 3.5)
    simulated = world(seed, hosts(number, availability=Renewal(Exponential(on), off)))
    times: list[float] = []
    simulated.server.trace = lambda what, *_: (
        times.append(simulated.now) if what == "right" else None
    )
    for job in range(number):
        simulated.create("", job, flops=task * 3600e9, limits=Limits(delay_bound=1000 * DAY))
    while len(times) < number:
        simulated.run(simulated.now + DAY / 4)
    mean = task * 3600 * (1 + off.mean / on)
    spread = statistics.stdev(times) / math.sqrt(number)
    assert statistics.mean(times) == pytest.approx(mean, abs=4 * spread)
    assert spread < mean / 100


def test_requests_wait_for_a_busy_scheduler(seed: int) -> None:
    """D2-d: Poisson arrivals, constant service: the mean wait is rho s / (2 (1 - rho))."""
    service, busy, number = 2.0, 0.7, 40_000
    simulated = world(seed, hosts(1), request_cost=service)
    stream, now, waits = draws.stream(seed, 0, 99), 0.0, []
    for n in range(number):
        now += -math.log(1 - draws.uniform(stream, n)) * service / busy
        waits.append(simulated.server.reply_time(now, 0) - now - service)
    mean = busy * service / (2 * (1 - busy))
    batches = [statistics.mean(waits[i : i + 2000]) for i in range(0, number, 2000)]
    spread = statistics.stdev(batches) / math.sqrt(len(batches))
    assert statistics.mean(waits) == pytest.approx(mean, abs=4 * spread)
    assert spread < mean / 10


def test_files_wait_for_a_busy_data_server(seed: int) -> None:
    """D2-d: the same for files of two sizes: lambda E[s^2] / (2 (1 - rho)), Pollaczek-Khinchine."""
    server, number = DataServer(bandwidth=1e6), 40_000
    small, large, rate = 1e6, 4e6, 0.28
    stream, now, waits = draws.stream(seed, 1, 99), 0.0, []
    for n in range(number):
        now += -math.log(1 - draws.uniform(stream, 2 * n)) / rate
        size = small if draws.uniform(stream, 2 * n + 1) < 0.5 else large
        waits.append(server.transfer(now, size) - now - size / 1e6)
    busy, square = rate * 2.5, (1.0 + 16.0) / 2
    mean = rate * square / (2 * (1 - busy))
    batches = [statistics.mean(waits[i : i + 2000]) for i in range(0, number, 2000)]
    spread = statistics.stdev(batches) / math.sqrt(len(batches))
    assert statistics.mean(waits) == pytest.approx(mean, abs=4 * spread)
    assert server.load(now) == pytest.approx(busy, rel=0.05)


def test_deadlines_that_are_missed(seed: int) -> None:
    """D2-e: one interruption of exponential length: exp(-(bound - W) / E[off]) are late."""
    number, off, bound = 4000, 5.0, 12.0
    # On for 4 hours, then off, then on again: a task of 6 hours is interrupted once.
    simulated = world(
        seed,
        hosts(number, availability=Renewal(Fixed(4.0), Exponential(off))),
        deadline_check=0,
    )
    limits = Limits(
        delay_bound=bound * 3600, max_error_results=1, max_total_results=1, max_success_results=1
    )
    for job in range(number):
        simulated.create("", job, flops=6 * 3600e9, limits=limits)
    simulated.run(bound * 3600 + 60)
    expected = math.exp(-(bound - 6) / off)
    spread = math.sqrt(expected * (1 - expected) / number)
    missed = simulated.measures.no_replies / number
    assert missed == pytest.approx(expected, abs=4 * spread)


def test_how_often_a_trusted_host_is_checked(seed: int) -> None:
    """D2-f: with c valid results in a row it is checked once in c jobs, and each check adds one."""
    jobs = 300
    simulated = world(seed, hosts(60), adaptive_target=2)
    simulated.endless(flops=1e12, limits=Limits())
    simulated.run(1000.0 * jobs)
    # A check makes a second result, which goes to any host and teaches it as much.  With a share
    # s of seconds among the results, a host with c valid ones in a row learns with probability
    # s + (1 - s) p(c), where p(c) is 1 below ten and then 1 / c, and s / (1 - s) is the mean of p.
    chance, expected = {0: 1.0}, 0.0
    for _ in range(jobs):
        checked = {c: 1.0 if c < trust.TRUSTED_FROM else 1.0 / c for c in chance}
        mean = sum(p * checked[c] for c, p in chance.items())
        seconds = mean / (1 + mean)
        expected += seconds
        after: dict[int, float] = {}
        for c, p in chance.items():
            learns = seconds + (1 - seconds) * checked[c]
            after[c + 1] = after.get(c + 1, 0.0) + p * learns
            after[c] = after.get(c, 0.0) + p * (1 - learns)
        chance = after
    assert simulated.measures.replicated / 60 == pytest.approx(expected, rel=0.05)


# ---------------------------------------------------------------- rules of single numbers


def test_a_quota_goes_as_on_a_server() -> None:
    """D7: 500, error, error, success: 499, 498, 500; valid results may lift it above."""
    quota, seen = 500, []
    for what in "EES":
        quota = trust.after_error(quota) if what == "E" else trust.after_success(quota, 500)
        seen.append(quota)
    assert seen == [499, 498, 500]
    assert [trust.after_error(1), trust.after_success(1, 500), trust.after_success(300, 500)] == [
        1,
        2,
        500,
    ]
    assert trust.after_valid(500) == 501
    assert trust.after_invalid(501, 500) == 500
    assert trust.after_invalid(500, 500) == 500


def test_who_is_trusted() -> None:
    """D7: from ten valid results in a row on, but for one job in as many as these."""
    assert not trust.is_trusted(9, 0.999)
    assert trust.is_trusted(10, 0.11)
    assert not trust.is_trusted(10, 0.1)
    assert not trust.is_trusted(20, 0.05)
    assert trust.is_trusted(20, 0.051)


def test_a_client_without_work_waits_longer_each_time(seed: int) -> None:
    """D7: 600 s doubling up to a day, times U(0.5, 1.5)."""
    simulated = world(seed, hosts(1))
    times: list[float] = []
    request = simulated.server.request

    def noted(*arguments: object) -> object:
        times.append(simulated.now)
        return request(*arguments)  # type: ignore[arg-type] # as they came

    simulated.server.request = noted  # type: ignore[method-assign,assignment] # to listen
    simulated.run(30 * DAY)
    waits = [after - before for before, after in itertools.pairwise(times)]
    assert len(waits) > 20
    for n, wait in enumerate(waits):
        full = min(600.0 * 2**n, DAY)
        assert 0.5 * full <= wait <= 1.5 * full
    assert len({round(wait / min(600.0 * 2**n, DAY), 3) for n, wait in enumerate(waits)}) > 15


@pytest.mark.parametrize(("servers", "daily"), [(1, 8.8e6), (3, 23.6e6)])
def test_a_server_dispatches_as_many_as_it_can(seed: int, servers: int, daily: float) -> None:
    """D4: one computer saturates at the measured 8.8 million jobs a day, three at 23.6."""
    crowd = hosts(3000, gflops=Uniform(0.5, 1.5), joining_days=Uniform(0, 60 / DAY))
    simulated = world(seed, crowd, dispatch_cost=DAY / 8.8e6, servers=servers, jobs_at_a_time=1)
    simulated.endless(flops=1e9, limits=Limits())
    simulated.run(100.0)
    before = simulated.measures.successes
    simulated.run(400.0)
    rate = (simulated.measures.successes - before) / 300.0 * DAY
    assert rate == pytest.approx(daily, rel=0.02)
