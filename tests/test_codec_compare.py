"""Two encodings of one value are recognised, and of two values told apart."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import codec_types
import numpy as np
import pytest
from codec_types import Data, Frozen, Metres, Named, Node, Pair, Plain, Rows, Slots, Table

from pyboinc.codec import Registry, RejectedResult, encode, same_value

CLASSES = Registry.from_modules([codec_types])


def same(a: Any, b: Any) -> bool:
    """Whether the codec takes *a* and *b* for one value (in two protocols: never equal bytes)."""
    first = same_value(pickle.dumps(a, 4), pickle.dumps(b, 5), CLASSES)
    assert same_value(pickle.dumps(b, 4), pickle.dumps(a, 5), CLASSES) == first
    return first


def linked(*names: Any) -> Node:
    """Nodes in a ring."""
    nodes = [Node(name) for name in names]
    for node, following in zip(nodes, [*nodes[1:], nodes[0]], strict=True):
        node.links = [following]
    return nodes[0]


VALUES = {
    **codec_types.plain_values(),
    **codec_types.class_values(),
    **{"numpy: " + name: value for name, value in codec_types.numpy_values().items()},
}


@pytest.mark.parametrize("name", VALUES)
def test_a_value_is_the_same_as_itself(name: str) -> None:
    """Same: any value, read from two different encodings of it."""
    assert same(VALUES[name], VALUES[name])


@pytest.mark.unmeasured
def test_all_different_values_differ() -> None:
    """Exact: no two of all the kinds of values are taken for one."""
    values = list(VALUES.items())
    for i, (name, value) in enumerate(values):
        other_name, other = values[(i + 1) % len(values)]
        assert not same(value, other), (name, other_name)


ONE = [1]
EQUAL = {
    "bytes": (b"a", b"a"),
    "nan": ([float("nan")], [-float("nan")]),
    "nan in arrays": (np.array([1, np.nan, 1j]), np.array([1, -np.nan, 1j])),
    "nan scalar": (np.float32("nan"), -np.float32("nan")),
    "nan keys": ({float("nan"): 1}, {float("nan"): 1}),
    "complex nan": (complex(0, float("nan")), complex(0, float("nan"))),
    "sharing": ([ONE, ONE], [[1], [1]]),
    "order of dict": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "order of set": ({"a", "b", "c"}, {"c", "b", "a"}),
    "order of attributes": (Plain({"x": {1, 2}}), Plain({"x": {2, 1}})),
    "order in arrays": (np.arange(6).reshape(2, 3), np.asfortranarray(np.arange(6).reshape(2, 3))),
    "sets of objects": ({Node(1), Node(2), Node(1)}, {Node(1), Node(1), Node(2)}),
    "keys of objects": ({Node(1): "a", Node(2): "b"}, {Node(2): "b", Node(1): "a"}),
    "rings": (linked(1), linked(1, 1, 1)),
    "rings of two": (linked(1, 2), linked(1, 2, 1, 2)),
    "rings in sets": ({linked(1, 2), linked(3)}, {linked(3, 3), linked(1, 2)}),
    "equal text": (["ab", "a" + "b"], ["ab", "".join(["a", "b"])]),
}
DIFFERENT = {
    "types of numbers": ([1], [1.0]),
    "truth": ([1], [True]),
    "zeros": ([0.0], [-0.0]),
    "key types": ({1: 0}, {True: 0}),
    "complex zeros": (complex(0, 0.0), complex(0, -0.0)),
    "list and tuple": ([1], (1,)),
    "set and frozenset": ({1}, frozenset({1})),
    "dict and ordered": ({"a": 1}, OrderedDict(a=1)),
    "order of ordered": (OrderedDict(a=1, b=2), OrderedDict(b=2, a=1)),
    "factories": (defaultdict(int), defaultdict(list)),
    "deque lengths": (deque([1], 1), deque([1], 2)),
    "bytes": (b"a", bytearray(b"a")),
    "counts in sets": ({Node(1), Node(1)}, {Node(1)}),
    "rings": (linked(1, 2), linked(1, 2, 2)),
    "swapped values": ({Node(1): "a", Node(2): "b"}, {Node(1): "b", Node(2): "a"}),
    "classes": (Plain(1), Data(1)),
    "attributes": (Plain(1), Plain(2)),
    "slots": (Slots(1, 2), Slots(1, 3)),
    "fields": (Pair(1, 2), Named(1, "2")),
    "numbers with names": (Metres(1), Metres(2)),
    "rows": (Rows([1, 2]), Rows([2, 1])),
    "tables": (Table(a=1), Table(a=2)),
    "frozen": ({Frozen(1, 2.0): 1}, {Frozen(1, 2.5): 1}),
    "times": (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
    "folds": (datetime(2024, 1, 1), datetime(2024, 1, 1, fold=1)),
    "array types": (np.arange(2, dtype="i4"), np.arange(2, dtype="i8")),
    "array shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "array zeros": (np.array([0.0]), np.array([-0.0])),
    "scalars": (np.float64(1), 1.0),
    "dtypes": (np.dtype("i4"), np.dtype("i8")),
    "ranges": (range(3), range(4)),
    "long integers": (2**70, 2**70 + 1),
}


@pytest.mark.parametrize("name", EQUAL)
def test_what_is_written_differently_is_recognised(name: str) -> None:
    """Same: order of sets and dictionaries, sharing and NaN make no difference."""
    assert same(*EQUAL[name])


@pytest.mark.parametrize("name", DIFFERENT)
def test_what_differs_in_type_or_value_is_told_apart(name: str) -> None:
    """Exact: type, sign of zero, order where there is one, number of equal members."""
    assert not same(*DIFFERENT[name])


def test_equal_bytes_are_not_even_read() -> None:
    """Speed: two equal encodings are the same value, whatever they hold."""
    assert same_value(b"anything", b"anything", CLASSES)


def test_what_can_not_be_read_is_rejected() -> None:
    """Errors: bytes that the loader refuses are RejectedResult here too."""
    with pytest.raises(RejectedResult):
        same_value(encode(1), b"anything", CLASSES)


def test_another_hash_seed_makes_no_difference() -> None:
    """Replay: a master's next run has another hash seed, and its inputs are recognised."""
    program = (
        "import sys; from pyboinc.codec import encode; import codec_types as t\n"
        "value = t.Plain([{'word%d' % i for i in range(50)}, {'a': {'b', 'c', 'd'}}])\n"
        "sys.stdout.buffer.write(encode(value))"
    )
    tests = str(Path(__file__).parent)
    written = []
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": tests}
        command = [sys.executable, "-c", program]
        written.append(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)

    assert written[0] != written[1]
    assert same_value(*written, CLASSES)
