"""The measured cases of ComBoS again: the same hosts, with its client's habits, on our server.

    python benchmarks/combos.py [--cases a,b,b',d,c,c'] [--seeds N] [--seed N]

ComBoS (arcos-combos/combos on GitHub, at 1078912, 2016; C on SimGrid 3.11) is the most complete
simulator of BOINC that one can run.  Its figures for a day of 100 to 10,000 hosts are known by
measurement, and so are the habits of its client (read in Files/boinc_simulator.c), which are not
BOINC's: it asks for one result when it has less than a second of work, reports and asks in two
messages, looks at the clock only when something wakes it or after an hour, and never slows a
task that runs.  :class:`CombosHost` has these habits; server, data server, validator and
assimilator are ours, so what is compared is these.

Speeds are exponential: what 1,000 hosts do in a day varies by 4 % from seed to seed with the sum
of their speeds.  So figures are given for each GFLOPS of the population as well.

One rule differs and is meant to.  When a right and a wrong output meet at quorum 2, BOINC sends
the workunit to a third host; ComBoS leaves it as it is for ever.  So with the project's rules
more of the received results become valid, 0.9025 instead of 0.8574 in the long run.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
from collections.abc import Callable
from dataclasses import dataclass

os.environ["PYBOINC_SIMULATOR"] = "python"  # its hosts are a class made of ours

from simulator import draws
from simulator.clock import Alarm
from simulator.distributions import Clipped, Exponential, Fixed, LogNormal, Weibull
from simulator.host import Host
from simulator.jobs import Task
from simulator.policies import DAY, Limits, Policies
from simulator.population import Hosts, Population
from simulator.world import World

FLOPS = 7.56e12
MEAN_SPEED = 5.767
"""GFLOPS of a host: Exp(0.1734) between 0.07 and 117.71."""
HOUR = 3600.0
MESSAGE = 13.01 * 0.01505
"""Seconds of a small message: three links of 10 ms, 50 us and 5 ms, times SimGrid's factor."""
LINK = 121.25e6
"""Bytes a second of a host's link."""
DISK = 80e6
"""Bytes a second of the data server's disk."""
UP, DOWN = Weibull(0.393, 2.964), LogNormal(-0.586, 2.844)
MB = 1 << 20

WAIT, IS_DOWN = "wait", "down"
SLEEP, ASK = "sleep", "ask"


@dataclass(frozen=True)
class Case:
    """A day of *hosts*, sizes of files (bytes), and what ComBoS said in the mean of its runs.

    ``one`` is what it sent in the one run that is usually quoted, ``runs`` how many the means
    are of.
    """

    hosts: int
    input_bytes: float
    output_bytes: float
    messages: int
    sent: int
    runs: int
    one: int
    availability: float
    busy: float
    tolerance: float = 0.03


CASES = {
    "a": Case(100, 30 * MB, 10 * MB, 7_516, 3_809, 24, 4_703, 0.617, 0.023, 0.10),
    "b": Case(1_000, 30 * MB, 10 * MB, 74_978, 38_003, 24, 38_615, 0.617, 0.230),
    "b'": Case(1_000, 1024, 1024, 74_265, 37_646, 24, 36_964, 0.617, 0.0),
    "d": Case(3_000, 30 * MB, 10 * MB, 221_555, 112_318, 2, 112_888, 0.617, 0.677),
    "c": Case(10_000, 30 * MB, 10 * MB, 331_670, 170_930, 2, 170_950, 0.617, 1.0, 0.05),
    "c'": Case(10_000, 1024, 1024, 755_510, 382_893, 1, 381_609, 0.617, 0.0),
}
"""The run of c' was of hosts with 5.85 GFLOPS in the mean."""

MEAN_SPEEDS = {"c'": 5.85}


class Call(Alarm):
    """Something is done once."""

    def __init__(self, do: Callable[[], None]) -> None:
        self._do = do

    def ring(self) -> None:
        """Do it."""
        self._do()


