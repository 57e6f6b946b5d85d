"""The loader's quick ways: each is taken where it should be, and ends where it must.

Without them every value would be the same, only later; so nothing else would notice.
"""

from __future__ import annotations

import pickle
import struct
import sys
import uuid
from typing import Any

import codec_types
import numpy as np
import pytest
from codec_hostile import name, new, number, pickled, row, table, text
from codec_types import Plain

from pyboinc import codec
from pyboinc.codec import Budget, EncodeError, Registry, RejectedResult, decode, encode, whole
from pyboinc.codec.loader import Loader
from pyboinc.codec.opcodes import setitems
from pyboinc.codec.registry import OwnClasses
from pyboinc.codec.rows import read_pairs
from pyboinc.codec.standard import RECONSTRUCT

CLASSES = Registry.from_modules([codec_types])
EDGE = 2**61 - 1  # the modulus of hashes: the first number whose hash is not itself

# ---- arrays --------------------------------------------------------------------------

SHAPES = [(2,), (300,), (70_000,), (2, 3), (300, 2), (3, 70_000), (2, 3, 4), (1, 300, 2)]
NUMBERS = ["i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8", "<f2", "<f4", "<f8"]
NUMBERS += ["<c8", "<c16", ">i2", ">i4", ">u8", ">f8", ">c16"]


