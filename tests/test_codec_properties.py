"""Whatever value Hypothesis thinks of travels; whatever bytes, nothing but a refusal comes."""

from __future__ import annotations

import pickle
import pickletools
import random
from datetime import UTC
from typing import Any

import codec_hostile
import codec_traps
import codec_types
import numpy as np
import pytest
from codec_types import Colour, Data, Flags, Frozen, Named, Plain, Rows, Slots, Table
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyboinc.codec import Registry, RejectedResult, decode, encode, same_value

CLASSES = Registry.from_modules([codec_types])

QUICK = settings(max_examples=150, deadline=None)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.one_of(st.integers(), st.floats(), st.complex_numbers())
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    texts,
    st.binary(max_size=20),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(UTC)),
    st.timedeltas(),
    st.times(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.sampled_from([Colour.RED, Colour.MIX, *Flags, Flags.R | Flags.X]),
    st.sampled_from([..., range(3), slice(1, None)]),
)
hashables = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts, st.binary(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple),
        st.frozensets(inner, max_size=3),
        st.builds(Frozen, inner, inner),
        st.builds(Named, inner, inner),
    ),
    max_leaves=8,
)
arrays = st.builds(
    lambda kind, shape, data: (
        np.frombuffer(data.ljust(8 * 12, b"\1")[: 8 * 12], kind).copy().reshape(shape)
    ),
    st.sampled_from(["<i8", ">i8", "<f8", ">f8", "M8[s]", "m8[D]", "u8", "S8"]),
    st.sampled_from([(12,), (3, 4), (2, 3, 2), (1, 12)]),
    st.binary(max_size=96),
)


def containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Everything that holds other values."""
    return st.one_of(
        st.lists(inner, max_size=5),
        st.lists(inner, max_size=5).map(tuple),
        st.dictionaries(hashables, inner, max_size=5),
        st.sets(hashables, max_size=5),
        st.builds(Plain, inner),
        st.builds(Data, st.integers(), st.lists(inner, max_size=3)),
        st.builds(Slots, inner, inner),
        st.builds(Named, inner, inner),
        st.lists(inner, max_size=3).map(Rows),
        st.dictionaries(texts, inner, max_size=3).map(Table),
        inner.map(lambda part: [part, part, {"again": part}]),
    )


values = st.recursive(st.one_of(scalars, arrays, hashables), containers, max_leaves=25)


@pytest.mark.unmeasured
@QUICK
@given(values, st.sampled_from([2, 3, 4, 5]))
def test_any_value_comes_back_the_same(value: Any, protocol: int) -> None:
    """Round trip: encode and decode give the same value, and so does any protocol of pickle."""
    data = encode(value, "input", CLASSES)

    copy = decode(data, CLASSES)
    again = decode(pickle.dumps(value, protocol), CLASSES)

    assert same_value(data, encode(copy, "output", CLASSES), CLASSES)
    if protocol > 3:  # the older ones do not write which of two equal times is meant
        assert same_value(data, encode(again, "output", CLASSES), CLASSES)


@pytest.mark.unmeasured
@QUICK
@given(values, st.sampled_from([4, 5]))
def test_honest_pickles_load_as_pickle_loads_them(value: Any, protocol: int) -> None:
    """Differential: for what an honest pickler wrote, pickle and the loader agree to the bit."""
    data = pickle.dumps(value, protocol)

    theirs = pickle.dumps(pickle.loads(data), 4)
    ours = pickle.dumps(decode(data, CLASSES), 4)
    native = pickle.dumps(_native(decode(data, CLASSES)), 4)

    assert same_value(theirs, ours, CLASSES) or same_value(theirs, native, CLASSES)


def _native(value: Any, seen: frozenset[int] = frozenset()) -> Any:
    """*value* with its arrays in the machine's byte order, as protocol 4 of `pickle` gives them."""
    if isinstance(value, np.ndarray):
        return value.astype(value.dtype.newbyteorder("="))
    if type(value) in (list, Rows):
        value[:] = [_native(each) for each in value]
    elif type(value) is tuple or type(value) is Named:
        return tuple.__new__(type(value), [_native(each) for each in value])
    elif type(value) in (dict, Table):
        for key in value:
            value[key] = _native(value[key])
    elif type(value) in (Plain, Data):
        for name, each in vars(value).items():
            setattr(value, name, _native(each))
    elif type(value) is Slots:
        value.a, value._Slots__secret = _native(value.a), _native(value._Slots__secret)
    return value


@pytest.mark.unmeasured
@QUICK
@given(values)
def test_what_pickletools_optimizes_is_read_too(value: Any) -> None:
    """Fidelity: a pickle without its unused memo entries is read as well."""
    data = pickle.dumps(value, 4)

    assert same_value(data, encode(decode(pickletools.optimize(data), CLASSES)), CLASSES)


@pytest.mark.unmeasured
@QUICK
@given(values, values)
def test_same_value_is_an_equivalence(first: Any, second: Any) -> None:
    """Same: what differs on one side differs on the other; what is encoded twice is the same."""
    a, b = pickle.dumps(first, 4), pickle.dumps(second, 4)

    assert same_value(a, b, CLASSES) == same_value(b, a, CLASSES)
    assert same_value(a, pickle.dumps(first, 5), CLASSES)


