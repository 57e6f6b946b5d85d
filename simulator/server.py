"""The project's server: scheduler, feeder and daemons, each at its own pace.

What becomes of a workunit is decided by :mod:`simulator.lives`, which is to say by
:mod:`pyboinc.project`.  Here is when: daemons wake every few seconds and take what waits for them,
the feeder fills its slots, the scheduler gives out what the host may have.

Nobody wakes for nothing: a daemon's next pass is an event only when something waits for it,
and the feeder's passes are made up for when a host asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from math import ceil, inf
from typing import TYPE_CHECKING, NamedTuple

from pyboinc.project import Assimilation, Daemon, ErrorMask, create_workunit
from simulator import draws, trust
from simulator.clock import Alarm, Clock, Event
from simulator.lives import DAEMONS, KINDS, PASS, REPLICATE, RIGHT, Happens, Lives, State, Step
from simulator.measures import Measures
from simulator.policies import DAY, Limits, ServerPolicies

if TYPE_CHECKING:
    from simulator.host import Host

_SEND = int(Happens.SEND)
_EXPIRE = int(Happens.EXPIRE)
_RIGHT, _ERROR = int(Happens.RIGHT), int(Happens.ERROR)
_CANCELLED = ErrorMask.CANCELLED
_FEW = 1000
"""Deadlines that are kept whether or not they still matter."""

_SCAN = 0.05
"""Seconds that one look of the feeder's into the database takes (ours)."""


class Job:
    """One workunit: where it is, and which host has which of its instances."""

    __slots__ = (
        "created",
        "flops",
        "hosts",
        "id",
        "limits",
        "name",
        "priority",
        "queued",
        "sequence",
        "state",
    )

    def __init__(
        self, number: int, name: str, sequence: int, flops: float, limits: Limits, priority: int
    ) -> None:
        self.id = number
        self.name = name
        self.sequence = sequence
        self.flops = flops
        self.limits = limits
        self.priority = priority
        self.queued = 0
        self.hosts: list[Host | None] = []
        self.created = 0.0
        self.state: State


class Fate(NamedTuple):
    """How an instance ends that is sent to a host.

    ``ends`` is what its host will say of it (a value of Happens), or SILENT;
    ``seconds`` of a processor pass until then; it is not reported before ``hold`` seconds
    after it was sent; ``twice`` says that the same report comes twice.
    """

    ends: int
    seconds: float
    hold: float = 0.0
    twice: bool = False


SILENT = -1
"""Of a fate: the host never says anything about it."""


class Task:
    """One instance on its host, with its fate."""

    __slots__ = (
        "deadline",
        "ends",
        "finish",
        "hold",
        "instance",
        "job",
        "open",
        "ready",
        "seconds",
        "sent",
        "twice",
    )

    def __init__(self, job: Job, instance: int, fate: Fate, sent: float, deadline: float) -> None:
        self.job = job
        self.instance = instance
        self.ends, self.seconds, self.hold, self.twice = fate
        self.sent = sent
        self.deadline = deadline
        self.ready = sent
        """When its input has been downloaded; later, when its output has been uploaded."""
        self.finish = inf
        """The uptime of its host at which it will have been done."""
        self.open = True
        """Whether it has neither been reported nor missed its deadline."""


class Deadlines:
    """The deadlines of all instances with one delay bound: they pass in the order of sending."""

    def __init__(self, clock: Clock, missed: Callable[[Task], None]) -> None:
        self._tasks: deque[Task] = deque()
        self._alarm = Alarm(clock, self._ring)
        self._set = False
        self._clock = clock
        self._missed = missed
        self._limit = _FEW

    def add(self, task: Task) -> None:
        """Watch the deadline of *task*, which is no earlier than those before."""
        self._tasks.append(task)
        if not self._set:
            self._set = True
            self._alarm.set(task.deadline)
        if len(self._tasks) > self._limit:
            self._tasks = deque([one for one in self._tasks if one.open])
            self._limit = 2 * len(self._tasks) + _FEW

    def _ring(self, _: Event) -> None:
        now, tasks = self._clock.now, self._tasks
        while tasks and (not tasks[0].open or tasks[0].deadline <= now):
            task = tasks.popleft()
            if task.open:
                self._missed(task)
        self._set = bool(tasks)
        if tasks:
            self._alarm.set(tasks[0].deadline)


