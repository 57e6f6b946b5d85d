"""A volunteer's computer and its BOINC client, in virtual time.

A client keeps a buffer of work, computes on each of its processors while the computer is on,
uploads what is done, and reports it with its next request.  There is one event at a time
for each host: the next moment at which something is due.  When its computer is off at that moment,
it is due when it is on again.
"""

from __future__ import annotations

from collections import deque
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from simulator import draws
from simulator.clock import Alarm, Event
from simulator.jobs import SILENT, Fate, Task
from simulator.lives import Happens

if TYPE_CHECKING:
    from simulator.jobs import Job
    from simulator.world import World

_RIGHT, _WRONG, _ERROR = int(Happens.RIGHT), int(Happens.WRONG), int(Happens.ERROR)
_SOON = 1e-6
"""Seconds that do not matter: what rounding makes of a moment."""


class Uptime(Protocol):
    """When a computer is on; see simulator.availability."""

    @property
    def uptime(self) -> float:
        """Seconds that it has been on, from its joining to now."""

    @property
    def is_up(self) -> bool:
        """Whether it is on now."""

    def advance(self, time: float) -> None:
        """Go on to *time*."""

    def next_up(self) -> float:
        """The next time at which it is on."""

    def when(self, uptime: float) -> float:
        """The time at which it will have been on for so long."""