EVERYTHING = CLASSES | Registry.from_modules([codec_traps])


def outcome(data: bytes) -> bool:
    """Whether *data* loads; no exception but RejectedResult may pass, and no trap be sprung."""
    try:
        decode(data, EVERYTHING)
    except RejectedResult:
        return False
    return True


@pytest.mark.unmeasured
@QUICK
@given(st.binary(max_size=300))
@example(b"\x80\x04\x95" + b"\xff" * 8)
def test_any_bytes_are_a_value_or_a_refusal(data: bytes) -> None:
    """Garbage: no bytes whatever make the loader raise anything but RejectedResult."""
    outcome(data)
    outcome(b"\x80\x04" + data)


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]
PARTS = [
    *OPCODES,
    codec_hostile.text("value"),
    codec_hostile.raw(b"12345678"),
    codec_hostile.number(1),
    codec_hostile.name("codec_types", "Plain"),
    codec_hostile.new("codec_types", "Plain"),
    codec_hostile.new("codec_types", "Slots"),
    codec_hostile.name("codec_types", "Colour"),
    codec_hostile.table(codec_hostile.text("value"), codec_hostile.number(1)),
    codec_hostile.name("builtins", "set"),
    codec_hostile.name("builtins", "getattr"),
    codec_hostile.name("collections", "defaultdict"),
    codec_hostile.name("datetime", "datetime"),
    codec_hostile.name("numpy", "dtype"),
    codec_hostile.name("numpy._core.multiarray", "scalar"),
]


@pytest.mark.unmeasured
@settings(QUICK, max_examples=400)
@given(st.lists(st.sampled_from(PARTS), max_size=40))
def test_any_opcodes_are_a_value_or_a_refusal(parts: list[bytes]) -> None:
    """Opcodes: in whatever order they come, with whatever they find on the stack."""
    outcome(codec_hostile.pickled(*parts))


def opcodes(data: bytes) -> list[bytes]:
    """*data* cut into its opcodes, each with its argument; without PROTO, frames and STOP."""
    try:
        found = [(opcode.name, at) for opcode, _, at in pickletools.genops(data)]
    except ValueError:
        return []
    ends = [at for _, at in found[1:]] + [len(data)]
    kept = [(name, data[at:end]) for (name, at), end in zip(found, ends, strict=True)]
    return [piece for name, piece in kept if name not in ("PROTO", "FRAME", "STOP")]


VALUES = [
    *codec_types.plain_values().values(),
    *codec_types.class_values().values(),
    *codec_types.numpy_values().values(),
]
SEEDS = [data for value in VALUES for p in (2, 4, 5) if len(data := pickle.dumps(value, p)) < 3_000]
HONEST = [pieces for data in SEEDS if (pieces := opcodes(data))]
SEEDS += [data for data in codec_hostile.PAYLOADS.values() if 2 < len(data) < 300]
CUT = [pieces for data in SEEDS if (pieces := opcodes(data))]


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", range(4))
def test_changed_bytes_are_a_value_or_a_refusal(part: int, seed: int) -> None:
    """Mutation: bytes changed, cut, doubled and spliced; nothing but RejectedResult is raised."""
    codec_traps.ran.clear()
    draw = random.Random(seed)
    for _ in range(2_000):
        data = bytearray(draw.choice(SEEDS))
        at = draw.randrange(2, len(data))
        for change in draw.choices(range(4), k=draw.randrange(1, 4)):
            if change == 0:
                data[at : at + 1] = [draw.randrange(256)]
            elif change == 1:
                del data[at : at + draw.randrange(1, 9)]
            elif change == 2:
                data[at:at] = data[at : at + draw.randrange(1, 40)]
            else:
                other = draw.choice(SEEDS)
                data[at:] = other[draw.randrange(len(other)) :]
        outcome(bytes(data))
    assert codec_traps.ran == []


@pytest.mark.unmeasured
@pytest.mark.parametrize("part", range(4))
def test_changed_opcodes_are_a_value_or_a_refusal(part: int, seed: int) -> None:
    """Mutation: whole opcodes left out, doubled, exchanged and spliced; many of them load."""
    codec_traps.ran.clear()
    draw = random.Random(seed)
    loaded = 0
    for _ in range(2_000):
        pieces = list(draw.choice(HONEST))
        at = draw.randrange(len(pieces))
        for change in draw.choices(range(5), k=draw.randrange(1, 3)):
            if change == 0:
                pieces[at : at + 1] = [draw.choice(PARTS)]
            elif change == 1:
                del pieces[at : at + draw.randrange(1, 3)]
            elif change == 2:
                pieces[at:at] = pieces[at : at + draw.randrange(1, 6)]
            elif change == 3:
                other = draw.choice(CUT)
                pieces[at:] = other[draw.randrange(len(other)) :]
            else:
                pieces[at:at] = [draw.choice(draw.choice(CUT))]
        loaded += outcome(codec_hostile.pickled(*pieces))
    assert loaded > 20
    assert codec_traps.ran == []
