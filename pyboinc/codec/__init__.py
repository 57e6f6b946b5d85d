"""Inputs and outputs as bytes, and back, without ever running what a volunteer sent.

    encode(value)             pickle bytes; says at once, and where, what can not travel
    decode(data, registry)    the value, or `RejectedResult` and no other exception
    same_value(a, b, ...)     whether two encodings hold the same value

Users' programs write pickles because that is what Python has; `decode` reads them with a
loader of its own, under a `Budget`, and knows only the classes in a `Registry`: those that
the job's own modules define.  `docs/codec.md` says what may travel.

    loader        one reading, the budget, the checks            opcodes      the opcodes
    loop          the loop over them                             rows, whole  several read at once
    standard      built-in and standard types, by value          arrays       numpy's
    shapes        the user's classes, by value                   classes      judged
    registry      which classes those are                        inspection   the last look
    explain       the messages of EncodeError                    compare      same_value
    plain         the most common pickle, read at a glance
    agreement     what an app may name as its compare

All of them travel to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

try:  # the C pickler alone: `pickle` would import much that a slave never needs
    from _pickle import dumps
except ImportError:  # pragma: no cover - another Python than CPython
    from pickle import dumps

from pyboinc.codec.loader import Budget, Loader
from pyboinc.codec.plain import plain_object
from pyboinc.codec.registry import OwnClasses, Registry
from pyboinc.errors import EncodeError, RejectedResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Optional

__all__ = [
    "PROTOCOL",
    "Budget",
    "EncodeError",
    "Registry",
    "RejectedResult",
    "decode",
    "encode",
    "same_value",
]

PROTOCOL = 4  # the newest that Python 3.8 and all later ones write and read alike
DEFAULT = Budget()
OWN = OwnClasses()


def encode(
    value: Any, what: str = "input", registry: Optional[Registry] = None, budget: Budget = DEFAULT
) -> bytes:
    """The bytes of *value*, which *what* names in messages.

    Raises `EncodeError`, with the path of the attribute at fault, for what can not be
    pickled or what `decode` would refuse on the other side.  *registry* has the classes
    that the other side knows; without one, those of the program's own modules count.
    """
    classes = OWN if registry is None else registry
    try:
        data = dumps(value, PROTOCOL)
        if not _plainly_loads(value, len(data), classes, budget):
            Loader(data, classes, budget).load()
    except Exception as error:  # noqa: BLE001 - whatever the user's own classes raise
        from pyboinc.codec.explain import explain

        path, reason = explain(value, what, classes, budget, error)
        raise EncodeError("%s: %s" % (path, reason), path) from None
    return data


def decode(data: bytes, registry: Registry, budget: Budget = DEFAULT) -> Any:
    """The value in *data*; `RejectedResult` is the only exception.

    Nothing in *data* runs: no class's code, no import, no call but of checked built-ins.
    """
    if type(data) is not bytes:
        data = bytes(data)
    plain = plain_object(data, registry, budget)
    return Loader(data, registry, budget).load() if plain is None else plain


def same_value(a: bytes, b: bytes, registry: Registry, budget: Budget = DEFAULT) -> bool:
    """Whether two encodings hold the same value, type for type.

    Sets and dictionaries have no order, shared parts may be copies; 1, 1.0 and True are
    three values; nan is nan; 0.0 is not -0.0.  `RejectedResult` if one can not be read.
    """
    if a == b:
        return True
    from pyboinc.codec.compare import equal

    return equal(decode(a, registry, budget), decode(b, registry, budget), registry)


_NO_LIMIT = frozenset([type(None), bool, float])


def _plainly_loads(value: Any, size: int, classes: Registry, budget: Budget) -> bool:
    """Whether *value* is plain, or a plain object of plain values, as most inputs are.

    Then its pickle of *size* bytes has a known form, with no more opcodes than bytes, and
    reading it back would tell nothing new.  False only means: read it back.
    """
    if size > min(budget.opcodes, budget.bytes) or budget.integer < 8 or budget.depth < 3:
        return False
    shape = classes.by_class.get(type(value))
    if shape is None:
        return _is_plain(value)
    if not shape.ordinary:
        return False
    attributes = value.__dict__
    return all(map(_is_name, attributes)) and all(map(_is_plain, attributes.values()))


def _is_name(name: Any) -> bool:
    return type(name) is str and name.isidentifier() and not name.startswith("__")


def _is_plain(value: Any) -> bool:
    """Whether *value* is a plain number or text, or a container of nothing else."""
    kind = type(value)
    if kind is list or kind is tuple:
        return _NO_LIMIT.issuperset(map(type, value)) or all(map(_is_short, value))
    if kind is dict:
        return all(map(_is_ascii, value)) and all(map(_is_short, value.values()))
    return _is_short(value)


def _is_short(value: Any) -> bool:
    if type(value) is int:
        return bool(-(2**62) < value < 2**62)
    return type(value) in _NO_LIMIT or _is_ascii(value)


def _is_ascii(value: Any) -> bool:
    return type(value) is str and value.isascii()
