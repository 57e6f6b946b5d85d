"""The simulator's distributions: quantiles and means are those that the parameters name."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.errors import ConfigurationError
from simulator.distributions import (
    Clipped,
    Distribution,
    Empirical,
    Exponential,
    Fixed,
    Gamma,
    Hyperexponential,
    LogNormal,
    Normal,
    Uniform,
    Weibull,
    parse,
)

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here

PHASES = ((0.338, 0.029), (0.390, 30.121), (0.272, 1.069))
TEXTS: dict[str, Distribution] = {
    "3.5": Fixed(3.5),
    "fixed:3.5": Fixed(3.5),
    "uniform:1,3": Uniform(1, 3),
    "exponential:5": Exponential(5),
    "weibull:0.8,2": Weibull(0.8, 2),
    "lognormal:-0.5,0.8": LogNormal(-0.5, 0.8),
    "normal:4,0.5": Normal(4, 0.5),
    "gamma:0.357,43.652": Gamma(0.357, 43.652),
    "gamma:7,2": Gamma(7, 2),
    "hyperexponential:0.338,0.029,0.390,30.121,0.272,1.069": Hyperexponential(PHASES),
    "empirical:0=1,0.5=4,1=64": Empirical(((0, 1), (0.5, 4), (1, 64))),
}
each_distribution = pytest.mark.parametrize("distribution", TEXTS.values(), ids=TEXTS)
UNIT = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize("text", TEXTS)
def test_every_form_can_be_written(text: str) -> None:
    """Each documented text is read as what it says."""
    assert parse(text) == TEXTS[text]


@each_distribution
def test_the_mean_is_that_of_the_quantiles(distribution: Distribution) -> None:
    """A distribution's mean is the mean of what is drawn from it, to one in a thousand."""
    parts = 20_000
    mean = fmean(distribution.quantile((i + 0.5) / parts) for i in range(parts))
    assert mean == pytest.approx(distribution.mean, rel=2e-3)


@each_distribution
@given(one=UNIT, other=UNIT)
def test_quantiles_are_finite_and_rise(
    distribution: Distribution, one: float, other: float
) -> None:
    """A larger draw is never a smaller value, and no draw is infinite."""
    low, high = distribution.quantile(min(one, other)), distribution.quantile(max(one, other))
    assert -math.inf < low <= high < math.inf


@each_distribution
def test_many_quantiles_are_those_of_one_at_a_time(distribution: Distribution) -> None:
    """A million hosts drawn at once are the hosts drawn one by one."""
    us = np.arange(0, 1, 1 / 512)
    assert distribution.quantiles(us).tolist() == pytest.approx(
        [distribution.quantile(u) for u in us.tolist()], rel=1e-15
    )


def hyperexponential_below(x: float) -> float:
    return -math.fsum(p * math.expm1(-rate * x) for p, rate in PHASES)


@pytest.mark.parametrize("x", [1e-6, 1e-3, 0.02, 0.5, 3, 20, 200, 900])
def test_the_hyperexponential_inverts_its_distribution_function(x: float) -> None:
    """The table behind a quantile is right to 1e-4, at both ends too."""
    assert Hyperexponential(PHASES).quantile(hyperexponential_below(x)) == pytest.approx(x, 1e-4)


@pytest.mark.parametrize("u", [1e-6, 0.01, 0.3, 0.5, 0.9, 0.999, 1 - 1e-9])
def test_gamma_is_the_exponential_where_it_must_be(u: float) -> None:
    """Gamma of shape 1 is exponential, of shape 1/2 a squared normal, of shape 2 a sum of two."""
    assert Gamma(1, 3).quantile(u) == pytest.approx(Exponential(3).quantile(u), 1e-4)
    assert Gamma(0.5, 2).quantile(u) == pytest.approx(Normal(0, 1).quantile((1 + u) / 2) ** 2, 2e-4)
    x = Gamma(2, 1).quantile(u)
    assert math.exp(-x) * (1 + x) == pytest.approx(1 - u, rel=3e-3)


def test_clipped_values_stay_in_their_range() -> None:
    """What lies outside counts as the end; the mean is that of the clipped exponential."""
    speeds = Clipped(Exponential(1 / 0.1734), 0.07, 117.71)

    assert speeds.quantile(0) == 0.07
    assert speeds.quantile(1 - 2**-53) == 117.71
    exact = 0.07 + (math.exp(-0.1734 * 0.07) - math.exp(-0.1734 * 117.71)) / 0.1734
    assert speeds.mean == pytest.approx(exact, rel=1e-3)


def test_clipped_below_alone_keeps_the_mean_of_the_tail() -> None:
    """A distribution cut at 0 alone has its own mean, plus what was cut."""
    assert Clipped(Exponential(2)).mean == pytest.approx(2)
    assert Clipped(Normal(0, 1)).mean == pytest.approx(1 / math.sqrt(2 * math.pi), rel=1e-3)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("soon", "'soon' is not a number; write for example"),
        ("nan", "not a number"),
        ("inf", "not a number"),
        ("weibul:1,2", "no distribution 'weibul'; did you mean weibull"),
        ("uniform:1", r"takes 2 numbers \(low, high\), not 1"),
        ("exponential:1,2", r"takes 1 number \(mean\), not 2"),
        ("uniform:2,1", "low is above high"),
        ("exponential:0", "mean can not be 0; give a number above 0"),
        ("weibull:0,1", "shape can not be 0"),
        ("weibull:0.001,1", "shape can not be 0.001; give a number from 0.05"),
        ("lognormal:51,1", "mu from -50 to 50"),
        ("normal:1,-1", "deviation can not be -1"),
        ("gamma:0.01,1", "shape can not be 0.01; give a number from 0.05"),
        ("hyperexponential:0.5,1,0.4,2", "add up to 0.9"),
        ("hyperexponential:0.5,1,0.5", "each probability needs its rate"),
        ("hyperexponential:0.5,1,0.5,0", "rate can not be 0"),
        ("empirical:0=1", "quantiles that rise"),
        ("empirical:0=1,1", "'' is not a number"),
        ("empirical:0=1,0.5=0.5,1=2", "quantiles that rise"),
    ],
)
def test_a_distribution_that_can_not_be_is_refused(text: str, says: str) -> None:
    """A wrong text is one clear message, with what is allowed."""
    with pytest.raises(ConfigurationError, match=says):
        parse(text)


def test_a_range_must_have_an_inside() -> None:
    """A clipped distribution whose ends are swapped is refused."""
    with pytest.raises(ConfigurationError, match="swap them"):
        Clipped(Fixed(1), 2, 1)
