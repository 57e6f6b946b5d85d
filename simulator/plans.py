"""What one plans: a batch of jobs on some hosts, and what of it is tried with several values.

A :class:`Plan` is all that a simulation needs beside a seed.  ``NAME=V1,V2`` (``--sweep``) gives
the plans with each of some values; the names are the plan's own (``quorum``,
``delay_bound_days``, ...) and those of :mod:`simulator.policies` (``adaptive_target``, ...).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np

from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice
from simulator.availability import DAY
from simulator.distributions import Numbers
from simulator.policies import ClientPolicies, Limits, Policies, ServerPolicies
from simulator.population import GIGA, Population
from simulator.volunteers import read_hosts, spelled_out

MOST_JOBS = 10_000_000
LONGEST_DAYS = 3_650.0
MOST_POINTS = 1_000

_POLICIES = tuple(one.name for part in (ServerPolicies, ClientPolicies) for one in fields(part))

# What each number of a plan may be.
_RANGES: dict[str, tuple[float, float]] = {
    "jobs": (1, MOST_JOBS),
    "job_gflop": (1e-9, 1e15),
    "days": (1e-6, LONGEST_DAYS),
    "quorum": (1, 1_000),
    "redundancy": (0, 1_000),
    "delay_bound_days": (1e-6, LONGEST_DAYS),
    "max_errors": (1, 1_000_000),
    "input_bytes": (0, 1e15),
    "output_bytes": (0, 1e15),
}
_WHOLE = {"jobs", "quorum", "redundancy", "max_errors"}


@dataclass(frozen=True)
class Plan:
    """A batch and its volunteers; ``ConfigurationError`` for what can not be.

    * ``hosts``: texts as for ``--hosts`` (:mod:`simulator.volunteers`);
    * ``jobs`` of ``job_gflop`` (billions of floating-point operations) each;
    * ``days``: how long to look on at most;
    * ``quorum``: how many instances must agree; ``redundancy``: how many are made at first, if
      more than the quorum; ``delay_bound_days`` and ``max_errors``: as of a job's limits;
    * ``policies``: pairs of a policy's name and its value.
    """

    hosts: tuple[str, ...]
    jobs: int = 1_000
    job_gflop: float = 3_600.0
    days: float = 365.0
    quorum: int = 1
    redundancy: int = 0
    delay_bound_days: float = 7.0
    max_errors: int = 8
    input_bytes: float = 0.0
    output_bytes: float = 0.0
    policies: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high or (name in _WHOLE and value % 1):  # NaN is never fine
                kind = "a whole number" if name in _WHOLE else "a number"
                raise ConfigurationError(
                    f"{name}: {value:g} can not be; give {kind} from {low:g} to {high:g}"
                )

    @property
    def limits(self) -> Limits:
        """The limits of each job."""
        return Limits(
            min_quorum=int(self.quorum),
            target_nresults=max(int(self.redundancy), int(self.quorum)),
            max_error_results=int(self.max_errors),
            delay_bound=self.delay_bound_days * DAY,
            input_bytes=self.input_bytes,
            output_bytes=self.output_bytes,
        )

    @property
    def flops(self) -> float:
        """Floating-point operations of one instance."""
        return self.job_gflop * GIGA

    def rules(self) -> Policies:
        """BOINC's policies, with those that the plan changes."""
        return Policies().changed(**dict(self.policies))

    def with_value(self, name: str, text: str) -> Plan:
        """This plan with another value of *name*, which is the plan's or a policy's."""
        if name == "hosts":
            return dataclasses.replace(self, hosts=(text,))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if math.isnan(value):
            raise ConfigurationError(f"{name}: {text!r} is not a number")
        if name in _RANGES:
            whole = name in _WHOLE and math.isfinite(value) and value % 1 == 0
            change: dict[str, Any] = {name: int(value) if whole else value}
            return dataclasses.replace(self, **change)
        if name not in _POLICIES:
            possible = [*_RANGES, "hosts", *_POLICIES]
            raise ConfigurationError(f"there is nothing named {name!r}; {advice(name, possible)}")
        changed = {**dict(self.policies), name: _of_its_type(name, value)}
        plan = dataclasses.replace(self, policies=tuple(sorted(changed.items())))
        plan.rules()  # which refuses what can not be
        return plan

    def draw(self, seed: int) -> Population:
        """The population of this plan."""
        return Population(read_hosts(self.hosts), seed)


