"""Arrays for the fuzzing: as numpy has them written, put anywhere, and tampered with.

The loader has quick ways for arrays that look like numpy's own.  So most of these do, and
differ in a place or two; what is read is held against what is read opcode by opcode.
"""

from __future__ import annotations

import pickle
import pickletools
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from codec_hostile import framed
from codec_types import Data, Plain
from codec_watch import BUDGET, CLASSES, outcome

from pyboinc.codec import RejectedResult, same_value
from pyboinc.codec.standard import RECONSTRUCT, NoGlance

NATIVE = ["f8"] * 5 + ["i4", "i8", "u1", "i1", "c16", "?", "U2", "S3", "M8[s]"]
KINDS = [*NATIVE, ">f8", ">u2"]
_SHAPES = [(2,), (2,), (7,), (300,), (1,), (0,), (), (2, 3), (3, 2), (2, 1, 2), (1, 2, 1, 2)]
_OTHERS = [1, 0.5, "text", "numpy._core.multiarray", None, True, 2**40, [1], {"a": 2.0}]


def opcodes(data: bytes) -> list[bytes]:
    """*data* cut into its opcodes, each with its argument; without PROTO, frames and STOP."""
    try:
        found = [(opcode.name, at) for opcode, _, at in pickletools.genops(data)]
    except ValueError:
        return []
    ends = [at for _, at in found[1:]] + [len(data)]
    kept = [(name, data[at:end]) for (name, at), end in zip(found, ends, strict=True)]
    return [piece for name, piece in kept if name not in ("PROTO", "FRAME", "STOP")]


def array(draw: random.Random, kinds: list[str] = KINDS) -> Any:
    """An array, in either order."""
    shape = draw.choice(_SHAPES)
    numbers = np.array([draw.randrange(2) for _ in range(int(np.prod(shape)))])
    if draw.random() < 0.002:
        numbers, shape = np.zeros(70_000), (70_000,)  # long enough to stand outside of frames
    return numbers.astype(draw.choice(kinds)).reshape(shape, order=draw.choice("CF"))


def value(draw: random.Random, kinds: list[str] = KINDS) -> Any:
    """Arrays in a row, most of them alike, or in objects and tables, with others between."""
    first = array(draw, kinds)
    items: list[Any] = []
    for _ in range(draw.choice([1, 1, 2, 3, 9])):
        chance = draw.random()
        if chance < 0.75:
            items.append(first.copy())
        elif chance < 0.9:
            items.append(array(draw, kinds))
        else:
            items.append(draw.choice([*_OTHERS, first]))
    table = dict(zip("abcdefghi", items, strict=False))
    thing = object.__new__(Plain)
    vars(thing).update(table)
    rows = [Data(n, [item]) for n, item in enumerate(items)]
    return draw.choice([thing, thing, items, items, tuple(items), table, rows, [items, first]])


def tampered(draw: random.Random) -> bytes:
    """A pickle of arrays; every second one with a change somewhere in it."""
    data = pickle.dumps(value(draw), draw.choice([2, 3, 4, 4, 4, 4, 5]))
    pieces = opcodes(data)
    for _ in range(draw.choice([0, 0, 1, 1, 2])):
        change(draw, pieces)
    if draw.random() < 0.1:
        at = draw.randrange(len(pieces))
        return b"\x80\x04" + framed(b"".join(pieces[:at])) + framed(b"".join(pieces[at:]) + b".")
    body = b"".join(pieces) + b"."
    if draw.random() < 0.05:  # as if it were contents, whose bytes have no meaning
        body = body[: draw.randrange(len(body))] + draw.randbytes(2) + body[-9:]
    return data[:2] + (framed(body) if draw.random() < 0.8 else body)


def change(draw: random.Random, pieces: list[bytes]) -> None:
    """Change something in *pieces*, which are never none."""
    draw.choice(_CHANGES)(draw, pieces)
    pieces[:] = pieces or [b"N"]


def _index(draw: random.Random, pieces: list[bytes]) -> None:
    """Another place in the memo."""
    at = draw.choice([n for n, each in enumerate(pieces) if each[:1] == b"h"] or [0])
    pieces[at] = b"h%c" % draw.randrange(30)


def _argument(draw: random.Random, pieces: list[bytes]) -> None:
    """Another byte in an opcode with an argument: of a shape, a type, a length, the contents."""
    at = draw.choice([n for n, each in enumerate(pieces) if len(each) > 1] or [0])
    piece = bytearray(pieces[at])
    piece[draw.randrange(min(len(piece), 12))] = draw.choice([0, 1, 2, 7, 255, 98, 56, 60])
    pieces[at] = bytes(piece)


def _opcode(draw: random.Random, pieces: list[bytes]) -> None:
    """Another opcode, or none, or one that stands twice."""
    at = draw.randrange(len(pieces))
    other = draw.choice([b"\x88", b"\x89", b"N", b"\x94", b"0", b"K\1", b"(1", b"h\3"])
    pieces[at : at + 1] = draw.choice([[], [other], [pieces[at]] * 2, [other, pieces[at]]])


def _contents(draw: random.Random, pieces: list[bytes]) -> None:
    """Contents that end like an array, or whose length is written in another way."""
    at = draw.choice([n for n, each in enumerate(pieces) if each[:1] in b"CB"] or [0])
    if pieces[at][:1] == b"C":
        raw = pieces[at][2:]
        raw = raw[:-4] + b"\x94t\x94b" if len(raw) > 4 and draw.random() < 0.5 else raw
        pieces[at] = b"B" + struct.pack("<I", len(raw)) + raw


def _part(draw: random.Random, pieces: list[bytes]) -> None:
    """A part of another such pickle, or of the same."""
    other = draw.choice([pieces, opcodes(pickle.dumps(value(draw), 4))])
    start, at = draw.randrange(len(other)), draw.randrange(len(pieces))
    pieces[at : at + draw.choice([0, 1, 20])] = other[start : start + draw.choice([1, 5, 20, 60])]


_CHANGES = [_index, _index, _argument, _argument, _opcode, _contents, _part]


@contextmanager
def one_by_one() -> Iterator[None]:
    """Read arrays opcode by opcode, never at once or at a glance."""

    def never(*args: Any) -> Any:
        raise NoGlance

    ways = RECONSTRUCT.whole, RECONSTRUCT.glance
    RECONSTRUCT.whole = lambda loader, stack, pos, most: (pos, 0)
    RECONSTRUCT.glance = never
    try:
        yield
    finally:
        RECONSTRUCT.whole, RECONSTRUCT.glance = ways


def strays(data: bytes, result: Any) -> str:
    """How *result* differs from what *data* is when read opcode by opcode; "" if it does not.

    What is quick may refuse one thing more, which nobody writes: contents that are asked for again.
    """
    with one_by_one():
        slow = outcome(data, BUDGET)
    if type(result) is RejectedResult:
        again = "the contents of an array" in result.reason or "of objects" in result.reason
        same = type(slow) is RejectedResult or again
        return "" if same else f"is refused, {result.reason}, and has a value opcode by opcode"
    if type(slow) is RejectedResult:
        return f"has a value, and is refused opcode by opcode: {slow.reason}"
    a, b = pickle.dumps(result, 4), pickle.dumps(slow, 4)
    same = a == b or same_value(a, b, CLASSES)
    return "" if same else "has another value than opcode by opcode"
