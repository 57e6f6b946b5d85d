"""What may travel comes out as it went in; what may not is refused at once, by name."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import pathlib
import pickle
import sys
import threading
import types
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any

import codec_refused
import codec_types
import numpy as np
import pytest
from codec_types import Node, Plain, Slots

from pyboinc import codec
from pyboinc.codec import (
    Budget,
    EncodeError,
    Registry,
    RejectedResult,
    arrays,
    decode,
    encode,
    explain,
    whole,
)
from pyboinc.codec.shapes import Refused
from pyboinc.codec.standard import VALUE_TYPES

CLASSES = Registry.from_modules([codec_types])
VALUES = {
    **codec_types.plain_values(),
    **codec_types.class_values(),
    **{"numpy: " + name: value for name, value in codec_types.numpy_values().items()},
}
PICKLES = json.loads(
    gzip.decompress((pathlib.Path(__file__).parent / "data/codec_pickles.json.gz").read_bytes())
)


def alike(a: Any, b: Any) -> bool:
    """Whether *a* and *b* are equal and of equal types, all the way down."""
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray):
        same_kind = a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
        return same_kind and a.flags.f_contiguous == b.flags.f_contiguous
    if isinstance(a, dict):
        return len(a) == len(b) and all(key in b and alike(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple, deque)):
        return len(a) == len(b) and all(map(alike, a, b))
    if type(a) is Plain:
        return alike(vars(a), vars(b))
    return bool(a == b)


@pytest.mark.parametrize("name", VALUES)
def test_every_kind_of_value_travels(name: str) -> None:
    """Round trip: an encoded value comes back equal and of the same types, whoever checks."""
    value = VALUES[name]

    assert alike(decode(encode(value, "input", CLASSES), CLASSES), value)
    assert encode(value) == encode(value, "output", CLASSES)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", VALUES)
def test_every_protocol_is_read(name: str, protocol: int) -> None:
    """Fidelity: what users' slaves write with `pickle`, in any protocol, is read as it was."""
    data = pickle.dumps(VALUES[name], protocol)

    assert alike(decode(data, CLASSES), VALUES[name])


def test_pickles_of_many_pythons_and_numpys_are_read() -> None:
    """Volunteers' Pythons: what 3.8 to 3.13 and numpy 1 and 2 wrote is read the same."""
    for source, name, data in PICKLES:
        value = VALUES.get(name, VALUES.get("numpy: " + name))
        if source.startswith("numpy"):
            value = VALUES["numpy: " + name]
        assert alike(decode(base64.b64decode(data), CLASSES), value), (source, name)
    assert len({source for source, _, _ in PICKLES}) >= 6


@pytest.mark.parametrize("protocol", [0, 1])
def test_protocols_that_python_3_never_chooses_are_refused(protocol: int) -> None:
    """Protocols: 0 and 1 are not read, and the message says which are."""
    with pytest.raises(RejectedResult, match="not a pickle of protocol 2, 3, 4 or 5"):
        decode(pickle.dumps([1], protocol), CLASSES)


# ---- sharing and cycles ------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_shared_parts_stay_shared(protocol: int) -> None:
    """Sharing: what was one object is one object again."""
    inner = [1]
    array = np.arange(3)

    a, b, c, d = decode(pickle.dumps([inner, inner, array, array], protocol), CLASSES)

    assert a is b and c is d


