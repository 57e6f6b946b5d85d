"""The world of :mod:`simulator.world`, as a campaign uses it.

What happens to an instance is told by the campaign, which ran its slave and drew its faults; when
it happens is the world's business.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pyboinc.backends.simulated.fates import Fate
from pyboinc.backends.simulated.project import Decision
from pyboinc.faults import FaultPlan, Kind
from pyboinc.project import NEVER, Outcome, Result, Results, Workunit
from simulator import policies
from simulator.jobs import SILENT
from simulator.jobs import Fate as HostFate
from simulator.lives import RIGHT, Happens
from simulator.population import Population
from simulator.volunteers import read_hosts
from simulator.world import World

if TYPE_CHECKING:
    from pyboinc.config.limits import Limits
    from simulator.host import Host
    from simulator.jobs import Job

SUSPENDED = 4 * 3600.0
"""Seconds for which a volunteer needs the computer that an instance is suspended on."""

OUTAGE = 4 * 3600.0
"""Seconds for which the server sends no work after a report at which an outage strikes."""

LATE = 1.5
"""When an instance that is late is reported, in delay bounds after it was sent."""

Fates = Callable[[int, int, Any], Fate]


class Volunteers:
    """A population of hosts, described as by ``--hosts``, and the world that it makes."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self.groups = read_hosts(hosts)
        self.number = sum(group.count for group in self.groups)

    def world(self, faults: FaultPlan, fates: Fates) -> Volunteered:
        """Return the world that the seed of *faults* makes of them, in which these strike."""
        seed = faults.seed
        return Volunteered(World(Population(self.groups, seed), seed=seed), faults, fates)


class Volunteered:
    """A world whose hosts are told what becomes of the instances that they get."""

    def __init__(self, world: World, faults: FaultPlan, fates: Fates) -> None:
        self._world = world
        self._faults = faults
        self._reports = 0
        self._fates = fates
        self._jobs: dict[int, Job] = {}
        self._told: dict[tuple[int, int], Fate] = {}
        self._times: dict[tuple[int, int], list[float]] = {}
        world.fates = self._fate
        world.server.trace = self._see

    @property
    def now(self) -> float:
        """The virtual time (s)."""
        return self._world.now

    def create(
        self, name: str, sequence: int, *, flops: float, limits: Limits, priority: int = 0
    ) -> int:
        """Make a workunit, and return its number."""
        allowed = policies.Limits(
            min_quorum=limits.quorum,
            max_error_results=limits.max_errors,
            delay_bound=limits.delay_bound,
        )
        job = self._world.create(name, sequence, flops=flops, limits=allowed, priority=priority)
        self._jobs[job.sequence] = job
        return job.sequence

    def cancel(self, workunit: int) -> None:
        """Give a workunit up."""
        self._world.cancel(self._jobs[workunit])

    def reissue(self, workunit: int) -> None:
        """Do a finished workunit again."""
        self._world.reissue(self._jobs[workunit])

    def run_until_outcome(self, until: float = math.inf) -> list[Decision]:
        """Let time pass until something was decided, or until *until*."""
        return [
            Decision(one.job.sequence, one.instance, self._label(one.job, one.instance))
            for one in self._world.run_until_outcome(until)
        ]

    def _label(self, job: Job, instance: int | None) -> str | None:
        return None if instance is None else self._told[job.sequence, instance].label

    # What happens to instances.

    def _fate(self, job: Job, instance: int, host: Host) -> HostFate:
        fate = self._told[job.sequence, instance] = self._fates(job.sequence, instance, host.number)
        hold = LATE * job.limits.delay_bound if Kind.LATE in fate.kinds else 0.0
        seconds = job.flops / host.flops
        share, _, _ = self._faults.details(job.sequence, instance)
        if Kind.RESTART in fate.kinds:  # so far it had come, and begins again
            seconds *= 1.0 + share
        if Kind.SUSPEND in fate.kinds:
            seconds += SUSPENDED
        return HostFate(_ends(fate), seconds, hold, Kind.DUPLICATE in fate.kinds)

    def _see(self, what: str, job: Job, instance: int | None, host: Host | None) -> None:
        """Take note of the times at which instances are sent and come back."""
        if instance is None or what == "expire":
            return
        if what == "send":
            self._times[job.sequence, instance] = [self.now]
        else:
            self._times[job.sequence, instance].append(self.now)
            self._reports += 1
            if self._faults.strikes(Kind.SERVER_OUTAGE, "report", self._reports):
                self._world.server.sends_from = self.now + OUTAGE

    # Looking.

    def rows(self, workunit: int) -> tuple[Workunit, Results]:
        """Return the rows of a workunit as they are now."""
        job = self._jobs[workunit]
        row = job.state.workunit.copy()
        row.id, row.name, row.priority = job.sequence, job.name, job.priority
        return row, tuple(self._row(job, one) for one in job.state.results)

    def _row(self, job: Job, timeless: Result) -> Result:
        row = timeless.copy()
        row.workunit, row.workunit_name = job.sequence, job.name
        times = self._times.get((job.sequence, row.instance))
        if times is None:
            row.report_deadline = NEVER
            return row
        host, fate = job.hosts[row.instance], self._told[job.sequence, row.instance]
        row.host = f"host-{host + 1}"
        row.sent_time = times[0]
        row.report_deadline = times[0] + job.limits.delay_bound
        row.received_time = times[1] if row.received_time is not None else None
        if row.outcome == Outcome.CLIENT_ERROR:
            row.exit_status = fate.exit_status
        if row.output is not None:
            row.output = fate.label
        return row


def _ends(fate: Fate) -> int:
    """Return what a host says of an instance with this fate."""
    if Kind.HANG in fate.kinds or Kind.VANISH in fate.kinds:
        return SILENT
    if fate.upload_failed:
        return Happens.UPLOAD_FAILED
    if fate.exit_status:
        return Happens.ERROR
    if fate.label is not None:
        return Happens.RIGHT if fate.label == RIGHT else Happens.WRONG
    return Happens.GARBAGE if Kind.GARBAGE in fate.kinds else Happens.NO_FILE
