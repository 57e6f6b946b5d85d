"""The pickle that is read at a glance: what it takes is what the loader would make of it."""

from __future__ import annotations

import pickle
import random
import struct
from typing import Any

import codec_arrays
import codec_hostile
import codec_traps
import codec_types
import numpy as np
import pytest
from codec_types import Plain, Slots
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.codec import Budget, Registry, RejectedResult, decode, encode
from pyboinc.codec.loader import Loader
from pyboinc.codec.plain import plain_object
from pyboinc.codec.standard import RECONSTRUCT, Reconstruct, no_call

CLASSES = Registry.from_modules([codec_types, codec_traps])
WIDE = Budget()


def loaded(data: bytes) -> Any:
    """What the loader makes of *data*; None if it refuses."""
    try:
        return Loader(data, CLASSES, WIDE).load()
    except RejectedResult:
        return None


def agree(data: bytes) -> bool:
    """Whether *data* has the plain form; if so, the loader must say the same."""
    glance = plain_object(data, CLASSES, WIDE)
    if glance is None:
        return False
    read = loaded(data)
    assert type(glance) is type(read)
    assert encode(glance, "glance", CLASSES) == encode(read, "read", CLASSES)
    return True


def made(attributes: dict[str, Any]) -> Plain:
    value = object.__new__(Plain)
    value.__dict__.update(attributes)
    return value


SMALL = st.one_of(
    st.integers(-(2**31), 2**31 - 1),
    st.floats(),
    st.booleans(),
    st.none(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=50),
)
NAMES = st.text("abcxyzäß_1", min_size=1, max_size=9).filter(
    lambda name: name.isidentifier() and not name.startswith("__")
)


@given(st.dictionaries(NAMES, SMALL, min_size=1, max_size=6))
def test_plain_objects_are_read_at_a_glance(attributes: dict[str, Any]) -> None:
    """Codec: an object of small plain values has the form, unless parts of it are shared."""
    data = encode(made(attributes), "value", CLASSES)
    shared = b"h" in data  # perhaps a memo's number: the same text twice
    assert agree(data) or shared