def circles() -> dict[str, Any]:
    """name -> a value that contains itself, and where."""
    row: list[Any] = [1]
    row.append(row)
    table: dict[str, Any] = {}
    table["self"] = table
    inside: tuple[Any, ...] = ([],)
    inside[0].append(inside)
    thing = Plain()
    thing.value = {"back": [thing]}
    slots = Slots([], 1)
    slots.a.append(slots)
    frozen = frozenset([Node("n")])
    next(iter(frozen)).links = frozen
    queue: deque[Any] = deque()
    queue.append(queue)
    default: defaultdict[str, Any] = defaultdict(list)
    default["self"] = default
    return {
        "list": (row, lambda v: v[1]),
        "dict": (table, lambda v: v["self"]),
        "tuple": (inside, lambda v: v[0][0]),
        "object": (thing, lambda v: v.value["back"][0]),
        "slots": (slots, lambda v: v.a[0]),
        "frozenset": (frozen, lambda v: next(iter(v)).links),
        "deque": (queue, lambda v: v[0]),
        "defaultdict": (default, lambda v: v["self"]),
    }


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("name", circles())
def test_what_contains_itself_travels(name: str, protocol: int) -> None:
    """Cycles: every circle that pickle can write closes again."""
    value, around = circles()[name]

    copy = decode(pickle.dumps(value, protocol), CLASSES)

    assert around(copy) is copy
    encode(value, "input", CLASSES)


def test_a_graph_of_objects_travels() -> None:
    """Graphs: nodes that point at one another, in a set and as keys, keep their shape."""
    nodes = [Node(n) for n in range(12)]
    for node in nodes:
        node.links = [other for other in nodes if other is not node]
    copy = decode(encode({"all": set(nodes), "by": {nodes[0]: 1}}, "input", CLASSES), CLASSES)

    assert {node.name for node in copy["all"]} == set(range(12))
    assert all(other in copy["all"] for node in copy["all"] for other in node.links)
    assert next(iter(copy["by"])) in copy["all"]


def test_a_lattice_of_shared_objects_is_not_taken_for_a_bomb() -> None:
    """Sharing: densely linked objects of the user's load, however large written out."""
    top = Plain(0)
    for _ in range(60):
        top = Plain([top, top])

    assert isinstance(decode(encode(top, "input", CLASSES), CLASSES).value[0], Plain)


# ---- numpy -------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_own_their_memory(protocol: int) -> None:
    """Arrays: they can be written to, and the bytes they came from do not change."""
    data = pickle.dumps([np.arange(50_000.0), b"x"], protocol)
    before = bytes(bytearray(data))

    array = decode(data, CLASSES)[0]
    array += 1

    assert array[0] == 1 and data == before


def test_a_read_only_array_of_protocol_5_stays_read_only() -> None:
    """Arrays: what protocol 5 marks as read only can not be written to."""
    array = np.arange(4)
    array.flags.writeable = False

    assert not decode(pickle.dumps(array, 5), CLASSES).flags.writeable


@pytest.mark.parametrize("order", ["transposed", "swapped axes", "view"])
def test_newer_numpys_orders_are_read(order: str) -> None:
    """Arrays: the order "K" of numpy 2.3 and later, written by hand for the others."""
    value = codec_types.numpy_values()[order]
    axes = sorted(range(value.ndim), key=lambda axis: -value.strides[axis])
    base = np.ascontiguousarray(value.transpose(axes))
    back = tuple(axes.index(axis) for axis in range(value.ndim))
    token = arrays.CONSTRUCTORS["numpy._core.numeric", "_frombuffer"]

    made = token.call(loader(), (base.tobytes(), base.dtype, base.shape, "K", back))

    assert made.shape == value.shape and (made == value).all()


def test_arrays_have_at_most_32_dimensions() -> None:
    """Arrays: as many as every numpy of today can have, and not one more."""
    back = decode(encode(np.zeros((1,) * 32)), Registry({}))
    assert back.shape == (1,) * 32
    with pytest.raises(RejectedResult, match="whose shape does not fit its bytes"):
        decode(pickle.dumps(np.zeros((1,) * 33)), Registry({}))


