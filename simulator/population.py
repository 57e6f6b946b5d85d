"""A population of hosts: one numpy column for each thing that is known of a host.

:class:`Hosts` describes a group of hosts alike, by distributions; :class:`Population` draws
the columns of some groups from a seed, a million hosts in a second or two.  What a host is
depends on the seed, its number and its own group alone.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pyboinc.errors import ConfigurationError
from simulator import draws
from simulator.availability import DAY, Always, Availability, Model, Renewal
from simulator.distributions import Distribution, Fixed, Numbers

GIGA = 1e9
ONE, NONE, NEVER = Fixed(1.0), Fixed(0.0), Fixed(math.inf)
FIVE = Fixed(5.0)
ALWAYS = Always()

MOST = 10_000_000
"""Hosts of a population: more than BOINC has ever had, and about 1 GB of columns."""

_TICKS = 2.0**20

_AT_A_TIME = 1024
_DRAWN = 24
"""Numbers that are drawn at once for each of so many hosts: those of twelve cycles."""


@dataclass(frozen=True)
class Hosts:
    """A group of hosts: how many, and the distribution of whatever differs among them.

    * ``speed_gflops``: of one core; ``cores``: how many, rounded to a whole number;
    * ``availability``: when they are up; ``joining_days`` from the start of the simulation,
      ``lifetime_days`` from joining to leaving for ever;
    * ``error_rate``: the probability that an instance ends in a client error; ``wrong_rate``: that
      the output of one that does not is wrong.  One draw for each host: some are good, some bad;
    * ``downstream``, ``upstream`` (bytes/s) and ``latency`` (s) of the host's own connection.
    """

    count: int = 0
    speed_gflops: Distribution = FIVE
    cores: Distribution = ONE
    availability: Model = ALWAYS
    joining_days: Distribution = NONE
    lifetime_days: Distribution = NEVER
    error_rate: Distribution = NONE
    wrong_rate: Distribution = NONE
    downstream: Distribution = NEVER
    upstream: Distribution = NEVER
    latency: Distribution = NONE


class Population:
    """The hosts of some groups, drawn from *seed*; ``ConfigurationError`` if there are none.

    Each column is a numpy array with an element for each host: ``flops`` (of one core),
    ``cores`` (int32), ``joins`` and ``leaves`` (s; inf), ``error_rate``, ``wrong_rate``,
    ``downstream`` and ``upstream`` (bytes/s; inf), ``latency`` (s).
    """

    flops: Numbers
    cores: NDArray[np.int32]
    joins: Numbers
    leaves: Numbers
    error_rate: Numbers
    wrong_rate: Numbers
    downstream: Numbers
    upstream: Numbers
    latency: Numbers

    def __init__(self, groups: Sequence[Hosts], seed: int) -> None:
        self.groups, self.seed = tuple(groups), seed
        self.size = sum(group.count for group in groups)
        if not self.size:
            raise ConfigurationError("there are no hosts; say how many, as in --hosts 200")
        if self.size > MOST:
            raise ConfigurationError(f"{self.size} hosts are too many; at most {MOST} are possible")
        self._first = np.cumsum([0] + [group.count for group in groups[:-1]])
        self._models = [group.availability for group in groups]
        self._block = -1
        self._numbers = np.empty(0)
        columns = [
            _Draws(group, seed, int(first)).columns()
            for group, first in zip(groups, self._first, strict=True)
            if group.count
        ]
        for name in columns[0]:
            setattr(self, name, np.concatenate([each[name] for each in columns]))

    def availability(self, host: int) -> Availability:
        """When *host* is up; a new one at each call, at the time of its joining."""
        group = int(np.searchsorted(self._first, host, "right")) - 1 if len(self._models) > 1 else 0
        model = self._models[group].of(host - int(self._first[group]))
        drawn = self._drawn_for(host) if isinstance(model, Renewal) else ()
        stream = draws.stream(self.seed, host, draws.UP)
        joins, leaves = float(self.joins[host]), float(self.leaves[host])
        return Availability(model, stream, joins, leaves, drawn)

    def _drawn_for(self, host: int) -> Sequence[float]:
        """The first numbers of the stream of a host's availability: of many hosts at a time."""
        block, row = divmod(host, _AT_A_TIME)
        if block != self._block:
            hosts = np.arange(block * _AT_A_TIME, min((block + 1) * _AT_A_TIME, self.size))
            streams = draws.streams(self.seed, hosts, draws.UP)
            self._numbers = np.stack([draws.uniforms(streams, n) for n in range(_DRAWN)], axis=1)
            self._block = block
        return array("d", self._numbers[row].tobytes())


class _Draws:
    """The columns of one group, whose hosts are numbered from *first*."""

    def __init__(self, group: Hosts, seed: int, first: int) -> None:
        self.group, self.seed = group, seed
        self.hosts = np.arange(first, first + group.count)

    def columns(self) -> dict[str, NDArray[np.float64] | NDArray[np.int32]]:
        group = self.group
        joins = self._ticked(self._of(group.joining_days, draws.JOINING) * DAY)
        lifetime = self._of(group.lifetime_days, draws.LIFETIME) * DAY
        return {
            # To a thousand FLOPS: the last bit of a machine's logarithm makes no difference.
            "flops": np.maximum(np.rint(self._of(group.speed_gflops, draws.SPEED) * 1e6), 1) * 1e3,
            "cores": np.maximum(np.rint(self._of(group.cores, draws.CORES)), 1).astype(np.int32),
            "joins": joins,
            "leaves": self._ticked(joins + lifetime),
            "error_rate": self._of(group.error_rate, draws.RELIABILITY, 0).clip(0, 1),
            "wrong_rate": self._of(group.wrong_rate, draws.RELIABILITY, 1).clip(0, 1),
            "downstream": self._of(group.downstream, draws.CONNECTION, 0),
            "upstream": self._of(group.upstream, draws.CONNECTION, 1),
            "latency": self._of(group.latency, draws.CONNECTION, 2),
        }

    def _of(self, distribution: Distribution, what: int, n: int = 0) -> Numbers:
        if isinstance(distribution, Fixed):  # most columns: no need to draw
            return np.full(len(self.hosts), float(distribution.value))
        return distribution.quantiles(draws.uniforms(draws.streams(self.seed, self.hosts, what), n))

    def _ticked(self, times: Numbers) -> Numbers:
        return np.floor(np.maximum(times, 0) * _TICKS) / _TICKS
