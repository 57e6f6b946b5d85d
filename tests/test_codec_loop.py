"""What the loader does together is what its opcodes do one by one, and counts as many."""

from __future__ import annotations

import pickle
import pickletools
import random
import struct
from typing import Any

import codec_types
import numpy as np
import pytest
from codec_arrays import one_by_one, strays, tampered
from codec_hostile import MEMO, get, name, new, number, pickled, row, table, text
from codec_types import Data, Label, Pair, Plain
from codec_watch import WATCHED, outcome, watching
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


def _arrays(count: int, shape: Any = 3, kind: str = "f8") -> list[Any]:
    """So many arrays, all alike but for their contents."""
    size = int(np.prod(shape))
    return [np.arange(n, n + size).astype(kind).reshape(shape) for n in range(count)]


ROWS: dict[str, Any] = {
    "alike": _arrays(9),
    "and others": [*_arrays(5), 7, *_arrays(4), np.arange(4.0), *_arrays(3), "end"],
    "of planes": _arrays(6, (2, 3)),
    "by columns": [np.asfortranarray(each) for each in _arrays(6, (2, 3))],
    "big endian": _arrays(5, 4, ">i4"),
    "of one byte": [*_arrays(2, 1, "?"), np.array([1], "u1"), np.array([1], "u1"), b"\1"],
    "of nothing": [np.zeros(0), np.zeros(0), b"", np.zeros((0, 2))],
    "in objects": [Plain(each) for each in _arrays(5)],
    "one by one": [{"a": each} for each in _arrays(5)],
    "shared": [_arrays(4), *[np.ones(3)] * 3, _arrays(4)],
    "many before": [*[(str(n), n) for n in range(80)], *_arrays(4)],
}


@pytest.mark.parametrize("framed", [True, False])
@pytest.mark.parametrize("name", ROWS)
def test_arrays_in_a_row_are_read_as_one_by_one(name: str, framed: bool) -> None:
    """Fidelity: each has its own contents, what follows holds, and what is shared is shared."""
    data = pickle.dumps([ROWS[name], "last", ROWS[name]], 4)
    value = load(data if framed else b"\x80\x04" + b"".join(opcodes(data)))

    assert alike(value, [ROWS[name], "last", ROWS[name]]) and value[0] is value[2]
    with one_by_one():
        assert pickle.dumps(load(data), 4) == pickle.dumps(value, 4)


def test_each_array_of_a_row_is_its_own() -> None:
    """Safety: arrays that were read together own their numbers, and may be written to."""
    for value in (load(pickle.dumps(_arrays(5), 4)), load(pickle.dumps(_arrays(5, (2, 2)), 4))):
        for each in value:
            assert each.flags.owndata and each.flags.writeable and each.flags.aligned
            each += 1
        assert [each.flat[0] for each in value] == [1, 2, 3, 4, 5]


def test_arrays_in_a_row_are_remembered_as_one_by_one() -> None:
    """Memo: what each array of a row leaves there is what its own opcodes would leave."""
    data = pickle.dumps([Plain(np.ones(3)), _arrays(5), _arrays(5, (2, 2)), "end"], 4)
    ours, theirs = Loader(data, CLASSES, Budget()), Loader(data, CLASSES, Budget())

    ours.load()
    with one_by_one():
        theirs.load()

    assert len(ours.memo) == len(theirs.memo) > 80
    for one, other in zip(ours.memo, theirs.memo, strict=True):
        contents = memoryview in map(type, [other, *(other if type(other) is tuple else [])])
        assert "contents of an array" in one.name if contents else alike(one, other)


def test_a_row_of_arrays_ends_where_the_budget_ends() -> None:
    """Budgets: arrays in a row are not read far beyond the opcodes that are left."""
    loader = Loader(pickle.dumps(_arrays(500), 4), CLASSES, Budget(opcodes=200))
    with pytest.raises(RejectedResult, match="more than 200 opcodes"):
        loader.load()
    assert sum(type(each) is np.ndarray for each in loader.memo) < 12


def test_a_get_of_what_is_not_there_is_refused_behind_an_array() -> None:
    """Memo: after arrays, an opcode that asks for nothing, or for something else, is no array."""
    pieces = opcodes(pickle.dumps(_arrays(3), 4))
    last = max(at for at, piece in enumerate(pieces) if piece == b"h\3")
    for asked in (b"h\xff", b"h\0", b"h\2", b"h\4", b"h\6"):
        data = b"\x80\x04" + b"".join([*pieces[:last], asked, *pieces[last + 1 :]])
        with pytest.raises(RejectedResult):
            load(data)
        with pytest.raises(RejectedResult), one_by_one():
            load(data)


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", range(2))
def test_tampered_arrays_are_read_as_opcode_by_opcode(part: int, seed: int) -> None:
    """Fuzzing: of arrays that someone has changed, the quick ways make what the opcodes say."""
    draw = random.Random(seed + part)
    valued = 0
    for _ in range(600):
        data = tampered(draw)
        with watching():
            result = outcome(data, Budget())
        assert (WATCHED, strays(data, result)) == ([], ""), data.hex()
        valued += type(result) is not RejectedResult
    assert 100 < valued < 500