@pytest.mark.unmeasured
@given(st.dictionaries(NAMES, SMALL, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_what_is_nearly_so_is_left_or_the_same(
    attributes: dict[str, Any], chance: random.Random
) -> None:
    """Codec: with bytes changed, cut or added, the loader agrees wherever the glance takes it."""
    data = encode(made(attributes), "value", CLASSES)
    for _ in range(40):
        changed = bytearray(data)
        for _ in range(chance.choice([1, 1, 2, 3])):
            place = chance.randrange(len(changed))
            match chance.randrange(4):
                case 0:
                    changed[place] = chance.randrange(256)
                case 1:
                    changed[place] = chance.choice(b"\x8c\x94K\x88NGMJ(}sub.h")
                case 2:
                    del changed[place]
                    changed = changed or bytearray(b"\x80")
                case 3:
                    changed.insert(place, chance.randrange(256))
        if chance.random() < 0.5:  # a frame that fits, or nothing would get far
            changed[3:11] = struct.pack("<Q", max(0, len(changed) - 11))
        agree(bytes(changed))


ARRAYS: dict[str, dict[str, Any]] = {
    "one": {"a": np.arange(3.0)},
    "one of 30 kB": {"a": np.arange(3_800.0)},
    "two alike": {"a": np.arange(3.0), "b": np.ones(3)},
    "two kinds": {
        "a": np.arange(3.0),
        "b": np.ones((2, 2), "i4"),
        "c": np.asfortranarray(np.eye(3)),
    },
    "among others": {
        "n": 1,
        "a": np.arange(3.0),
        "t": "text",
        "b": np.ones(4),
        "x": 0.5,
        "y": None,
    },
    "names as text": {"a": "numpy._core.multiarray", "_reconstruct": 1, "b": np.ones(2)},
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_among_the_attributes_are_read_at_a_glance(name: str) -> None:
    """Codec: once an array like it was read; its numbers are its own, and what follows holds."""
    data = encode(made(ARRAYS[name]), "value", CLASSES)
    taken = [agree(data) for _ in range(3)][2]
    assert taken == (name != "two kinds")  # a second type is written in another way
    glance = plain_object(data, CLASSES, WIDE)
    for each in vars(glance).values() if taken else ():
        if type(each) is np.ndarray:
            assert each.flags.owndata and each.flags.writeable
    other = encode(made({**ARRAYS[name], "a": np.arange(3.0) + 7}), "value", CLASSES)
    assert encode(decode(other, CLASSES), "again", CLASSES) == other


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", range(2))
def test_arrays_that_are_nearly_so_are_left_or_the_same(part: int, seed: int) -> None:
    """Codec: with opcodes changed, the loader agrees wherever the glance takes an array."""
    draw = random.Random(seed + part)
    taken = 0
    for _ in range(400):
        attributes = draw.choice(list(ARRAYS.values()))
        pieces = codec_arrays.opcodes(pickle.dumps(made(attributes), 4))
        for _ in range(draw.choice([0, 1, 1, 2])):
            codec_arrays.change(draw, pieces)
        data = b"\x80\x04" + codec_hostile.framed(b"".join(pieces) + b".")
        loaded(data)  # from which the glance may have learned
        taken += agree(data)
    assert 20 < taken < 350


def test_an_array_that_only_the_loader_can_read_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codec: before the first array of a process, or with other contents than it has a head for."""
    data = encode(made({"a": np.arange(3.0), "b": np.ones(3)}), "value", CLASSES)
    assert [agree(data) for _ in range(3)][2]
    head = data.index(b"C\x18")
    for at in (*range(data.index(b"numpy"), head + 2), *range(len(data) - 10, len(data))):
        changed = bytearray(data)
        changed[at] ^= 1
        agree(bytes(changed))
    for skipped in (b"\x8c\x01b\x94", b"K\x01"):  # as if what is not there were a value of None
        between = data[:head] + skipped + data[head:]
        assert not agree(between[:3] + struct.pack("<Q", len(between) - 11) + between[11:])
    monkeypatch.setattr(RECONSTRUCT, "glance", Reconstruct("numpy._reconstruct", no_call).glance)
    assert not agree(data)


def test_many_attributes_are_the_loaders_affair_if_the_budget_is_small() -> None:
    """Codec: what the loader charges for attributes, the glance does not give away."""
    data = encode(made({f"a{n}": n for n in range(40)}), "value", CLASSES)
    assert plain_object(data, CLASSES, Budget(bytes=64 * 40)) is not None
    assert plain_object(data, CLASSES, Budget(bytes=64 * 40 - 1)) is None


def test_hostile_bytes_are_left_or_the_same() -> None:
    """Codec: of the hostile pickles the glance takes none that the loader refuses."""
    taken = [label for label, data in codec_hostile.PAYLOADS.items() if agree(data)]
    assert all(loaded(codec_hostile.PAYLOADS[label]) is not None for label in taken)


@pytest.mark.parametrize(
    "value",
    [
        7,
        "text",
        [made({"a": 1})],
        made({"a": [1]}),
        made({"a": 2**40}),
        made({"a": b"x"}),
        made({"a": "x" * 300}),
        made({"a": made({"b": 1})}),
        made({}),
        Slots(1, 2),
    ],
)
def test_other_values_are_left_to_the_loader(value: Any) -> None:
    """Codec: what is not of the form is not taken, and decodes as ever."""
    data = encode(value, "value", CLASSES)
    assert plain_object(data, CLASSES, WIDE) is None
    assert encode(decode(data, CLASSES), "again", CLASSES) == data


def test_every_prefix_is_left() -> None:
    """Codec: bytes that end early are never taken for a value."""
    data = encode(made({"a": 1, "b": 0.5, "c": "text", "d": 300, "e": -1, "f": None}), "v", CLASSES)
    assert agree(data)
    for size in range(len(data)):
        cut = bytearray(data[:size])
        assert not agree(bytes(cut))
        if size >= 11:
            cut[3:11] = struct.pack("<Q", size - 11)
            assert not agree(bytes(cut))


@pytest.mark.parametrize(
    "budget", [Budget(bytes=20), Budget(opcodes=20), Budget(depth=2), Budget(integer=7)]
)
def test_a_small_budget_is_the_loaders_affair(budget: Budget) -> None:
    """Codec: where a limit could matter, the loader counts."""
    data = encode(made({"a": 1}), "value", CLASSES)
    assert plain_object(data, CLASSES, budget) is None


def test_classes_that_are_not_the_jobs_are_left() -> None:
    """Codec: an unknown class, or one that can not be rebuilt, is the loader's to refuse."""
    data = encode(made({"a": 1}), "value", CLASSES)
    assert plain_object(data, Registry({}), WIDE) is None
    assert plain_object(data.replace(b"Plain", b"Slots"), CLASSES, WIDE) is None
    with pytest.raises(RejectedResult, match="not a class of this job"):
        decode(data, Registry({}))
