"""Classes that notice when any code of theirs runs: none of it may, whatever the bytes say."""

from __future__ import annotations

import abc
import collections
import enum
from dataclasses import dataclass

ran: list[str] = []


def fire(*args, **kwargs):
    """What a hostile pickle would like to call."""
    ran.append("fire")


class Trap:
    """Every method that a loader might be tempted to call."""

    def __init__(self, *args):
        ran.append("__init__")

    def __setattr__(self, name, value):
        ran.append("__setattr__")

    def __getattr__(self, name):
        ran.append("__getattr__")
        raise AttributeError(name)

    @property
    def value(self):
        """A property."""
        ran.append("property")

    @value.setter
    def value(self, value):
        ran.append("setter")

    def __len__(self):
        ran.append("__len__")
        return 0

    def __iter__(self):
        ran.append("__iter__")
        return iter(())

    def __repr__(self):
        ran.append("__repr__")
        return "<trap>"

    def __bool__(self):
        ran.append("__bool__")
        return True

    def __index__(self):
        ran.append("__index__")
        return 1

    def __getitem__(self, key):
        ran.append("__getitem__")
        return key

    def __setitem__(self, key, value):
        ran.append("__setitem__")

    def append(self, item):
        """As a list has it."""
        ran.append("append")

    def extend(self, items):
        """As a list has it."""
        ran.append("extend")

    def add(self, item):
        """As a set has it."""
        ran.append("add")

    def update(self, items):
        """As a set has it."""
        ran.append("update")


class Keyed(Trap):
    """Hashed and compared by code of its own."""

    def __hash__(self):
        ran.append("__hash__")
        return 1

    def __eq__(self, other):
        ran.append("__eq__")
        return True


class TrapList(list):
    """A list with methods of its own."""

    def append(self, item):
        ran.append("append")

    def extend(self, items):
        ran.append("extend")

    def __iter__(self):
        ran.append("__iter__")
        return iter(())


class TrapDict(dict):
    """A dictionary with methods of its own."""

    def __setitem__(self, key, value):
        ran.append("__setitem__")

    def __missing__(self, key):
        ran.append("__missing__")

    def keys(self):
        ran.append("keys")
        return []


class TrapTuple(tuple):
    """A tuple with methods of its own."""

    __slots__ = ()

    def __iter__(self):
        ran.append("__iter__")
        return iter(())

    def __hash__(self):
        ran.append("__hash__")
        return 1

    def __eq__(self, other):
        ran.append("__eq__")
        return True


class TrapFloat(float):
    """A number with methods of its own."""

    __slots__ = ()

    def __hash__(self):
        ran.append("__hash__")
        return 1

    def __eq__(self, other):
        ran.append("__eq__")
        return True


class Slotted:
    """Slots, one of them hidden behind a property in the subclass."""

    __slots__ = ("a", "b")


class Hidden(Slotted):
    """Its property hides a slot."""

    __slots__ = ()

    @property
    def b(self):
        """A property."""
        ran.append("property")

    @b.setter
    def b(self, value):
        ran.append("setter")


class Descriptor:
    """A data descriptor."""

    def __get__(self, instance, owner):
        ran.append("__get__")
        return self

    def __set__(self, instance, value):
        ran.append("__set__")


class Described:
    """It has one."""

    value = Descriptor()


class OwnNew:
    """Made by code of its own."""

    def __new__(cls, *args):
        ran.append("__new__")
        return super().__new__(cls)


class OwnSetstate:
    """Filled by code of its own."""

    def __setstate__(self, state):
        ran.append("__setstate__")


class OwnDel:
    """It does something at its end."""

    def __del__(self):
        ran.append("__del__")


class OwnPair(collections.namedtuple("OwnPair", "a b")):
    """A named tuple that is made by code of its own."""

    __slots__ = ()

    def __new__(cls, *args):
        ran.append("__new__")
        return super().__new__(cls, *args)


@dataclass(frozen=True)
class Key:
    """A dataclass that can be a key."""

    a: object
    b: object

    def __getattr__(self, name):
        ran.append("__getattr__")
        raise AttributeError(name)


@dataclass(frozen=True)
class PropertyKey:
    """A dataclass whose field is a property."""

    a: object

    @property
    def a(self):
        ran.append("property")


@dataclass
class PostInit:
    """A dataclass with an afterthought."""

    a: int

    def __post_init__(self):
        ran.append("__post_init__")


class Abstract(abc.ABC):
    """It can not be made."""

    @abc.abstractmethod
    def method(self):
        """To be defined."""


class Failure(Exception):
    """An exception."""


class Kind(enum.Enum):
    """An enumeration that wants to know of unknown values."""

    ONE = 1
    KEYED = Keyed()

    @classmethod
    def _missing_(cls, value):
        ran.append("_missing_")


class Bits(enum.Flag):
    """Flags that want to know of unknown values."""

    A = 1
    B = 2

    @classmethod
    def _missing_(cls, value):
        ran.append("_missing_")
        return super()._missing_(value)


class Meta(type):
    """A metaclass with a comparison of its own."""

    def __eq__(cls, other):
        ran.append("Meta.__eq__")
        return True

    def __hash__(cls):
        ran.append("Meta.__hash__")
        return 1


class WithMeta(metaclass=Meta):
    """It has it."""