def test_without_numpy_arrays_are_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slave without numpy: an array is refused, and the message says what is missing."""
    without = [pickle.dumps(value, 4) for value in (np.arange(3), np.float64(1), np.dtype("f4"))]
    monkeypatch.setattr(arrays, "_numpy", None)
    monkeypatch.setattr(whole, "_types", {})
    monkeypatch.setattr(whole, "_first", {})
    monkeypatch.setitem(sys.modules, "numpy", None)

    for data in without:
        with pytest.raises(RejectedResult, match="numpy is not installed"):
            decode(data, CLASSES)


def loader() -> Any:
    """A loader with nothing to load, for what is called by hand."""
    from pyboinc.codec.loader import Loader

    return Loader(b"", CLASSES, Budget())


# ---- what encode refuses -----------------------------------------------------------------


def local_object() -> Any:
    """An instance of a class that is defined inside a function."""

    class Local:
        pass

    return Local()


def main_object(monkeypatch: pytest.MonkeyPatch) -> Any:
    """An instance of a class of the program itself."""
    output = type("Output", (), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Output", output, raising=False)
    return output()


def chain(length: int, link: Callable[[Any], Any] = Plain) -> Any:
    """A value nested *length* deep."""
    value = None
    for _ in range(length):
        value = link(value)
    return value


def linked(*links: Any) -> Node:
    """A node with these links."""
    node = Node("n")
    node.links = list(links)
    return node


class Rome(tzinfo):
    """A time zone of the user's own."""

    def utcoffset(self, dt: datetime | None) -> timedelta:
        return timedelta(hours=1)