class CombosHost(Host):
    """A host with the habits of ComBoS' client."""

    __slots__ = (
        "_arrives",
        "_down_ends",
        "_drawn",
        "_fetch",
        "_held",
        "_main",
        "_started",
        "_stream",
        "_suspended",
        "_timer",
        "_unreported",
        "_up_end",
        "downs",
        "ups",
    )

    def join(self) -> None:
        self._main, self._fetch = WAIT, SLEEP
        self._up_end: float | None = None
        self._suspended = 0.0
        self._started: Task | None = None
        self._arrives: Task | None = None
        self._held = False
        self._down_ends = 0.0
        self._unreported: list[Task] = []
        self._timer = 0
        self._drawn = 0
        self._stream = draws.stream(self._world.seed, self.number, draws.UP)
        self.ups = self.downs = 0.0
        first = draws.uniform(draws.stream(self._world.seed, self.number, draws.JOINING), 0)
        self._at(first * HOUR, self._step)
        self._look(self._now)

    @property
    def _now(self) -> float:
        return self._world.clock.now

    def _at(self, time: float, do: Callable[[], None]) -> None:
        self._world.clock.set(Call(do), time)

    def _draw(self, distribution: Weibull | LogNormal) -> float:
        hours = distribution.quantile(draws.uniform(self._stream, self._drawn))
        self._drawn += 1
        return min(hours * HOUR, max(DAY - self._now, 0.0))

    # The main thread.

    def _look(self, now: float) -> None:
        """It wakes, and only then sees what time it is."""
        if self._main != WAIT:
            return
        if self._up_end is None:
            up = self._draw(UP)
            self.ups += up
            self._up_end = now + up
        if self._started is None and self._arrives is not None:
            self._begin_task(now)
        elif self._started is None and self._fetch == WAIT:
            self._step()
        if math.ceil(now) >= self._up_end and now < DAY:
            self._go_down(now)
        else:
            self._wait(now)

    def _wait(self, now: float) -> None:
        self._timer += 1
        mark = self._timer

        def ring() -> None:
            if mark == self._timer:
                self._look(self._now)

        self._at(now + HOUR, ring)

    def _go_down(self, now: float) -> None:
        self._timer += 1
        down = self._draw(DOWN)
        self.downs += down
        self._up_end = None
        self._suspended = down
        self._main = IS_DOWN
        # A task that ends meanwhile, and was not begun at this very instant, ends with it.
        self._held = self._started is not None and self._started.ready < now
        self._down_ends = now + down
        if self._fetch == WAIT:
            self._step()
        self._at(now + down, self._come_up)

    def _come_up(self) -> None:
        self._main = WAIT
        self._wait(self._now)
        task = self._started
        if task is not None and task.finish <= self._now:
            self._held = False
            self._at(self._now, lambda: self._end_task(task))  # after the fetch thread

    def _begin_task(self, now: float) -> None:
        task = self._arrives
        assert task is not None
        self._arrives, self._started = None, task
        task.ready = now
        task.finish = now + task.seconds
        self._at(task.finish, lambda: self._end_task(task))

    def _end_task(self, task: Task) -> None:
        if self._started is not task:
            return
        if self._main == IS_DOWN and self._held and self._now < self._down_ends:
            return  # it takes effect when the computer is on again
        self._started = None
        self._unreported.append(task)
        self._look(self._now)

    # The thread that fetches.

    def _step(self) -> None:
        now = self._now
        if self._suspended > 0:
            sleeps, self._suspended = self._suspended, 0.0
            self._fetch = SLEEP
            self._at(now + sleeps, self._step)
        elif self._arrives is not None or (
            self._started is not None and self._started.finish - now >= 1.0
        ):
            self._fetch = WAIT
        else:
            self._fetch = ASK
            self._ask()

    def _ask(self) -> None:
        """Report what is done, one message each, then ask for one more."""
        if self._unreported:
            task = self._unreported.pop(0)
            self._at(self._now + MESSAGE, lambda: self._say(task))
        else:
            self._at(self._now + MESSAGE, self._request)

    def _say(self, task: Task) -> None:
        world = self._world
        world.measures.messages += 1
        world.server.report(self, task)
        size = task.job.limits.output_bytes
        arrives = self._now + MESSAGE + size / LINK

        def uploaded() -> None:
            world.data.transfer(self._now, size)  # nobody waits for the disk
            self._ask()

        self._at(arrives, uploaded)

    def _request(self) -> None:
        world = self._world
        world.measures.messages += 1
        (task,) = world.server.request(self, 1.0, 1, 0.0, 1.0)
        asks = world.server.reply_time(self._now, 0) + 2 * MESSAGE
        size = task.job.limits.input_bytes

        def download() -> None:
            through = world.data.transfer(self._now, size)
            self._at(through + MESSAGE + size / LINK, lambda: self._deliver(task))

        self._at(asks, download)

    def _deliver(self, task: Task) -> None:
        self._arrives = task
        self._fetch = WAIT
        self._look(self._now)
        self._at(self._now + 60.0, lambda: self._step() if self._fetch == WAIT else None)

    def availability_drawn(self) -> float:
        """The share of up-times in all that was drawn, as ComBoS measures it."""
        return self.ups / (self.ups + self.downs) if self.ups else 1.0


