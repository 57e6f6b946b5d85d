"""Distributions of one number: its quantile at u, and its mean.

Everything that a host draws is the quantile of a distribution at a number u in [0, 1) that
is a hash of the host (:mod:`simulator.draws`): one number is drawn for one value, so a
larger speed of one host never shifts what another one draws.

A text says the same in one word, as for latencies (:mod:`pyboinc.faults.latency`)::

    3.5                         always this
    uniform:LOW,HIGH
    exponential:MEAN
    weibull:SHAPE,SCALE
    lognormal:MU,SIGMA          of the natural logarithm
    normal:MEAN,DEVIATION
    gamma:SHAPE,SCALE
    hyperexponential:P,RATE,P,RATE,...
    empirical:U=VALUE,...       quantiles; straight between them

Parameters are in the unit of what is drawn: hours for up- and down-times, GFLOPS for speeds.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice

Numbers = NDArray[np.float64]

_normal_quantile = NormalDist().inv_cdf  # written in C, 0.3 us

_SMALLEST = 2.0**-54
"""Below all numbers that are drawn but 0, whose quantile need not be finite."""

_MIDPOINTS = 20_000
"""Equal parts of [0, 1) whose midpoints give a mean that has no formula."""


class Distribution(ABC):
    """A distribution of numbers; immutable, and equal if its parameters are."""

    @abstractmethod
    def quantile(self, u: float) -> float:
        """The value that a share *u* in [0, 1) of all values lies below."""

    @property
    @abstractmethod
    def mean(self) -> float:
        """The mean of all values."""

    def quantiles(self, many: Numbers) -> Numbers:
        """The quantile at each of *many*: the same numbers to the last bit, on every machine."""
        return np.fromiter(map(self.quantile, many.tolist()), np.float64, len(many))


@dataclass(frozen=True)
class Fixed(Distribution):
    """Always the same value."""

    value: float

    def quantile(self, u: float) -> float:
        return self.value

    @property
    def mean(self) -> float:
        return self.value

    def quantiles(self, many: Numbers) -> Numbers:
        return np.full(len(many), float(self.value))


@dataclass(frozen=True)
class Uniform(Distribution):
    """All values from *low* to *high* alike."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ConfigurationError(f"uniform:{self.low:g},{self.high:g}: low is above high")

    def quantile(self, u: float) -> float:
        return self.low + (self.high - self.low) * u

    @property
    def mean(self) -> float:
        return (self.low + self.high) / 2


@dataclass(frozen=True)
class Exponential(Distribution):
    """Times between events that come at any moment alike."""

    mean_value: float

    def __post_init__(self) -> None:
        _check_above_zero("exponential", mean=self.mean_value)

    def quantile(self, u: float) -> float:
        return -self.mean_value * math.log1p(-u)

    @property
    def mean(self) -> float:
        return self.mean_value


@dataclass(frozen=True)
class Weibull(Distribution):
    """A shape below 1: many short values and a few very long ones."""

    shape: float
    scale: float

    def __post_init__(self) -> None:
        _check_above_zero("weibull", shape=self.shape, scale=self.scale)
        if not 0.05 <= self.shape <= 100:
            raise ConfigurationError(
                f"weibull: shape can not be {self.shape:g}; give a number from 0.05 to 100"
            )

    def quantile(self, u: float) -> float:
        return self.scale * math.pow(-math.log1p(-u), 1 / self.shape)

    @property
    def mean(self) -> float:
        return self.scale * math.gamma(1 + 1 / self.shape)


@dataclass(frozen=True)
class LogNormal(Distribution):
    """The natural logarithm is normal, with mean *mu* and standard deviation *sigma*."""

    mu: float
    sigma: float

    def __post_init__(self) -> None:
        if not abs(self.mu) <= 50 or not 0 <= self.sigma <= 20:
            raise ConfigurationError(
                f"lognormal:{self.mu:g},{self.sigma:g} can not be;"
                " give mu from -50 to 50 and sigma from 0 to 20"
            )

    def quantile(self, u: float) -> float:
        return math.exp(self.mu + self.sigma * _normal_quantile(u if u > _SMALLEST else _SMALLEST))

    @property
    def mean(self) -> float:
        return math.exp(self.mu + self.sigma**2 / 2)


