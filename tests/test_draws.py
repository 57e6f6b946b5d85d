"""The draws: the same numbers for the same seed and key, on every machine, for ever."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.faults import draws

PARTS = st.integers() | st.text()


def test_draws_are_frozen() -> None:
    """A recorded seed means the same in every later version: these values never change."""
    assert draws.words(7) == (
        11295294539889148408,
        4588770383015454062,
        12222277544308887401,
        5819092754702600905,
        2434316461921331271,
        17529343536839599091,
        1118429557339310835,
        2651083740247724364,
    )
    assert draws.words(-3, "host", 12, "é")[:2] == (6670842060219207043, 1788269858574875106)
    assert draws.uniform(0) == 0.05905953557730348
    assert draws.uniform(7, "crash", 1) == 0.09794584316507726


def test_draws_follow_the_documented_layout() -> None:
    """Another language can repeat the draws from the docstring alone."""
    message = b"li7e4:hosti-2ee"
    digest = hashlib.blake2b(message, digest_size=64, person=b"pyboinc.faults.1").digest()

    words = draws.words(7, "host", -2)

    assert words == tuple(int.from_bytes(digest[i : i + 8], "big") for i in range(0, 64, 8))
    assert draws.uniforms(7, "host", -2) == tuple((word >> 11) / 2**53 for word in words)


@given(st.integers(), st.lists(PARTS, max_size=4), st.lists(PARTS, max_size=4))
def test_different_keys_draw_differently(
    seed: int, one: list[int | str], other: list[int | str]
) -> None:
    """No two keys share their draws, however their parts are cut: ("ab", 1) is not ("a", "b1")."""
    same = draws.words(seed, *one) == draws.words(seed, *other)

    assert same == (one == other)


@given(st.integers(), st.lists(PARTS, max_size=4))
def test_uniforms_are_in_the_half_open_unit_interval(seed: int, key: list[int | str]) -> None:
    """A draw is never 1, so a probability of 0 never strikes and one of 1 always does."""
    numbers = draws.uniforms(seed, *key)

    assert len(numbers) == 8
    assert all(0 <= number < 1 for number in numbers)
    assert draws.uniform(seed, *key) == numbers[0]


def test_uniforms_are_spread_evenly() -> None:
    """Each of the eight draws has the mean and the spread of a uniform number."""
    rows = [draws.uniforms(5, "spread", i) for i in range(4_000)]

    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        assert mean == pytest.approx(1 / 2, abs=0.02)
        assert sum((u - mean) ** 2 for u in column) / len(column) == pytest.approx(1 / 12, abs=0.01)


def test_a_new_seed_is_short_enough_to_retype() -> None:
    """A seed that was drawn for the user has six digits at most."""
    seeds = {draws.new_seed() for _ in range(100)}

    assert len(seeds) > 50
    assert all(0 <= seed < 1_000_000 for seed in seeds)
