"""Sources of pickles that nobody has thought of: mutated ones, and ones grown from a grammar.

`mutated` changes honest and hostile pickles, byte by byte and opcode by opcode.  `grown`
writes a pickle that means some value, choosing freely among all the ways to write it: it
names only what is harmless, so `pickle` may read it too, and must find the same.  A third,
of arrays, is in `codec_arrays`.
"""

from __future__ import annotations

import functools
import pickle
import random
import struct
from collections.abc import Callable
from typing import Any

import codec_arrays
import codec_hostile
import codec_techniques
import codec_types
import numpy as np
from codec_arrays import opcodes
from codec_hostile import name, number, text
from codec_watch import CLASSES, complaint

from pyboinc.codec import RejectedResult, same_value


@functools.cache
def seeds() -> tuple[list[bytes], list[list[bytes]]]:
    """Pickles to start from, whole and cut into opcodes; half of them honest."""
    values = [
        *codec_types.plain_values().values(),
        *codec_types.class_values().values(),
        *codec_types.numpy_values().values(),
        [codec_types.Plain(float(n)) for n in range(9)],
        [np.arange(3.0), np.arange(4.0)],
    ]
    whole = [pickle.dumps(value, protocol) for value in values for protocol in (2, 4, 5)]
    whole *= 3
    whole += codec_hostile.PAYLOADS.values()
    whole += [technique.data for technique in codec_techniques.TECHNIQUES.values()]
    whole = [data for data in whole if 2 < len(data) < 2_000]
    return whole, [pieces for data in whole if (pieces := opcodes(data))]


def mutated(draw: random.Random) -> bytes:
    """A pickle that someone has tampered with."""
    whole, cut = seeds()
    if draw.random() < 0.5:
        data = bytearray(draw.choice(whole))
        at = draw.randrange(len(data))
        for _ in range(draw.randrange(1, 4)):
            draw.choice(_OF_BYTES)(draw, data, at, draw.choice(whole))
        return bytes(data)
    pieces = list(draw.choice(cut))
    for _ in range(draw.randrange(1, 4)):
        at = draw.randrange(len(pieces) + 1)
        draw.choice(_OF_PIECES)(draw, pieces, at, draw.choice(cut))
    return codec_hostile.pickled(*pieces)


def _put(draw: random.Random, data: Any, at: int, other: Any) -> None:
    data[at : at + 1] = [draw.choice(other)]


def _drop(draw: random.Random, data: Any, at: int, other: Any) -> None:
    del data[at : at + draw.randrange(1, 9)]


def _double(draw: random.Random, data: Any, at: int, other: Any) -> None:
    data[at:at] = data[at : at + draw.randrange(1, 40)] * draw.choice([1, 1, 2, 50])


def _splice(draw: random.Random, data: Any, at: int, other: Any) -> None:
    data[at:] = other[draw.randrange(len(other)) :]


def _insert(draw: random.Random, data: Any, at: int, other: Any) -> None:
    start = draw.randrange(len(other))
    data[at:at] = other[start : start + draw.randrange(1, 5)]


def _change(draw: random.Random, data: Any, at: int, other: Any) -> None:
    data[at : at + 1] = [draw.randrange(256)]


def _number(draw: random.Random, data: Any, at: int, other: Any) -> None:
    data[at : at + 4] = struct.pack("<I", draw.choice([0, 1, 255, 2**16, 2**31 - 1, 2**32 - 1]))


_OF_BYTES: list[Callable[..., None]] = [_put, _drop, _double, _splice, _insert, _change, _number]
_OF_PIECES: list[Callable[..., None]] = [_put, _drop, _double, _splice, _insert]