class Server:
    """One project.  *handed_over* is called with each workunit that is assimilated."""

    def __init__(
        self,
        clock: Clock,
        policies: ServerPolicies,
        measures: Measures,
        seed: int,
        handed_over: Callable[[Job, Assimilation], None],
    ) -> None:
        self.policies = policies
        self.source: Callable[[], Job | None] | None = None
        """Makes one more workunit when there is none to send; None: there are no more."""
        self.crowd = 1
        """How many hosts there are: a workunit that all have had may go to one again."""
        self.queued = 0
        """Unsent results, those in the feeder's slots as well."""
        self._clock = clock
        self._measures = measures
        self._handed_over = handed_over
        self._seed = seed
        intervals = (
            policies.transitioner_interval,
            policies.validator_interval,
            policies.assimilator_interval,
            policies.deleter_interval,
        )
        self._intervals = intervals
        self.lives = Lives(at_once=not any(intervals))
        self._due: list[list[Job]] = [[] for _ in DAEMONS]
        self._alarms = [Alarm(clock, self._pass(number)) for number in range(len(DAEMONS))]
        self._queues: dict[int, deque[tuple[Job, int]]] = {}
        self._slots: deque[tuple[Job, int]] = deque()
        self._fed_at = clock.now
        self._deadlines: dict[float, Deadlines] = {}
        self._free_at = [0.0] * policies.servers
        slower = 1.0 + policies.contention * (policies.servers - 1)
        self._request_cost = policies.request_cost * slower
        self._dispatch_cost = policies.dispatch_cost * slower
        self._births: dict[Limits, Step] = {}
        self.trace: Callable[[str, Job, int | None, Host | None], None] | None = None
        """Is told of everything that happens to an instance or a workunit."""
        self._number = 0

    # Workunits and what becomes of them.

    def create(
        self, name: str, sequence: int, flops: float, limits: Limits, priority: int = 0
    ) -> Job:
        """Make a workunit; the transitioner will make its first instances."""
        self._number += 1
        job = Job(self._number, name, sequence, flops, limits, priority)
        job.created = self._clock.now
        born = self._births.get(limits)
        if born is None:
            workunit = create_workunit(0, name, 0.0, **limits.columns())  # type: ignore[arg-type] # each of its column's type
            born = self._births[limits] = self.lives.born(workunit)
        self._measures.workunits += 1
        self.take(job, born)
        return job

    def happens(self, job: Job, code: int) -> Step:
        """Let something happen to a workunit (a code of simulator.lives)."""
        state = job.state
        step = state.steps.get(code) or self.lives.step(state, code)
        self.take(job, step)
        return step

    def take(self, job: Job, step: Step) -> None:
        """Do what a step brings, and let the daemons know of it."""
        job.state = state = step.state
        if step.made:
            self._make(job, step.made)
        if step.judged:
            self._judge(job, step.judged)
        if step.assimilated is not None:
            self._assimilate(job, step.assimilated)
        new = state.work & ~job.queued
        if new:
            job.queued |= new
            self._call(job, new)

    def _call(self, job: Job, work: int) -> None:
        """Put *job* before the daemons of *work*, and see that they wake."""
        for number, due in enumerate(self._due):
            if work >> number & 1:
                if not due:
                    self._alarms[number].set(self._next_pass(self._intervals[number]))
                due.append(job)

    def _next_pass(self, interval: float) -> float:
        now = self._clock.now
        return ceil(now / interval) * interval if interval else now

    def _pass(self, number: int) -> Callable[[Event], None]:
        """One pass of a daemon over all that waits for it."""
        bit, code = 1 << number, PASS[DAEMONS[number]]

        def run(_: Event) -> None:
            due, self._due[number] = self._due[number], []
            step_of, take = self.lives.step, self.take
            for job in due:
                job.queued &= ~bit
                state = job.state
                if state.work & bit:
                    take(job, state.steps.get(code) or step_of(state, code))

        return run

    def _make(self, job: Job, made: tuple[int, ...]) -> None:
        queue = self._queues.get(job.priority)
        if queue is None:
            self._queues[job.priority] = queue = deque()
            self._queues = dict(sorted(self._queues.items(), reverse=True))
        self.queued += len(made)
        for instance in made:
            job.hosts.append(None)
            queue.append((job, instance))

    def _judge(self, job: Job, judged: tuple[tuple[int, bool], ...]) -> None:
        measures, daily = self._measures, self.policies.daily_result_quota
        alone = len(job.hosts) == 1 and self.policies.adaptive_target
        for instance, valid in judged:
            host = job.hosts[instance]
            assert host is not None
            if valid:
                measures.valid += 1
                measures.flops_valid += job.flops
                host.quota = trust.after_valid(host.quota)
                if not alone:
                    host.consecutive_valid += 1
            else:
                measures.invalid += 1
                measures.flops_invalid += job.flops
                host.quota = trust.after_invalid(host.quota, daily)
                host.consecutive_valid = 0

    def _assimilate(self, job: Job, assimilated: Assimilation) -> None:
        measures = self._measures
        if assimilated.instance is None:
            measures.failed += 1
        else:
            measures.done += 1
            measures.flops_done += job.flops
            measures.wrong += assimilated.output != RIGHT
        if self.trace is not None:
            self.trace("failed" if assimilated.instance is None else "done", job, None, None)
        self._handed_over(job, assimilated)

    # Hosts that ask.

    def report(self, host: Host, task: Task) -> None:
        """Take what a host says of an instance."""
        job, ends = task.job, task.ends
        if self.trace is not None:
            self.trace(Happens(ends).name.lower(), job, task.instance, host)
        step = self.happens(job, task.instance * KINDS + ends)
        task.open = False
        measures = self._measures
        if step.ignored:
            measures.ignored += 1
        elif _RIGHT <= ends < _ERROR:
            measures.successes += 1
            measures.flops_returned += job.flops
            host.quota = trust.after_success(host.quota, self.policies.daily_result_quota)
        else:
            measures.errors += 1
            measures.flops_errors += task.seconds * host.flops
            host.quota = trust.after_error(host.quota)
            host.consecutive_valid = 0

    def is_unneeded(self, task: Task) -> bool:
        """Whether a client that has not started *task* is told to abort it.

        As pyboinc.project.abort_request(): its workunit has been assimilated or cancelled, or
        its deadline has passed.
        """
        workunit = task.job.state.workunit
        return not task.open or workunit.delivered or bool(workunit.error_mask & _CANCELLED)

    def abort(self, host: Host, task: Task) -> None:
        """A client aborts an instance because it was told to: an error that costs nothing."""
        if self.trace is not None:
            self.trace("abort", task.job, task.instance, host)
        task.open = False
        self._measures.aborted += 1
        self.happens(task.job, task.instance * KINDS + _ERROR)

    def _miss(self, task: Task) -> None:
        """The deadline of an instance passes."""
        task.open = False
        job = task.job
        host = job.hosts[task.instance]
        assert host is not None
        if self.trace is not None:
            self.trace("expire", job, task.instance, host)
        self._measures.no_replies += 1
        host.quota = trust.after_error(host.quota)
        host.consecutive_valid = 0
        self.happens(job, task.instance * KINDS + _EXPIRE)

    def request(self, host: Host, seconds: float, jobs: int) -> list[Task]:
        """Give *host* work for *seconds* of its processors, at most *jobs* jobs."""
        now = self._clock.now
        room = self._room(host, now, jobs)
        if room <= 0:
            return []
        self._feed(now)
        tasks: list[Task] = []
        passed_over: list[tuple[Job, int]] = []
        slots, fraction = self._slots, host.fraction(now)
        backlog = host.backlog()
        check, once = self.policies.deadline_check, self.policies.one_result_per_host
        while slots and room > 0 and seconds > 0.0:
            entry = slots.popleft()
            job, instance = entry
            if instance not in job.state.unsent:
                self.queued -= 1
                continue
            lasts = job.flops / host.flops / fraction
            delay = backlog / fraction / host.cores
            if (once and host in job.hosts and not self._all_had(job)) or (
                check and delay > 0.0 and delay + lasts > job.limits.delay_bound
            ):
                passed_over.append(entry)
                continue
            task = self._send(host, job, instance, now)
            tasks.append(task)
            backlog += task.seconds
            seconds -= lasts
            room -= 1
        slots.extendleft(reversed(passed_over))
        return tasks

    def _room(self, host: Host, now: float, jobs: int) -> int:
        """How many jobs a host may get by the limits for it."""
        policies = self.policies
        room = min(jobs, policies.max_wus_to_send * host.cores)
        if policies.min_sendwork_interval and now - host.got_work < policies.min_sendwork_interval:
            return 0
        if policies.daily_result_quota:
            day = int(now / DAY)
            if day != host.day:
                host.day, host.today = day, 0
            room = min(room, host.quota * host.cores - host.today)
        return room

    def _all_had(self, job: Job) -> bool:
        """Whether every host there is has had an instance of this workunit."""
        return len(job.hosts) > self.crowd and len(set(map(id, job.hosts))) > self.crowd

    def _send(self, host: Host, job: Job, instance: int, now: float) -> Task:
        self.queued -= 1
        if self.policies.adaptive_target > 1 and job.state.workunit.target_nresults == 1:
            self._look_at_trust(host, job)
        step = self.happens(job, instance * KINDS + _SEND)
        assert step.state is job.state
        job.hosts[instance] = host
        deadline = now + job.limits.delay_bound
        fate = host.fate(job, instance)
        task = Task(job, instance, fate, now, deadline)
        self._watch(task, job.limits.delay_bound)
        if self.trace is not None:
            self.trace("send", job, instance, host)
        host.today += 1
        host.got_work = now
        self._measures.sent += 1
        return task

    def _look_at_trust(self, host: Host, job: Job) -> None:
        drawn = draws.uniform(draws.stream(self._seed, host.number, draws.TRUST), host.drawn)
        if not trust.is_trusted(host.consecutive_valid, drawn):
            self._measures.replicated += 1
            self.happens(job, REPLICATE - self.policies.adaptive_target)

    def _watch(self, task: Task, bound: float) -> None:
        deadlines = self._deadlines.get(bound)
        if deadlines is None:
            deadlines = self._deadlines[bound] = Deadlines(self._clock, self._miss)
        deadlines.add(task)

    def reply_time(self, now: float, jobs: int) -> float:
        """When the scheduler has answered a request that it gives *jobs* jobs."""
        cost = self._request_cost + self._dispatch_cost * jobs
        if not cost:
            return now
        first = self._free_at.index(min(self._free_at))
        self._free_at[first] = done = max(now, self._free_at[first]) + cost
        return done

    # The feeder.

    def _feed(self, now: float) -> None:
        """Make up for the feeder's passes until now.

        It goes on while it finds something to add, and sleeps when it does not.
        """
        interval, since = self.policies.feeder_interval, now - self._fed_at
        if since > _SCAN and interval:
            slept = int((since - _SCAN) / interval)
            if not slept:
                return
            self._fed_at += _SCAN + slept * interval
        else:
            self._fed_at = now
        for entry in self._unsent(self.policies.feeder_slots - len(self._slots)):
            self._slots.append(entry)

    def _unsent(self, number: int) -> Iterator[tuple[Job, int]]:
        while number > 0:
            queue = next(filter(None, self._queues.values()), None)
            if queue is None:
                if self.source is None or (made := self.source()) is None:
                    return
                # It stands for one of a stock that was made some time ago.
                self.happens(made, PASS[Daemon.TRANSITIONER])
                continue
            job, instance = entry = queue.popleft()
            if instance in job.state.unsent:
                number -= 1
                yield entry
            else:
                self.queued -= 1
