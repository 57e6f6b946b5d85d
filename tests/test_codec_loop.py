"""What the loader does together is what its opcodes do one by one, and counts as many."""

from __future__ import annotations

import pickle
import pickletools
import struct
from typing import Any

import codec_types
import numpy as np
import pytest
from codec_hostile import MEMO, get, name, new, number, pickled, row, table, text
from codec_types import Data, Label, Pair, Plain
from test_codec import alike

from pyboinc.codec import Budget, Registry, RejectedResult, decode, encode
from pyboinc.codec.loader import Loader
from pyboinc.codec.rows import read_numbers

CLASSES = Registry.from_modules([codec_types])
VALUES: dict[str, Any] = {
    **codec_types.plain_values(),
    **codec_types.class_values(),
    **{"numpy: " + name: value for name, value in codec_types.numpy_values().items()},
    "points": [Plain(float(n)) for n in range(50)],
    "a tree": Data(1, [Data(2, [Data(3)]), Data(4, [Data(5), Data(6)])]),
    "rows of numbers": [[1.5] * 300, list(range(300)), [70_000 + n for n in range(20)], [7] * 9],
    "rows of dictionaries": [{"a": n, "b": str(n), "c": n / 3, "d": None} for n in range(300)],
    "what looks like keys": [
        [{}, ("abc", 1, "abc", 2, "x" * 30, 3, "x" * 30)],
        [{"k": 1}, ["abc", 1, "abc", 2, "y" * 30]],
        [{}, ("same", "same", "same", "same", "z" * 30)],
    ],
    "attributes of all kinds": codec_types._with(
        Plain(), a=1, b=300, c=70_000, d=0.5, e="e", f=None, g=True, h=[], i={}, j="e", k=2**70
    ),
    "keys that are none": [
        Pair(1, 2),
        {"x": Pair("x", "x"), "y": ("x", "x", "x", "x")},
        {"y": "x"},
    ],
    "arrays": [np.arange(n, dtype=kind) for kind in ("f8", "i4", ">c8", "u1") for n in (1, 9, 300)],
    "arrays again": [
        np.ones(shape, order=order) for shape in ((2, 3), 7, (1, 2, 3, 4)) for order in "CF"
    ],
    "long arrays": [np.arange(9_000.0), np.arange(9_000), "and", np.arange(70_000, dtype="u1")],
}


def opcodes(data: bytes) -> list[bytes]:
    """The opcodes of *data*, each with its argument, but for PROTO and frames."""
    found = [(opcode.name, at) for opcode, _, at in pickletools.genops(data)]
    ends = [at for _, at in found[1:]] + [len(data)]
    pieces = [(name, data[at:end]) for (name, at), end in zip(found, ends, strict=True)]
    return [piece for name, piece in pieces if name not in ("PROTO", "FRAME")]


def load(data: bytes, **limits: int) -> Any:
    """What the loader makes of *data*, never at a glance."""
    return Loader(data, CLASSES, Budget(**limits)).load()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_every_opcode_counts(name: str, protocol: int) -> None:
    """Budgets: as many opcodes as the pickle has are enough, and one less is not."""
    data = pickle.dumps(VALUES[name], protocol)
    count = sum(1 for _ in pickletools.genops(data)) - 1  # PROTO is free

    assert alike(load(data, opcodes=count), VALUES[name])
    with pytest.raises(RejectedResult, match=f"more than {count - 1} opcodes"):
        load(data, opcodes=count - 1)


@pytest.mark.parametrize("name", VALUES)
def test_together_is_as_one_by_one(name: str) -> None:
    """Fidelity: opcodes that do nothing, put between all others, change nothing."""
    pieces = opcodes(pickle.dumps(VALUES[name], 4))
    together = load(b"\x80\x04" + b"".join(pieces))
    one_by_one = load(b"\x80\x04" + b"(1".join(pieces), opcodes=10**6)

    assert alike(together, VALUES[name]) and alike(one_by_one, VALUES[name])
    assert pickle.dumps(together, 4) == pickle.dumps(one_by_one, 4)


@pytest.mark.parametrize("name", VALUES)
def test_frames_may_end_anywhere_between_opcodes(name: str) -> None:
    """Frames: wherever a pickler ends one, the value is the same."""
    pieces = opcodes(pickle.dumps(VALUES[name], 4))
    for size in (1, 2, 3, 5, 8, 13):
        data = b"\x80\x04"
        for start in range(0, len(pieces), size):
            frame = b"".join(pieces[start : start + size])
            data += b"\x95" + struct.pack("<Q", len(frame)) + frame
        assert alike(load(data, opcodes=10**6), VALUES[name])


