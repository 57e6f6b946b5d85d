"""Random small scenarios for the simulator, and everything that happens in them.

A scenario is made of one number: hosts, policies, limits, workunits, and who else decides how
instances end.  ``python tests/scenarios.py NUMBER`` prints its trace, ``--digests`` the digests
of all; those of the first engine are in data/simulator_traces.txt, and every later one is held
to them by ``test_sim_engine.py``.
"""

from __future__ import annotations

import hashlib
import random
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import simulator
from simulator import presets
from simulator.availability import Always, Daily, Model, Renewal, Trace
from simulator.distributions import Clipped, Distribution, Exponential, Fixed, Uniform
from simulator.jobs import SILENT, Fate
from simulator.lives import Happens
from simulator.policies import DAY, Limits, Policies
from simulator.population import Hosts, Population
from simulator.world import World

if TYPE_CHECKING:
    from simulator.host import Host
    from simulator.jobs import Job

DIGESTS = Path(__file__).parent / "data" / "simulator_traces.txt"
SCENARIOS = 80

LEAN = {"buffer_min": 0.0, "daily_result_quota": 0, "jobs_at_a_time": 1}
"""The client that most comparisons are about: it asks for one job when it has none."""


class Scenario:
    """One world and what is done with it; ``trace`` holds a line for each thing that happens."""

    def __init__(self, number: int) -> None:
        self.random = random.Random(f"scenario {number}")
        self.trace: list[str] = []
        rules = Policies().changed(**self._policies())
        fates = self._fate if self.random.random() < 0.2 else None
        groups = [self._hosts() for _ in range(self.random.choice((1, 1, 1, 2)))]
        self.world = World(Population(groups, number), rules, number, fates=fates)
        self.world.server.trace = self._sees
        self._fates = random.Random(f"fates {number}")

    def run(self) -> list[str]:
        """Play it to its end; the last lines are the counts."""
        if self.random.random() < 0.4:
            self._endless()
        else:
            self._batch()
        world = self.world
        self.trace.append(repr(asdict(world.measures)))
        self.trace.append(f"{world.now.hex()} {world.data.load(world.now).hex()}")
        return self.trace

    def _endless(self) -> None:
        flops = self._flops()
        self.world.endless(flops=flops, limits=self._limits())
        for _ in range(3):
            self.world.run(self.world.now + self.random.uniform(0.02, 0.6) * DAY)

    def _batch(self) -> None:
        chance, world = self.random, self.world
        limits, kinds = self._limits(), chance.choice((1, 1, 2))
        all_limits = [limits, *(self._limits() for _ in range(kinds - 1))]
        jobs = []
        for number in range(chance.randint(1, 80)):
            priority = chance.choice((0, 0, 0, 1))
            limits = all_limits[number % kinds]
            flops = self._flops() if number < kinds or chance.random() < 0.5 else jobs[-1].flops
            jobs.append(
                world.create(f"job {number}", number, flops=flops, limits=limits, priority=priority)
            )
        for _ in range(200):
            outcomes = world.run_until_outcome(60 * DAY, 20 * DAY)
            if not outcomes:
                break
            for one in outcomes:
                self.trace.append(f"{one.time.hex()} {one.name} {one.instance} {one.label}")
            if chance.random() < 0.05:
                world.cancel(chance.choice(jobs))
            if chance.random() < 0.05:
                world.reissue(outcomes[0].job)

    def _sees(self, what: str, job: Job, instance: int | None, host: Host | None) -> None:
        number = None if host is None else host.number
        self.trace.append(f"{self.world.now.hex()} {what} {job.sequence} {instance} {number}")

    def _fate(self, job: Job, instance: int, host: Host) -> Fate:
        chance = self._fates.random()
        ends = SILENT if chance < 0.05 else int(self._fates.choice(list(Happens)[1:8]))
        if chance > 0.4:
            ends = int(Happens.RIGHT)
        hold = 1.5 * job.limits.delay_bound if chance > 0.95 else 0.0
        return Fate(ends, job.flops / host.flops * chance, hold, 0.5 < chance < 0.55)

    # What it is made of.

    def _policies(self) -> dict[str, float]:
        chance, wishes = self.random, {}
        if chance.random() < 0.5:
            wishes.update(LEAN)
        if chance.random() < 0.25:
            for daemon in ("transitioner", "validator", "assimilator", "deleter"):
                wishes[f"{daemon}_interval"] = chance.choice((0.0, 0.0, 0.0, 30.0))
        some = {
            "one_result_per_host": (0, 0),
            "deadline_check": (0, 0),
            "feeder_interval": (0.0, 60.0),
            "feeder_slots": (1, 7, 1000),
            "max_wus_to_send": (1, 2),
            "daily_result_quota": (1, 3, 0),
            "min_sendwork_interval": (6.0, 5000.0),
            "adaptive_target": (2, 3),
            "request_cost": (0.01, 10.0),
            "dispatch_cost": (0.01, 5.0),
            "servers": (2, 3),
            "bandwidth": (80e6, 1e4),
            "retry_delay": (30.0, 7200.0),
            "buffer_min": (0.0, 0.01 * DAY, DAY),
            "buffer_extra": (0.0, 2 * DAY),
            "backoff_min": (1.0, 60.0),
            "fetch_period": (0.0, 1000.0),
            "report_delay": (0.0, 60.0, 1e6),
            "deadline_margin": (0.0, 3600.0),
            "jobs_at_a_time": (1, 1, 2),
        }
        for name, values in some.items():
            if chance.random() < 0.15:
                wishes[name] = chance.choice(values)
        return wishes

    def _hosts(self) -> Hosts:
        chance = self.random
        none, connection = Fixed(0.0), (Fixed(float("inf")), Fixed(1e5), Uniform(1e3, 1e6))
        speed: Distribution = Clipped(Exponential(1 / 0.1734), 0.07, 117.71)
        return Hosts(
            count=chance.choice((1, 2, 5, 12, 30)),
            speed_gflops=chance.choice((speed, speed, Fixed(1.0), Fixed(5.0))),
            cores=chance.choice((Fixed(1.0), Fixed(1.0), Fixed(2.0), Uniform(1, 8))),
            availability=self._availability(),
            joining_days=chance.choice((none, none, Uniform(0, 5))),
            lifetime_days=chance.choice(
                (Fixed(float("inf")), Fixed(float("inf")), Exponential(10))
            ),
            error_rate=chance.choice((none, Fixed(0.05), Uniform(0, 0.5), Fixed(1.0))),
            wrong_rate=chance.choice((none, Fixed(0.05), Uniform(0, 0.5))),
            downstream=chance.choice(connection),
            upstream=chance.choice(connection),
        )

    def _availability(self) -> Model:
        record = Trace((0.0, 40_000.0), (30_000.0, 80_000.0), DAY, True)
        exponential = Renewal(Exponential(5.0), Exponential(2.0))
        often = Renewal(Exponential(0.3), Exponential(0.1))
        seti = presets.seti_all_iid()
        return self.random.choice(
            (Always(), seti, seti, exponential, often, Daily(8), Daily(9, 5), record)
        )

    def _limits(self) -> Limits:
        chance = self.random
        quorum = chance.choice((1, 2, 2, 2, 3))
        return Limits(
            min_quorum=quorum,
            target_nresults=chance.choice((0, 0, 0, quorum + 1)),
            max_error_results=chance.choice((8, 8, 1, 3)),
            max_total_results=(most := chance.choice((0, 0, quorum + 8))),
            max_success_results=most and quorum + 2,
            delay_bound=chance.choice((7 * DAY, 7 * DAY, 1e8, DAY, 10_000.0)),
            input_bytes=chance.choice((0.0, 1024.0, 30e6)),
            output_bytes=chance.choice((0.0, 1024.0, 10e6)),
        )

    def _flops(self) -> float:
        return self.random.choice((7.56e12, 3.6e12, 3.6e13, self.random.uniform(1e11, 2e14)))


def digest(number: int) -> str:
    """The digest of a scenario's trace."""
    return hashlib.sha256("\n".join(Scenario(number).run()).encode()).hexdigest()[:16]


def recorded() -> list[str]:
    """The digests of all scenarios as they were recorded."""
    return DIGESTS.read_text().split()


if __name__ == "__main__":
    if sys.argv[1:] == ["--digests"]:
        print(simulator.ENGINE, *map(digest, range(SCENARIOS)), sep="\n")
    else:
        print("\n".join(Scenario(int(sys.argv[1])).run()))
