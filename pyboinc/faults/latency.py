"""How long things take: distributions of delays, written in one word and drawn by hash.

``0``, ``2.5``, ``constant:2.5``, ``uniform:0.1,2``, ``exponential:0.5`` (its mean),
``lognormal:mu,sigma`` (of the logarithm of the seconds), ``weibull:shape,scale``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pyboinc.errors import ConfigurationError

#: No delay is longer than this (seconds, about 30 years): heavy tails must end somewhere.
LONGEST = 1e9


def _constant(u: float, value: float) -> float:
    return value


def _uniform(u: float, low: float, high: float) -> float:
    return low + (high - low) * u


def _exponential(u: float, mean: float) -> float:
    return -mean * math.log1p(-u)


def _lognormal(u: float, mu: float, sigma: float) -> float:
    from statistics import NormalDist  # slow to import, and few need it

    normal = NormalDist().inv_cdf(max(u, 2.0**-54))  # 0 itself has no finite quantile
    return math.exp(min(mu + sigma * normal, 700.0))


def _weibull(u: float, shape: float, scale: float) -> float:
    return math.exp(min(math.log(scale) + math.log(-math.log1p(-max(u, 2.0**-54))) / shape, 700.0))


#: name -> (inverse of the distribution function, names of its parameters)
_FAMILIES: dict[str, tuple[Callable[..., float], tuple[str, ...]]] = {
    "constant": (_constant, ("seconds",)),
    "uniform": (_uniform, ("low", "high")),
    "exponential": (_exponential, ("mean",)),
    "lognormal": (_lognormal, ("mu", "sigma")),
    "weibull": (_weibull, ("shape", "scale")),
}

_FORMS = ", ".join(f"{name}:{','.join(names)}" for name, (_, names) in _FAMILIES.items())


@dataclass(frozen=True)
class Latency:
    """A distribution of delays in seconds; immutable, and ``str()`` of it parses back.

    ``ConfigurationError`` for an unknown family, a wrong number of parameters, or
    parameters that make no distribution of finite times from 0 upwards.
    """

    family: str = "constant"
    parameters: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        if self.family not in _FAMILIES:
            raise ConfigurationError(f"there is no latency {self.family!r}; write one of: {_FORMS}")
        names = _FAMILIES[self.family][1]
        if len(self.parameters) != len(names):
            raise ConfigurationError(
                f"latency {self.family} takes {len(names)} number{'s' * (len(names) > 1)}"
                f" ({', '.join(names)}), not {len(self.parameters)}"
            )
        for name, value in zip(names, self.parameters, strict=True):
            self._check(name, value)
        if self.family == "uniform" and self.parameters[0] > self.parameters[1]:
            raise ConfigurationError(f"latency {self}: low is larger than high; swap them")

    def _check(self, name: str, value: float) -> None:
        if name == "mu":
            fine, allowed = abs(value) <= 50, "from -50 to 50"
        elif name in ("shape", "scale"):
            fine, allowed = 0 < value <= LONGEST, f"above 0, at most {LONGEST:g}"
        else:
            fine, allowed = 0 <= value <= LONGEST, f"from 0 to {LONGEST:g}"
        if not fine:  # NaN is never fine
            raise ConfigurationError(
                f"latency {self.family}: {name} can not be {value:g}; give a number {allowed}"
            )

    @classmethod
    def parse(cls, text: str) -> Latency:
        """The distribution that *text* describes; a bare number is a constant."""
        family, colon, rest = text.strip().partition(":")
        if not colon:
            family, rest = "constant", family
        try:
            parameters = tuple(float(number) for number in rest.split(","))
        except ValueError:
            raise ConfigurationError(
                f"latency {text!r} can not be read; write seconds, or one of: {_FORMS}"
            ) from None
        return cls(family.strip(), parameters)

    def __str__(self) -> str:
        numbers = ",".join(repr(float(p)).removesuffix(".0") for p in self.parameters)
        return numbers if self.family == "constant" else f"{self.family}:{numbers}"

    def sample(self, u: float) -> float:
        """The delay in seconds at quantile *u* (in [0, 1)), at most :data:`LONGEST`.

        Rounded to a microsecond, so that the last bit of a machine's ``log`` does not
        make two machines differ.
        """
        inverse = _FAMILIES[self.family][0]
        return round(min(inverse(u, *self.parameters), LONGEST), 6)
