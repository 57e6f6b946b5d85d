"""A wrong output: another value of the same kind, told by its salt."""

from __future__ import annotations

import datetime
import decimal
import enum
import fractions
import math
import os
from collections import namedtuple
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import pytest

from pyboinc import codec, slave, slave_runner
from pyboinc.backends.local import slave_faults
from pyboinc.backends.local.slave_faults import wrong
from pyboinc.slave_program import Program

PROGRAM = Program(os.fspath(Path(__file__).parent / "slave38"), "missing.py")

SALTS = [*range(40), 256, 257, 65536, 2**40 + 1, -1, -2]


class Colour(enum.Enum):
    RED = 1
    GREEN = 2
    BLUE = 3


Pair = namedtuple("Pair", "first second")


@dataclass(frozen=True)
class Frozen:
    number: int
    parts: list[float] = field(default_factory=list)


class Slotted:
    __slots__ = ("left", "right")

    def __init__(self, left: int) -> None:
        self.left = left


class OneSlot(Slotted):
    __slots__ = "name"  # noqa: PLC0205  # one string is allowed, and means one slot


def slotted() -> OneSlot:
    value = OneSlot(7)
    value.name = "n"
    return value


VALUES: list[Any] = [
    7,
    -1,
    10**30,
    0.5,
    0.0,
    -3e300,
    math.inf,
    math.nan,
    1 + 2j,
    "",
    "text",
    "4711",
    b"",
    b"bytes",
    bytearray(b"more"),
    decimal.Decimal("1.5"),
    decimal.Decimal("NaN"),
    fractions.Fraction(1, 3),
    datetime.datetime(2024, 2, 29, 12),
    datetime.date.max,
    datetime.timedelta(1),
    Colour.RED,
    [1, 2],
    (1, (2, "x")),
    {"key": [1, None]},
    {1, 2, 3},
    frozenset(["a"]),
    Pair(1, "x"),
    Frozen(1, [2.0]),
    slotted(),
    numpy.arange(4),
    numpy.array([[0.5, 1e300], [math.nan, 2.0]]),
    numpy.array([True, False]),
    numpy.array(["abc", "d"]),
    numpy.array([b"abc"]),
    numpy.array([1j]),
    numpy.array(["2024-01-01"], "datetime64[D]"),
    numpy.array(3),
    numpy.float64(2.5),
    numpy.int8(127),
]


def same(first: Any, second: Any) -> bool:
    return codec.same_value(codec.encode(first), codec.encode(second), REGISTRY)


REGISTRY = codec.Registry(
    {(cls.__module__, cls.__qualname__): cls for cls in (Colour, Pair, Frozen, OneSlot)}
)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: repr(value).partition(" object at")[0])
def test_a_wrong_value_is_another_of_its_kind(value: Any) -> None:
    """Faults: another value for every salt, the same for the same; the output is left alone."""
    before = codec.encode(value)
    for salt in SALTS:
        changed = wrong(value, salt)
        assert type(changed) is type(value)
        assert not same(changed, value)
        assert same(changed, wrong(value, salt))
        codec.decode(codec.encode(changed), REGISTRY)
    assert codec.encode(value) == before


@pytest.mark.parametrize("value", [7, 0.5, "text", [1, 2.5, "x"], {"a": 1, "b": (2, 3)}], ids=repr)
def test_different_salts_are_wrong_differently(value: Any) -> None:
    """Faults: two wrong instances do not agree by chance, and so can not outvote a right one."""
    outcomes = [wrong(value, salt) for salt in range(20)]
    assert all(
        not same(one, other) for place, one in enumerate(outcomes) for other in outcomes[:place]
    )


def test_a_flag_has_one_wrong_value() -> None:
    """Faults: where there is one other value, that is it."""
    assert [wrong(True, salt) for salt in range(3)] == [False] * 3


class Single(enum.Enum):
    ONLY = 1


@pytest.mark.parametrize("value", [None, [], {}, (), Single.ONLY, numpy.array([])], ids=repr)
def test_what_can_not_be_wrong_stays(value: Any) -> None:
    """Faults: an output that holds nothing to change is returned as it was."""
    assert wrong(value, 5) is value


def test_cycles_end() -> None:
    """Faults: a value that contains itself is changed once, where its number is."""
    value: list[Any] = [1]
    value.append(value)
    changed = wrong(value, 0)
    assert changed[0] != 1
    assert changed[1] is changed


class Struck(Exception):
    """The fault has struck."""


@pytest.mark.parametrize("status", [0, 3])
@pytest.mark.parametrize("fault", ["crash", "hang", "error"])
@pytest.mark.parametrize("reads", [True, False])
def test_every_slave_is_struck(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    fault: str,
    reads: bool,
) -> None:
    """Faults: a fault strikes when the input is read, else at the end, but for one that failed."""

    def strike(salt: int) -> None:
        raise Struck

    def run(program: Any) -> int:
        received = slave.current().received
        assert received is not None
        if reads:
            received()
        return status

    monkeypatch.setattr(slave, "_instance", slave.Instance("/slot", slave.Classes([])))
    monkeypatch.setattr(slave_runner, "run", run)
    for name in ("crash", "hang", "error"):
        monkeypatch.setattr(slave_faults, name, strike)
    if reads or (status == 0 and fault != "error"):
        with pytest.raises(Struck):
            slave_faults.run(PROGRAM, fault, 0)
    else:
        assert slave_faults.run(PROGRAM, fault, 0) == (status or 1)
        assert ("injected error" in capsys.readouterr().err) == (status == 0)


def test_some_faults_strike_before_all_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Faults: for every other pair of salts a crash comes before the program's first line."""

    def crash(salt: int) -> None:
        raise Struck

    monkeypatch.setattr(slave, "_instance", slave.Instance("/slot", slave.Classes([])))
    monkeypatch.setattr(slave_faults, "crash", crash)
    monkeypatch.setattr(slave_runner, "run", lambda program: 3)
    with pytest.raises(Struck):
        slave_faults.run(PROGRAM, "crash", 2)
    assert slave_faults.run(PROGRAM, "crash", 1) == 3
