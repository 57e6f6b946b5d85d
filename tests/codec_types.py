"""Classes as a user's app_types.py defines them, and a value of every kind that may travel.

It runs on Python 3.8 too: `tests/data/make_codec_pickles.py` writes these values with other
interpreters and other versions of numpy.
"""

from __future__ import annotations

import datetime
import enum
import sys
import typing
import uuid
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction

T = typing.TypeVar("T")


class Plain:
    """What the design document prints, and an equality that looks at everything."""

    def __init__(self, value=None):
        self.value = value

    def __eq__(self, other):
        return type(self) is type(other) and vars(self) == vars(other)


class Child(Plain):
    """A class that inherits."""

    def __init__(self, value, more):
        super().__init__(value)
        self.more = more
        self._private = more


class Node:
    """Compared by identity: it can be a key, and nodes point at one another."""

    def __init__(self, name):
        self.name = name
        self.links = []


class Outer:
    """With a class of its own inside."""

    class Inner(Plain):
        """Named ``Outer.Inner``."""


class Box(typing.Generic[T]):
    """A generic class; Python 3.8's Generic has a __new__."""

    def __init__(self, item):
        self.item = item

    def __eq__(self, other):
        return self.item == other.item


class Slots:
    """Slots and no __dict__; one of them private, one never set."""

    __slots__ = ("__secret", "a", "unset")

    def __init__(self, a, secret):
        self.a = a
        self.__secret = secret

    def __eq__(self, other):
        return (self.a, self.__secret) == (other.a, other.__secret)


class SlotsAndDict(Slots):
    """Slots from a base, and a __dict__."""

    def __init__(self, a, secret, other):
        super().__init__(a, secret)
        self.other = other

    def __eq__(self, other):
        return super().__eq__(other) and vars(self) == vars(other)


@dataclass
class Data:
    """A dataclass."""

    number: int
    items: list = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    """A dataclass that can be a key."""

    x: int
    y: float


if sys.version_info >= (3, 10):  # noqa: UP036 - other Pythons write these values too

    @dataclass(frozen=True, slots=True)
    class DataSlots:
        """Frozen and with slots: `dataclasses` writes its __getstate__ and __setstate__."""

        x: int
        y: str

    @dataclass(frozen=True, slots=True)
    class MoreSlots(Frozen):
        """Slots added to a base that has a __dict__."""

        z: int

    @dataclass(slots=True)
    class OpenSlots:
        """With slots, not frozen."""

        x: int
        y: list


Pair = namedtuple("Pair", "first second")


class Named(typing.NamedTuple):
    """A named tuple with types."""

    first: int
    second: str = "two"


class PairWithDict(Pair):
    """A subclass of a named tuple, with attributes."""


class Vector(tuple):
    """A subclass of tuple without names."""


class Colour(enum.Enum):
    """An enumeration, one of its values a tuple."""

    RED = 1
    GREEN = "green"
    MIX = (1, 2)
    UNHASHABLE = [1]  # noqa: RUF012 - a value that no dictionary can hold


class Level(enum.IntEnum):
    """Numbers with names."""

    LOW = 1
    HIGH = 2


class Flags(enum.Flag):
    """Flags, which combine."""

    R = 1
    W = 2
    X = 4


class IntFlags(enum.IntFlag):
    """Flags that are numbers."""

    R = 1
    W = 2


class Word(str, enum.Enum):  # noqa: UP042 - Python 3.8 has no StrEnum
    """An enumeration of text."""

    YES = "yes"


class Metres(float):
    """A number with a name."""


class Count(int):
    """A whole number with a name."""


class Label(str):
    """A text with a name."""

    __slots__ = ()


class Raw(bytes):
    """Bytes with a name."""


class Wave(complex):
    """A complex number with a name."""


class Rows(list):
    """A list with attributes."""


class Table(dict):
    """A dictionary with attributes."""