class Host:
    """One computer of the population.

    Work on it is counted in *uptime*: the seconds that it has been on since it joined.
    """

    __slots__ = (
        "_alarm",
        "_backoff",
        "_errors",
        "_queue",
        "_queued",
        "_ready",
        "_refused",
        "_report_due",
        "_request_at",
        "_running",
        "_world",
        "availability",
        "consecutive_valid",
        "cores",
        "day",
        "downstream",
        "drawn",
        "error_rate",
        "flops",
        "got_work",
        "joins",
        "leaves",
        "number",
        "quota",
        "today",
        "upstream",
        "wrong_rate",
    )

    def __init__(self, world: World, number: int) -> None:
        population = world.population
        self.number = number
        self.flops = float(population.flops[number])
        self.cores = int(population.cores[number])
        self.joins = float(population.joins[number])
        self.leaves = float(population.leaves[number])
        self.error_rate = float(population.error_rate[number])
        self.wrong_rate = float(population.wrong_rate[number])
        self.downstream = float(population.downstream[number])
        self.upstream = float(population.upstream[number])
        self.availability: Uptime
        self.quota = world.policies.server.daily_result_quota
        self.today = 0
        self.day = 0
        self.consecutive_valid = 0
        self.got_work = -inf
        self.drawn = 0
        """Instances that it has been given."""
        self._errors = draws.stream(world.seed, number, draws.ERROR)
        self._world = world
        self._running: list[Task] = []
        self._queue: deque[Task] | None = None
        self._queued = 0.0
        self._ready: list[Task] = []
        self._report_due = inf
        self._request_at = 0.0
        self._backoff = 0
        self._refused = 0
        self._alarm = Alarm(world.clock, self._join)
        self._alarm.set(self.joins)

    # What the server knows of it.

    def fraction(self, now: float) -> float:
        """The share of the time that it has been on, 0.1 at least (sched_send.cpp)."""
        elapsed = now - self.joins
        return min(1.0, max(0.1, self.availability.uptime / elapsed)) if elapsed > 0.0 else 1.0

    def backlog(self) -> float:
        """Seconds of processors that its buffer holds."""
        left = self._queued
        uptime = self.availability.uptime
        for task in self._running:
            left += task.finish - uptime
        return left

    def fate(self, job: Job, instance: int) -> Fate:
        """How an instance that is sent to it will end."""
        drawn = self.drawn
        self.drawn = drawn + 1
        fates = self._world.fates
        if fates is not None:
            return fates(job, instance, self)
        seconds = job.flops / self.flops
        chance = draws.uniform(self._errors, drawn)
        if chance < self.error_rate:
            return Fate(_ERROR, seconds)
        wrong = self.error_rate + (1.0 - self.error_rate) * self.wrong_rate
        return Fate(_WRONG if chance < wrong else _RIGHT, seconds)

    # Its life: from one moment at which something is due to the next.

    def _join(self, event: Event) -> None:
        self.availability = self._world.population.availability(self.number)
        self._alarm.callback = self._wake
        self._wake(event)

    def _wake(self, _: Event) -> None:
        world, availability = self._world, self.availability
        now = world.clock._now
        availability.advance(now)
        if now >= self.leaves:
            self._leave()
            return
        uptime = availability.uptime
        running = self._running
        while running and running[-1].finish <= uptime + _SOON:
            self._done(running.pop(), now)
        if not availability.is_up:
            self._set(availability.next_up())
            return
        low = self._low(now)
        backlog = self.backlog()
        wants = backlog < low + _SOON and now >= self._request_at
        if wants or now >= self._report_due:
            self._contact(now, wants, backlog)
            backlog = self.backlog()
        if self._queue and len(running) < self.cores:
            self._start(now, uptime)
        self._set(self._next(now, uptime, backlog, low))

    def _set(self, time: float) -> None:
        if time > self.leaves:
            time = self.leaves
        if time < inf:
            self._alarm.set(time)

    def _leave(self) -> None:
        """It is never heard of again."""
        self._running.clear()
        self._queue = None
        self._ready.clear()

    def _low(self, now: float) -> float:
        """Seconds of processors below which its buffer asks for more."""
        return self._world.client.buffer_min * self.cores * self.fraction(now)

    def _done(self, task: Task, now: float) -> None:
        """A task has come to its end: it is uploaded, and waits to be reported."""
        if task.ends == SILENT:
            return
        world = self._world
        size = task.job.limits.output_bytes if task.ends < _ERROR else 0.0
        task.ready = max(world.data.transfer(now, size, self.upstream), task.sent + task.hold)
        self._ready.append(task)
        due = task.ready + world.client.report_delay
        margin = task.deadline - world.client.deadline_margin
        due = min(due, max(task.ready, margin))
        if due < self._report_due:
            self._report_due = due

    def _contact(self, now: float, wants: bool, backlog: float) -> None:
        """Ask the scheduler: report what is ready, and ask for work if it *wants* some."""
        world = self._world
        server = world.server
        world.measures.messages += 1
        if self._ready:
            self._report(now)
        if self._queue:
            self._abort()
        if not wants:
            server.reply_time(now, 0)
            return
        client = world.client
        most = (client.buffer_min + client.buffer_extra) * self.cores
        seconds = most - backlog / self.fraction(now)
        tasks = server.request(self, seconds, client.jobs_at_a_time or 1_000_000)
        reply = server.reply_time(now, len(tasks))
        if not tasks:
            self._back_off(reply)
            return
        self._backoff = 0
        self._request_at = reply + client.fetch_period
        if self._queue is None:
            self._queue = deque()
        for task in tasks:
            task.ready = world.data.transfer(reply, task.job.limits.input_bytes, self.downstream)
            self._queue.append(task)
            self._queued += task.seconds

    def _report(self, now: float) -> None:
        server, due, waiting = self._world.server, inf, []
        for task in self._ready:
            if task.ready > now:
                waiting.append(task)
                due = min(due, task.ready + self._world.client.report_delay)
                continue
            server.report(self, task)
            if task.twice:
                server.report(self, task)
        self._ready = waiting
        self._report_due = due

    def _abort(self) -> None:
        """Give up what the server does not need any more and has not been started."""
        assert self._queue is not None
        server = self._world.server
        unneeded = [task for task in self._queue if server.is_unneeded(task)]
        for task in unneeded:
            self._queue.remove(task)
            self._queued -= task.seconds
            server.abort(self, task)

    def _back_off(self, now: float) -> None:
        """There was no work: the next request waits twice as long as the one before."""
        world = self._world
        client = world.client
        delay = min(client.backoff_min * 2.0**self._backoff, client.backoff_max)
        drawn = draws.uniform(draws.stream(world.seed, self.number, draws.BACKOFF), self._refused)
        self._refused += 1
        self._backoff += 1
        self._request_at = now + max(delay * (0.5 + drawn), world.server.policies.retry_delay)

    def _start(self, now: float, uptime: float) -> None:
        """Start what has been downloaded, on the processors that are idle."""
        running, queue = self._running, self._queue
        assert queue is not None
        while queue and len(running) < self.cores and queue[0].ready <= now:
            task = queue.popleft()
            self._queued = self._queued - task.seconds if queue else 0.0
            task.finish = uptime + task.seconds
            running.append(task)
        if len(running) > 1:
            running.sort(key=_finish, reverse=True)

    def _next(self, now: float, uptime: float, backlog: float, low: float) -> float:
        """The next moment at which something is due."""
        running, availability = self._running, self.availability
        time = availability.when(running[-1].finish) if running else inf
        if self._queue and len(running) < self.cores:
            time = min(time, self._queue[0].ready)
        if self._report_due < time:
            time = self._report_due
        if backlog < low + _SOON:
            if self._request_at < time:
                time = self._request_at
        elif running:
            falls = uptime + (backlog - low) / len(running)
            if falls < running[-1].finish:
                time = min(time, availability.when(falls))
        return time


_finish = attrgetter("finish")
