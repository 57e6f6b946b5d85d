"""When two outputs agree, ready to name in ``app_types.py``: ``bitwise`` and ``close_to``.

    from pyboinc import close_to

    compare = close_to(relative=1e-6)

The same program gives slightly other numbers on another computer: other processors, other
libraries, another order of the sum.  `close_to` lets that noise through and nothing else.

This file travels to volunteers with `app_types.py`: standard library, Python 3.8.
"""

from __future__ import annotations

import sys

from pyboinc.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List, Tuple

    from pyboinc.codec.compare import Node

    Pairs = List[Tuple[Any, Any]]

_INFINITE = float("inf")
_WHOLE, _INEXACT = "iu", "fc"  # numpy's kinds of integers, and of other numbers


def bitwise(a: Any, b: Any) -> bool:
    """Whether the files of two outputs are the same, byte for byte.

    Named as an app's ``compare`` it is asked of the files as they were sent.  Called with two
    values it compares what would be sent: a set may have another order each time.
    """
    from pyboinc.codec import encode

    return encode(a, "output") == encode(b, "output")


def close_to(relative: float = 1e-9, absolute: float = 0.0) -> CloseTo:
    """What lets two outputs agree whose numbers differ by no more than a tolerance.

    Two numbers agree if they differ by no more than *relative* times the larger one, or by no
    more than *absolute*; so does nan with nan, and an infinity with itself.  Two integers
    must be equal.  That goes for numbers in lists, tuples, dictionaries, instances and numpy
    arrays, however deep; all else must be the same, and so must the keys of dictionaries and
    what is in sets.
    """
    for name, value in (("relative", relative), ("absolute", absolute)):
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not 0 <= value < _INFINITE:
            raise ConfigurationError(
                "close_to: %s is %.60r; give a number that is not negative, such as "
                "close_to(relative=1e-9, absolute=0.0)" % (name, value)
            )
    return CloseTo(float(relative), float(absolute))


class CloseTo:
    """Whether two values agree within a tolerance: what `close_to` makes; immutable."""

    __slots__ = ("absolute", "relative")

    def __init__(self, relative: float, absolute: float) -> None:
        self.relative = relative
        self.absolute = absolute

    def __repr__(self) -> str:
        return "close_to(relative=%r, absolute=%r)" % (self.relative, self.absolute)

    def __call__(self, a: Any, b: Any) -> bool:
        """Whether *a* and *b* agree; it neither recurses nor is lost in a cycle."""
        todo: Pairs = [(a, b)]
        seen = set()
        kept = []  # an id is only good while its object lives
        while todo:
            one, other = map(_without_numpy, todo.pop())
            if (id(one), id(other)) in seen:
                continue
            if _is_number(one) and _is_number(other):
                if not self._numbers(one, other):
                    return False
            elif _is_array(one) and _is_array(other):
                if not self._arrays(one, other):
                    return False
            else:
                seen.add((id(one), id(other)))
                kept.append((one, other))
                if type(one) is not type(other) or not self._parts(one, other, todo):
                    return False
        return True

    def _numbers(self, a: Any, b: Any) -> bool:
        if type(a) is int and type(b) is int:
            return bool(a == b)
        if a == b:
            return True
        if complex in (type(a), type(b)):
            a, b = complex(a), complex(b)
            if not (abs(a) < _INFINITE and abs(b) < _INFINITE):  # nan is not either
                return self._numbers(a.real, b.real) and self._numbers(a.imag, b.imag)
        if a != a or b != b:
            return bool(a != a and b != b)
        try:
            difference = abs(a - b)
            bound = max(self.relative * max(abs(a), abs(b)), self.absolute)
        except OverflowError:  # an integer that no float comes near
            return False
        return bool(difference <= bound and difference < _INFINITE)

    def _arrays(self, a: Any, b: Any) -> bool:
        np = sys.modules["numpy"]
        kinds = {a.dtype.kind, b.dtype.kind}
        if a.shape != b.shape or not kinds <= set(_WHOLE + _INEXACT):
            from pyboinc.codec.arrays import exact

            return bool(exact(a) == exact(b))
        if kinds <= set(_WHOLE):
            return bool(np.array_equal(a, b))
        common = np.result_type(a, b, np.float64)
        a, b = a.astype(common), b.astype(common)
        with np.errstate(all="ignore"):
            difference = abs(a - b)
            bound = np.maximum(self.relative * np.maximum(abs(a), abs(b)), self.absolute)
            close = (difference <= bound) & (difference < _INFINITE)
        left = ~(close | (a == b))  # nan, most often
        return all(map(self._numbers, a[left].tolist(), b[left].tolist()))

    def _parts(self, one: Any, other: Any, todo: Pairs) -> bool:
        """Compare what is not a number, and leave what is in it to be done."""
        label, ordered, pairs = _node(one)
        other_label, other_ordered, other_pairs = _node(other)
        if label != other_label or len(ordered) != len(other_ordered):
            return False
        held: Dict[Any, Any] = dict(pairs)
        other_held: Dict[Any, Any] = dict(other_pairs)
        if held.keys() != other_held.keys():
            return False
        todo.extend(zip(ordered, other_ordered))
        todo.extend((value, other_held[key]) for key, value in held.items())
        return True


def _without_numpy(item: Any) -> Any:
    """A numpy number as Python's own, whatever its width; all else as it is."""
    np: Any = sys.modules.get("numpy")
    if (
        np is not None
        and isinstance(item, np.generic)
        and item.dtype.kind in "b" + _WHOLE + _INEXACT
    ):
        return item.item()
    return item


def _is_number(item: Any) -> bool:
    return type(item) in (int, float, complex)


def _is_array(item: Any) -> bool:
    np: Any = sys.modules.get("numpy")
    return np is not None and type(item) is np.ndarray


def _node(item: Any) -> Node:
    """What never changes in *item*, what it holds in order, and its pairs of key and value.

    Of an instance these are its attributes, and a number that it is itself, such as one of a
    ``class Metres(float)``, stands among what it holds.
    """
    from collections import OrderedDict, defaultdict, deque

    from pyboinc.codec import OWN
    from pyboinc.codec.compare import exact_of, node_of
    from pyboinc.codec.shapes import Container, Refused, Scalar

    kind: Any = type(item)
    if kind in (list, tuple, dict, set, frozenset, deque, OrderedDict, defaultdict):
        return node_of(item, None)
    shape = OWN.by_class.get(kind) or OWN.shape(kind.__module__, kind.__qualname__)
    if shape is None or type(shape) is Refused:
        return (kind, exact_of(item)), [], []
    if type(shape) is Scalar and shape.base in (float, complex):
        return kind, [shape.plain_value(item)], list(shape.attributes(item).items())
    if type(shape) is Container and shape.base is dict:  # an item and an attribute of one name
        attributes = [((kind, name), value) for name, value in shape.attributes(item).items()]
        return kind, [], [*dict.items(item), *attributes]
    return node_of(item, shape)
