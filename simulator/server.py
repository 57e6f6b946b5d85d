"""The project's server: what becomes of workunits, and which host gets what.

What an event makes of a workunit is decided by :mod:`simulator.lives`, which is to say by
:mod:`pyboinc.project`.  Here is what it brings: new results for the feeder, verdicts for the
hosts, outcomes for the owner; and the scheduler, which gives a host what it may have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pyboinc.project import Assimilation, Daemon, create_workunit
from simulator import draws, trust
from simulator.clock import Clock
from simulator.daemons import Daemons
from simulator.deadlines import Deadlines
from simulator.feeder import Feeder
from simulator.jobs import Job, Task
from simulator.lives import FIRST_ERROR, KINDS, PASS, REPLICATE, RIGHT, Happens, Lives, Step
from simulator.measures import Measures
from simulator.policies import DAY, Limits, ServerPolicies

if TYPE_CHECKING:
    from simulator.host import Host

_EXPIRE = int(Happens.EXPIRE)
_ERROR = int(Happens.ERROR)


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
        intervals = (
            policies.transitioner_interval,
            policies.validator_interval,
            policies.assimilator_interval,
            policies.deleter_interval,
        )
        self.policies = policies
        self.lives = Lives(at_once=not any(intervals))
        self.feeder = Feeder(policies.feeder_slots, policies.feeder_interval)
        self.hosts: list[Host] = []
        self.trace: Callable[[str, Job, int | None, Host | None], None] | None = None
        """Is told of everything that happens to an instance or a workunit."""
        self._clock = clock
        self._measures = measures
        self._handed_over = handed_over
        self._seed = seed
        self._daemons = Daemons(clock, intervals, self.lives, self.take)
        self._deadlines: dict[float, Deadlines] = {}
        self._free_at = [0.0] * policies.servers
        slower = 1.0 + policies.contention * (policies.servers - 1)
        self._request_cost = policies.request_cost * slower
        self._dispatch_cost = policies.dispatch_cost * slower
        self._births: dict[Limits, Step] = {}
        self._once, self._check = policies.one_result_per_host, policies.deadline_check
        self._adaptive = policies.adaptive_target > 1
        self._daily = policies.daily_result_quota
        self._limited = bool(policies.daily_result_quota or policies.min_sendwork_interval)
        self._picks = self._adaptive or self._limited
        self.sends_from = 0.0
        """When it sends work again, after an outage."""
        self.free = not (policies.request_cost or policies.dispatch_cost)
        """Whether requests cost the scheduler no time."""

    # Workunits and what becomes of them.

    def create(
        self, name: str, sequence: int, flops: float, limits: Limits, priority: int = 0
    ) -> Job:
        """Make a workunit; the transitioner will make its first instances."""
        born = self._births.get(limits)
        if born is None:
            workunit = create_workunit(0, name, 0.0, **limits.columns())  # type: ignore[arg-type] # each of its column's type
            born = self._births[limits] = self.lives.born(workunit)
        job = Job(name, sequence, flops, limits, priority, self._clock.now, born.state)
        self._measures.workunits += 1
        self.take(job, born)
        return job

    def stock(self, flops: float, limits: Limits) -> Callable[[], Job]:
        """What makes one more workunit of a stock of them: its instances have been made."""
        first: Step | None = None
        number = -1

        def take() -> Job:
            nonlocal first, number
            number += 1
            if first is None:  # it goes the whole way, and shows where that leads
                job = self.create("", number, flops, limits)
                born = self._births[limits]
                if born.state.work:
                    self.happens(job, PASS[Daemon.TRANSITIONER])
                    first = born.state.steps[PASS[Daemon.TRANSITIONER]]
                else:
                    first = born
                return job
            job = Job("", number, flops, limits, 0, self._clock.now, first.state)
            self._measures.workunits += 1
            self.feeder.add(job, first.made)
            return job

        return take

    def happens(self, job: Job, code: int) -> Step:
        """Let something happen to a workunit (a code of simulator.lives)."""
        state = job.state
        step = state.steps.get(code) or self.lives.step(state, code)
        self.take(job, step)
        return step

    def take(self, job: Job, step: Step) -> None:
        """Do what a step brings, and let the daemons know of it."""
        job.state = state = step.state
        if step.brings:
            if step.made:
                self.feeder.add(job, step.made)
            if step.judged:
                self._judge(job, step.judged)
            if step.assimilated is not None:
                self._assimilate(job, step.assimilated)
        if state.work & ~job.queued:
            self._daemons.call(job, state.work)

    def _judge(self, job: Job, judged: tuple[tuple[int, bool], ...]) -> None:
        measures = self._measures
        for instance, valid in judged:
            if valid:
                measures.valid += 1
                measures.flops_valid += job.flops
            else:
                measures.invalid += 1
                measures.flops_invalid += job.flops
            if self._picks:  # or nobody asks what is thought of a host
                self._think(self.hosts[job.hosts[instance]], job, valid)

    def _think(self, host: Host, job: Job, valid: bool) -> None:
        """Think better or worse of a host, an instance of which was found valid or not."""
        if valid:
            host.quota = trust.after_valid(host.quota)
            if len(job.hosts) > 1 or not self._adaptive:  # one without others proves nothing
                host.consecutive_valid += 1
        else:
            host.quota = trust.after_invalid(host.quota, self._daily)
            host.consecutive_valid = 0

    def _assimilate(self, job: Job, assimilated: Assimilation) -> None:
        measures = self._measures
        if assimilated.instance is None:
            measures.failed += 1
        else:
            measures.done += 1
            measures.flops_done += job.flops
            if assimilated.output != RIGHT:
                measures.wrong += 1
        if self.trace is not None:
            self.trace("failed" if assimilated.instance is None else "done", job, None, None)
        self._handed_over(job, assimilated)

    # Hosts that report.

    def report(self, host: Host, task: Task) -> None:
        """Take what a host says of an instance."""
        job, ends, measures = task.job, task.ends, self._measures
        if self.trace is not None:
            self.trace(Happens(ends).name.lower(), job, task.instance, host)
        state, code = job.state, task.instance * KINDS + ends
        step = state.steps.get(code) or self.lives.step(state, code)
        if task.open:
            self._close(task)
        if step.ignored:
            measures.ignored += 1
        elif ends < FIRST_ERROR:
            measures.successes += 1
            measures.flops_returned += job.flops
            if host.quota < self._daily:  # which is rare
                host.quota = trust.after_success(host.quota, self._daily)
        else:
            measures.errors += 1
            measures.flops_errors += task.seconds * host.flops
            host.quota = trust.after_error(host.quota)
            host.consecutive_valid = 0
        if step.brings or step.state.work:
            self.take(job, step)
        else:
            job.state = step.state

    def is_unneeded(self, task: Task) -> bool:
        """Whether a client that has not started *task* is told to abort it.

        As pyboinc.project.abort_request(): its workunit has been assimilated or cancelled, or
        its deadline has passed.
        """
        return not task.open or task.job.state.unneeded

    def abort(self, host: Host, task: Task) -> None:
        """A client aborts an instance because it was told to: an error that costs nothing."""
        if self.trace is not None:
            self.trace("abort", task.job, task.instance, host)
        if task.open:
            self._close(task)
        self._measures.aborted += 1
        self.happens(task.job, task.instance * KINDS + _ERROR)

    def _close(self, task: Task) -> None:
        """Nobody waits for the deadline of an instance any more."""
        task.open = False
        self._deadlines[task.job.limits.delay_bound].remove(task)

    def _miss(self, task: Task) -> None:
        """The deadline of an instance passes."""
        task.open = False
        job = task.job
        host = self.hosts[job.hosts[task.instance]]
        if self.trace is not None:
            self.trace("expire", job, task.instance, host)
        self._measures.no_replies += 1
        host.quota = trust.after_error(host.quota)
        host.consecutive_valid = 0
        self.happens(job, task.instance * KINDS + _EXPIRE)

    # Hosts that ask for work.

    def request(
        self, host: Host, seconds: float, jobs: int, backlog: float, fraction: float
    ) -> list[Task]:
        """Give *host* work for *seconds* of its processors, at most *jobs* jobs.

        *backlog* are the seconds of work that it has, *fraction* is the share of time that it
        is on.
        """
        now, feeder = self._clock.now, self.feeder
        room = self._room(host, now, jobs) if self._limited or jobs > 1 else 1
        if now < self.sends_from:
            room = 0
        if room > 0 and not feeder.sleeps_from < now < feeder.sleeps_until:
            feeder.feed(now)
        slots, speed, number = feeder.slots, host.flops, host.number
        tasks: list[Task] = []
        passed_over: list[tuple[Job, int]] = []
        while slots and room > 0 and seconds > 0.0:
            job, instance = entry = slots.popleft()
            if instance not in job.state.unsent:
                feeder.unsent -= 1
                continue
            lasts = job.flops / speed
            if (number in job.hosts and self._once and not self._all_had(job)) or (
                backlog > 0.0
                and self._check
                and backlog / host.cores + lasts > job.limits.delay_bound * fraction
            ):
                passed_over.append(entry)
                continue
            if self._adaptive and job.state.workunit.target_nresults == 1:
                self._look_at_trust(host, job)
            tasks.append(self._send(host, job, instance, now, lasts))
            backlog += lasts
            seconds -= lasts / fraction
            room -= 1
        if passed_over:
            slots.extendleft(reversed(passed_over))
        if tasks:
            sent = len(tasks)
            feeder.unsent -= sent
            host.today += sent
            host.got_work = now
            self._measures.sent += sent
        return tasks

    def request_one(self, host: Host) -> Task | None:
        """Give *host*, which has no work, one job: as :meth:`request`, told without the rest."""
        feeder, now = self.feeder, self._clock.now
        slots = feeder.slots
        if self._picks or now < self.sends_from:
            tasks = self.request(host, 1.0, 1, 0.0, 1.0)
            return tasks[0] if tasks else None
        if not feeder.sleeps_from < now < feeder.sleeps_until:
            feeder.feed(now)
        if not slots:
            return None
        job, instance = slots[0]
        if instance not in job.state.unsent or (host.number in job.hosts and self._once):
            tasks = self.request(host, 1.0, 1, 0.0, 1.0)
            return tasks[0] if tasks else None
        slots.popleft()
        feeder.unsent -= 1
        self._measures.sent += 1
        return self._send(host, job, instance, now, job.flops / host.flops)

    def _room(self, host: Host, now: float, jobs: int) -> int:
        """How many jobs a host may get by the limits for it, and as it wants *jobs*."""
        policies = self.policies
        room = min(jobs, policies.max_wus_to_send * host.cores)
        if policies.daily_result_quota:
            day = int(now / DAY)
            if day != host.day:
                host.day, host.today = day, 0
            left = host.quota * host.cores - host.today
            if left < room:
                room = left
        if policies.min_sendwork_interval and now - host.got_work < policies.min_sendwork_interval:
            room = 0
        return room

    def _all_had(self, job: Job) -> bool:
        """Whether every host there is has had an instance of this workunit."""
        crowd = len(self.hosts)
        return len(job.hosts) > crowd and len(set(job.hosts)) > crowd

    def _send(self, host: Host, job: Job, instance: int, now: float, lasts: float) -> Task:
        state, code = job.state, instance * KINDS  # Happens.SEND is 0
        job.state = (state.steps.get(code) or self.lives.step(state, code)).state
        job.hosts[instance] = host.number
        if self.trace is not None:
            self.trace("send", job, instance, host)
        bound = job.limits.delay_bound
        task = host.begin(job, instance, lasts, now, now + bound)
        deadlines = self._deadlines.get(bound)
        if deadlines is None:
            deadlines = self._deadlines[bound] = Deadlines(self._clock, self._miss)
        deadlines.add(task)
        return task

    def _look_at_trust(self, host: Host, job: Job) -> None:
        drawn = draws.uniform(draws.stream(self._seed, host.number, draws.TRUST), host.drawn)
        if not trust.is_trusted(host.consecutive_valid, drawn):
            self._measures.replicated += 1
            self.happens(job, REPLICATE - self.policies.adaptive_target)

    def reply_time(self, now: float, jobs: int) -> float:
        """When the scheduler has answered a request that it gives *jobs* jobs."""
        cost = self._request_cost + self._dispatch_cost * jobs
        if not cost:
            return now
        first = self._free_at.index(min(self._free_at))
        self._free_at[first] = done = max(now, self._free_at[first]) + cost
        return done