def run(case: Case, seed: int, disk: float = DISK) -> tuple[World, dict[str, float]]:
    """Simulate a day of *case*; the figures are those of the table."""
    group = Hosts(
        count=case.hosts,
        speed_gflops=Clipped(Exponential(1 / 0.1734), 0.07, 117.71),
        error_rate=Fixed(0.05),
        wrong_rate=Fixed(0.05),
    )
    policies = Policies().changed(
        bandwidth=disk,
        request_cost=0.003,
        daily_result_quota=0,
        one_result_per_host=0,
        deadline_check=0,
    )
    world = World(Population([group], seed), policies, seed, host=CombosHost)
    limits = Limits(
        2, delay_bound=1e8, input_bytes=case.input_bytes, output_bytes=case.output_bytes
    )
    world.endless(flops=FLOPS, limits=limits)
    world.run(DAY)
    counts = world.measures
    received = counts.successes + counts.errors
    gflops = float(world.population.flops.sum()) / 1e9
    shares = [host.availability_drawn() for host in world.hosts if isinstance(host, CombosHost)]
    return world, {
        "messages": counts.messages,
        "sent": counts.sent,
        "sent for each GFLOPS": counts.sent / gflops,
        "messages a result": counts.messages / counts.sent,
        "success": counts.successes / received,
        "valid": counts.valid / received,
        "GFLOPS a host": counts.flops_valid / DAY / case.hosts / 1e9,
        "availability": statistics.mean(shares),
        "busy": world.data.load(DAY),
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    options = parser.parse_args()
    for name in options.cases.split(","):
        case = CASES[name]
        runs = [run(case, options.seed + n)[1] for n in range(options.seeds)]
        mean = {key: statistics.mean(one[key] for one in runs) for key in runs[0]}
        print(line(name, case, mean), flush=True)


def line(name: str, case: Case, mean: dict[str, float]) -> str:
    """How our figures stand to theirs; a saturated server does not care for the hosts' speeds."""
    speed = 1.0 if name == "c" else MEAN_SPEEDS.get(name, MEAN_SPEED)
    theirs = case.sent / case.hosts / speed
    ours = mean["sent"] / case.hosts if name == "c" else mean["sent for each GFLOPS"]
    off = ours / theirs - 1
    word = "met" if abs(off) <= case.tolerance else "MISSED"
    return (
        f"{name:2} {case.hosts:6,} hosts: {mean['sent']:9,.0f} results sent "
        f"(theirs {case.sent:,}); "
        f"{ours:.2f} for each {'host' if name == 'c' else 'GFLOPS'} ({theirs:.2f}), {off:+.1%}: "
        f"{word} {case.tolerance:.0%}\n"
        f"     {mean['messages a result']:.3f} messages a result "
        f"({case.messages / case.sent:.3f}), success {mean['success']:.1%} (95.0%), valid "
        f"{mean['valid']:.1%}, available {mean['availability']:.3f} ({case.availability:.3f}), "
        f"data server {mean['busy']:.1%} ({case.busy:.1%})"
    )


if __name__ == "__main__":
    main()
