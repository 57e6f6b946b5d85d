"""Inputs and outputs as bytes, and back, without ever running what a volunteer sent.

    encode(value)             pickle bytes; says at once, and where, what can not travel
    decode(data, registry)    the value, or `RejectedResult` and no other exception
    same_value(a, b, ...)     whether two encodings hold the same value

Users' programs write pickles because that is what Python has; `decode` reads them with a
loader of its own (`codec_loader`), under a `Budget`, and knows only the classes in a
`Registry`: those that the job's own modules define.  `docs/codec.md` says what may travel.

This file and the other `codec_*` files travel to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import sys

try:  # the C pickler alone: `pickle` would import much that a slave never needs
    from _pickle import dumps
except ImportError:  # pragma: no cover - another Python than CPython
    from pickle import dumps

from pyboinc.codec_loader import Loader
from pyboinc.codec_shapes import Refused, Shape, shape_of
from pyboinc.errors import EncodeError, RejectedResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from types import ModuleType
    from typing import Any, Dict, Iterable, Iterator, Mapping, Optional, Tuple

PROTOCOL = 4  # the newest that Python 3.8 and all later ones write and read alike


class Budget:
    """What reading one value may cost; each limit has its own reason when it is passed.

    ``bytes`` of the pickle, and of what its opcodes copy; ``opcodes``; ``depth`` of nesting
    (200, so that ``repr``, ``==`` and ``copy.deepcopy`` stay safe); ``integer``, the bytes of
    one integer (1,700: below the 4,300 digits that Python converts to text); ``key``, the
    parts of one dictionary key or set item; ``unfolded``, the items of built-in containers
    when every shared part is written out each time.
    """

    __slots__ = ("bytes", "depth", "integer", "key", "opcodes", "unfolded")

    def __init__(
        self,
        *,
        bytes: int = 64 * 1024 * 1024,  # noqa: A002 - the word that says it
        opcodes: int = 200_000,
        depth: int = 200,
        integer: int = 1_700,
        key: int = 64,
        unfolded: int = 10_000_000,
    ) -> None:
        self.bytes = bytes
        self.opcodes = opcodes
        self.depth = depth
        self.integer = integer
        self.key = key
        self.unfolded = unfolded

    def __repr__(self) -> str:
        return "Budget(%s)" % ", ".join("%s=%r" % (n, getattr(self, n)) for n in self.__slots__)


DEFAULT = Budget()


class Registry:
    """The user's classes that a value may hold, by module and qualified name; immutable."""

    def __init__(self, classes: Mapping[Tuple[str, str], type], trusted: Iterable[type] = ()) -> None:
        self._classes = dict(classes)
        self._trusted = frozenset(trusted)
        self._shapes: Dict[Tuple[str, str], Shape] = {}
        self.by_class: Dict[type, Shape] = {}

    @classmethod
    def from_modules(cls, modules: Iterable[ModuleType]) -> Registry:
        """The classes that are *defined* in these modules, nested ones included.

        A class that a module only imports belongs to where it was defined.  A module may
        name classes whose ``__setstate__`` or ``__del__`` may run: ``trusted_setstate = (C,)``.
        """
        classes: Dict[Tuple[str, str], type] = {}
        trusted: list[type] = []
        for module in modules:
            trusted += getattr(module, "trusted_setstate", ())
            for found in _defined(module.__name__, "", vars(module)):
                classes[found.__module__, found.__qualname__] = found
        return cls(classes, trusted)

    def __or__(self, other: Registry) -> Registry:
        return Registry({**self._classes, **other._classes}, self._trusted | other._trusted)

    def __contains__(self, cls: object) -> bool:
        return cls in self._classes.values()

    def __iter__(self) -> Iterator[type]:
        return iter(self._classes.values())

    def __len__(self) -> int:
        return len(self._classes)

    def __repr__(self) -> str:
        return "<Registry of %d classes>" % len(self)

    def shape(self, module: str, name: str) -> Optional[Shape]:
        """How to rebuild the class of this name; None if it is not one of these classes."""
        shape = self._shapes.get((module, name))
        if shape is None:
            cls = self._classes.get((module, name))
            if cls is None:
                return None
            shape = shape_of(cls, cls in self._trusted)
            self._shapes[module, name] = self.by_class[cls] = shape
        return shape


