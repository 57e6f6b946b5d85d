"""Two outputs agree: ``bitwise`` and ``close_to``, which an app may name as its ``compare``."""

from __future__ import annotations

import math
import random
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque
from copy import deepcopy
from itertools import pairwise
from typing import Any

import codec_types
import numpy as np
import pytest
from codec_types import Data, Frozen, Metres, Named, Node, Plain, Rows, Slots, Table, Wave

from pyboinc import bitwise, close_to
from pyboinc.codec import Registry, decode, encode
from pyboinc.errors import ConfigurationError

NAN, INFINITE = math.nan, math.inf
VALUES = {
    **codec_types.plain_values(),
    **codec_types.class_values(),
    **{"numpy: " + name: value for name, value in codec_types.numpy_values().items()},
}


def agree(a: Any, b: Any, relative: float = 1e-9, absolute: float = 0.0) -> bool:
    """Whether two values agree, whichever comes first."""
    compare = close_to(relative, absolute)
    assert compare(b, a) == compare(a, b)
    return compare(a, b)


@pytest.mark.parametrize("name", VALUES)
def test_a_value_agrees_with_itself(name: str) -> None:
    """Agreement: whatever can travel agrees with what it is when it has travelled."""
    registry = Registry.from_modules([codec_types])
    there = decode(encode(VALUES[name], registry=registry), registry)
    assert close_to()(VALUES[name], there)
    assert bitwise(VALUES[name], VALUES[name])


def test_different_values_do_not_agree() -> None:
    """Agreement: of all the kinds of values no two are taken for one another, but for numbers."""
    numbers = (int, float, np.ndarray, np.generic)
    values = [(name, each) for name, each in VALUES.items() if not isinstance(each, numbers)]
    for (name, value), (other_name, other) in pairwise(values):
        assert not agree(value, other), (name, other_name)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (1.0, 1.0 + 1e-10, True),
        (1.0, 1.0 + 1e-8, False),
        (1e300, 1e300 * (1 + 1e-10), True),
        (0.0, 1e-300, False),
        (0.0, -0.0, True),
        (NAN, NAN, True),
        (NAN, 1.0, False),
        (INFINITE, INFINITE, True),
        (INFINITE, -INFINITE, False),
        (INFINITE, 1e308, False),
        (1.7e308, -1.7e308, False),
        (1e9, 1e9 + 1, True),
        (10**9, 10**9 + 1, False),
        (10**400, 10**400, True),
        (10**400, 1.0, False),
        (10**400, INFINITE, False),
        (3, 3.0, True),
        (True, 1, False),
        (True, True, True),
        (1 + 1j, 1 + 1j + 1e-10, True),
        (1 + 1j, 1 + 2j, False),
        (complex(NAN, 1), complex(NAN, 1), True),
        (complex(NAN, 1), complex(NAN, 2), False),
        (complex(INFINITE, 1), complex(INFINITE, 1 + 1e-12), True),
        (complex(INFINITE, 1), complex(1, INFINITE), False),
        (complex(1e200, 1e200), 1e200, False),
        ("a", "a", True),
        ("1.0", "1.00", False),
        (None, None, True),
        (None, 0, False),
    ],
)
def test_plain_values(a: Any, b: Any, expected: bool) -> None:
    """Agreement: numbers within the tolerance, integers and all else exactly, nan with nan."""
    assert agree(a, b) == expected


def test_an_absolute_tolerance() -> None:
    """Agreement: the absolute tolerance is what lets numbers around nought agree."""
    assert agree(0.0, 1e-12, absolute=1e-10)
    assert not agree(0.0, 1e-9, absolute=1e-10)
    assert agree(100.0, 101.0, relative=0.01)
    assert not agree(100.0, 102.1, relative=0.01)


HOLDERS = {
    "list": lambda x: [1, x, "a"],
    "tuple": lambda x: (x,),
    "nested": lambda x: [[{"a": (x, [x])}]],
    "dict": lambda x: {"a": 1, "b": x},
    "defaultdict": lambda x: defaultdict(list, {1: x}),
    "ordered": lambda x: OrderedDict(a=x),
    "deque": lambda x: deque([x], maxlen=3),
    "plain class": lambda x: Plain(Plain(x)),
    "dataclass": lambda x: Data(3, [x]),
    "frozen": lambda x: Frozen(3, x),
    "slots": lambda x: Slots(x, 2),
    "private slot": lambda x: Slots(2, x),
    "named tuple": lambda x: Named(x),
    "float": Metres,
    "complex": Wave,
    "class of lists": lambda x: Rows([x]),
    "class of dicts": lambda x: Table(a=x),
    "numpy scalar": np.float64,
    "array": lambda x: np.array([[1.0, x], [3.0, NAN]]),
    "complex array": lambda x: np.array([x, complex(NAN, 2)]),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_numbers_within_values(holder: str) -> None:
    """Agreement: the tolerance goes for numbers wherever they are, and shape is kept exactly."""
    make = HOLDERS[holder]
    assert agree(make(2.0), make(2.0 + 1e-10))
    assert not agree(make(2.0), make(2.1))
    assert not agree(make(2.0), [make(2.0)])


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ([1.0, 2.0], [1.0]),
        ([1.0], (1.0,)),
        ({"a": 1.0}, {"b": 1.0}),
        ({"a": 1.0}, {"a": 1.0, "b": 1.0}),
        ({1.0}, {1.0 + 1e-12}),
        (Plain(1.0), codec_types.Child(1.0, 2.0)),
        (Metres(1.0), 1.0),
        (np.zeros(3), np.zeros((1, 3))),
        (np.zeros(3), [0.0, 0.0, 0.0]),
        (np.array([True]), np.array([1])),
        (np.array(["a"]), np.array(["b"])),
        (np.array(["2026-01-01"], "M8[D]"), np.array(["2026-01-02"], "M8[D]")),
        (np.array([2**60]), np.array([2**60 + 1])),
        (np.array([INFINITE]), np.array([1.0])),
        (np.array([NAN]), np.array([1.0])),
        (np.array([complex(NAN, 1)]), np.array([complex(NAN, 2)])),
    ],
)
def test_another_shape_does_not_agree(a: Any, b: Any) -> None:
    """Agreement: length, keys, types of containers, shapes of arrays, all but numbers are exact."""
    assert not agree(a, b)


