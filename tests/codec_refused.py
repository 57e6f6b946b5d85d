"""Classes as a user might write them whose instances can not be rebuilt by value."""

from __future__ import annotations

import collections
import dataclasses
import enum


class Hashed:
    """Hashed and compared by code of its own."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return self.value == other.value

    def __hash__(self):
        return hash(self.value)


class New:
    """Made by code of its own."""

    def __new__(cls):
        return super().__new__(cls)


class Setstate:
    """Filled by code of its own."""

    def __getstate__(self):
        return {"a": 1}

    def __setstate__(self, state):
        raise AssertionError("this must not run")


class Del:
    """With something to do at its end."""

    def __init__(self):
        self.value = 1

    def __del__(self):
        pass


class Reduce:
    """Rebuilt by a call of its choice."""

    def __reduce__(self):
        return print, ("this must not run",)


class Bare:
    """Rebuilt by name."""

    def __reduce__(self):
        return "thing"


thing = Bare()


class Keywords:
    """Made with keyword arguments."""

    def __new__(cls, *, k):
        return super().__new__(cls)

    def __init__(self, *, k):
        self.k = k

    def __getnewargs_ex__(self):
        return (), {"k": self.k}


class Broken:
    """Its state can not be had."""

    def __getstate__(self):
        return 1 // 0


class Getattribute:
    """Every look at it is code of its own."""

    def __getattribute__(self, name):
        return super().__getattribute__(name)


class Dict:
    """It hides its attributes."""

    @property
    def __dict__(self):
        return {}


class _Equal(type):
    def __eq__(cls, other):
        return cls is other

    def __hash__(cls):
        return 1


class Meta(metaclass=_Equal):
    """Its class is compared by code of its own."""


class Mine(Exception):
    """An exception."""


class Ordered(collections.OrderedDict):
    """An OrderedDict that is called to be rebuilt."""


alias = collections.namedtuple("Other", "x")


class Attributes:
    """Any attributes."""


def attributes(**given):
    """An object with these attributes."""
    made = Attributes()
    vars(made).update(given)
    return made


class Raises:
    """It raises what it is told to."""

    def __init__(self, error):
        self.error = error

    def __getstate__(self):
        raise self.error


@dataclasses.dataclass(frozen=True)
class _Decorated:
    x: int


class Undecorated(_Decorated):
    """It inherits the hash of a dataclass, and is none itself."""


class Resists:
    """It will not even be looked at."""

    @property
    def __class__(self):
        return 1 // 0

    def __reduce_ex__(self, protocol):
        return 1 // 0


class Odd(enum.Enum):
    """One of its values can not be looked up."""

    EVEN = 2
    TEXT = "two"
    ODD = ([1],)


@dataclasses.dataclass(frozen=True)
class HashedByHand:
    """A dataclass with a hash of its own."""

    x: int

    def __hash__(self):
        return 1
