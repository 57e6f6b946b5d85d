"""Latencies: what can be written, and that the samples have the distribution it names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.errors import ConfigurationError
from pyboinc.faults.draws import uniform
from pyboinc.faults.latency import LONGEST, Latency

SECONDS = st.floats(0, LONGEST)
POSITIVE = st.floats(1e-3, 1e6)
LATENCIES = st.one_of(
    st.builds(lambda a: Latency("constant", (a,)), SECONDS),
    st.builds(lambda a, b: Latency("uniform", (min(a, b), max(a, b))), SECONDS, SECONDS),
    st.builds(lambda a: Latency("exponential", (a,)), SECONDS),
    st.builds(lambda a, b: Latency("lognormal", (a, b)), st.floats(-50, 50), SECONDS),
    st.builds(lambda a, b: Latency("weibull", (a, b)), POSITIVE, POSITIVE),
)
UNIT = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("text", "family", "parameters"),
    [
        ("0", "constant", (0.0,)),
        (" 2.5 ", "constant", (2.5,)),
        ("constant:2.5", "constant", (2.5,)),
        ("uniform:0.1,2", "uniform", (0.1, 2.0)),
        ("exponential:0.5", "exponential", (0.5,)),
        ("lognormal:-1,2", "lognormal", (-1.0, 2.0)),
        ("weibull:0.393,10670", "weibull", (0.393, 10670.0)),
    ],
)
def test_every_form_can_be_written(text: str, family: str, parameters: tuple[float, ...]) -> None:
    """Each documented form is read as what it says."""
    assert Latency.parse(text) == Latency(family, parameters)


@given(LATENCIES)
def test_the_text_of_a_latency_reads_back(latency: Latency) -> None:
    """What `pyboinc config` prints can be given again and means exactly the same."""
    assert Latency.parse(str(latency)) == latency


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("soon", "can not be read"),
        ("uniform:a,b", "can not be read"),
        ("normal:1,2", "no latency 'normal'.*exponential:mean"),
        ("uniform:1", r"takes 2 numbers \(low, high\), not 1"),
        ("exponential:1,2", r"takes 1 number \(mean\), not 2"),
        ("uniform:2,1", "low is larger than high"),
        ("-1", "seconds can not be -1; give a number from 0"),
        ("nan", "seconds can not be nan"),
        ("inf", "seconds can not be inf"),
        ("lognormal:51,1", "mu can not be 51; give a number from -50 to 50"),
        ("lognormal:1,-1", "sigma can not be -1"),
        ("weibull:0,1", "shape can not be 0; give a number above 0"),
    ],
)
def test_a_latency_that_can_not_be_is_refused(text: str, says: str) -> None:
    """A wrong latency is one clear message, with what is allowed."""
    with pytest.raises(ConfigurationError, match=says):
        Latency.parse(text)


@given(LATENCIES, UNIT, UNIT)
def test_samples_are_finite_and_rise_with_the_quantile(
    latency: Latency, one: float, other: float
) -> None:
    """A delay is never negative, infinite or NaN, and a larger draw is never a shorter delay."""
    low, high = latency.sample(min(one, other)), latency.sample(max(one, other))

    assert 0 <= low <= high <= LONGEST


@pytest.mark.parametrize(
    ("text", "mean"),
    [
        ("3", 3.0),
        ("uniform:1,2", 1.5),
        ("exponential:0.5", 0.5),
        ("lognormal:0,0.5", 1.1331),  # exp(1/8)
        ("weibull:2,1", 0.8862),  # gamma(3/2)
    ],
)
def test_samples_have_the_mean_of_their_distribution(text: str, mean: float) -> None:
    """The parameters mean what their names say."""
    latency = Latency.parse(text)

    total = sum(latency.sample(uniform(1, "latency", i)) for i in range(4_000))

    assert total / 4_000 == pytest.approx(mean, rel=0.03)


def test_the_default_is_no_delay() -> None:
    """Without --latency a result comes when it is done."""
    assert Latency().sample(0.99) == 0
    assert str(Latency()) == "0"