REFUSED: dict[str, tuple[Any, str]] = {
    "lock": (
        Plain(Plain({"lock": threading.Lock()})),
        "input.value.value['lock']: cannot pickle '_thread.lock' object",
    ),
    "generator": (Plain(x for x in ()), "input.value: cannot pickle 'generator' object"),
    "file": (
        Plain(io.StringIO),
        "input.value: a class can not travel (_io.StringIO); send its name",
    ),
    "stream": (
        Plain(io.StringIO("")),
        "input.value: _io.StringIO is not a class of yours; send the file's contents",
    ),
    "function": (
        Plain(codec_types.plain_values),
        (
            "input.value: a function can not travel (plain_values); define it in a "
            "module of the slave and send its name"
        ),
    ),
    "builtin": (
        Plain([math.sin]),
        (
            "input.value[0]: a function can not travel (sin); define it in a module of "
            "the slave and send its name"
        ),
    ),
    "lambda": (
        Plain(lambda: 0),
        (
            "input.value: a function can not travel (<lambda>); define it in a module "
            "of the slave and send its name"
        ),
    ),
    "method": (
        Plain("".join),
        (
            "input.value: a function can not travel (str.join); define it in a module "
            "of the slave and send its name"
        ),
    ),
    "class": (
        Plain(Plain),
        "input.value: a class can not travel (codec_types.Plain); send its name",
    ),
    "type": ([int], "input[0]: a class can not travel (builtins.int); send its name"),
    "module": (Plain(math), "input.value: a module can not travel (math); import it in the slave"),
    "local class": (
        Plain(local_object()),
        (
            "input.value: class local_object.<locals>.Local is defined inside a "
            "function; move it to the top of app_types.py"
        ),
    ),
    "exception": (
        Plain(ValueError("x")),
        "input.value: an exception can not travel (ValueError); send str(error)",
    ),
    "path": (
        Plain(pathlib.Path("x")),
        "input.value: pathlib.PosixPath is not a class of yours; send str(path)",
    ),
    "pattern": (
        Plain(__import__("re").compile("x")),
        "input.value: re.Pattern is not a class of yours; send the pattern's text",
    ),
    "zone": (
        Plain(datetime(2024, 1, 1, tzinfo=__import__("zoneinfo").ZoneInfo("UTC"))),
        (
            "input.value[1]: zoneinfo.ZoneInfo is not a class of yours; use "
            "datetime.timezone, or send the zone's name"
        ),
    ),
    "bare name": (
        Plain(NotImplemented),
        "input.value: builtins.NotImplemented is not a class of this job",
    ),
    "text": (Plain({"a": "\ud800"}), "input.value['a']: text that is not UTF-8"),
    "integer": (Plain([10**5000]), "input.value[0]: an integer of more than 1700 bytes"),
    "key": (
        Plain({Slots: 1}),
        "input.value: a type can not be a key",
    ),
    "long key": ({tuple(range(100)): 1}, "input: a key of more than 64 parts"),
    "equal key": (
        [{codec_refused.Hashed(1): 2}],
        "input[0]: codec_refused.Hashed has its own __hash__ or __eq__: it can not be a key",
    ),
    "bad default": (
        Plain(defaultdict(codec_types.plain_values)),
        "input.value: codec_types.plain_values is not a class of this job",
    ),
    "array of objects": (
        Plain(np.array([None])),
        "input.value: numpy arrays of objects can not travel: send a list",
    ),
    "structured": (
        np.zeros(2, "i4,f8"),
        "input: numpy type 'V12' can not travel",
    ),
    "long double": (np.longdouble(1), "input: numpy type 'f16' can not travel"),
    "array subclass": (
        np.ma.array([1]),
        "input: numpy.ma.core._mareconstruct is not a class of this job",
    ),
    "own new": (
        codec_refused.New(),
        "input: codec_refused.New has its own __new__, which would have to run",
    ),
    "own setstate": (
        [codec_refused.Setstate()],
        "input[0]: codec_refused.Setstate has its own __setstate__ (see trusted_setstate)",
    ),
    "own del": (
        codec_refused.Del(),
        ("input: codec_refused.Del has a __del__, which would run (see trusted_setstate)"),
    ),
    "own reduce": (
        codec_refused.Reduce(),
        (
            "input: codec_refused.Reduce would be rebuilt by calling builtins.print "
            "(its own __reduce__, or a base's says so); that is not done here"
        ),
    ),
    "bare reduce": (codec_refused.Bare(), "input: a bare name can not travel (thing)"),
    "keyword new": (
        codec_refused.Keywords(k=1),
        "input: codec_refused.Keywords has its own __new__, which would have to run",
    ),
    "broken": (
        Plain(codec_refused.Broken()),
        ("input.value: can not be pickled: ZeroDivisionError: integer division or modulo by zero"),
    ),
    "own getattribute": (
        codec_refused.Getattribute(),
        "input: codec_refused.Getattribute has its own __getattribute__",
    ),
    "own dict": (codec_refused.Dict(), "input: codec_refused.Dict has its own __dict__"),
    "metaclass": (
        codec_refused.Meta(),
        "input: codec_refused.Meta has a metaclass with its own __hash__ or __eq__",
    ),
    "exception class": (
        codec_refused.Mine(),
        "input: an exception can not travel (Mine); send str(error)",
    ),
    "ordered subclass": (
        codec_refused.Ordered(a=1),
        (
            "input: codec_refused.Ordered would be rebuilt by calling "
            "codec_refused.Ordered (its own __reduce__, or a base's says so); that is not done here"
        ),
    ),
    "named otherwise": (
        codec_refused.alias(1),
        "input: codec_refused.Other is not a class of this job's modules",
    ),
    "attribute name": (
        Plain(codec_refused.attributes(**{"a b": 1})),
        "input.value: 'a b' is not the name of an attribute",
    ),
    "dunder attribute": (
        codec_refused.attributes(__class__x__=1),
        "input: '__class__x__' may not be set",
    ),
    "zone of the user's": (
        datetime(2024, 1, 1, tzinfo=Rome()),
        "input[1]: test_codec.Rome is not a class of this job's modules",
    ),
    "deep": (chain(201), "input.value.value.value..."),
    "deep lists": (chain(201, lambda value: [value]), "input[0][0][0]..."),
    "member": (
        Plain(codec_types.Colour.UNHASHABLE),
        "input.value: a member of codec_types.Colour whose value is a list can not travel",
    ),
    "in a set": (
        {codec_types.Frozen(1, 2.0), codec_types.Frozen(1, codec_refused.Hashed(1))},
        "input: codec_refused.Hashed has its own __hash__ or __eq__: it can not be a key",
    ),
    "beside a cycle": (
        [defaultdict(list, a=[circles()["list"][0], {Plain.__name__: {(1,): math}}])],
        (
            "input[0]['a'][1]['Plain'][tuple]: a module can not travel (math); import "
            "it in the slave"
        ),
    ),
    "in an object in a set": (
        {linked(math)},
        ("input{Node}.links[0]: a module can not travel (math); import it in the slave"),
    ),
    "in a named tuple": (
        codec_types.Pair(1, math),
        "input.second: a module can not travel (math); import it in the slave",
    ),
    "in a list of one's own": (
        codec_types.Rows([1, math]),
        "input[1]: a module can not travel (math); import it in the slave",
    ),
    "hash by hand": (
        {codec_refused.HashedByHand(1)},
        "input: codec_refused.HashedByHand has its own __hash__ or __eq__: it can not be a key",
    ),
    "undecorated subclass": (
        {codec_refused.Undecorated(1): 1},
        "input: codec_refused.Undecorated has its own __hash__ or __eq__: it can not be a key",
    ),
    "resisting": (
        Plain(codec_refused.Resists()),
        ("input.value: can not be pickled: ZeroDivisionError: integer division or modulo by zero"),
    ),
    "very deep": (chain(100_000, lambda value: (value,)), "input[0][0][0]..."),
    "opcodes": (
        list(range(200_001)),
        ("input: more than 200000 opcodes, one for each number, text or object: send numpy arrays"),
    ),
}
KNOWN = CLASSES | Registry.from_modules([codec_refused])


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_not_travel_is_named_with_its_path(name: str) -> None:
    """At once: encode says which attribute can not travel and why, for every such kind."""
    value, message = REFUSED[name]

    with pytest.raises(EncodeError) as caught:
        encode(value, "input", KNOWN)

    told = str(caught.value)
    assert told == message or (message.endswith("...") and told.startswith(message[:-3])), told
    assert caught.value.path == str(caught.value)[: len(caught.value.path)]