@dataclass(frozen=True)
class Normal(Distribution):
    """The bell curve."""

    mean_value: float
    deviation: float

    def __post_init__(self) -> None:
        if not 0 <= self.deviation < math.inf:
            raise ConfigurationError(
                f"normal: deviation can not be {self.deviation:g}; give a number from 0"
            )

    def quantile(self, u: float) -> float:
        return self.mean_value + self.deviation * _normal_quantile(
            u if u > _SMALLEST else _SMALLEST
        )

    @property
    def mean(self) -> float:
        return self.mean_value


@dataclass(frozen=True)
class Gamma(Distribution):
    """The gamma distribution; its quantile is read from a table (to 1e-4 of the value)."""

    shape: float
    scale: float

    def __post_init__(self) -> None:
        _check_above_zero("gamma", shape=self.shape, scale=self.scale)
        if not 0.05 <= self.shape <= 50:
            raise ConfigurationError(
                f"gamma: shape can not be {self.shape:g}; give a number from 0.05 to 50"
            )

    def quantile(self, u: float) -> float:
        return self.scale * _gamma_table(self.shape).quantile(u)

    @property
    def mean(self) -> float:
        return self.shape * self.scale


@dataclass(frozen=True)
class Hyperexponential(Distribution):
    """One of some exponential distributions, each with its probability and its rate (1/mean)."""

    phases: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        total = math.fsum(p for p, _ in self.phases)
        if not self.phases or abs(total - 1) > 1e-6 or min(p for p, _ in self.phases) < 0:
            raise ConfigurationError(
                f"hyperexponential: the probabilities add up to {total:g}; they must make 1"
            )
        for _, rate in self.phases:
            _check_above_zero("hyperexponential", rate=rate)

    def quantile(self, u: float) -> float:
        return _hyperexponential_table(self.phases).quantile(u)

    @property
    def mean(self) -> float:
        return math.fsum(p / rate for p, rate in self.phases)


@dataclass(frozen=True)
class Empirical(Distribution):
    """What was measured: (u, value) pairs, the quantiles; straight between them."""

    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        shares, values = self._shares, self._values
        rises = list(shares) == sorted(set(shares)) and list(values) == sorted(values)
        if len(shares) < 2 or not rises or (shares[0], shares[-1]) != (0, 1):
            raise ConfigurationError(
                "empirical: give quantiles that rise, from 0=SMALLEST to 1=LARGEST,"
                " as in empirical:0=1,0.5=4,1=64"
            )

    @property
    def _shares(self) -> tuple[float, ...]:
        return tuple(share for share, _ in self.points)

    @property
    def _values(self) -> tuple[float, ...]:
        return tuple(value for _, value in self.points)

    def quantile(self, u: float) -> float:
        above = bisect_right(self.points, (u, math.inf))
        low, first = self.points[above - 1]
        high, last = self.points[min(above, len(self.points) - 1)]
        return first if low == high else first + (last - first) * (u - low) / (high - low)

    @property
    def mean(self) -> float:
        pairs = zip(self.points, self.points[1:], strict=False)
        return math.fsum((v + w) / 2 * (b - a) for (a, v), (b, w) in pairs)

    def quantiles(self, many: Numbers) -> Numbers:
        return np.interp(many, self._shares, self._values)


@dataclass(frozen=True)
class Clipped(Distribution):
    """*of*, but what is below *low* counts as *low*, and what is above *high* as *high*."""

    of: Distribution
    low: float = 0.0
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ConfigurationError(f"nothing lies from {self.low:g} to {self.high:g}; swap them")

    def quantile(self, u: float) -> float:
        value = self.of.quantile(u)
        return self.low if value < self.low else self.high if value > self.high else value

    @cached_property
    def mean(self) -> float:
        middles = (np.arange(_MIDPOINTS) + 0.5) / _MIDPOINTS
        values = self.of.quantiles(middles)
        if self.high == math.inf:  # a long tail has no good mean of midpoints
            return self.of.mean + float(np.maximum(self.low - values, 0).mean())
        return float(values.clip(self.low, self.high).mean())


def _check_above_zero(name: str, **parameters: float) -> None:
    for parameter, value in parameters.items():
        if not 0 < value <= 1e12:
            raise ConfigurationError(
                f"{name}: {parameter} can not be {value:g}; give a number above 0"
            )


