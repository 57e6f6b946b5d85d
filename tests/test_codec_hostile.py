"""Hostile bytes: nothing runs, nothing is imported or changed, and the cost stays bounded."""

from __future__ import annotations

import builtins
import copyreg
import os
import pickle
import subprocess
import sys
import tracemalloc
from typing import Any

import codec_hostile
import codec_reasons
import codec_traps
import codec_types
import numpy as np
import pytest
from codec_hostile import PAYLOADS, pickled
from codec_watch import CLASSES, WATCHED, forget_combinations, is_inert, outcome, watching

from pyboinc.codec import Budget, RejectedResult, decode
from pyboinc.codec.inspection import inspect
from pyboinc.codec.shapes import Refusal
from pyboinc.codec.standard import NAMED

GROUPS = sorted({label.partition(":")[0] for label in PAYLOADS})

# What the loader may hand out although a payload asked for worse; each was looked at.
INERT = {
    "arguments: builtins.bytearray of bytes": "a bytearray, by copy",
    "arguments: builtins.bytearray of nothing": "an empty bytearray",
    "arguments: builtins.bytes of nothing": "no bytes",
    "arguments: collections.Counter of a dict": "counts that are objects",
    "arguments: collections.OrderedDict of nothing": "an empty one",
    "arguments: collections.defaultdict of none": "one without a factory",
    "arguments: collections.defaultdict of nothing": "one without a factory",
    "arguments: collections.deque of nothing": "an empty one",
    "arrays: dtype state itemsize": "the size comes from the name, not the state",
    "arrays: dtype state metadata": "ignored",
    "arrays: dtype state object flags": "ignored",
    "attributes: BUILD with a pair": "no attributes and no slots",
    "attributes: descriptor": "in __dict__, behind the descriptor, which did not run",
    "attributes: post init": "not called",
    "attributes: property": "in __dict__, behind the property, which did not run",
    "attributes: state changed later": "the object has a copy of its state",
    "containers: ADDITEMS to set": "a set",
    "containers: APPEND to deque": "a deque",
    "containers: APPEND to list": "a list",
    "containers: APPEND to own list": "by list's own append",
    "containers: APPENDS to deque": "a deque",
    "containers: APPENDS to list": "a list",
    "containers: APPENDS to own list": "by list's own extend",
    "containers: SETITEM of dict": "a dict",
    "containers: SETITEM of own dict": "by dict's own __setitem__",
    "containers: SETITEMS of dict": "a dict",
    "containers: SETITEMS of own dict": "by dict's own __setitem__",
    "costs: LONG1 is enough": "an integer of 255 bytes",
    "streams: FRAME of nothing": "None",
}


def world() -> tuple[Any, ...]:
    """What a payload might change in this process."""
    classes = (codec_traps.Trap, codec_traps.Kind, codec_types.Plain, codec_types.Colour)
    return (
        sorted(sys.modules),
        dict(os.environ),
        sorted(vars(builtins)),
        [sorted(vars(cls)) for cls in classes],
        sorted(vars(codec_traps)),
        sorted(vars(codec_types)),
        dict(copyreg.dispatch_table),
    )


def test_there_are_enough_payloads() -> None:
    """Breadth: the corpus has every technique of the literature, many times over."""
    assert len(PAYLOADS) > 1_500 and len(GROUPS) == 9


@pytest.mark.unmeasured
@pytest.mark.parametrize("group", GROUPS)
def test_nothing_runs_and_nothing_changes(group: str) -> None:
    """Data never runs: each payload is refused, or gives an inert value that is listed here."""
    forget_combinations()
    before = world()
    loaded, refused = set(), {}
    for label, data in PAYLOADS.items():
        if not label.startswith(group + ":"):
            continue
        with watching():
            result = outcome(data, Budget())
        assert (WATCHED, codec_traps.ran) == ([], []), f"{label}: {result}"
        if not isinstance(result, RejectedResult):
            loaded.add(label)
            assert is_inert(result), label
        else:
            assert str(result).isascii() and len(str(result)) < 400, label
            refused[label] = result
    assert loaded == {label for label in INERT if label.startswith(group + ":")}
    assert world() == before
    again = "python tests/codec_reasons.py writes anew for which reasons they are refused"
    assert codec_reasons.lines(refused) == codec_reasons.known(group), again


