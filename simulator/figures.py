"""The figures of simulated campaigns: of one run, over its seeds, and conditions on them.

A figure is a number with a name: ``days``, ``jobs_per_day``, ``wasted``, ...  Over the seeds of a
plan it has percentiles; a condition is written ``p95_days>7`` or, of the mean, ``wasted>0.5``.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice

#: Each figure of a run, and what it says.
FIGURES: dict[str, str] = {
    "days": "until the last job was done or had failed; infinite if some were left",
    "tail_days": "of these, after 90 % of the jobs",
    "jobs_per_day": "jobs done per day of the campaign",
    "done": "jobs with an accepted output",
    "wrong": "of these, with a wrong one",
    "failed": "jobs that could not be done",
    "unfinished": "jobs that were neither when the time was up",
    "results": "instances sent",
    "results_per_job": "instances sent per job done",
    "missed": "instances whose deadline passed without a report",
    "wasted": "share of the computing that was for nothing but certainty",
    "messages_per_day": "requests of clients to the scheduler",
    "results_per_day": "instances sent per day",
    "server_load": "results_per_day as a share of 8.8 million, which one cheap computer can send",
    "data_load": "share of the time in which the data server was busy",
}

#: Causes of wasted work, and what they mean.
WASTE: dict[str, str] = {
    "redundancy": "right results beyond the first: the price of the quorum",
    "errors": "instances that ended in an error",
    "invalid": "results that lost the vote",
    "not judged": "results that came when nobody needed them any more",
    "not returned": "instances never heard of again or still out at the end, counted as whole",
}

DISPATCHED_A_DAY = 8.8e6
"""Jobs a day that BOINC's server handed out on one cheap computer: Anderson, Korpela and Walton,
"High-performance task distribution for volunteer computing", e-Science 2005 [A]."""


@dataclass(frozen=True)
class Sample:
    """How far a run was at one time (s)."""

    time: float
    waiting: int
    """Jobs of which nothing has been sent yet, and so on."""
    running: int
    done: int
    failed: int
    sent: int


@dataclass(frozen=True)
class Work:
    """One instance on a sampled host: sent and over (s), and how it ended."""

    sent: float
    over: float
    ended: str
    job: str


@dataclass(frozen=True)
class HostLife:
    """A sampled host: when it was up, and what it worked on (s)."""

    number: int
    gflops: float
    ups: tuple[tuple[float, float], ...]
    works: tuple[Work, ...]


@dataclass(frozen=True)
class Run:
    """What one simulation gave."""

    seed: int
    hosts: int
    figures: Mapping[str, float]
    waste: Mapping[str, float]
    """Share of all computing, by cause."""
    samples: tuple[Sample, ...] = field(repr=False)
    events: int = 0
    lives: tuple[HostLife, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Summary:
    """The runs of one plan, with different seeds."""

    runs: tuple[Run, ...]

    def values(self, name: str) -> list[float]:
        """The values of a figure, from the smallest to the largest."""
        return sorted(run.figures[name] for run in self.runs)

    def percentile(self, name: str, percent: float) -> float:
        """The smallest value that at least so many percent of the runs do not exceed.

        With fewer than 100 runs the 99th is the largest: nothing is made up between runs.
        """
        values = self.values(name)
        return values[max(math.ceil(percent / 100 * len(values) - 1e-9), 1) - 1]

    def mean(self, name: str) -> float:
        """The mean of a figure."""
        return math.fsum(self.values(name)) / len(self.runs)

    def waste(self) -> dict[str, float]:
        """The mean share of wasted computing, by cause."""
        return {
            cause: math.fsum(run.waste[cause] for run in self.runs) / len(self.runs)
            for cause in WASTE
        }


# ---------------------------------------------------------------- conditions

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Condition:
    """A figure, a comparison and a number: what must not be true."""

    text: str
    figure: str
    percent: float | None
    comparison: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """The condition that *text* says; ``ConfigurationError`` for what is none."""
        parts = re.fullmatch(r"\s*(?:p(\d+(?:\.\d+)?)_)?(\w+)\s*(>=|<=|>|<)\s*(\S+)\s*", text)
        try:
            if parts is None:
                raise ValueError
            percent, name, comparison, number = parts.groups()
            bound = float(number)
        except ValueError:
            raise ConfigurationError(
                f'--fail-if {text!r} can not be read; write for example "p95_days>7" or "wrong>0"'
            ) from None
        if name not in FIGURES:
            raise ConfigurationError(
                f"--fail-if {text}: there is no figure {name!r}; {advice(name, FIGURES)}"
            )
        if math.isnan(bound) or (percent is not None and not 0 < float(percent) <= 100):
            raise ConfigurationError(
                f"--fail-if {text}: give a number, and a percentile above p0 and at most p100"
            )
        return cls(text.strip(), name, float(percent) if percent else None, comparison, bound)

    def value(self, summary: Summary) -> float:
        """The figure that is looked at."""
        if self.percent is None:
            return summary.mean(self.figure)
        return summary.percentile(self.figure, self.percent)

    def holds(self, summary: Summary) -> bool:
        """Whether what must not be true is true."""
        return _COMPARISONS[self.comparison](self.value(summary), self.bound)


def find_failures(
    conditions: Sequence[Condition], summaries: Sequence[tuple[str, Summary]]
) -> list[str]:
    """A line for each condition that holds of a named summary, with the value at fault."""
    return [
        f"{condition.text}: it is {condition.value(summary):.6g}{f' with {name}' if name else ''}"
        for condition in conditions
        for name, summary in summaries
        if condition.holds(summary)
    ]
