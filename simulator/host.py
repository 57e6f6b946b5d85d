"""A volunteer's computer and its BOINC client, in virtual time.

A client keeps a buffer of work, computes on each of its processors while the computer is on,
uploads what is done, and reports it with its next request.  There is one event at a time
for each host: the next moment at which something is due.  When its computer is off at that moment,
it is due when it is on again.
"""

from __future__ import annotations

from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from simulator import draws
from simulator.clock import Alarm
from simulator.jobs import SILENT, FatedTask, Job, Task
from simulator.lives import FIRST_ERROR
from simulator.reliability import AT_A_TIME

if TYPE_CHECKING:
    from simulator.availability import Availability
    from simulator.world import World

_SOON: Final = 1e-6
"""Seconds that do not matter: what rounding makes of a moment."""

_AT_ONCE: Final = 1e-3
"""Seconds in which a file has come through as if it were there already."""

_ALL: Final = 1 << 30


class Host(Alarm):
    """One computer of the population.

    Work on it is counted in *uptime*: the seconds that it has been on since it joined.
    """

    __slots__ = (
        "_backoff",
        "_ends",
        "_finishes",
        "_only",
        "_queue",
        "_queued",
        "_ready",
        "_refused",
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

    def __init__(self, world: World, number: int, columns: tuple[float, ...]) -> None:
        self.number = number
        self.flops, cores, self.joins, self.leaves = columns[:4]
        self.error_rate, self.wrong_rate, self.downstream, self.upstream = columns[4:]
        self.cores = int(cores)
        self.availability: Availability
        self.quota = world.policies.server.daily_result_quota
        self.today = self.day = self.consecutive_valid = 0
        self.got_work = -inf
        self.drawn = 0
        """Instances that it has been given."""
        self._ends = b""
        """How those it is given will end: a byte for each (see simulator.reliability)."""
        self._world = world
        self._running: list[Task] = []
        """The last one will be finished first."""
        self._finishes = 0.0
        """Sum of the uptimes at which they will be."""
        self._queue: list[Task] | None = None
        self._queued = 0.0
        self._ready: list[Task] | None = None
        self._request_at = 0.0
        self._backoff = self._refused = 0
        self._only: Task | None = None
        """The task that is running, if there is nothing else to be thought of (then it is not
        in the list)."""
        world.clock.set(_Joining(self), self.joins)

    def begin(self, job: Job, instance: int, seconds: float, sent: float, deadline: float) -> Task:
        """Take an instance that is sent to it; how that will end is decided now."""
        drawn = self.drawn
        self.drawn = drawn + 1
        fates = self._world.fates
        if fates is not None:
            return FatedTask(job, instance, fates(job, instance, self), sent, deadline)
        place = drawn % AT_A_TIME
        if not place:
            ends = self._world.reliability.ends
            self._ends = ends(self.number, drawn, self.error_rate, self.wrong_rate)
        return Task(job, instance, self._ends[place], seconds, deadline)

    # Its life: from one moment at which something is due to the next.

    def join(self) -> None:
        """It begins."""
        self.availability = self._world.population.availability(self.number)
        self.ring()

    def ring(self) -> None:
        """Something is due: a task is done, a report, a request, or the computer is on again."""
        world, availability, running = self._world, self.availability, self._running
        now = world.clock.now
        if now >= self.leaves:
            self._leave()
            return
        if now < availability.end:
            uptime, up = now + availability.offset, True
        else:
            availability.advance(now)
            uptime, up = availability.uptime, availability.is_up
        only = self._only
        if only is not None:
            self._only = None
            if up and only.finish <= uptime + _SOON and now >= self._request_at:
                self._turn(only, now, uptime)
                return
            running.append(only)
            self._finishes = only.finish
        while running and running[-1].finish <= uptime + _SOON:
            self._done(running.pop(), now)
        if up:
            self._go_on(now, uptime)
        else:
            self._set(availability.next_up())

    def _turn(self, task: Task, now: float, uptime: float) -> None:
        """The only task is done and reported, and the next one is begun: the usual turn.

        It is what :meth:`_done` and :meth:`_go_on` do when a client asks for one job because it
        has nothing to do; whatever is unusual is left to them.  Some simulations do nothing
        else, so it calls little and asks nothing twice.
        """
        world, availability = self._world, self.availability
        server, data = world.server, world.data
        size, ready = task.job.limits.output_bytes, now
        if size and task.ends < FIRST_ERROR:
            ready = data.transfer(now, size, self.upstream)
        if ready > now + _AT_ONCE:
            task.ready = ready
            self._ready = [task]
            self._go_on(now, uptime)
            return
        world.measures.messages += 1
        server.report(self, task)
        following = server.request_one(self)
        if following is None:
            self._back_off(now)
            self._set(self._request_at)
            return
        self._backoff = 0
        self._request_at = now + world.client.fetch_period
        size = following.job.limits.input_bytes
        finish = uptime + following.seconds
        if size:
            ready = data.transfer(now, size, self.downstream)
            if ready >= availability.end:
                self._put(following, ready)
                self._set(ready)
                return
            if ready > now:
                finish = ready + availability.offset + following.seconds
        following.finish = finish
        self._only = following
        time = finish - availability.offset
        if time > availability.end:
            time = availability.when(finish)
        self._set(time)

    def _go_on(self, now: float, uptime: float) -> None:
        """The computer is on: contact the server, start what can be, and see what is due next."""
        world, availability, running = self._world, self.availability, self._running
        client = world.client
        elapsed = now - self.joins
        fraction = uptime / elapsed if uptime < elapsed else 1.0
        if fraction < 0.1:
            fraction = 0.1  # as sched/sched_send.cpp has it
        busy, cores = len(running), self.cores
        low = client.buffer_min * cores * fraction
        backlog = self._queued + self._finishes - busy * uptime if busy or self._queue else 0.0
        wants = backlog < low + _SOON and now >= self._request_at
        if wants or (self._ready and now >= self._due()):
            self._contact(now, wants, backlog, fraction)
        if self._queue and busy < cores:
            self._start(now, uptime)
            busy = len(running)
        # What is due next?
        time = self._due() if self._ready else inf
        if busy:
            finish = running[-1].finish
            ends = finish - availability.offset
            if ends > availability.end:
                ends = availability.when(finish)
            if ends < time:
                time = ends
        if self._queue and busy < cores and self._queue[0].ready < time:
            time = self._queue[0].ready
        if not low:  # it asks when it has nothing to do, which is when the last task is finished
            if not busy and not self._queue and self._request_at < time:
                time = self._request_at
        else:
            time = self._or_low(time, uptime, low)
        self._set(time)
        if busy == 1 and not self._queue and not self._ready and world.plain:
            self._only = running.pop()
            self._finishes = 0.0

    def _or_low(self, time: float, uptime: float, low: float) -> float:
        """*time*, or that at which the buffer is low and a request may be made, if earlier."""
        running = self._running
        backlog = self._queued + self._finishes - len(running) * uptime
        if backlog < low + _SOON:
            return min(time, self._request_at)
        if running:
            falls = uptime + (backlog - low) / len(running)
            if falls < running[-1].finish:
                return min(time, self.availability.when(falls))
        return time

    def _set(self, time: float) -> None:
        """Wake at *time*, if that is ever, or when the host leaves."""
        if time < inf:
            self._world.clock.set(self, time if time < self.leaves else self.leaves)

    def _leave(self) -> None:
        """It is never heard of again."""
        self._running.clear()
        self._queue = self._ready = None

    def _done(self, task: Task, now: float) -> None:
        """A task has come to its end: it is uploaded, and waits to be reported."""
        self._finishes = self._finishes - task.finish if self._running else 0.0
        ends = task.ends
        if ends == SILENT:
            return
        size = task.job.limits.output_bytes
        if size and ends < FIRST_ERROR:
            now = self._world.data.transfer(now, size, self.upstream)
        task.ready = now if now > task.hold else task.hold
        if self._ready is None:
            self._ready = [task]
        else:
            self._ready.append(task)

    def _due(self) -> float:
        """When what is ready must be reported, if nothing is asked for before."""
        client, first = self._world.client, inf
        assert self._ready is not None
        for task in self._ready:
            latest = task.deadline - client.deadline_margin
            due = min(task.ready + client.report_delay, max(task.ready, latest))
            if due < first:
                first = due
        return first

    def _contact(self, now: float, wants: bool, backlog: float, fraction: float) -> None:
        """Ask the scheduler: report what is ready, and ask for work if it *wants* some."""
        world = self._world
        server, client = world.server, world.client
        world.measures.messages += 1
        if self._ready:
            self._report(now)
        if self._queue:
            self._abort()
        if not wants:
            if not server.free:
                server.reply_time(now, 0)
            return
        most = (client.buffer_min + client.buffer_extra) * self.cores
        jobs = client.jobs_at_a_time or _ALL
        tasks = server.request(self, most - backlog / fraction, jobs, backlog, fraction)
        reply = now if server.free else server.reply_time(now, len(tasks))
        if not tasks:
            self._back_off(reply)
            return
        self._backoff = 0
        self._request_at = reply + client.fetch_period
        self._receive(tasks, reply)

    def _receive(self, tasks: list[Task], reply: float) -> None:
        """Queue what has been sent, and download its input."""
        data = self._world.data
        for task in tasks:
            size = task.job.limits.input_bytes
            self._put(task, data.transfer(reply, size, self.downstream) if size else reply)

    def _put(self, task: Task, ready: float) -> None:
        """Queue a task whose input will have been downloaded when it is *ready*."""
        if self._queue is None:
            self._queue = []
        task.ready = ready
        self._queue.append(task)
        self._queued += task.seconds

    def _report(self, now: float) -> None:
        report, ready = self._world.server.report, self._ready
        assert ready is not None
        self._ready = None
        for task in ready:
            if task.ready > now + _AT_ONCE:
                self._ready = [*(self._ready or ()), task]
                continue
            report(self, task)
            if task.twice:
                report(self, task)

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
        self._backoff = min(self._backoff + 1, 30)
        self._request_at = now + max(delay * (0.5 + drawn), world.server.policies.retry_delay)

    def _start(self, now: float, uptime: float) -> None:
        """Start what has been downloaded, on the processors that are idle.

        What will have been while the computer is still on is begun in advance: it is the
        next one in any case.
        """
        running, queue, availability = self._running, self._queue, self.availability
        assert queue is not None
        while queue and len(running) < self.cores:
            task = queue[0]
            ready = task.ready
            if ready > now:
                if ready >= availability.end:
                    return
                task.finish = ready + availability.offset + task.seconds
            else:
                task.finish = uptime + task.seconds
            del queue[0]
            self._queued = self._queued - task.seconds if queue else 0.0
            self._finishes += task.finish
            running.append(task)
            if len(running) > 1:
                running.sort(key=_finish, reverse=True)
        if not queue:
            self._queue = None


class _Joining(Alarm):
    """A host joins."""

    __slots__ = ("_host",)

    def __init__(self, host: Host) -> None:
        self._host = host

    def ring(self) -> None:
        """Let it begin its life."""
        self._host.join()


_finish = attrgetter("finish")