def test_the_payloads_are_real() -> None:
    """The corpus bites: `pickle` itself runs what these payloads ask for."""
    fired = 0
    for label, data in PAYLOADS.items():
        if "codec_traps" in label or label in ("calls: call, then POP", "calls: nested pickle"):
            codec_traps.ran.clear()
            try:
                pickle.loads(data)
            except Exception:  # noqa: BLE001 - it ran before it failed
                pass
            fired += bool(codec_traps.ran)
    assert fired >= 5


SMALL = [
    label
    for label, data in PAYLOADS.items()
    if label.startswith(("costs:", "keys:", "streams:")) and len(data) < 2_000
]


@pytest.mark.parametrize("label", SMALL)
def test_few_bytes_never_ask_for_much_memory(label: str) -> None:
    """Memory: less than 2 kB of input may not make the loader take more than 1 MB."""
    tracemalloc.start()
    try:
        outcome(PAYLOADS[label], Budget())
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


COPIES = [label for label in PAYLOADS if label.startswith("costs: copies")]


@pytest.mark.parametrize("label", COPIES)
def test_copies_are_paid_for(label: str) -> None:
    """Memory and time: what an opcode copies again and again counts against the budget."""
    result = outcome(PAYLOADS[label], Budget(bytes=5_000_000))

    assert "of copies" in result.reason


def test_copies_that_are_kept_stay_within_the_budget() -> None:
    """Memory: copies that all stay alive are bounded by the budget's bytes."""
    kept = PAYLOADS["costs: copies of bytes"].replace(b"R0", b"R")
    tracemalloc.start()
    try:
        outcome(kept, Budget(bytes=10_000_000))
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
    finally:
        tracemalloc.stop()


# ---- budgets -------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    """Lists, *depth* deep."""
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("limit", "within", "beyond", "reason"),
    [
        ({"bytes": 100}, b"x" * 50, b"x" * 100, "bytes; at most 100 may be read"),
        ({"opcodes": 50}, [None] * 40, [None] * 50, "more than 50 opcodes"),
        ({"depth": 10}, nested(10), nested(11), "nested more than 10 deep"),
        ({"depth": 10}, (nested(9), 1), (nested(10), 1), "nested more than 10 deep"),
        ({"integer": 20}, 2**159 - 1, 2**159, "an integer of more than 20 bytes"),
        ({"key": 4}, {(1, 2, 3)}, {(1, 2, 3, 4)}, "a key of more than 4 parts"),
        ({"unfolded": 10}, [[1, 2]] * 2, [[1, 2, 3]] * 3, "shared parts that unfold to more"),
        ({"opcodes": 90}, {(1, 2)}, {(n, 2): 1 for n in range(31)}, "more than 90"),
    ],
)
def test_each_budget_ends_where_it_says(
    limit: dict[str, int], within: Any, beyond: Any, reason: str
) -> None:
    """Budgets: what is within is read, what is beyond is refused with the budget's own reason."""
    if "unfolded" in limit:
        within, beyond = [within[0]] * 2, [beyond[0]] * 3
    assert decode(pickle.dumps(within, 4), CLASSES, Budget(**limit)) == within
    with pytest.raises(RejectedResult, match=reason):
        decode(pickle.dumps(beyond, 4), CLASSES, Budget(**limit))


class Unknown:
    """Not of a job."""


