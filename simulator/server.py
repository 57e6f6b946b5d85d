"""The project's server: scheduler, feeder and daemons, each at its own pace.

What becomes of a workunit is decided by :mod:`simulator.lives`, which is to say by
:mod:`pyboinc.project`.  Here is what it brings: new results for the feeder, verdicts for the
hosts, outcomes for the owner; and the scheduler, which gives a host what it may have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyboinc.project import Assimilation, ErrorMask, create_workunit
from simulator import draws, trust
from simulator.clock import Clock
from simulator.daemons import Daemons
from simulator.deadlines import Deadlines
from simulator.feeder import Feeder
from simulator.jobs import Job, Task
from simulator.lives import KINDS, REPLICATE, RIGHT, Happens, Lives, Step
from simulator.measures import Measures
from simulator.policies import DAY, Limits, ServerPolicies

if TYPE_CHECKING:
    from simulator.host import Host

_SEND = int(Happens.SEND)
_EXPIRE = int(Happens.EXPIRE)
_RIGHT, _ERROR = int(Happens.RIGHT), int(Happens.ERROR)
_CANCELLED = ErrorMask.CANCELLED


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
        self.crowd = 1
        """How many hosts there are: a workunit that all have had may go to one again."""
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
        self.lives = Lives(at_once=not any(intervals))
        self._daemons = Daemons(clock, intervals, self.lives, self.take)
        self.feeder = Feeder(policies.feeder_slots, policies.feeder_interval, self.happens)
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
            self.feeder.add(job, step.made)
        if step.judged:
            self._judge(job, step.judged)
        if step.assimilated is not None:
            self._assimilate(job, step.assimilated)
        new = state.work & ~job.queued
        if new:
            job.queued |= new
            self._daemons.call(job, new)

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
        feeder = self.feeder
        feeder.feed(now)
        tasks: list[Task] = []
        passed_over: list[tuple[Job, int]] = []
        slots, fraction = feeder.slots, host.fraction(now)
        backlog = host.backlog()
        check, once = self.policies.deadline_check, self.policies.one_result_per_host
        while slots and room > 0 and seconds > 0.0:
            entry = slots.popleft()
            job, instance = entry
            if instance not in job.state.unsent:
                feeder.unsent -= 1
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
        self.feeder.unsent -= 1
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