@pytest.mark.parametrize("name", REFUSED)
def test_what_encode_refuses_the_loader_refuses_too(name: str) -> None:
    """No gap: where pickle can write such a value at all, the loader does not load it."""
    try:
        data = pickle.dumps(REFUSED[name][0], 4)
    except Exception:  # noqa: BLE001 - what pickle can not write needs no loader to refuse it
        return
    with pytest.raises(RejectedResult):
        decode(data, KNOWN)


@pytest.mark.parametrize("value", [math.sin, codec_types.plain_values, Plain, int, Plain.__eq__])
def test_code_can_not_travel_without_a_registry_either(value: Any) -> None:
    """At once: encode refuses functions and classes, whoever may load them."""
    with pytest.raises(EncodeError, match="can not travel"):
        encode(Plain(value))


def test_a_class_of_the_program_itself_can_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """__main__: another program would look for the class in itself; the message says what to do."""
    with pytest.raises(EncodeError) as caught:
        encode(Plain([main_object(monkeypatch)]), "output")

    assert str(caught.value) == (
        "output.value[0]: class Output is defined in the program itself (__main__); "
        "move it to app_types.py"
    )


def test_a_sentence_may_name_the_value() -> None:
    """Messages: "the input of call 3, its value.x" where the value has no one-word name."""
    for value, path in [
        (Plain({"x": math}), "the input of call 3, its value['x']: a module"),
        (math, "the input of call 3: a module"),
        ([math], "the input of call 3, its [0]: a module"),
    ]:
        with pytest.raises(EncodeError) as caught:
            encode(value, "the input of call 3")
        assert str(caught.value).startswith(path)


def test_encode_refuses_what_is_too_big() -> None:
    """Budget: a value that the other side would find too big is refused where it is made."""
    with pytest.raises(EncodeError, match=r"output.value: 1018 bytes; at most 1000 may be read"):
        encode(Plain("x" * 1_000), "output", CLASSES, Budget(bytes=1_000))


def test_a_class_outside_the_registry_is_refused() -> None:
    """Registry: a class that the other side does not know is refused, even if it could travel."""
    with pytest.raises(
        EncodeError, match=r"codec_types.Plain is not a class of this job's modules"
    ):
        encode([Plain()], "input", Registry({}))