def _with(obj, **attributes):
    vars(obj).update(attributes)
    return obj


def plain_values():
    """name -> a value without classes of the user's; each equals its copy."""
    shared = ["shared"]
    utc = datetime.timezone.utc  # noqa: UP017 - Python 3.8 has no UTC
    east = datetime.timezone(datetime.timedelta(hours=5, minutes=30), "IST")
    return {
        "none": None,
        "truth": [True, False],
        "integers": [0, 1, -1, 255, 256, 65535, 65536, -(2**31), 2**31, 2**63, -(2**63), 10**100],
        "floats": [0.0, -0.0, 1.5, 1e300, float("inf"), float("-inf")],
        "complex": 1.5 - 2j,
        "text": ["", "a", "äöü€𝄞", "x" * 300, "\x00\n", "y" * 70_000],
        "bytes": [b"", b"a", b"\x00\xff" * 200, b"z" * 70_000],
        "bytearrays": [bytearray(), bytearray(b"ab\xff"), bytearray(70_000)],
        "empty": [[], (), {}, set(), frozenset()],
        "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), ((((),),),)],
        "long list": list(range(3_000)),
        "long dict": {n: str(n) for n in range(2_500)},
        "long set": set(range(2_500)),
        "sets": [{1, "a", (2, 3)}, frozenset([frozenset([1]), None])],
        "keys": {1: 1, "a": 2, (1, ("b", None)): 3, None: 4, 2.5: 5, b"c": 6, True and 7: 8},
        "big keys": {2**61 - 1: 0, 2**70: 1, -(2**80): 2, 0: 3},
        "nested": {"a": [{"b": ({"c": [1, 2.5, None]},)}]},
        "shared": [shared, shared, {"again": shared}],
        "range": [range(5), range(1, 10, 3), range(0)],
        "slice": [slice(1, 2, None), slice(None)],
        "ellipsis": ...,
        "dates": [datetime.date(2024, 2, 29), datetime.date.min, datetime.date.max],
        "datetimes": [
            datetime.datetime(2024, 2, 29, 23, 59, 59, 999999),
            datetime.datetime(2024, 10, 27, 2, 30, fold=1),
            datetime.datetime(2024, 1, 1, tzinfo=utc),
            datetime.datetime(2024, 1, 1, tzinfo=east),
        ],
        "times": [
            datetime.time(1, 2, 3, 4),
            datetime.time(1, fold=1),
            datetime.time(5, tzinfo=utc),
        ],
        "deltas": [datetime.timedelta(-1, 2, 3), datetime.timedelta.max],
        "zones": [utc, east, datetime.timezone(datetime.timedelta(0), "Z")],
        "ordered": OrderedDict([("b", 1), ("a", 2)]),
        "counter": Counter("abracadabra"),
        "deques": [deque([1, 2]), deque([1, 2, 3], 2), deque(maxlen=0)],
        "defaults": [defaultdict(int, a=1), defaultdict(list, b=[2]), defaultdict(None, c=3)],
        "more defaults": [defaultdict(each) for each in (dict, set, float, str, tuple, deque)],
        "decimals": [Decimal("1.50"), Decimal("-1E+30"), Decimal("Infinity")],
        "fractions": [Fraction(1, 3), Fraction(-7)],
        "uuid": uuid.UUID(int=2**127 + 5),
    }