@pytest.mark.parametrize("name", VALUES)
def test_no_argument_crosses_a_frame(name: str) -> None:
    """Frames: one that ends within an opcode's argument is refused, whatever is done together."""
    body = b"".join(opcodes(pickle.dumps(VALUES[name], 4)))
    inside = set(range(len(body))) - {at for _, _, at in pickletools.genops(body)}

    for end in sorted(inside)[:300]:
        framed = b"\x80\x04\x95" + struct.pack("<Q", end) + body
        with pytest.raises(RejectedResult, match="straddles the end of its frame"):
            load(framed)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("empty", [{}, {"k": 1}])
@pytest.mark.parametrize("kind", [tuple, list])
def test_what_stands_behind_a_dictionary_is_not_taken_for_its_keys(
    kind: type, empty: dict[str, int], protocol: int
) -> None:
    """Data: the items of a tuple or list that follow a dictionary come back all, and in order."""
    for length in range(12):
        value = [empty, kind((["abc", length, "abc", "abc", None] * 3)[:length]), "x" * 30]
        assert decode(pickle.dumps(value, protocol), CLASSES) == value


def _of_a_type_before(kind: str) -> bytes:
    """A type, and then a first array of it that refers to it, as no pickler writes it."""
    before = pickle.dumps(np.dtype(kind), 4)[11:-1]
    array = pickle.dumps(np.array([1, 2], dtype=kind), 4)[11:-1]
    start = array.index(b"\x85\x94h") + 3
    end = array.index(b"t\x94b", array.index(b"NNNJ")) + 3
    return b"\x80\x04(" + before + array[:start] + b"\x05" + array[end:] + b"t."


def test_what_one_pickle_says_of_its_types_is_nothing_to_another() -> None:
    """Fidelity: an array whose type stands elsewhere in its pickle has that type, each time."""
    for kind in ("f8", "i8", "f8", "u8"):
        data = _of_a_type_before(kind)
        ours, theirs = load(data), pickle.loads(data)
        assert alike(ours, theirs) and ours[1].dtype == np.dtype(kind)


def test_a_dictionary_is_filled_when_its_items_are_all_there() -> None:
    """Order: what refers to a dictionary before SETITEMS sees it empty, as `pickle` shows it."""
    counted = b"}" + MEMO + b"(" + text("a") + MEMO + number(1) + text("b") + MEMO
    counter = name("collections", "Counter") + get(0) + b"\x85R"
    data = pickled(counted, counter, b"u")

    assert load(data) == pickle.loads(data) == {"a": 1, "b": {}}


def test_later_keys_replace_earlier_ones() -> None:
    """Fidelity: a key that is written twice has its first place and its last value."""
    for more in (b"", b"(1", number(3), b"]"):
        pairs = [text("a") + MEMO + number(1), text("b") + MEMO + number(2), text("a") + MEMO]
        data = pickled(b"}", MEMO, b"(", *pairs, more or b"N", b"u")
        if more == b"(1":
            data = data.replace(b"(1", b"(1N")
        ours, theirs = load(data), pickle.loads(data)
        assert list(ours.items()) == list(theirs.items())


def test_the_name_of_an_attribute_is_text_whatever_was_read_before() -> None:
    """Names: a text of the user's own class is no attribute's name, even if it equals one."""
    honest = new("codec_types", "Plain") + table(text("value"), number(1)) + b"b"
    own = new("codec_types", "Label", text("value"))
    for before in ([], [honest]):
        data = pickled(row(*before, new("codec_types", "Plain") + table(own, number(1)) + b"b"))
        with pytest.raises(RejectedResult, match="is not the name of an attribute"):
            load(data)
    assert type(Label("value")) is not str


def test_a_row_ends_where_the_budget_ends() -> None:
    """Budgets: a row of numbers is not read far beyond the opcodes that are left."""
    numbers, end = read_numbers(b"K\x01" * 5_000 + b".", 0, 10_000, 100)

    assert numbers == [1] * 256 and end == 512


def test_names_that_are_remembered_are_few_and_short() -> None:
    """Memory: a registry does not remember every attribute that strangers think of."""
    registry = Registry.from_modules([codec_types])
    many = codec_types._with(Plain(), **{f"a{n}": n for n in range(3_000)}, **{"b" * 200: 1})

    value = Loader(encode(many, "value", registry), registry, Budget()).load()

    assert vars(value) == vars(many)
    assert len(registry.names) == 1_000 and max(map(len, registry.names)) <= 100