def test_a_value_of_very_many_objects_is_refused_without_a_path(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Messages: the search for the path ends somewhere, and the reason is given all the same."""
    monkeypatch.setattr(explain, "_MOST_OBJECTS", 100)

    with pytest.raises(EncodeError, match="input: cannot pickle 'module' object"):
        encode([Plain(n) for n in range(100)] + [Plain(math)])


def test_an_enumeration_with_an_odd_member_is_read() -> None:
    """Enumerations: one member that nothing can look up does not spoil the others."""
    value = [codec_refused.Odd.EVEN, codec_refused.Odd.TEXT]

    assert decode(encode(value, "input", KNOWN), KNOWN) == value
    with pytest.raises(EncodeError, match="has no member with the value a tuple|can not be a key"):
        encode(codec_refused.Odd.ODD, "input", KNOWN)


def test_two_classes_of_one_name_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reloaded modules: an instance of a class that has been replaced is refused."""
    old = Plain(1)
    monkeypatch.setattr(codec_types, "Plain", type("Plain", (), {"__module__": "codec_types"}))

    with pytest.raises(EncodeError, match=r"codec_types.Plain"):
        encode(old)


def test_nothing_that_an_object_raises_escapes() -> None:
    """Errors: whatever a class of the user's raises while it is pickled is an EncodeError."""
    for raised in (RecursionError("x"), MemoryError(), OSError("disk"), AttributeError()):
        broken = codec_refused.Raises(raised)
        with pytest.raises(EncodeError, match=r"^input\.value: "):
            encode(Plain(broken))


# ---- the quick way ------------------------------------------------------------------------


def test_a_small_plain_input_is_not_read_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Speed: after the first of its class, a plain object of plain values is only written."""
    encode(Plain(object.__new__(Plain)), "input", CLASSES)
    monkeypatch.setattr(codec, "Loader", None)
    values = [1, "a", 2.5, None, True, [1, "b"], (2.5, None), {"rate": 0.1}, [], {}]

    for value in values:
        assert pickle.loads(encode(Plain(value), "input", CLASSES)) == Plain(value)


@pytest.mark.parametrize(
    "value",
    [2**62, "ä", b"", [[1]], {1: 2}, {"a": [1]}, {"ä": 1}, "\ud800", {"\ud800": 1}, math.sin],
    ids=ascii,
)
def test_whatever_else_is_read_back(value: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soundness: only what is certain to load is spared from being read back."""
    encode(Plain(object.__new__(Plain)), "input", CLASSES)
    read = []
    load = codec.Loader.load
    monkeypatch.setattr(codec.Loader, "load", lambda self: read.append(1) or load(self))

    try:
        encode(Plain(value), "input", CLASSES)
    except EncodeError:
        pass

    assert read


# ---- registries ---------------------------------------------------------------------------


def module(name: str, source: str) -> types.ModuleType:
    """A module of this name and source, not in sys.modules."""
    made = types.ModuleType(name)
    exec(source, vars(made))
    return made


SOURCE = """
from codec_types import Plain
from os import *
class Own:
    class Nested:
        pass
    borrowed = Plain
Alias = Own
Own.Again = Own
text = "no class"
"""


def test_a_registry_has_the_classes_that_a_module_defines() -> None:
    """Registry: defined there, nested ones too; not imported ones, nor other names for one."""
    made = module("own", SOURCE)
    registry = Registry.from_modules([made])

    assert set(registry) == {made.Own, made.Own.Nested}
    assert made.Own in registry and Plain not in registry and "Own" not in registry
    assert len(registry) == 2 and repr(registry) == "<Registry of 2 classes>"
    for name in ("Alias", "Plain", "Own.borrowed", "Own.Again", "path", "text", "Own.__init__"):
        assert registry.shape("own", name) is None


def test_registries_add_up() -> None:
    """Registry: the classes of either, and what either trusts; neither is changed."""
    first = Registry.from_modules([module("own", SOURCE)])
    both = first | Registry.from_modules([codec_refused])

    assert Plain not in both and len(both) > len(first) == 2
    assert set(first) < set(both)


def test_a_budget_shows_its_limits() -> None:
    """Budget: its repr names every limit."""
    expected = (
        "Budget(bytes=67108864, depth=200, integer=1700, key=64, opcodes=9, unfolded=10000000)"
    )

    assert repr(Budget(opcodes=9)) == expected


# ---- opting in ----------------------------------------------------------------------------


def test_trusted_setstate_lets_a_class_fill_itself() -> None:
    """Opt-in: a class that its module trusts has its __setstate__ called with the state."""
    import codec_trusted

    registry = Registry.from_modules([codec_trusted])
    value = codec_trusted.Trusted(3)

    copy = decode(encode(value, "input", registry), registry)

    assert copy.restored and copy.value == 3
    assert decode(encode([value, value]), registry)[1].value == 3
    assert codec.same_value(encode(value), pickle.dumps(value, 2), registry)
    assert not codec.same_value(encode(value), encode(codec_trusted.Trusted(4)), registry)


def test_what_a_trusted_class_raises_is_a_rejected_result() -> None:
    """Opt-in: an exception in a trusted __setstate__ rejects the result, and no more."""
    import codec_trusted

    data = pickle.dumps(codec_trusted.Trusted(None), 4)
    with pytest.raises(RejectedResult, match="ValueError: nothing to restore"):
        decode(data, Registry.from_modules([codec_trusted]))


def test_a_trusted_class_may_have_a_del() -> None:
    """Opt-in: a __del__ is let in the same way."""
    import codec_trusted

    registry = Registry.from_modules([codec_trusted])

    assert type(decode(encode(codec_trusted.Closing()), registry)) is codec_trusted.Closing


def test_shapes_say_why_a_class_is_refused() -> None:
    """Registry: a refused class has a shape that tells the reason at every use."""
    reasons = {
        "Del": "has a __del__, which would run (see trusted_setstate)",
        "Dict": "has its own __dict__",
        "Getattribute": "has its own __getattribute__",
        "Meta": "has a metaclass with its own __hash__ or __eq__",
        "Mine": "is an exception: send str(error) instead",
        "New": "has its own __new__, which would have to run",
        "Setstate": "has its own __setstate__ (see trusted_setstate)",
    }
    for name, reason in reasons.items():
        shape = KNOWN.shape("codec_refused", name)
        assert type(shape) is Refused and shape.reason == f"codec_refused.{name} {reason}"


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_any_bytes_may_be_decoded(kind: Callable[[bytes], Any]) -> None:
    """Loading: a buffer of any kind is read as the bytes that are in it."""
    for value in (Plain(1), [1, "a"], {"a": (1, None)}):
        assert decode(kind(encode(value, "input", CLASSES)), CLASSES) == value


def test_text_in_arrays_is_text() -> None:
    """numpy: a code point that is none, or half of one, is refused; the last one is read."""
    for code, good in [(0x10FFFF, True), (0x110000, False), (0xD800, False), (0xDFFF, False)]:
        array = np.array(["a", "b"], "<U1")
        data = pickle.dumps(array, 4).replace(b"b\0\0\0", code.to_bytes(4, "little"))
        if good:
            assert decode(data, CLASSES)[1] == chr(code)
        else:
            with pytest.raises(RejectedResult):
                decode(data, CLASSES)


def test_a_default_budget() -> None:
    """Budget: what it is when nobody says, as docs/codec.md has it."""
    assert repr(Budget()) == (
        "Budget(bytes=67108864, depth=200, integer=1700, key=64, opcodes=200000, unfolded=10000000)"
    )


def test_no_value_type_is_a_container() -> None:
    """The last look: what it takes for a leaf can hold nothing that it should look at."""
    assert not VALUE_TYPES & {list, tuple, dict, set, frozenset, deque, OrderedDict, object, type}