class Grower:
    """Writes one value in one of the many ways in which it can be written."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw
        self.out: list[bytes] = []
        self.remembered = 0
        self.left = draw.randrange(1, 60)  # parts
        self.pickle = self._whole()

    def _whole(self) -> bytes:
        draw = self.draw
        self.value(0)
        head = b"\x80" + bytes([draw.choice([2, 3, 4, 5])])
        if draw.random() < 0.4:
            return head + b"".join(self.out) + b"."
        pieces, body = [*self.out, b"."], b""
        while pieces:
            many = draw.randrange(1, 30)
            body += codec_hostile.framed(b"".join(pieces[:many]))
            pieces = pieces[many:]
        return head + body

    def emit(self, *pieces: bytes) -> None:
        """Write opcodes, and now and then some that do nothing."""
        for piece in pieces:
            self.out.append(piece)
            if self.draw.random() < 0.01:
                self.out += self.draw.choice([(b"(", b"1"), (b"N", b"0")])

    def remember(self) -> None:
        """Perhaps write the top of the stack into the memo, in one of three ways."""
        if self.draw.random() < 0.7:
            index = self.remembered
            ways = [b"\x94", b"\x94", b"r" + struct.pack("<I", index)]
            self.out.append(self.draw.choice([*ways, *([b"q%c" % index] if index < 256 else [])]))
            self.remembered += 1

    def value(self, depth: int) -> None:
        """Any value."""
        self.left -= 1
        draw = self.draw
        if self.remembered and draw.random() < 0.15:
            index = draw.randrange(self.remembered)
            short = index < 256 and draw.random() < 0.8
            self.emit(b"h%c" % index if short else b"j" + struct.pack("<I", index))
        elif depth > 8 or self.left < 0 or draw.random() < 0.5:
            self.scalar()
        else:
            draw.choice(_KINDS)(self, depth + 1)

    def integer(self) -> None:
        """A whole number, in any width that holds it."""
        draw = self.draw
        value = draw.choice(
            [0, 1, 255, 256, 65_535, 65_536, -1, 2**31 - 1, -(2**31), draw.randrange(300)]
        )
        ways = [b"J" + struct.pack("<i", value)]
        if 0 <= value < 256:
            ways += [b"K%c" % value] * 4
        if 0 <= value < 65_536:
            ways += [b"M" + struct.pack("<H", value)] * 2
        long = pickle.encode_long(value * draw.choice([1, 1, 2**40]))
        ways += [b"\x8a%c" % len(long) + long, b"\x8b" + struct.pack("<i", len(long)) + long]
        self.emit(draw.choice(ways))

    def text(self, value: str | None = None) -> None:
        """Text, in any width, perhaps remembered."""
        chosen = (
            value
            if value is not None
            else self.draw.choice(["", "a", "b", "key", "äö€𝄞", "x" * 99])
        )
        raw = chosen.encode()
        ways = [b"\x8c%c" % len(raw)] * 4 + [b"X" + struct.pack("<I", len(raw))]
        self.emit(self.draw.choice([*ways, b"\x8d" + struct.pack("<Q", len(raw))]) + raw)
        self.remember()

    def scalar(self) -> None:
        """A value that holds no other."""
        draw = self.draw
        kind = draw.randrange(9)
        if kind < 3:
            self.integer()
        elif kind < 5:
            self.text()
        elif kind == 5:
            self.emit(b"G" + struct.pack(">d", draw.choice([0.0, -0.0, 1.5, 1e300, float("inf")])))
        elif kind == 6:
            self.emit(draw.choice([b"N", b"\x88", b"\x89"]))
        elif kind == 7:
            raw = bytes(draw.randrange(256) for _ in range(draw.randrange(9)))
            self.emit(draw.choice([b"C%c" % len(raw), b"B" + struct.pack("<I", len(raw))]) + raw)
            self.remember()
        else:
            self.emit(draw.choice(_ATOMS))

    def many(self, depth: int, most: int = 6) -> int:
        """Some values; how many."""
        count = self.draw.choice([0, 1, 2, 3, most])
        if count == most and self.draw.random() < 0.3:  # a row of numbers
            self.emit(*[self.draw.choice([b"K\7", b"G" + bytes(8)])] * 20)
        for _ in range(count):
            self.value(depth)
        return count

    def items(self, depth: int, one: bytes, all_: bytes) -> None:
        """Items for what is on the stack, one by one or together."""
        for _ in range(self.draw.choice([0, 1, 1, 2])):
            if self.draw.random() < 0.4:
                self.value(depth)
                self.emit(one)
            else:
                self.emit(b"(")
                self.many(depth)
                self.emit(all_)

    def pairs(self, depth: int, keys: list[str] | None = None) -> None:
        """Keys and values for what is on the stack."""
        names = keys if keys is not None else [None] * self.draw.choice([0, 1, 2, 5, 20])
        if len(names) == 1 and self.draw.random() < 0.7:
            self.key(names[0])
            self.value(depth)
            self.emit(b"s")
            return
        self.emit(b"(")
        for each in names:
            self.key(each)
            self.value(depth)
        self.emit(b"u")

    def key(self, value: str | None) -> None:
        """A key: the text *value*, or any scalar."""
        if value is not None or self.draw.random() < 0.6:
            self.text(value)
        else:
            self.scalar()


def _list(grower: Grower, depth: int) -> None:
    grower.emit(b"]")
    grower.remember()
    grower.items(depth, b"a", b"e")


def _dict(grower: Grower, depth: int) -> None:
    grower.emit(b"}")
    grower.remember()
    for _ in range(grower.draw.choice([1, 1, 2])):
        grower.pairs(depth)


def _tuple(grower: Grower, depth: int) -> None:
    count = grower.draw.randrange(5)
    if 0 < count < 4 and grower.draw.random() < 0.7:
        for _ in range(count):
            grower.value(depth)
        grower.emit(bytes([0x84 + count]))
    elif not count:
        grower.emit(b")")
    else:
        grower.emit(b"(")
        grower.many(depth)
        grower.emit(b"t")
    grower.remember()


def _set(grower: Grower, depth: int) -> None:
    frozen = grower.draw.random() < 0.5
    if not frozen:
        grower.emit(b"\x8f")
        grower.remember()
    grower.emit(b"(")
    for _ in range(grower.draw.randrange(5)):
        grower.scalar()
    grower.emit(b"\x91" if frozen else b"\x90")


def _instance(grower: Grower, depth: int) -> None:
    cls, keys = grower.draw.choice(
        [
            ("Plain", ["value"]),
            ("Data", ["number", "items"]),
            ("Node", ["name", "links"]),
            ("Frozen", ["x", "y"]),
            ("Box", ["item"]),
        ]
    )
    grower.emit(name("codec_types", cls))
    grower.remember()
    grower.emit(b")", b"\x81")
    grower.remember()
    grower.emit(b"}")
    grower.remember()
    grower.pairs(depth, keys)
    grower.emit(b"b")


def _named(grower: Grower, depth: int) -> None:
    grower.emit(name("codec_types", "Pair"))
    grower.remember()
    grower.value(depth)
    grower.value(depth)
    grower.emit(b"\x86", b"\x81")
    grower.remember()


def _collection(grower: Grower, depth: int) -> None:
    what = grower.draw.choice(["OrderedDict", "deque", "defaultdict"])
    grower.emit(name("collections", what), b")", b"R")
    grower.remember()
    if what == "deque":
        grower.items(depth, b"a", b"e")
    else:
        grower.pairs(depth)


def _rows(grower: Grower, depth: int) -> None:
    rows = grower.draw.random() < 0.5
    grower.emit(name("codec_types", "Rows" if rows else "Table"), b")", b"\x81")
    grower.remember()
    if rows:
        grower.items(depth, b"a", b"e")
    else:
        grower.pairs(depth)


def _points(grower: Grower, depth: int) -> None:
    """Objects in a row, as most results have them: the way that the loader is quick at."""
    cls = grower.remembered
    grower.emit(b"]", b"\x94", b"(")
    grower.emit(
        name("codec_types", "Frozen"), b"\x94", text("x") + b"\x94", text("y") + b"\x94", b"0", b"0"
    )
    grower.remembered += 4
    if grower.remembered > 200:
        grower.emit(b"0", b"e")
        return
    for _ in range(grower.draw.randrange(1, 5)):
        grower.emit(b"h%c" % (cls + 1), b")", b"\x81", b"\x94", b"}", b"\x94", b"(")
        grower.remembered += 2
        for key in (2, 3):
            grower.emit(b"h%c" % (cls + key))
            grower.scalar() if grower.draw.random() < 0.9 else grower.value(depth)
        grower.emit(b"u", b"b")
    grower.emit(b"e")


def _arrays(grower: Grower, depth: int) -> None:
    """Arrays as numpy has them written, in the midst of all the others."""
    first = grower.remembered
    value = codec_arrays.value(grower.draw, codec_arrays.NATIVE)
    for piece in opcodes(pickle.dumps(value, 4)):
        if piece == b"\x94":
            grower.remembered += 1
            grower.out.append(piece)
        elif piece[:1] == b"h":
            index = first + piece[1]
            grower.emit(b"h%c" % index if index < 256 else b"j" + struct.pack("<I", index))
        else:
            grower.emit(piece)


_KINDS: list[Callable[[Grower, int], None]] = [
    _list,
    _list,
    _dict,
    _dict,
    _tuple,
    _set,
    _instance,
    _instance,
    _named,
    _collection,
    _rows,
    _points,
    _arrays,
]
_ATOMS = [
    b"".join(opcodes(pickle.dumps(value, 4)))
    for value in (2**70, -1, 3, 2.5, "z", b"z", True, None, "ü", 10**30)
]
_ATOMS = [each.replace(b"\x94", b"") for each in _ATOMS] + [
    codec_hostile.call("codec_types", "Colour", number(1)),
    codec_hostile.call("builtins", "complex", b"G" + bytes(8), b"G" + bytes(8)),
    codec_hostile.call("builtins", "range", number(0), number(5), number(2)),
    codec_hostile.call("decimal", "Decimal", text("1.50")),
    codec_hostile.call("fractions", "Fraction", number(1), number(3)),
    codec_hostile.call("datetime", "date", codec_hostile.raw(b"\x07\xe8\x02\x1d")),
    codec_hostile.call("datetime", "timedelta", number(1), number(2), number(3)),
    name("builtins", "Ellipsis"),
]


def grown(draw: random.Random) -> bytes:
    """A pickle that means a harmless value."""
    return Grower(draw).pickle


def differs(data: bytes, result: Any) -> str:
    """How *result* differs from what `pickle` makes of *data*; "" if it does not."""
    try:
        theirs = pickle.loads(data)
    except Exception as error:  # noqa: BLE001 - then there is no value to be equal to
        return f"is a value, where pickle has {type(error).__name__}"
    a, b = pickle.dumps(theirs, 4), pickle.dumps(result, 4)
    if a != b and not same_value(a, b, CLASSES):
        return "is another value than pickle's"
    return ""


def judged(source: str, draw: random.Random) -> tuple[bytes, str, bool]:
    """A new file, what is wrong with how it is read, and whether it has a value."""
    data = {"mutated": mutated, "grown": grown, "arrays": codec_arrays.tampered}[source](draw)
    wrong, result = complaint(data)
    valued = type(result) is not RejectedResult
    if source == "grown" and valued and not wrong:
        wrong = differs(data, result)
    if b"_reconstruct" in data and not wrong:
        wrong = codec_arrays.strays(data, result)
    return data, wrong, valued