def _of_its_type(name: str, value: float) -> float:
    default = getattr(Policies().server, name, None)
    default = getattr(Policies().client, name) if default is None else default
    if isinstance(default, bool):
        return bool(value)
    if isinstance(default, int):
        if value % 1:
            raise ConfigurationError(f"{name}: {value:g} is not a whole number")
        return int(value)
    return value


# ---------------------------------------------------------------- sweeps

Values = tuple[tuple[str, str], ...]


def read_sweep(text: str) -> tuple[str, tuple[str, ...]]:
    """The name and the values of ``NAME=V1,V2``."""
    name, equals, rest = text.partition("=")
    values = tuple(value.strip() for value in rest.split(","))
    if not equals or not all(values) or len(set(values)) < len(values):
        raise ConfigurationError(
            f"--sweep {text}: write NAME=V1,V2 with different values, as in quorum=1,2,3"
        )
    return name.strip().replace("-", "_"), values


def sweep(plan: Plan, texts: Iterable[str]) -> list[tuple[Values, Plan]]:
    """Each combination of the values of *texts*, with its plan; without texts the plan alone."""
    axes = [read_sweep(text) for text in texts]
    names = [name for name, _ in axes]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"--sweep {name} is given twice; give all its values in one")
    points = list(product(*[[(name, value) for value in values] for name, values in axes]))
    if len(points) > MOST_POINTS:
        raise ConfigurationError(
            f"--sweep: {len(points)} combinations are too many; at most {MOST_POINTS} are possible"
        )
    plans = []
    for point in points:
        changed = plan
        for name, value in point:
            changed = changed.with_value(name, value)
        plans.append((point, changed))
    return plans


# ---------------------------------------------------------------- what can never be


def check(plan: Plan, population: Population) -> str:
    """Refuse a plan that can never end, and return a word of warning or nothing.

    ``ConfigurationError`` if no quorum of the hosts could ever do a job in time.
    """
    instances = plan.limits.target_nresults
    if instances > population.size:
        raise ConfigurationError(
            f"a quorum of {instances} needs as many hosts, for no host has two instances of a job,"
            f" and there {_are(population.size)}; take more hosts or a smaller quorum"
        )
    seconds = plan.flops / population.flops
    stays = population.leaves - population.joins
    able = (seconds <= plan.delay_bound_days * DAY) & (seconds <= stays)
    number = int(np.count_nonzero(able))
    if number < instances:
        raise ConfigurationError(_never(plan, population, seconds, number))
    unable = population.size - number
    if unable * 20 < population.size:
        return ""
    return (
        f"{unable} of {population.size} hosts can not do a job of {plan.job_gflop:g} GFLOP within"
        f" {plan.delay_bound_days:g} days, even if they are always on"
    )


def _are(number: int) -> str:
    return "is 1" if number == 1 else f"are {number}"


def _never(plan: Plan, population: Population, seconds: Numbers, able: int) -> str:
    quickest = int(np.argmin(seconds))
    return (
        f"{able or 'none'} of {population.size} hosts can do a job of {plan.job_gflop:g} GFLOP"
        f" within {plan.delay_bound_days:g} days and before it leaves, but a job needs"
        f" {plan.limits.target_nresults}: the quickest"
        f" ({population.flops[quickest] / GIGA:.3g} GFLOPS a core) needs"
        f" {seconds[quickest] / DAY:.3g} days, always on; give smaller jobs, a longer delay bound"
        " or other hosts"
    )


def describe(plan: Plan, sizes: Sequence[int], swept: Iterable[str] = ()) -> str:
    """The plan in one line, without what is *swept*; *sizes* are the numbers of its hosts."""
    low, high = min(sizes), max(sizes)
    hosts = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    kinds = "" if "hosts" in swept else f" ({' + '.join(map(spelled_out, plan.hosts))})"
    jobs = "jobs" if "jobs" in swept else f"{plan.jobs:,} jobs"
    size = "" if "job_gflop" in swept else f" of {plan.job_gflop:,g} GFLOP"
    rest = {
        "quorum": f"quorum {plan.quorum}",
        "delay_bound_days": f"delay bound {plan.delay_bound_days:g} days",
    }
    told = [text for name, text in rest.items() if name not in swept]
    return ", ".join([f"{jobs}{size} on {hosts} hosts{kinds}", *told])
