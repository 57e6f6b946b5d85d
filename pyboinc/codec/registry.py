"""Which classes a value may hold: those of the job's own modules, and no others.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import os
import sys

from pyboinc.codec.classes import full_name
from pyboinc.codec.shapes import Refused, Shape, shape_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from types import ModuleType
    from typing import Any, Dict, Iterable, Iterator, List, Mapping, Optional, Set, Tuple

_LIBRARY = os.path.dirname(os.__file__) + os.sep


class Registry:
    """The user's classes that a value may hold, by module and qualified name; immutable."""

    def __init__(
        self, classes: Mapping[Tuple[str, str], type], trusted: Iterable[type] = ()
    ) -> None:
        self._classes = dict(classes)
        self._trusted = tuple(trusted)
        self._shapes: Dict[Tuple[str, str], Shape] = {}  # made when first asked for
        self.by_class: Dict[type, Shape] = {}
        self.names: Set[str] = set()  # of attributes, that the loader has found in order

    @classmethod
    def from_modules(cls, modules: Iterable[ModuleType]) -> Registry:
        """The classes that are *defined* in these modules, nested ones included.

        A class that a module only imports belongs to where it was defined.  A module may
        name classes whose ``__setstate__`` and ``__del__`` may run: ``trusted_setstate = (C,)``.
        """
        classes: Dict[Tuple[str, str], type] = {}
        trusted: List[type] = []
        for module in modules:
            trusted += getattr(module, "trusted_setstate", ())
            for defined in _defined(module.__name__, "", vars(module)):
                classes[defined.__module__, defined.__qualname__] = defined
        return cls(classes, trusted)

    def __or__(self, other: Registry) -> Registry:
        return Registry({**self._classes, **other._classes}, self._trusted + other._trusted)

    def __contains__(self, cls: object) -> bool:
        return _among(cls, self._classes.values())

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
            shape = self._shapes[module, name] = shape_of(cls, _among(cls, self._trusted))
            if type(shape) is not Refused:
                self.by_class[cls] = shape
        return shape


class OwnClasses(Registry):
    """Every class of this very program that another program could import by name.

    For `encode` alone: a value that this program has made can not name what it has not.
    """

    def __init__(self) -> None:
        super().__init__({})

    def shape(self, module: str, name: str) -> Optional[Shape]:
        """How to rebuild the class of this name, wherever in the program it is."""
        cls: Any = sys.modules.get(module)
        for part in name.split("."):
            cls = getattr(cls, part, None)
        if not isinstance(cls, type) or (cls.__module__, cls.__qualname__) != (module, name):
            return None
        shape = self._shapes.get((module, name))
        if shape is None or shape.cls is not cls:
            trusted = getattr(sys.modules[module], "trusted_setstate", ())
            reason = foreign(cls)
            shape = Refused(cls, reason) if reason else shape_of(cls, _among(cls, trusted))
            self._shapes[module, name] = self.by_class[cls] = shape
        return shape


def foreign(cls: type) -> Optional[str]:
    """Why *cls* is not one of the user's importable classes, or None."""
    if cls.__module__ == "__main__":
        return (
            "class %s is defined in the program itself (__main__); move it to app_types.py"
            % cls.__qualname__
        )
    package = sys.modules.get(cls.__module__.partition(".")[0])
    origin = getattr(package, "__file__", None) or _LIBRARY
    if "site-packages" in origin or "dist-packages" in origin or origin.startswith(_LIBRARY):
        return "%s is not a class of yours" % full_name(cls)
    return None


def _among(cls: object, classes: Iterable[type]) -> bool:
    """Whether *cls* is one of *classes*, without their metaclass's own __eq__ or __hash__."""
    return any(cls is each for each in classes)


def _defined(module: str, prefix: str, names: Mapping[str, Any]) -> Iterator[type]:
    """The classes among *names* that say of themselves that they were defined there."""
    for name, value in list(names.items()):
        if not isinstance(value, type) or value.__module__ != module:
            continue
        if value.__qualname__ == prefix + name:
            yield value
            yield from _defined(module, value.__qualname__ + ".", vars(value))
