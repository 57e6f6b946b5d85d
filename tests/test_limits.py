"""Limits of a job: what can be given with a call, and what BOINC's workunit gets from it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.config.limits import READERS, Limits, checked
from pyboinc.errors import ConfigurationError

LIMITS = st.builds(
    Limits,
    delay_bound=st.floats(0.001, 1e8),
    max_errors=st.integers(1, 10**6),
    quorum=st.integers(1, 1000),
    priority=st.integers(-(2**31), 2**31 - 1),
    memory=st.floats(1, 1e15),
    disk=st.floats(1, 1e15),
    fpops=st.floats(1, 1e24),
)


def test_the_defaults_are_those_of_create_work() -> None:
    """A job without limits is what BOINC's create_work makes, but for the retries."""
    assert Limits().workunit() == {
        "min_quorum": 1,
        "target_nresults": 1,
        "max_error_results": 8,
        "max_total_results": 19,
        "max_success_results": 19,
        "delay_bound": 7 * 86_400,
        "priority": 0,
        "rsc_memory_bound": 5e8,
        "rsc_disk_bound": 1e9,
        "rsc_fpops_est": 3.6e12,
    }


@given(LIMITS)
def test_every_workunit_satisfies_create_work(limits: Limits) -> None:
    """BOINC wants target <= max_success <= max_total and max_error <= max_total."""
    row = limits.workunit()

    assert 1 <= row["min_quorum"] <= row["target_nresults"] <= row["max_success_results"]
    assert row["max_success_results"] <= row["max_total_results"] < 2**31
    assert 1 <= row["max_error_results"] <= row["max_total_results"]


@given(LIMITS)
def test_limits_come_back_from_a_record(limits: Limits) -> None:
    """The limits that a run's record keeps are the limits of its continuation."""
    assert Limits(**limits.asdict()) == limits  # type: ignore[arg-type]  # int or float


def test_a_call_changes_what_it_names_only() -> None:
    """Limits of one call leave the batch's other limits, and the batch's, as they were."""
    batch = Limits(quorum=2)

    assert batch.replace(delay_bound=60, memory=None) == Limits(quorum=2, delay_bound=60.0)
    assert batch == Limits(quorum=2)
    assert batch.replace() is batch
    with pytest.raises(dataclasses.FrozenInstanceError):
        batch.quorum = 3  # type: ignore[misc]  # the point of the test


def test_numbers_of_numpy_become_plain_ones() -> None:
    """A limit that came from an array can be recorded as JSON."""
    given = checked({"quorum": np.int64(3), "fpops": np.float32(0.5), "max_errors": 2.0})

    assert given == {"quorum": 3, "fpops": 0.5, "max_errors": 2}
    assert {type(value) for value in given.values()} == {int, float}


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        ({"quorum": 0}, "quorum: 0 is out of range; give a whole number from 1 to 1000"),
        ({"quorum": -1}, "quorum: -1 is out of range"),
        ({"quorum": True}, "quorum: True is not a whole number"),
        ({"quorum": np.bool_(True)}, "is not a whole number"),
        ({"quorum": 1.5}, r"quorum: 1\.5 is not a whole number"),
        ({"max_errors": 0}, "max_errors: 0 is out of range; give a whole number from 1"),
        ({"max_errors": float("inf")}, "max_errors: inf is not a whole number"),
        ({"delay_bound": 0}, "delay_bound: 0 is out of range; give a number above 0"),
        ({"delay_bound": -5.0}, "delay_bound: -5.0 is out of range"),
        ({"delay_bound": float("nan")}, "delay_bound: nan is not a number"),
        ({"delay_bound": 10**400}, "is not a number"),
        ({"delay_bound": 1e12}, "out of range; give a number above 0 and at most 315360000"),
        ({"delay_bound": [1]}, r"delay_bound: \[1\] is not a number"),
        ({"memory": "much"}, "memory: 'much' is not a number"),
        ({"disk": 1e300}, "disk: 1e\\+300 is out of range"),
        ({"fpops": False}, "fpops: False is not a number"),
        ({"priority": 2**40}, "priority: 1099511627776 is out of range"),
        ({"deley_bound": 5}, "no limit 'deley_bound'; did you mean delay_bound"),
        ({"x": 5}, "no limit 'x'; possible are delay_bound, max_errors"),
    ],
)
def test_a_limit_that_can_not_be_is_refused(limit: dict[str, Any], says: str) -> None:
    """A wrong limit is one clear message with its name, its value, and what is allowed."""
    with pytest.raises(ConfigurationError, match=says):
        Limits().replace(**limit)


def test_limits_of_a_batch_are_checked_too() -> None:
    """No way leads to limits that can not be."""
    with pytest.raises(ConfigurationError, match="quorum: 0"):
        Limits(quorum=0)
    assert [field.name for field in dataclasses.fields(Limits)] == list(READERS)