class _Table:
    """A quantile read from a table of the hazard -log(1 - F(x)) at many x.

    Both axes are logarithmic: a distribution that begins like a power, or ends like
    an exponential, is nearly straight there, and the ends of the table go on as they are.
    """

    STEP = 0.02

    def __init__(self, hazard: Callable[[float], float], low: float, high: float) -> None:
        count = math.ceil(math.log(high / low) / self.STEP) + 1
        self.values = [math.log(low) + i * self.STEP for i in range(count)]
        self.hazards = [math.log(hazard(math.exp(value))) for value in self.values]

    def quantile(self, u: float) -> float:
        wanted = math.log(-math.log1p(-max(u, _SMALLEST)))
        place = min(max(bisect_right(self.hazards, wanted), 1), len(self.hazards) - 1)
        first, last = self.hazards[place - 1], self.hazards[place]
        return math.exp(self.values[place - 1] + self.STEP * (wanted - first) / (last - first))


@cache
def _gamma_table(shape: float) -> _Table:
    # Below the first x the distribution is a power of x; beyond the last u is 1.
    return _Table(lambda x: _gamma_hazard(shape, x), min(1e-4, shape / 1e3), 50 + 4 * shape)


def _gamma_hazard(shape: float, x: float) -> float:
    """-log(Q(shape, x)), where Q is the regularised upper incomplete gamma function."""
    front = shape * math.log(x) - x - math.lgamma(shape)
    if x < shape + 1:  # the series of P = 1 - Q
        term = total = 1 / shape
        n = shape
        while term > total * 1e-15:
            n += 1
            term *= x / n
            total += term
        return -math.log1p(-total * math.exp(front))
    value = 0.0  # the continued fraction of Q, from its far end
    for n in range(200, 0, -1):
        value = n * (shape - n) / (x + 2 * n + 1 - shape + value)
    return math.log(x + 1 - shape + value) - front


@cache
def _hyperexponential_table(phases: tuple[tuple[float, float], ...]) -> _Table:
    def hazard(x: float) -> float:
        return -math.log1p(math.fsum(p * math.expm1(-rate * x) for p, rate in phases))

    rates = [rate for p, rate in phases if p]
    return _Table(hazard, 1e-4 / max(rates), 30 / min(rates))


# ---------------------------------------------------------------- texts

_FAMILIES: dict[str, type[Distribution]] = {
    "fixed": Fixed,
    "uniform": Uniform,
    "exponential": Exponential,
    "weibull": Weibull,
    "lognormal": LogNormal,
    "normal": Normal,
    "gamma": Gamma,
}
_FORMS = (*_FAMILIES, "hyperexponential", "empirical")


def parse(text: str) -> Distribution:
    """The distribution that *text* describes; a bare number is always that number.

    ``ConfigurationError`` for a family that there is not, or numbers that make none.
    """
    family, colon, rest = text.strip().partition(":")
    if not colon:
        family, rest = "fixed", family
    if family not in _FORMS:
        raise ConfigurationError(f"there is no distribution {family!r}; {advice(family, _FORMS)}")
    if family == "empirical":
        return Empirical(tuple(_pair(text, part) for part in rest.split(",")))
    numbers = [_number(text, part) for part in rest.split(",")]
    if family == "hyperexponential":
        if len(numbers) % 2:
            raise ConfigurationError(f"{text!r}: each probability needs its rate")
        return Hyperexponential(tuple(zip(numbers[::2], numbers[1::2], strict=True)))
    return _with_parameters(_FAMILIES[family], family, numbers)


def _with_parameters(
    made: type[Distribution], family: str, numbers: Sequence[float]
) -> Distribution:
    names = [field.name.removesuffix("_value") for field in fields(made)]  # type: ignore[arg-type]  # each is a dataclass
    if len(numbers) != len(names):
        raise ConfigurationError(
            f"distribution {family} takes {len(names)} number{'s' * (len(names) > 1)}"
            f" ({', '.join(names)}), not {len(numbers)}"
        )
    return made(*numbers)


def _number(text: str, part: str) -> float:
    try:
        number = float(part)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(
            f"distribution {text!r}: {part.strip()!r} is not a number;"
            " write for example 3.5 or lognormal:1.27,0.99"
        )
    return number


def _pair(text: str, part: str) -> tuple[float, float]:
    share, _, value = part.partition("=")
    return _number(text, share), _number(text, value)