def calls(data: bytes, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many opcodes were read at once, by each call of the way that arrays are read."""
    read, used = whole.read_arrays, []

    def counted(*args: Any) -> tuple[int, int]:
        pos, opcodes = read(*args)
        used.append(opcodes)
        return pos, opcodes

    monkeypatch.setattr(RECONSTRUCT, "whole", counted)
    Loader(data, CLASSES, Budget()).load()
    monkeypatch.undo()
    return used


@pytest.mark.parametrize("shape", SHAPES)
def test_arrays_of_every_shape_are_read_at_once(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quick: the first array, the next, and all that are like it together."""
    arrays = [np.zeros(shape, "u1") for _ in range(4)]
    assert len(calls(pickle.dumps(arrays, 4), monkeypatch)) == (
        2 if arrays[0].nbytes < 2**16 else 4
    )
    for each in (arrays, [arrays[0], arrays[1].T.copy(), arrays[2]]):
        assert 0 not in calls(pickle.dumps(each, 4), monkeypatch)


@pytest.mark.parametrize("kind", NUMBERS)
def test_arrays_of_every_kind_are_read_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick: all plain numbers, of either byte order, in either order of the axes."""
    flat = np.arange(6).astype(kind)
    plane = flat.reshape(2, 3)
    for value in ([flat, flat.copy()], [plane, np.asfortranarray(plane)], [{"a": flat}, plane]):
        used = calls(pickle.dumps(value, 4), monkeypatch)
        assert len(used) == 2 and 0 not in used


def test_arrays_in_a_row_are_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick: a row of arrays that are alike, and again behind one that is not."""
    alike_ = [np.full(3, float(n)) for n in range(50)]
    assert len(calls(pickle.dumps(alike_, 4), monkeypatch)) == 2
    assert len(calls(pickle.dumps([*alike_, np.ones(4), *alike_[:1]], 4), monkeypatch)) == 3
    others = [*alike_[:9], np.ones(4), *[each + 1 for each in alike_]]
    assert len(calls(pickle.dumps(others, 4), monkeypatch)) == 4


def test_heads_are_remembered_and_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory: what is known of arrays that came before is bounded, and is used."""
    for count in range(200):
        for before in ([*map(str, range(count))], [np.zeros(2), *map(str, range(count))]):
            decode(pickle.dumps([*before, np.ones(3)], 4), CLASSES)
        assert len(whole._first) <= 64 and len(whole._again) <= 64
    learned: list[object] = []
    learn = whole._learn
    monkeypatch.setattr(whole, "_learn", lambda *args: learned.append(args) or learn(*args))
    for _ in range(3):
        value = decode(pickle.dumps([np.ones(3), {"b": np.ones((2, 2))}, np.ones(5)], 4), CLASSES)
        assert value[2].shape == (5,)
    assert len(learned) == 3
    decode(pickle.dumps([{"a": np.ones(9)} for _ in range(9)], 4), CLASSES)
    assert len(learned) == 5  # the loader itself knows the last one


def test_contents_of_any_length_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick: however long the number is in which their length is written."""
    array = np.arange(5, dtype="i4")
    data, raw = pickle.dumps([array, array + 1], 4), array.tobytes()
    for code in (b"C" + bytes([20]), b"B" + struct.pack("<I", 20), b"\x8e" + struct.pack("<Q", 20)):
        written = b"\x80\x04" + data[11:].replace(b"C\x14" + raw, code + raw)
        assert 0 not in calls(written, monkeypatch)
        assert decode(written, CLASSES)[0].tolist() == [0, 1, 2, 3, 4]


# ---- keys and values -----------------------------------------------------------------

PAIRS = {"a": 1, "b": 300, "c": 0.5, "d": None, "e": True, "f": False, "g": "text", "h": "g"}


def body(table: dict[str, Any]) -> bytes:
    """What stands between MARK and SETITEMS, and these."""
    return pickle.dumps(table, 4).partition(b"(")[2]


def test_pairs_of_every_common_kind_are_read_at_once() -> None:
    """Quick: numbers, truth values, text and what is in the memo, up to SETITEMS."""
    data, memo, table = body(PAIRS) + bytes(20), [{}], {}
    row, pos, used = read_pairs(data, 0, len(data), memo, table, 1_000)
    assert row is None and table == PAIRS and list(table) == list(PAIRS)
    assert data[pos:] == b"." + bytes(20)
    assert used == 2 * len(PAIRS) + len(memo) - 1 + 1 and memo[1:3] == ["a", "b"]


def test_pairs_end_where_the_budget_ends() -> None:
    """Budgets: of keys and values no more than one is read beyond the opcodes that are left."""
    data = body({f"k{n}": n for n in range(100)}) + bytes(20)
    for most in range(1, 60):
        row, pos, used = read_pairs(data, 0, len(data), [], {}, most)
        assert row is not None and most <= used < most + 3
        assert data[pos] == 0x8C and row[::2] == [f"k{n}" for n in range(len(row) // 2)]


def test_pairs_end_where_the_frame_may_end() -> None:
    """Frames: no text is read beyond the limit; what is near to it is left to the loop."""
    data = body({"a": "x" * 50, "b": "y" * 50}) + bytes(80)
    for limit in range(len(data)):
        memo: list[Any] = []
        row, pos, used = read_pairs(data, 0, limit, memo, {}, 1_000)
        assert pos <= max(limit, 0) and used in (0, 2, 4, 6, 8, 9)
        assert (row is None) == (limit > data.index(b"u.") + 14)
    text_end = data.index(b"\x8c\x01b")
    row, _, _ = read_pairs(data, 0, text_end + 15, [], {}, 1_000)
    assert row == ["a", "x" * 50]


def test_many_or_few_pairs_are_put_in_alike() -> None:
    """Data: up to 32 of them one by one, more together; keys are judged in both."""
    loader = Loader(b"", CLASSES, Budget())
    for count in (1, 15, 16, 17, 40):
        stack = [{}]
        setitems(loader, stack, [each for n in range(count) for each in (n, -n)])
        assert stack == [{n: -n for n in range(count)}]
        with pytest.raises(ValueError, match="can not be a key"):
            setitems(loader, [{}], [[], 1] * count)


def test_a_plain_object_needs_no_loader(monkeypatch: pytest.MonkeyPatch) -> None:
    """Quick: most outputs are read, and most inputs written, without one."""
    arrays = pickle.dumps(Plain(np.arange(4.0)), 4)
    decode(arrays, CLASSES)  # the first of its kind is learned
    monkeypatch.setattr(codec, "Loader", None)
    for content in (1, 0.5, "text", None, True, [1, 2], {"a": 1.5}):
        data = encode(Plain(content), "input", CLASSES)
        if type(content) not in (list, dict):
            assert vars(decode(data, CLASSES)) == {"value": content}
    assert decode(arrays, CLASSES).value.tolist() == [0, 1, 2, 3]


# ---- keys that are numbers -----------------------------------------------------------


@pytest.mark.parametrize("others", [[], ["text"], [0.5]])
@pytest.mark.parametrize("far", [EDGE, -EDGE, 2 * EDGE])
def test_numbers_that_share_a_hash_are_counted_from_the_edge_on(far: int, others: Any) -> None:
    """Time: whole numbers below the modulus have a hash each; from there on they are counted."""
    for key, counted in ((far, True), (EDGE - 1, False), (1 - EDGE, False)):
        loader = Loader(b"", CLASSES, Budget())
        loader.check_keys([0, 7, key, *others])
        known = [each for same in loader.same_hash.values() for each in same]
        assert (key in known) == counted
        assert 7 not in known


# ---- classes -------------------------------------------------------------------------


def test_a_class_is_looked_at_once() -> None:
    """Quick: what is known of a class is kept, and so is what is counted of it."""
    for classes in (Registry.from_modules([codec_types]), OwnClasses()):
        shape = classes.shape("codec_types", "Plain")
        assert shape is not None and shape is classes.shape("codec_types", "Plain")
        assert classes.by_class[Plain] is shape
    for unknown in (("codec_types", "Missing"), ("missing", "Plain"), ("os", "path")):
        assert OwnClasses().shape(*unknown) is None


def test_names_that_were_in_order_are_not_judged_again() -> None:
    """Quick: a registry remembers the names of attributes."""
    registry = Registry.from_modules([codec_types])
    loader = Loader(b"", registry, Budget())
    assert loader.names is registry.names
    loader.check_names({"fresh": 1})
    assert "fresh" in registry.names


def test_without_dataclasses_a_list_is_no_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes: what no loaded module knows of is refused in words, not by a failure."""
    data = pickled(new("codec_types", "Plain"), b"]", b"b")
    for loaded in (True, False):
        if not loaded:
            monkeypatch.delitem(sys.modules, "dataclasses")
        with pytest.raises(RejectedResult, match="Plain has another number of fields"):
            decode(data, CLASSES)


def test_a_strange_enumeration_has_no_other_members() -> None:
    """Enumerations: whatever `_missing_` is, only written members and pure flags are found."""

    class Strange(codec_types.Flags.__base__):  # type: ignore[misc, name-defined]  # enum.Flag
        A = 1

        def _missing_(self, value):  # type: ignore[override]
            raise AssertionError("code of the user's")

    Strange.__module__, Strange.__qualname__ = "strange", "Strange"
    classes = Registry({("strange", "Strange"): Strange})
    member = name("strange", "Strange")
    assert decode(pickled(member, number(1), b"\x85R"), classes) is Strange.A
    for value in (number(2), text("A"), b"N"):
        with pytest.raises(RejectedResult, match=r"strange\.Strange has no member with the value"):
            decode(pickled(member, value, b"\x85R"), classes)


def test_a_trusted_class_is_asked_whatever_its_state_is() -> None:
    """Opt-in: a trusted `__setstate__` runs for a dictionary as well, and what it takes is paid.

    So much for each item that it holds, however deep; one byte less is too little.
    """

    class Counted:
        def __setstate__(self, state: dict[str, Any]) -> None:
            self.seen = sorted(state)

    Counted.__module__, Counted.__qualname__ = "counted", "Counted"
    classes = Registry({("counted", "Counted"): Counted}, [Counted])
    items = [text("a"), number(1), text("b"), row(*[row(number(n)) for n in range(20)])]
    data = pickled(new("counted", "Counted"), table(*items), b"b")
    held = 2 + 2 + 20 + 20  # keys, values, lists in the list, numbers in those

    assert vars(decode(data, classes, Budget(bytes=64 * held))) == {"seen": ["a", "b"]}
    with pytest.raises(RejectedResult, match="bytes of copies"):
        decode(data, classes, Budget(bytes=64 * held - 1))


@pytest.mark.parametrize("safe", uuid.SafeUUID)
def test_a_uuid_that_says_how_it_was_made(safe: uuid.SafeUUID) -> None:
    """Values: a UUID of any making has its number; more in it than Python writes is refused."""
    value = uuid.UUID(int=5, is_safe=safe)
    assert decode(pickle.dumps(value, 4), CLASSES) == value
    more = pickled(new("uuid", "UUID"), table(text("int"), number(5), text("hex"), number(5)), b"b")
    with pytest.raises(RejectedResult, match="not the number of a UUID"):
        decode(more, CLASSES)


def test_what_is_nested_too_deep_is_told_so() -> None:
    """Messages: the whole reason, and where it is."""
    value: list[Any] = []
    for _ in range(9):
        value = [value]
    with pytest.raises(EncodeError) as caught:
        encode(value, "input", CLASSES, Budget(depth=5))
    assert str(caught.value) == "input[0][0][0][0][0]: nested more than 5 deep"
