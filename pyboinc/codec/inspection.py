"""The last look over a value that the loader has made: known types only, and not too deep.

It is a second line, independent of the opcodes: whatever they did, nothing comes out of
the codec that is not made of `VALUE_TYPES`, the containers below and instances of the
user's own classes.  No token, half-made array or view of the bytes survives.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from itertools import chain

from pyboinc.codec.shapes import Refusal, Shape
from pyboinc.codec.standard import VALUE_TYPES, Constructor

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List, Mapping, Optional, Set

    from pyboinc.codec.loader import Budget

ROWS = (list, tuple, set, frozenset, deque)
TABLES = (dict, OrderedDict, defaultdict, Counter)
_TABLE = frozenset([dict])


def inspect(value: Any, shapes: Mapping[type, Shape], budget: Budget) -> int:
    """How many items *value* holds; `Refusal` unless all are known and not too deep.

    The order is that of a recursive walk, so the depth is what `copy.deepcopy` would need.
    """
    plain, deepest = VALUE_TYPES, budget.depth
    seen: Set[int] = set()
    levels = [iter((value,))]
    shared = False
    items = 0
    while levels:
        for item in levels[-1]:
            kind = type(item)
            if kind in plain:
                continue
            if id(item) in seen:
                shared = True
                continue
            if len(levels) > deepest:
                raise Refusal("nested more than %d deep" % deepest)
            seen.add(id(item))
            shape = shapes.get(kind)
            if shape is not None and shape.plain:
                held = item.__dict__.values()
            elif kind is list:
                held = item
            elif kind is dict and plain.issuperset(map(type, item)):
                held = item.values()
                items += len(held)  # the keys
            else:
                held = contents(item, shapes)
            items += len(held)
            if not plain.issuperset(map(type, held)):
                if kind is list and type(held[0]) is dict and len(levels) < deepest:
                    flat = _flat_tables(held, seen)
                    if flat is not None:
                        items += flat
                        continue
                levels.append(iter(held))
                break
        else:
            levels.pop()
    if shared:
        _check_unfolded(value, budget.unfolded)
    return items


def _flat_tables(row: List[Any], seen: Set[int]) -> Optional[int]:
    """How many items the dictionaries in *row* hold, all looked over at once.

    None if there is anything but these and plain values, or one of them was *seen*.
    """
    if not _TABLE.issuperset(map(type, row)):
        return None
    these = set(map(id, row))
    if len(these) < len(row) or not seen.isdisjoint(these):
        return None
    keys, values = chain.from_iterable(row), chain.from_iterable(map(dict.values, row))
    if not VALUE_TYPES.issuperset(map(type, chain(keys, values))):
        return None
    seen |= these
    return 2 * sum(map(len, row))


def contents(item: Any, shapes: Mapping[type, Shape]) -> Any:
    """What *item* holds: items, keys and values, attributes."""
    kind = type(item)
    shape = shapes.get(kind)
    if shape is not None:
        return () if shape.trusted else shape.children(item)
    if kind in ROWS:
        return item if kind is list or kind is tuple else list(item)
    if kind in TABLES:
        return [*dict.keys(item), *dict.values(item)]
    raise Refusal("%s, where a value should be" % _stranger(item))


def _stranger(item: Any) -> str:
    if issubclass(type(item), (Constructor, Shape)):
        return "the bare name %s" % item.name
    return "a %s" % type(item).__name__


def _check_unfolded(value: Any, largest: int) -> None:
    """Refuse built-in containers that share parts so that written out they are endless.

    Twenty-odd lists, each of the next one twice, are small in memory and take for ever to
    print or compare.  What contains itself counts once, and so do the user's own objects.
    """
    sizes: Dict[int, int] = {}

    def size(item: Any) -> int:
        kind = type(item)
        if kind not in ROWS and kind not in TABLES:
            return 1
        known = sizes.get(id(item))
        if known is None:
            sizes[id(item)] = 1
            known = sizes[id(item)] = 1 + sum(map(size, contents(item, {})))
            if known > largest:
                raise Refusal("shared parts that unfold to more than %d items" % largest)
        return known

    size(value)