LEAVES = (0, "a", None, 2.5)
HELD = {
    "an unknown": Unknown(),
    "a list": [1],
    "a dictionary": {},
    "a name": next(iter(NAMED.values())),
}


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.parametrize("place", ["item", "key", "value"])
def test_rows_of_dictionaries_are_looked_over_as_others_are(kind: str, place: str) -> None:
    """Budgets: what a list of dictionaries holds is counted and refused as what a tuple does."""
    rows: list[Any] = [{"id": n, "name": leaf} for n, leaf in enumerate(LEAVES)]

    assert inspect(rows, {}, Budget()) == inspect(tuple(rows), {}, Budget()) == 4 * (1 + 4)
    assert inspect(rows, {}, Budget(depth=2)) == 4 * (1 + 4)
    with pytest.raises(Refusal, match="nested more than 1 deep"):
        inspect(rows, {}, Budget(depth=1))
    strange = HELD[kind]
    if place == "key":
        strange = (strange, 1) if strange.__hash__ else (1, (2,))
    rows.append(strange if place == "item" else {strange: 1} if place == "key" else {1: strange})
    assert looked_over(rows) == looked_over(tuple(rows))


def looked_over(value: Any) -> int | str:
    """How many items *value* holds, or why it is refused."""
    try:
        return inspect(value, {}, Budget())
    except Refusal as refusal:
        return str(refusal)


def test_a_dictionary_that_is_there_twice_is_unfolded() -> None:
    """Budgets: shared dictionaries in a row count each time when they are written out."""
    shared = {1: 2, 3: 4}
    other: list[Any] = [{1: 2}]

    assert inspect([shared, shared, {}], {}, Budget(unfolded=12)) == 3 + 4
    for value in ([shared] * 3, [shared, [shared, {}], [shared, {}]], [other, [*other, {}]] * 2):
        with pytest.raises(Refusal, match="shared parts that unfold to more than 12 items"):
            inspect(value, {}, Budget(unfolded=12))


def test_the_parts_of_all_keys_count_together() -> None:
    """Time: a key that is used again and again is weighed each time, and that is bounded."""
    key = codec_hostile.MARK + b"K\x01" * 60 + b"t" + b"\x94" + b"0"
    many = b"(" + (b"h\x00" + b"N") * 20_000 + b"u"

    with pytest.raises(RejectedResult, match="the keys have more than 200000 parts"):
        decode(pickled(key, b"}", many), CLASSES)


@pytest.mark.parametrize("count", [64, 65])
def test_keys_of_one_hash_are_few(count: int) -> None:
    """Time: 64 different keys of one hash are data, more are an attack."""
    keys = {n * (2**61 - 1) for n in range(1, count + 1)}
    result = outcome(pickle.dumps([keys, dict.fromkeys(keys)], 4), Budget())

    assert result == [keys, dict.fromkeys(keys)] if count == 64 else "same hash" in result.reason


def test_a_grid_of_negative_numbers_is_no_attack() -> None:
    """Time: -1 and -2 have one hash in Python, and so have tuples of them; that is allowed."""
    grid = {(x, y, z): 0.0 for x in range(-5, 5) for y in range(-5, 5) for z in range(-5, 5)}

    assert decode(pickle.dumps(grid, 4), CLASSES) == grid


def test_a_rejected_result_tells_where() -> None:
    """Messages: the offset of the opcode that was refused stands in the exception."""
    with pytest.raises(RejectedResult) as caught:
        decode(pickled(b"NNN", codec_hostile.name("os", "system")), CLASSES)

    assert caught.value.offset == len(b"\x80\x04NNN") + len(b"\x8c\x02os\x8c\x06system")
    assert caught.value.reason == "os.system is not a class of this job"


@pytest.mark.parametrize("code", range(256))
def test_every_first_byte_is_accounted_for(code: int) -> None:
    """Opcodes: whatever byte comes first, and whatever follows it, nothing else is raised."""
    with watching():
        for tail in (b".", b"\0" * 20 + b".", b"\xff" * 20, b"x\ny\n.", b""):
            for head in (b"", b"N", b"](", b"}N", b"\x8c\x02os\x8c\x06system"):
                outcome(b"\x80\x04" + head + bytes([code]) + tail, Budget())
    assert WATCHED == []


def test_every_truncation_is_refused() -> None:
    """Torn files: every beginning of a pickle is refused, whatever its protocol."""
    values = [codec_types.Plain([1.5, {"a": (1, 2)}, np.arange(5), {codec_types.Colour.RED}])]
    for protocol in (2, 3, 4, 5):
        data = pickle.dumps(values, protocol)
        for end in range(len(data)):
            assert isinstance(outcome(data[:end], Budget()), RejectedResult)


