"""Volunteers and a project in virtual time.

A :class:`World` is a population of hosts and one server on one clock.  Somebody makes
workunits and lets the time run::

    world = World(population, Policies(), seed=7)
    world.create("batch_0", 0, flops=3.6e12, limits=Limits(min_quorum=2))
    for outcome in world.run_until_outcome():
        print(outcome.name, "is done at", outcome.time)

The same population, policies, seed and workunits give the same events, to the last bit.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import NamedTuple

from pyboinc.project import Assimilation, ErrorMask, Output
from simulator.clock import Clock, nothing_collected
from simulator.host import Host
from simulator.jobs import Fate, Job
from simulator.lives import CANCEL, REISSUE
from simulator.measures import Measures
from simulator.network import DataServer
from simulator.policies import DAY, Limits, Policies
from simulator.population import Population
from simulator.reliability import Reliability
from simulator.server import Server

__all__ = ["Fate", "Fates", "Job", "Limits", "Outcome", "Policies", "World"]

Fates = Callable[[Job, int, Host], Fate]
"""Says how an instance of a workunit will end that is sent to a host."""


class Outcome(NamedTuple):
    """A workunit that was assimilated: ``instance`` is None if it failed.

    ``label`` says which output it was (see simulator.lives), ``time`` when.
    """

    job: Job
    instance: int | None
    label: Output
    error_mask: ErrorMask
    time: float

    @property
    def name(self) -> str:
        """The name of the workunit."""
        return self.job.name


_OF_HOSTS = tuple(
    "flops cores joins leaves error_rate wrong_rate downstream upstream".split()  # noqa: SIM905 # a list of eight would take a screen
)


class World:
    """A population and a project; nothing happens but in :meth:`run` and its like.

    *fates* decides how instances end, if their hosts do not; *host* is what a host is, if it has
    other habits than BOINC's client.
    """

    def __init__(
        self,
        population: Population,
        policies: Policies | None = None,
        seed: int = 0,
        *,
        fates: Fates | None = None,
        host: type[Host] = Host,
    ) -> None:
        policies = policies or Policies()
        self.population = population
        self.policies = policies
        self.client = policies.client
        self.seed = seed
        self.fates = fates
        self.clock = Clock(population.size)
        self.measures = Measures()
        self.reliability = Reliability(population, seed)
        self.data = DataServer(policies.server.bandwidth)
        self.outcomes: list[Outcome] = []
        """What was assimilated since somebody took it from here."""
        self._records = True
        self.server = Server(self.clock, policies.server, self.measures, seed, self._assimilated)
        columns = (getattr(population, name).tolist() for name in _OF_HOSTS)
        with nothing_collected():
            self.hosts = [host(self, *one) for one in enumerate(zip(*columns, strict=True))]
        self.server.hosts = self.hosts

    @property
    def plain(self) -> bool:
        """Whether a client asks when it has nothing to do, for one job, and is told at once."""
        client = self.client
        when_idle = not client.buffer_min and client.buffer_extra > 0
        return when_idle and client.jobs_at_a_time == 1 and self.server.free and self.fates is None

    @property
    def now(self) -> float:
        """Seconds of virtual time."""
        return self.clock.now

    def create(
        self,
        name: str,
        sequence: int,
        *,
        flops: float,
        limits: Limits,
        priority: int = 0,
    ) -> Job:
        """Make a workunit whose instances take *flops* FLOP each."""
        return self.server.create(name, sequence, flops, limits, priority)

    def endless(self, *, flops: float, limits: Limits) -> None:
        """There is always another workunit like this; what becomes of each is only counted."""
        self._records = False
        self.server.feeder.source = self.server.stock(flops, limits)

    def cancel(self, job: Job) -> None:
        """Cancel a workunit: nothing more is sent, and its owner is told."""
        self.server.happens(job, CANCEL)

    def reissue(self, job: Job) -> None:
        """Do a finished workunit again."""
        self.server.happens(job, REISSUE)

    def run(self, until: float = inf) -> float:
        """Let time pass until *until*, or until nothing can happen any more; return the time."""
        self.clock.run_on(until)
        self.clock.rest(until)
        return self.now

    def run_until_outcome(self, until: float = inf, patience: float = 100 * DAY) -> list[Outcome]:
        """Let time pass until something was assimilated, and return what.

        Nothing is returned if nothing was until *until*, or if nothing was sent, reported or
        missed its deadline for *patience* seconds: then nothing ever will.
        """
        while not self.outcomes:
            events, mark = self._events(), min(until, self.now + patience)
            self.clock.run_on(mark, self.outcomes)
            if not self.outcomes:
                self.clock.rest(mark)
                if self.now >= until or events == self._events():
                    break
        taken, self.outcomes = list(self.outcomes), []
        return taken

    def _events(self) -> tuple[int, ...]:
        counts = self.measures
        return counts.sent, counts.successes, counts.errors, counts.no_replies, counts.ignored

    def _assimilated(self, job: Job, assimilated: Assimilation) -> None:
        if self._records:
            self.outcomes.append(Outcome(job, *assimilated, self.now))