class _OwnClasses(Registry):
    """Every class of this very program that another program could import by name."""

    def __init__(self) -> None:
        super().__init__({})

    def shape(self, module: str, name: str) -> Optional[Shape]:
        """How to rebuild the class of this name, wherever in the program it is."""
        cls: Any = sys.modules.get(module)
        for part in name.split("."):
            cls = getattr(cls, part, None)
        if not isinstance(cls, type) or (cls.__module__, cls.__qualname__) != (module, name):
            return None
        shape = self.by_class.get(cls)
        if shape is None:
            trusted = getattr(sys.modules[module], "trusted_setstate", ())
            reason = foreign(cls)
            shape = Refused(cls, reason) if reason else shape_of(cls, cls in trusted)
            self.by_class[cls] = shape
        return shape


def foreign(cls: type) -> Optional[str]:
    """Why *cls* is not one of the user's importable classes, or None."""
    origin = getattr(sys.modules.get(cls.__module__.partition(".")[0]), "__file__", None) or ""
    library = origin.startswith(_LIBRARY) or not origin
    if cls.__module__ == "__main__":
        return (
            "class %s is defined in the program itself (__main__); move it to app_types.py"
            % cls.__qualname__
        )
    if library or "site-packages" in origin or "dist-packages" in origin:
        return "%s.%s is not a class of yours" % (cls.__module__, cls.__qualname__)
    return None


_LIBRARY = sys.modules["os"].__file__.rpartition("os.py")[0]  # type: ignore[union-attr]  # os has a file
_OWN = _OwnClasses()


def _defined(module: str, prefix: str, names: Mapping[str, Any]) -> Iterator[type]:
    for name, value in list(names.items()):
        if (
            isinstance(value, type)
            and value.__module__ == module
            and value.__qualname__ == prefix + name
        ):
            yield value
            yield from _defined(module, value.__qualname__ + ".", vars(value))


def encode(
    value: Any, what: str = "input", registry: Optional[Registry] = None, budget: Budget = DEFAULT
) -> bytes:
    """The bytes of *value*, which *what* names in messages.

    Raises `EncodeError`, with the path of the attribute at fault, for what can not be
    pickled or what `decode` would refuse on the other side.  *registry* has the classes
    that the other side knows; without one, those of the program's own modules count.
    """
    classes = _OWN if registry is None else registry
    try:
        data = dumps(value, PROTOCOL)
        if not _obviously_fine(value, classes):
            Loader(data, classes, budget).load()
    except Exception as error:
        from pyboinc.codec_explain import explain

        path, reason = explain(value, what, classes, budget, error)
        raise EncodeError("%s: %s" % (path, reason), path) from None
    return data


_FINE = frozenset([type(None), bool, float])


def _obviously_fine(value: Any, classes: Registry) -> bool:
    """Whether *value* is a plain object of a few small plain values, as most inputs are.

    Then its pickle has a known form, and reading it back would tell nothing new.
    """
    shape = classes.by_class.get(type(value))
    if shape is None or not shape.plain or not shape.ordinary:
        return False
    attributes = value.__dict__
    return len(attributes) <= 32 and all(map(_small, attributes.values())) and all(map(str.isidentifier, attributes)) and not any(name.startswith("__") for name in attributes)


def _small(value: Any) -> bool:
    kind = type(value)
    if kind is int:
        return -(2**63) <= value < 2**63
    return kind in _FINE or (kind is str and len(value) < 10_000 and value.isascii())


def decode(data: bytes, registry: Registry, budget: Budget = DEFAULT) -> Any:
    """The value in *data*; `RejectedResult` is the only exception.

    Nothing in *data* runs: no class's code, no import, no call but of checked built-ins.
    """
    if type(data) is not bytes:
        data = bytes(data)
    return Loader(data, registry, budget).load()


def same_value(a: bytes, b: bytes, registry: Registry, budget: Budget = DEFAULT) -> bool:
    """Whether two encodings hold the same value, type for type.

    Sets and dictionaries have no order, shared parts may be copies; 1, 1.0 and True are
    three values; nan is nan; 0.0 is not -0.0.  `RejectedResult` if one can not be read.
    """
    if a == b:
        return True
    from pyboinc.codec_compare import equal

    return equal(decode(a, registry, budget), decode(b, registry, budget), registry)