def test_an_extension_that_is_registered_is_refused_all_the_same() -> None:
    """EXT codes: what the process has registered with copyreg is no way in."""
    copyreg.add_extension("codec_traps", "fire", 240)
    try:
        with pytest.raises(RejectedResult, match="EXT1"):
            decode(pickled(b"\x82\xf0", b")R"), CLASSES)
        assert codec_traps.ran == []
    finally:
        copyreg.remove_extension("codec_traps", "fire", 240)


def test_some_python_3_11s_enumerations_are_read() -> None:
    """Enumerations: getattr(Class, "NAME") and FIRST | SECOND, as Python 3.11.0 wrote them."""
    colour = codec_hostile.name("codec_types", "Colour")
    red = codec_hostile.call("builtins", "getattr", colour, codec_hostile.text("RED"))
    flags = [codec_hostile.call("codec_types", "Flags", codec_hostile.number(n)) for n in (1, 4)]
    both = codec_hostile.call("_operator", "or_", *flags)
    more = codec_hostile.call("operator", "or_", flags[0], codec_hostile.number(2))

    assert decode(pickled(red), CLASSES) is codec_types.Colour.RED
    assert decode(pickled(both), CLASSES) == codec_types.Flags.R | codec_types.Flags.X
    assert decode(pickled(more), CLASSES) == codec_types.Flags.R | codec_types.Flags.W


def test_combinations_of_flags_are_not_kept_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory: `enum` keeps each combination for ever; known ones are free, new ones are few."""
    shape = CLASSES.shape("codec_types", "IntFlags")
    seen = pickle.dumps([codec_types.IntFlags(n) for n in (1, 2, 3, 7, 8)] * 2_000, 4)
    new = pickled(codec_hostile.call("codec_types", "IntFlags", codec_hostile.number(7 << 20)))

    assert len(decode(seen, CLASSES)) == 10_000
    monkeypatch.setattr(shape, "composed", shape.NEW_IN_ALL)
    assert len(decode(seen, CLASSES)) == 10_000
    with pytest.raises(RejectedResult, match="too many combinations"):
        decode(new, CLASSES)


def test_the_state_of_an_object_is_its_own() -> None:
    """BUILD: a state that is changed after it was used does not change the object."""
    value = decode(PAYLOADS["attributes: state changed later"], CLASSES)

    assert object.__getattribute__(value, "__dict__") == {}


def test_nothing_of_a_benign_pickle_runs_either() -> None:
    """Data never runs: __init__, __post_init__, properties and all stay still for honest data."""
    state = {"value": 1, "other": [1]}
    honest = object.__new__(codec_traps.Trap)
    object.__getattribute__(honest, "__dict__").update(state)
    late = object.__new__(codec_traps.PostInit)
    data = pickle.dumps([honest, late, codec_traps.TrapFloat(2.5)], 4)

    with watching():
        copy = decode(data, CLASSES)

    assert (WATCHED, codec_traps.ran) == ([], [])
    assert object.__getattribute__(copy[0], "__dict__") == state


def test_a_deep_rejected_value_is_freed_safely() -> None:
    """Crash: what was built before a refusal is freed without overflowing the C stack."""
    program = (
        "import sys, threading; sys.path[:0] = sys.argv[1:]\n"
        "import codec_hostile, codec_types\n"
        "from pyboinc.codec import Registry, RejectedResult, decode\n"
        "classes = Registry.from_modules([codec_types])\n"
        "def run():\n"
        "    for label, data in codec_hostile.costs():\n"
        "        if 'deep' in label or 'chained' in label:\n"
        "            try: decode(data, classes)\n"
        "            except RejectedResult as error: print(label, error)\n"
        "threading.stack_size(512 * 1024)\n"
        "thread = threading.Thread(target=run); thread.start(); thread.join()\n"
    )
    here = os.path.dirname(os.path.abspath(__file__))
    command = [sys.executable, "-c", program, here, os.path.dirname(here)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)

    assert len(done.stdout.splitlines()) == 5, done.stdout