def class_values():
    """name -> a value made of the classes above; each equals its copy."""
    values = {
        "plain": Plain(5),
        "plain without": Plain.__new__(Plain),
        "child": Child([1], {"a": 2}),
        "inner": Outer.Inner("x"),
        "generic": Box(3),
        "slots": Slots(1, "s"),
        "slots and dict": SlotsAndDict(1, "s", [2]),
        "data": Data(1, [Data(2)]),
        "frozen": Frozen(1, 2.5),
        "frozen slots": [Slots(Frozen(1, 2.0), 2)],
        "pair": Pair(1, [2]),
        "named": Named(1),
        "pair with dict": _with(PairWithDict(1, 2), note="n"),
        "vector": Vector([1, 2, 3]),
        "empty vector": Vector(),
        "colours": [Colour.RED, Colour.GREEN, Colour.MIX, Colour.RED],
        "level": [Level.LOW, Level.HIGH],
        "flags": [Flags.R, Flags.R | Flags.X, Flags(0), ~Flags.R],
        "int flags": [IntFlags.R | IntFlags.W, IntFlags(0), IntFlags(9)],
        "word": Word.YES,
        "metres": Metres(1.5),
        "count": Count(-3),
        "label": Label("l"),
        "raw": Raw(b"r"),
        "wave": Wave(1, 2),
        "metres with dict": _with(Metres(2.5), note="n"),
        "rows": _with(Rows([1, 2]), note="n"),
        "table": _with(Table(a=1), note="n"),
        "keys": {
            Frozen(1, 2.0): 1,
            Named(2): 2,
            Colour.RED: 3,
            Level.LOW: 4,
            Flags.R: 5,
            Word.YES: 6,
            Metres(9.5): 7,
            Label("k"): 8,
            Vector([1]): 9,
        },
        "set of frozen": {Frozen(1, 2.0), Frozen(1, -2.0)},
        "nested": Plain({"a": [Data(1, [Plain((Frozen(1, 1.0),))])]}),
    }
    if sys.version_info >= (3, 10):  # noqa: UP036 - other Pythons write these values too
        values["data slots"] = DataSlots(1, "y")
        values["open slots"] = OpenSlots(1, [2])
        values["more slots"] = [MoreSlots(1, 2.5, 3), {MoreSlots(1, 2.5, 3): 1}]
        values["slots keys"] = {DataSlots(1, "y"): 1}
    return values


def numpy_values():
    """name -> an array or scalar of every kind that may travel."""
    import numpy as np

    grid = np.arange(24.0).reshape(2, 3, 4)
    kinds = "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16 >i2 >i4 >i8 >u4 >f4 >f8 >c16"
    values = {"array " + kind: np.array([0, 1, 1, 0], dtype=kind) for kind in kinds.split()}
    values.update({"scalar " + kind: np.array([0, 1], dtype=kind)[1] for kind in kinds.split()})
    values.update(
        {
            "0-d": np.array(1.5),
            "empty": np.zeros(0),
            "empty 2-d": np.zeros((0, 3)),
            "empty fortran": np.zeros((3, 0), order="F"),
            "fortran": np.asfortranarray(grid),
            "transposed": grid.T,
            "swapped axes": grid.swapaxes(1, 2),
            "view": grid[:, ::2, 1:],
            "read only": np.frombuffer(b"12345678", dtype="u2"),
            "large": np.arange(20_000),
            "text": np.array(["a", "äöü€", "𝄞", ""]),
            "text big endian": np.array(["ab", "c"], dtype=">U3"),
            "bytes": np.array([b"ab", b"c"]),
            "scalar text": np.str_("äb"),
            "scalar no text": np.str_(""),
            "scalar bytes": np.bytes_(b"ab"),
            "days": np.array(["2024-02-29", "NaT"], dtype="M8[D]"),
            "weeks": np.array([1, 2], dtype="m8[3W]"),
            "nanoseconds": np.array(["2024-01-01T00:00:00.000000001"], dtype=">M8[ns]"),
            "no unit": np.array([1], dtype="m8"),
            "scalar datetime": np.datetime64("2024-01-01", "25s"),
            "scalar timedelta": np.timedelta64(5, "us"),
            "dtype": np.dtype(">f8"),
            "keys": {np.int64(3): 1, np.float32(0.5): 2, np.str_("k"): 3, np.bool_(True): 4},
            "in objects": Plain([np.float64(2.5), {"a": np.arange(3)}]),
        }
    )
    return values
