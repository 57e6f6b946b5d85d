"""Whether two values are the same, type for type, whatever their order and sharing.

A master that is run again makes its calls again, and the bytes of an equal input may
differ: sets come in the order of the hash seed, equal strings are sometimes one object.

Every object in the two values gets a colour, at first by its type alone.  In each round
two objects keep the same colour only if what they hold has the same colours; when a round
splits no colour any more, objects of one colour are equal.  This is how automata are
minimised.  It needs no recursion, takes cycles as they come, and finds the partners in
sets of objects without trying them all.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from struct import pack
from typing import TYPE_CHECKING, Any, Dict, Hashable, List, Tuple

from pyboinc.codec.shapes import Container, Enumeration, Scalar, Shape, Tuple_
from pyboinc.codec.standard import VALUE_TYPES

if TYPE_CHECKING:
    from pyboinc.codec.registry import Registry

# One object: what never changes, what it holds in order, and without order in pairs.
Node = Tuple[Hashable, List[Any], List[Tuple[Any, Any]]]


def equal(first: Any, second: Any, registry: Registry) -> bool:
    """Whether *first* and *second*, both made by the loader, are the same value."""
    nodes: Dict[int, Node] = {}
    kept: List[Any] = []  # an id is only good while its object lives
    todo = [first, second]
    while todo:
        item = todo.pop()
        if id(item) not in nodes:
            node = nodes[id(item)] = node_of(item, registry.by_class.get(type(item)))
            kept.append((item, node))
            todo += node[1]
            for pair in node[2]:
                todo += pair
    colours = dict.fromkeys(nodes, 0)
    count = 0
    while True:
        palette: Dict[Hashable, int] = {}
        colours = {
            key: palette.setdefault((colours[key], *_look(node, colours)), len(palette))
            for key, node in nodes.items()
        }
        if colours[id(first)] != colours[id(second)]:
            return False
        if len(palette) == count:
            return True
        count = len(palette)


def _look(node: Node, colours: Dict[int, int]) -> Tuple[Hashable, ...]:
    label, ordered, pairs = node
    return (
        label,
        tuple([colours[id(each)] for each in ordered]),
        frozenset(Counter((colours[id(a)], colours[id(b)]) for a, b in pairs).items()),
    )


def node_of(item: Any, shape: Any) -> Node:
    kind = type(item)
    if shape is not None:
        return _object(item, shape)
    if kind in VALUE_TYPES:
        return (kind, exact_of(item)), [], []
    if kind is list or kind is tuple:
        return (kind, None), list(item), []
    if kind is deque:
        return (kind, item.maxlen), list(item), []
    if kind is OrderedDict:
        return (kind, None), [*item.keys(), *item.values()], []
    if kind in (set, frozenset):
        return (kind, None), [], [(each, None) for each in item]
    factory = item.default_factory if kind is defaultdict else None
    return (kind, factory), [], list(dict.items(item))


def _object(item: Any, shape: Shape) -> Node:
    if type(shape) is Enumeration:
        return (shape.cls, id(item)), [], []
    label: Hashable = shape.cls
    ordered: List[Any] = []
    pairs: List[Tuple[Any, Any]] = []
    if type(shape) is Scalar:
        label = (shape.cls, exact_of(shape.plain_value(item)))
    elif type(shape) is Tuple_:
        ordered = list(tuple.__iter__(item))
    elif type(shape) is Container and shape.base is list:
        ordered = list(list.__iter__(item))
    elif type(shape) is Container:
        pairs = list(dict.items(item))
    return label, ordered, pairs + list(shape.attributes(item).items())


def exact_of(item: Any) -> Any:
    """Something that is equal for two plain values if they are the same, bit for bit."""
    kind = type(item)
    if kind is float:
        return "nan" if item != item else pack(">d", item)
    if kind is complex:
        return exact_of(item.real), exact_of(item.imag)
    if kind is bytearray:
        return bytes(item)
    if kind in (int, str, bytes, bool, type(None)):
        return item
    if kind.__module__.partition(".")[0] == "numpy":
        from pyboinc.codec.arrays import exact

        return exact(item)
    return repr(item)
