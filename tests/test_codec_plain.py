"""The pickle that is read at a glance: what it takes is what the loader would make of it."""

from __future__ import annotations

import random
import struct
from typing import Any

import codec_hostile
import codec_traps
import codec_types
import pytest
from codec_types import Plain, Slots
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.codec import Budget, Registry, RejectedResult, decode, encode
from pyboinc.codec.loader import Loader
from pyboinc.codec.plain import plain_object

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
