"""What can be told of a class without running it: may its instances be rebuilt by value?

Everything here looks at the class alone, through ``__mro__`` and ``__dict__``; no method,
property or descriptor of the class is called.  `enum`, `dataclasses` and `typing` are
looked for in `sys.modules`, never imported: a class that uses them has loaded them.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, FrozenSet, Optional, Set


class _Slotted:
    __slots__ = ("a",)


_SLOT = type(_Slotted.a)  # type: ignore[attr-defined]  # mypy does not know slots as attributes
_C_METHOD = type(object.__init__)
_GETSET = type(type.__dict__["__dict__"])
_FUNCTION = type(lambda: None)

SCALARS = (str, int, float, bytes, complex)
_SAFE_HASHES: Set[Any] = {object.__hash__, tuple.__hash__} | {base.__hash__ for base in SCALARS}
_SAFE_EQUALS: Set[Any] = {object.__eq__, tuple.__eq__} | {base.__eq__ for base in SCALARS}


_TELLING = frozenset(
    [
        "__del__",
        "__eq__",
        "__getattr__",
        "__getattribute__",
        "__getnewargs__",
        "__getnewargs_ex__",
        "__getstate__",
        "__hash__",
        "__new__",
        "__reduce__",
        "__reduce_ex__",
        "__setstate__",
        "__slots__",
    ]
)


def loaded(module: str, name: str) -> Any:
    """What *module* calls *name*, if the module is loaded; never imports."""
    return getattr(sys.modules.get(module), name, None)


def found(cls: type, name: str) -> Any:
    """The attribute *name* as the classes of *cls* define it, without calling anything."""
    for base in cls.__mro__:
        if name in base.__dict__:
            return base.__dict__[name]
    return None


def full_name(cls: type) -> str:
    """``module.Class``, as messages name it."""
    return "%s.%s" % (cls.__module__, cls.__qualname__)


def shown(value: Any) -> str:
    """*value* as it may stand in a log: ASCII, short, and never by code of the user's."""
    if type(value) in SCALARS or value is None:
        return ascii(value)[:80]
    return "a " + type(value).__name__


def plain_text(text: str) -> str:
    """*text* as it may stand in a log, without quotes."""
    return ascii(text)[1:-1][:100]


def objection(cls: type, trusted: bool = False) -> Optional[str]:
    """Why instances of *cls* can not be rebuilt by value, or None."""
    if issubclass(cls, BaseException):
        return "%s is an exception: send str(error) instead" % full_name(cls)
    metaclass: Any = type(cls)
    if metaclass.__hash__ is not type.__hash__ or metaclass.__eq__ is not type.__eq__:
        return "%s has a metaclass with its own __hash__ or __eq__" % full_name(cls)
    if type(found(cls, "__getattribute__")) is not _C_METHOD:
        return "%s has its own __getattribute__" % full_name(cls)
    if cls.__dictoffset__ and type(found(cls, "__dict__")) is not _GETSET:
        return "%s has its own __dict__" % full_name(cls)
    if is_enum(cls):
        return None
    if not _known_new(cls):
        return "%s has its own __new__, which would have to run" % full_name(cls)
    if trusted:
        return None
    if found(cls, "__del__") is not None:
        return "%s has a __del__, which would run (see trusted_setstate)" % full_name(cls)
    if found(cls, "__setstate__") is not None and not writes_fields(cls):
        return "%s has its own __setstate__ (see trusted_setstate)" % full_name(cls)
    return None


def is_simple(cls: type) -> bool:
    """Whether *cls* says nothing of how it is made, compared, hashed, pickled or looked at.

    Such a class, as most are, is plain, and all the other questions need not be asked.
    """
    own = cls.__dict__
    return (
        type(cls) is type
        and cls.__mro__ == (cls, object)
        and _TELLING.isdisjoint(own)
        and type(own.get("__dict__")) is _GETSET
    )


def is_enum(cls: type) -> bool:
    """Whether *cls* is an enumeration."""
    enum = loaded("enum", "Enum")
    return enum is not None and issubclass(cls, enum)


def _known_new(cls: type) -> bool:
    """Whether making an instance is the business of a built-in base alone."""
    makers = (base for base in cls.__mro__ if "__new__" in base.__dict__)
    # Python 3.8's Generic has a __new__, which only checks
    maker = next(base for base in makers if base is not loaded("typing", "Generic"))
    if maker in (object, tuple, list, dict, *SCALARS):
        return True
    # collections.namedtuple writes __new__ and _make into the same class
    return issubclass(maker, tuple) and "_make" in maker.__dict__


def slots_of(cls: type) -> Dict[str, Any]:
    """The slots that *cls* and its bases declare, by name, unless something hides them."""
    if not any("__slots__" in base.__dict__ for base in cls.__mro__):
        return {}
    first: Dict[str, Any] = {}
    for base in cls.__mro__:
        for name, value in base.__dict__.items():
            first.setdefault(name, (value, base))
    return {
        name: value
        for name, (value, base) in first.items()
        if type(value) is _SLOT and "__slots__" in base.__dict__
    }


def pickles_itself(cls: type) -> bool:
    """Whether the class has a say in how its instances are pickled."""
    copyreg: Any = sys.modules["copyreg"]
    own = ("__reduce__", "__reduce_ex__", "__getstate__", "__getnewargs__", "__getnewargs_ex__")
    return (
        cls in copyreg.dispatch_table
        or found(cls, "__getattr__") is not None
        or any(found(cls, name) is not object.__dict__.get(name) for name in own)
    )


def safe_key(cls: Any) -> bool:
    """Whether instances are hashed and compared by code of Python's own, not the class's."""
    return cls.__hash__ in _SAFE_HASHES and cls.__eq__ in _SAFE_EQUALS


def writes_fields(cls: type) -> bool:
    """Whether the state of *cls* is the list of fields that `dataclasses` itself writes."""
    setstate = found(cls, "__setstate__")
    return setstate is not None and setstate is loaded("dataclasses", "_dataclass_setstate")


def dataclass_fields(cls: type) -> Dict[str, Any]:
    """The fields of a dataclass, by name."""
    return {field.name: field for field in loaded("dataclasses", "fields")(cls)}


def _generated(method: Any) -> bool:
    """Whether `dataclasses` compiled this method, from text of its own."""
    return type(method) is _FUNCTION and method.__code__.co_filename == "<string>"


def hashed_fields(cls: type) -> Optional[FrozenSet[str]]:
    """The fields that the hash of a dataclass looks at, if `dataclasses` wrote that hash."""
    owner: Any = next(base for base in cls.__mro__ if "__hash__" in base.__dict__)
    if "__dataclass_params__" not in owner.__dict__ or owner is not cls:
        return None
    if not all(_generated(found(cls, name)) for name in ("__hash__", "__eq__")):
        return None
    fields = dataclass_fields(cls)
    hidden = (type(found(cls, name)) for name in fields)
    if any(hasattr(kind, "__set__") and kind is not _SLOT for kind in hidden):
        return None
    return frozenset(
        name
        for name, field in fields.items()
        if field.compare or field.hash  # the union of what __hash__ and __eq__ read
    )
