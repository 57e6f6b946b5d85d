"""Planning without a master: a batch on simulated volunteers, with many seeds at once.

One run is one :class:`simulator.world.World` from the first job to the last, or until the plan's
days are over.  Runs know nothing of one another, so they are done in several processes, and
what comes out does not depend on how many.
"""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyboinc.errors import ConfigurationError
from simulator.availability import DAY, HOUR
from simulator.figures import DISPATCHED_A_DAY, HostLife, Run, Sample, Work
from simulator.plans import Plan
from simulator.world import World

if TYPE_CHECKING:
    from simulator.host import Host
    from simulator.jobs import Job
    from simulator.population import Population

MOST_SAMPLES = 400
SHOWN_HOSTS = 12
"""Hosts whose lives are recorded, if any are."""

Told = Callable[[float, int, float], None]
"""Is told how far a run is: the share of its jobs (or of its days), events and time (s)."""

TOLD_EVERY = 0.1
"""Seconds between two looks at how far the runs are."""


def simulate(plan: Plan, seed: int, told: Told | None = None, *, lives: bool = False) -> Run:
    """One run of *plan*; with *lives* it records what some hosts did."""
    return _Simulation(plan, seed, lives).run(told)


class _Simulation:
    """A run under way."""

    def __init__(self, plan: Plan, seed: int, lives: bool) -> None:
        self.plan, self.seed = plan, seed
        self.population = plan.draw(seed)
        self.world = World(self.population, plan.rules(), seed)
        self.begun = bytearray(plan.jobs)
        self.count = 0
        self.recorder = _Recorder(self.population, self.world) if lives else None
        self.world.server.trace = self._sees
        self.times: list[float] = []
        self.samples: list[Sample] = []
        limits, flops = plan.limits, plan.flops
        for number in range(plan.jobs):
            self.world.create(f"job_{number}", number, flops=flops, limits=limits)

    def _sees(self, what: str, job: Job, instance: int | None, host: Host | None) -> None:
        if what == "send" and not self.begun[job.sequence]:
            self.begun[job.sequence] = 1
            self.count += 1
        if self.recorder is not None and host is not None:
            self.recorder.sees(what, job, instance, host)

    def run(self, told: Told | None) -> Run:
        world, plan = self.world, self.plan
        horizon, step = plan.days * DAY, HOUR / 4
        self._sample()
        while len(self.times) < plan.jobs and world.now < horizon and not world.clock.idle:
            world.run(min(world.now + step, horizon))
            self.times += [outcome.time for outcome in world.outcomes]
            world.outcomes.clear()
            self._sample()
            if len(self.samples) > MOST_SAMPLES:
                del self.samples[1::2]
                step *= 2
            if told is not None:
                share = max(len(self.times) / plan.jobs, world.now / horizon)
                told(share, self._events(), world.now)
        end = self.times[-1] if len(self.times) == plan.jobs else min(world.now, horizon)
        return Run(
            seed=self.seed,
            hosts=self.population.size,
            figures=self._figures(end),
            waste=self._waste(),
            samples=tuple(self.samples),
            events=self._events(),
            lives=() if self.recorder is None else self.recorder.lives(end),
        )

    def _events(self) -> int:
        return self.world.clock.events

    def _sample(self) -> None:
        measures, begun = self.world.measures, self.count
        over = measures.done + measures.failed
        self.samples.append(
            Sample(
                self.world.now,
                self.plan.jobs - begun,
                max(begun - over, 0),
                measures.done,
                measures.failed,
                measures.sent,
            )
        )

    def _figures(self, end: float) -> dict[str, float]:
        measures, jobs, now = self.world.measures, self.plan.jobs, max(self.world.now, 1.0)
        all_over = len(self.times) == jobs
        most = math.ceil(0.9 * jobs)
        days = end / DAY or 1 / DAY
        return {
            "days": end / DAY if all_over else math.inf,
            "tail_days": (end - self.times[most - 1]) / DAY if all_over else math.inf,
            "jobs_per_day": measures.done / days,
            "done": measures.done,
            "wrong": measures.wrong,
            "failed": measures.failed,
            "unfinished": jobs - measures.done - measures.failed,
            "results": measures.sent,
            "results_per_job": measures.sent / measures.done if measures.done else math.inf,
            "missed": measures.no_replies,
            "wasted": math.fsum(self._waste().values()),
            "messages_per_day": measures.messages / (now / DAY),
            "results_per_day": measures.sent / (now / DAY),
            "server_load": measures.sent / (now / DAY) / DISPATCHED_A_DAY,
            "data_load": self.world.data.load(now),
        }

    def _waste(self) -> dict[str, float]:
        """The share of all computing that was wasted, by cause."""
        measures = self.world.measures
        reported = measures.successes + measures.errors + measures.aborted + measures.ignored
        silent = max(measures.sent - reported, 0) * self.plan.flops
        waste = {**measures.waste, "not returned": silent}
        total = math.fsum(waste.values()) + measures.flops_done
        return {cause: flops / total if total else 0.0 for cause, flops in waste.items()}