def test_the_width_of_numbers_is_the_computer_s() -> None:
    """Agreement: int32 or int64, float32 or float64, numpy's number or Python's: by their value."""
    assert agree(np.array([1, 2], "i4"), np.array([1, 2], "i8"))
    assert agree(np.array([1, 2], ">u2"), np.array([1.0, 2.0], "f4"))
    assert agree(np.float64(1.5), 1.5)
    assert agree([np.int32(7)], [7])
    assert agree(np.float32(0.1), 0.1, relative=1e-7)
    assert not agree(np.float32(0.1), 0.1)
    assert agree(np.bool_(True), True)


def test_items_and_attributes_of_one_name() -> None:
    """Agreement: in a class of dictionaries an item never stands for an attribute."""
    one, other = Table(x=1.0), Table(x=2.0)
    one.x, other.x = 2.0, 1.0
    assert not agree(one, other)
    assert agree(one, deepcopy(one))


def test_cycles_and_depth() -> None:
    """Agreement: what contains itself is compared, and depth costs no stack."""
    rings = []
    for last in (2.0, 2.0 + 1e-12, 3.0):
        ring = Node(1.0)
        ring.links = [Node(last)]
        ring.links[0].links = [ring]
        rings.append(ring)
    assert agree(rings[0], rings[1])
    assert not agree(rings[0], rings[2])
    deep: Any = 1.0
    other: Any = 1.0 + 1e-12
    for _ in range(2_000):
        deep, other = [deep], [other]
    assert agree(deep, other)


def test_an_array_as_its_numbers(seed: int) -> None:
    """Agreement: an array agrees with another exactly if each of its numbers does."""
    draw = random.Random(seed)
    special = [0.0, -0.0, NAN, INFINITE, -INFINITE, 1e308, -1e308, 5e-324, 1.0]
    for _ in range(300):
        a = draw.choices(special, k=4) + [draw.uniform(-1, 1) for _ in range(2)]
        b = [each * (1 + draw.choice([0, 0, 1e-10, 1e-3])) for each in a]
        if draw.random() < 0.3:
            b[draw.randrange(6)] = draw.choice(special)
        assert agree(np.array(a), np.array(b)) == agree(a, b), (a, b)
        wave, other = ([complex(*x[i : i + 2]) for i in (0, 2, 4)] for x in (a, b))
        assert agree(np.array(wave), np.array(other)) == agree(wave, other), (wave, other)


def test_bitwise() -> None:
    """Agreement: bitwise is of the bytes that are sent; what only has an equal value is another."""
    assert bitwise(Plain(1.0), Plain(1.0))
    assert not bitwise({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not bitwise(1, 1.0)


@pytest.mark.parametrize("value", [-1e-9, NAN, INFINITE, "0.1", None, True])
def test_a_tolerance_that_can_not_be(value: Any) -> None:
    """Agreement: a tolerance is a number from nought up; else it is said where it is named."""
    with pytest.raises(ConfigurationError, match="close_to: relative is .*give a number"):
        close_to(relative=value)
    with pytest.raises(ConfigurationError, match="close_to: absolute is "):
        close_to(absolute=value)


def test_it_says_what_it_is() -> None:
    """Agreement: a tolerance shown says what it is."""
    assert repr(close_to(1e-6)) == "close_to(relative=1e-06, absolute=0.0)"


def test_naming_one_costs_a_slave_nothing() -> None:
    """Quick start: app_types.py may name close_to; a slave imports nothing heavy for that."""
    program = (
        "import sys, pyboinc.codec; before = set(sys.modules); "
        "from pyboinc import close_to; compare = close_to(1e-6); "
        "print(*sorted(set(sys.modules) - before))"
    )
    run = [sys.executable, "-I", "-c", program]
    printed = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["pyboinc.codec.agreement"]
