"""What a batch is remembered by: lists and sets of jobs that take a few bytes for each."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.compact import KINDS, Handled, Jobs, Order

MANY = 20_000

NUMBERS = st.integers(0, 2**40 - 1)
MADE = st.integers(0, 2**32 - 1)
OUTCOMES = st.lists(st.builds(Handled, NUMBERS, st.sampled_from(KINDS), MADE, NUMBERS))


def order_of(handled: list[Handled]) -> Order:
    order = Order()
    for one in handled:
        order.append(*one)
    return order


@given(OUTCOMES, st.sets(NUMBERS, max_size=3), st.slices(5))
def test_an_order_is_the_list_that_it_stands_for(
    handled: list[Handled], others: set[int], part: slice
) -> None:
    """Order: every outcome in its place, with its kind and the calls made; forgotten ones gone."""
    order = order_of(handled)
    assert (list(order), len(order)) == (handled, len(handled))
    assert [order[number] for number in range(len(handled))] == handled
    assert order[part] == handled[part]
    forgotten = {one.sequence for one in handled[::3]} | others
    order.forget(forgotten)
    assert list(order) == [one for one in handled if one.sequence not in forgotten]


@pytest.mark.parametrize(
    "one",
    [
        (-1, "out", 0, 0),
        (1, "half", 0, 0),
        (1, "out", -1, 0),
        (1, "out", 2**32, 0),
        (1, "out", 0, -1),
    ],
)
def test_what_can_not_be_leaves_an_order_as_it_was(one: tuple[int, str, int, int]) -> None:
    """Order: a number or a kind that can not be is an error, and changes nothing."""
    order = order_of([Handled(7, "error", 2, 5)])
    with pytest.raises((KeyError, OverflowError)):
        order.append(*one)
    assert list(order) == [Handled(7, "error", 2, 5)]


@given(st.lists(st.integers(0, 2_000)), st.integers(-5, 2_005))
def test_jobs_are_the_set_that_they_stand_for(numbers: list[int], other: int) -> None:
    """Jobs: added once or more often, in any order, they are in it once."""
    jobs, wanted = Jobs(), set(numbers)
    for number in numbers:
        jobs.add(number)
    assert (list(jobs), len(jobs)) == (sorted(wanted), len(wanted))
    assert (other in jobs) == (other in wanted)
    assert None not in jobs


def orders() -> object:
    return order_of([Handled(number, "out", 0, 1000) for number in range(MANY)])


def jobs() -> object:
    made = Jobs()
    for number in range(MANY):
        made.add(number)
    return made


@pytest.mark.parametrize(("make", "most"), [(orders, 25), (jobs, 2)])
def test_a_million_jobs_are_a_few_megabytes(make: Callable[[], object], most: float) -> None:
    """Memory: bytes for each job, as the module's head promises, not hundreds."""
    tracemalloc.start()
    try:
        kept = make()
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept
    assert size / MANY < most