_ENDS = {"wrong": "wrong", "error": "error", "expire": "deadline missed", "abort": "aborted"}


class _Recorder:
    """What some hosts do, for a picture."""

    def __init__(self, population: Population, world: World) -> None:
        self.population, self.world = population, world
        step = max(population.size // SHOWN_HOSTS, 1)
        self.works: dict[int, list[Work]] = {
            host: [] for host in range(0, population.size, step)[:SHOWN_HOSTS]
        }
        self.open: dict[tuple[int, int], float] = {}

    def sees(self, what: str, job: Job, instance: int | None, host: Host) -> None:
        works = self.works.get(host.number)
        if works is None or instance is None:
            return
        now, key = self.world.now, (job.sequence, instance)
        if what == "send":
            self.open[key] = now
        elif key in self.open:
            ended = _ENDS.get(what, "success")
            works.append(Work(self.open.pop(key), now, ended, f"{job.name}, instance {instance}"))

    def lives(self, end: float) -> tuple[HostLife, ...]:
        return tuple(
            HostLife(
                host,
                float(self.population.flops[host]) / 1e9,
                tuple(self._ups(host, end)),
                tuple(works),
            )
            for host, works in self.works.items()
        )

    def _ups(self, host: int, end: float) -> Iterator[tuple[float, float]]:
        """The host's times up until *end*: walked once more, they are the same."""
        availability = self.population.availability(host)
        start = availability.next_up()
        for _ in range(2_000):  # as many as a picture bears
            if start >= end:
                return
            availability.advance(start)
            stop = availability.end
            yield start, min(stop, end)
            if stop >= end:
                return
            availability.advance(stop)
            start = availability.next_up()


# ---------------------------------------------------------------- many runs


@dataclass(frozen=True)
class Task:
    """One run to be done: which plan, which seed, and whether it records hosts."""

    plan: Plan
    seed: int
    lives: bool = False


Watch = Callable[[Sequence[float], Sequence[int], Sequence[float]], None]
"""Is told of each task how far it is, its events and its time (s), ten times a second."""


def simulate_all(tasks: Sequence[Task], processes: int, watch: Watch | None = None) -> list[Run]:
    """The runs of all *tasks*, in their order."""
    if min(processes, len(tasks)) <= 1:
        return _one_by_one(tasks, watch)
    # Not forked: a thread (of a live display) may hold a lock at that moment.
    context = multiprocessing.get_context("spawn")
    told = [context.RawArray(kind, len(tasks)) for kind in "dqd"]
    stop = context.Event()
    with ProcessPoolExecutor(min(processes, len(tasks)), context, _begin, (*told, stop)) as pool:
        futures = [pool.submit(_work, number, task) for number, task in enumerate(tasks)]
        with _stopping(pool, stop):
            left: set[Future[Run]] = set(futures)
            while left:
                over, left = wait(left, TOLD_EVERY, FIRST_COMPLETED)
                for future in over:
                    future.result()  # raises what the run raised
                if watch is not None:
                    watch(*map(list, told))
    return [future.result() for future in futures]


@contextmanager
def _stopping(pool: ProcessPoolExecutor, stop: Any) -> Iterator[None]:
    """Whatever ends this early (^C, an error) also ends the processes, at their next look."""
    try:
        yield
    except BaseException as error:
        stop.set()
        pool.shutdown(cancel_futures=True)
        if isinstance(error, BrokenProcessPool):
            raise ConfigurationError(
                "a process of the simulation was killed, perhaps for want of memory;"
                " take fewer hosts or jobs, or --processes 1"
            ) from None
        raise


def _one_by_one(tasks: Sequence[Task], watch: Watch | None) -> list[Run]:
    seen = _Seen(len(tasks), watch)
    runs = []
    for seen.number, task in enumerate(tasks):
        told = None if watch is None else seen.told
        runs.append(simulate(task.plan, task.seed, told, lives=task.lives))
    return runs


class _Seen:
    """How far the runs are that are done one after the other in this process."""

    def __init__(self, tasks: int, watch: Watch | None) -> None:
        self.shares, self.events, self.times = [0.0] * tasks, [0] * tasks, [0.0] * tasks
        self.number = 0
        self.watch, self.last = watch, time.monotonic()

    def told(self, share: float, events: int, now: float) -> None:
        number = self.number
        self.shares[number], self.events[number], self.times[number] = share, events, now
        if self.watch is not None and time.monotonic() - self.last >= TOLD_EVERY:
            self.last = time.monotonic()
            self.watch(self.shares, self.events, self.times)


class _Stopped(Exception):
    """The parent has no need of this run any more."""


_shared: Any = None


def _begin(*shared: Any) -> None:
    global _shared
    _shared = shared
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent says when to stop


def _work(number: int, task: Task) -> Run:
    shares, events, times, stop = _shared

    def told(share: float, seen: int, now: float) -> None:
        shares[number], events[number], times[number] = share, seen, now
        if stop.is_set():
            raise _Stopped

    run = simulate(task.plan, task.seed, told, lives=task.lives)
    shares[number] = 1.0
    return run
