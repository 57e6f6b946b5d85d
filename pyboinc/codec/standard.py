"""The built-in and standard types that may travel, each rebuilt from checked arguments.

A pickle rebuilds a set, a date or a `Decimal` by *calling* something.  Here a call is a
look-up: `CONSTRUCTORS` maps the names that picklers of Python 3.8 to 3.13 write to our own
functions, which look at the type of every argument and then build the value.  What is not
in the table can not be called.

`VALUE_TYPES` are the types of values that hold no others: the leaves of every result.
Standard modules beyond the built-ins are imported when a name of theirs is first called:
the names of those modules stand here, not in the data.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from pyboinc.codec.classes import shown
from pyboinc.codec.shapes import Enumeration, Refusal, Shape

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Callable, Dict, List, Optional, Set, Tuple

    from pyboinc.codec.loader import Loader

    Call = Callable[[Loader, Tuple[Any, ...]], Any]
    Whole = Callable[[Loader, List[Any], int, int], Tuple[int, int]]
    Glance = Callable[[bytes, List[Any], int], Tuple[Any, int]]

VALUE_TYPES: Set[type] = {
    type(None),
    type(Ellipsis),
    bool,
    int,
    float,
    complex,
    str,
    bytes,
    bytearray,
    range,
    slice,
}

LONGEST_NAME = 200  # characters of a time zone's name or a Decimal: more is an attack


class Constructor:
    """An inert token for a name that may be called: what stands for it, and what it makes.

    ``factory`` is the type itself where a ``defaultdict`` may hold it.
    """

    __slots__ = ("call", "factory", "name")

    def __init__(self, name: str, call: Call, factory: Optional[type] = None) -> None:
        self.name = name
        self.call = call
        self.factory = factory


class Pending:
    """Something of ours that stands for a value until its BUILD opcode comes."""

    __slots__ = ("memo_index",)

    takes_view = False  # whether bytes in its state may be a view of the loader's own

    def __init__(self, loader: Loader) -> None:
        # The pickler remembers the object at once, before it writes its state.
        self.memo_index = len(loader.memo)

    def value(self, state: Any, loader: Loader) -> Any:
        """The value, from the *state* in the bytes."""
        raise AssertionError("every kind of Pending has its own")


def expect(name: str, args: Tuple[Any, ...], *types: type) -> Tuple[Any, ...]:
    """*args*, if they are exactly of these *types*; `Refusal` otherwise."""
    # No == here or in the functions below before the types are known: it may be the user's.
    if len(args) != len(types) or any(type(a) is not b for a, b in zip(args, types)):
        raise Refusal("%s with arguments it can not have" % name)
    return args


def no_call(loader: Loader, args: Tuple[Any, ...]) -> Any:
    """Refuse: most names only stand for themselves."""
    raise Refusal("a name that may not be called")


def _set(loader: Loader, args: Tuple[Any, ...]) -> Any:
    (items,) = expect("set", args, list)
    loader.charge(64 * len(items))
    loader.check_keys(items)
    return set(items)


def _frozenset(loader: Loader, args: Tuple[Any, ...]) -> Any:
    return frozenset(_set(loader, args))


def _bytes(loader: Loader, args: Tuple[Any, ...]) -> Any:
    expect("bytes", args)
    return b""


def _bytearray(loader: Loader, args: Tuple[Any, ...]) -> Any:
    if not args:
        return bytearray()
    if len(args) == 2:  # protocol 2
        text, encoding = expect("bytearray", args, str, str)
        return bytearray(_encode(loader, (text, encoding.replace("-", ""))))
    (data,) = expect("bytearray", args, bytes)
    loader.charge(len(data))
    return bytearray(data)


def _encode(loader: Loader, args: Tuple[Any, ...]) -> Any:
    text, encoding = expect("_codecs.encode", args, str, str)
    if encoding != "latin1":
        raise Refusal("bytes in the encoding %s" % shown(encoding))
    loader.charge(len(text))
    return text.encode("latin1")


def _complex(loader: Loader, args: Tuple[Any, ...]) -> Any:
    return complex(*expect("complex", args, float, float))


def _range(loader: Loader, args: Tuple[Any, ...]) -> Any:
    return range(*expect("range", args, int, int, int))


def _slice(loader: Loader, args: Tuple[Any, ...]) -> Any:
    if len(args) != 3 or any(each is not None and type(each) is not int for each in args):
        raise Refusal("a slice of other things than numbers")
    return slice(*args)


def _getattr(loader: Loader, args: Tuple[Any, ...]) -> Any:
    # Protocols 2 and 3 write the class Outer.Inner as getattr(Outer, "Inner"), and some
    # Python 3.11s a member of an enumeration as getattr(Class, "NAME").
    if len(args) != 2 or not issubclass(type(args[0]), Shape) or type(args[1]) is not str:
        raise Refusal("getattr of something that is not a class of this job")
    shape, name = args
    if type(shape) is Enumeration and name in shape.names:
        return shape.names[name]
    return loader.find(shape.cls.__module__, "%s.%s" % (shape.cls.__qualname__, name))


def _or(loader: Loader, args: Tuple[Any, ...]) -> Any:
    # And a combination of flags as FIRST | SECOND.
    shape = loader.shapes.get(type(args[0])) if len(args) == 2 else None
    if type(shape) is not Enumeration or type(args[1]) not in (shape.cls, int):
        raise Refusal("operator.or_ of something that is not a flag")
    bits = [each if type(each) is int else each._value_ for each in args]
    if type(bits[0]) is not int or type(bits[1]) is not int:
        raise Refusal("operator.or_ of something that is not a flag")
    return shape.call((bits[0] | bits[1],), loader)


def _ordered_dict(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from collections import OrderedDict

    expect("OrderedDict", args)
    return OrderedDict()


def _counter(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from collections import Counter

    (counts,) = expect("Counter", args, dict)
    loader.charge(64 * len(counts))
    counter: Any = Counter()
    dict.update(counter, counts)
    return counter


def _deque(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from collections import deque

    if not args:
        return deque()
    _, longest = expect("deque", args, tuple, int)
    return deque(args[0][:0], longest)


def _defaultdict(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from collections import defaultdict

    if not args or (len(args) == 1 and args[0] is None):
        return defaultdict()
    (token,) = expect("defaultdict", args, Constructor)
    if token.factory is None:
        raise Refusal("a defaultdict of %s" % token.name)
    return defaultdict(token.factory)


def _date(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from datetime import date

    (raw,) = expect("date", args, bytes)
    VALUE_TYPES.add(date)
    year_high, year_low, month, day = raw
    return date(year_high * 256 + year_low, month, day)


def _datetime(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from datetime import datetime

    zone = _zone(args)
    (raw,) = expect("datetime", args[:1], bytes)
    VALUE_TYPES.add(datetime)
    high, low, month, day, hour, minute, second, *micro = raw
    # the highest bit of the month says which of two equal times on a clock set back
    year, micros = high * 256 + low, _micro(micro)
    return datetime(year, month & 127, day, hour, minute, second, micros, zone, fold=month >> 7)


def _time(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from datetime import time

    zone = _zone(args)
    (raw,) = expect("time", args[:1], bytes)
    VALUE_TYPES.add(time)
    hour, minute, second, *micro = raw
    return time(hour & 127, minute, second, _micro(micro), zone, fold=hour >> 7)


def _micro(raw: Any) -> int:
    first, second, third = raw
    return int(first * 65536 + second * 256 + third)


def _zone(args: Tuple[Any, ...]) -> Any:
    from datetime import timezone

    if len(args) == 1:
        return None
    (zone,) = expect("a time", args[1:], timezone)
    return zone


def _timedelta(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from datetime import timedelta

    VALUE_TYPES.add(timedelta)
    return timedelta(*expect("timedelta", args, int, int, int))


def _timezone(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from datetime import timedelta, timezone

    VALUE_TYPES.add(timezone)
    expect("timezone", args, timedelta, *[str] * (len(args) - 1))
    if len(args) > 1 and len(args[1]) > LONGEST_NAME:
        raise Refusal("a time zone with a name of %d characters" % len(args[1]))
    return timezone(*args)


def _decimal(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from decimal import Decimal

    (text,) = expect("Decimal", args, str)
    if len(text) > LONGEST_NAME or not text.isascii():
        raise Refusal("a Decimal of %d characters" % len(text))
    VALUE_TYPES.add(Decimal)
    return Decimal(text)


def _fraction(loader: Loader, args: Tuple[Any, ...]) -> Any:
    from fractions import Fraction

    if len(args) == 1:  # "1/3", as Python 3.8 to 3.10 write it
        (text,) = expect("Fraction", args, str)
        if len(text) > 2 * LONGEST_NAME:
            raise Refusal("a Fraction of %d characters" % len(text))
        args = tuple(int(each) for each in text.split("/", 1))
    else:
        expect("Fraction", args, int, int)
    loader.charge(sum(each.bit_length() for each in args) ** 2 >> 14)  # as its gcd costs
    VALUE_TYPES.add(Fraction)
    return Fraction(*args)


class _PendingUuid(Pending):
    __slots__ = ()

    def value(self, state: Any, loader: Loader) -> Any:
        """The UUID with this number."""
        from uuid import UUID

        number = state.get("int") if type(state) is dict else None
        if type(number) is not int or not state.keys() <= {"int", "is_safe"}:
            raise Refusal("not the number of a UUID")
        VALUE_TYPES.add(UUID)
        return UUID(int=number)


class NewUuid(Constructor):
    """UUID is made by NEWOBJ and filled by BUILD."""

    __slots__ = ()

    def new(self, loader: Loader, args: Tuple[Any, ...]) -> Any:
        """The stand-in for the UUID to come."""
        expect("UUID", args)
        return _PendingUuid(loader)


def _table() -> Dict[Tuple[str, str], Constructor]:
    import collections

    builtin: Dict[str, Tuple[Call, Optional[type]]] = {
        "set": (_set, set),
        "frozenset": (_frozenset, frozenset),
        "bytes": (_bytes, bytes),
        "bytearray": (_bytearray, bytearray),
        "complex": (_complex, complex),
        "range": (_range, None),
        "xrange": (_range, None),
        "slice": (_slice, None),
        "getattr": (_getattr, None),
        "int": (no_call, int),
        "long": (no_call, int),
        "float": (no_call, float),
        "bool": (no_call, bool),
        "str": (no_call, str),
        "unicode": (no_call, str),
        "list": (no_call, list),
        "tuple": (no_call, tuple),
        "dict": (no_call, dict),
    }
    others: Dict[Tuple[str, str], Tuple[Call, Optional[type]]] = {
        ("_codecs", "encode"): (_encode, None),
        ("_operator", "or_"): (_or, None),
        ("operator", "or_"): (_or, None),
        ("collections", "OrderedDict"): (_ordered_dict, collections.OrderedDict),
        ("collections", "Counter"): (_counter, collections.Counter),
        ("collections", "deque"): (_deque, collections.deque),
        ("collections", "defaultdict"): (_defaultdict, None),
        ("datetime", "date"): (_date, None),
        ("datetime", "datetime"): (_datetime, None),
        ("datetime", "time"): (_time, None),
        ("datetime", "timedelta"): (_timedelta, None),
        ("datetime", "timezone"): (_timezone, None),
        ("decimal", "Decimal"): (_decimal, None),
        ("fractions", "Fraction"): (_fraction, None),
    }
    table = {key: Constructor(".".join(key), *what) for key, what in others.items()}
    for name, what in builtin.items():
        # protocol 2 writes the names that Python 2 had
        table["__builtin__", name] = table["builtins", name] = Constructor(name, *what)
    table["uuid", "UUID"] = NewUuid("uuid.UUID", no_call)
    return table


CONSTRUCTORS = _table()
CONSTANTS = {
    ("builtins", "Ellipsis"): Ellipsis,
    ("__builtin__", "Ellipsis"): Ellipsis,
}
NAMED: Dict[Tuple[str, str], Any] = {**CONSTRUCTORS, **CONSTANTS}
"""All names that mean the same in every pickle; numpy's, when the first of them is read."""


class NoGlance(ValueError):
    """An array that only the loader can read; nobody but `plain` is told so."""


def _no_glance(data: bytes, memo: List[Any], pos: int) -> Tuple[Any, int]:
    raise NoGlance


class Reconstruct(Constructor):
    """What an array is made by: ``whole`` reads all that mostly follows the name, at once.

    So does ``glance``, which needs no loader, or else raises `NoGlance`.
    """

    __slots__ = ("glance", "whole")

    whole: Whole

    def __init__(self, name: str, call: Call) -> None:
        super().__init__(name, call)
        self.glance: Glance = _no_glance


RECONSTRUCT = Reconstruct("numpy._reconstruct", no_call)
"""What numpy's arrays are made by; `arrays` says how, when the first one is read."""
