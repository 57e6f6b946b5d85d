"""How an instance of one of the user's classes is rebuilt without running any of its code.

For every class that the bytes may name there is one *shape*, made from the class alone,
before and apart from the data.  A shape knows four things, and each is done by value:

    new         make the instance, by the ``__new__`` of the built-in base
    fill        put its attributes into ``__dict__`` and the declared slots, once
    key_parts   what its hash would look at, if it may be a dictionary key at all
    children    what it contains, for the last look over the finished value

The class's own ``__init__``, ``__new__``, ``__setstate__``, ``__del__``, properties and
descriptors never run.  A class that can not do without them has the shape `Refused`,
which says why; `trusted_setstate` (see `docs/codec.md`) is the way to insist.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import copyreg

from pyboinc.codec.classes import (
    SCALARS,
    dataclass_fields,
    found,
    full_name,
    hashed_fields,
    is_enum,
    is_simple,
    loaded,
    objection,
    pickles_itself,
    plain_text,
    safe_key,
    shown,
    slots_of,
    writes_fields,
)

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, Sequence, Tuple

    from pyboinc.codec.loader import Loader


class Refusal(ValueError):
    """Why some bytes can not become a value; `RejectedResult` is made from it."""


def reason(error: Exception) -> str:
    """Why, in words, whatever kind of exception the bytes led to."""
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "text that is not UTF-8"
    # A message of other things than text would ask those things for their own.
    text = all(type(each) is str for each in error.args)
    return "%s: %s" % (type(error).__name__, plain_text(str(error)) if text else "")


class Shape:
    """What the loader knows of one class of the user's; the base of the kinds below."""

    __slots__ = ("cls", "keyed", "name", "ordinary", "plain", "slots", "trusted")

    def __init__(self, cls: type, trusted: bool) -> None:
        self.cls = cls
        self.name = full_name(cls)
        self.trusted = trusted
        self.slots = slots_of(cls)
        setstate = found(cls, "__setstate__")
        # A plain instance has a __dict__ and nothing else to fill: the loader's fast way.
        self.plain = (
            type(self) is Instance
            and not self.slots
            and bool(cls.__dictoffset__)
            and setstate is None
        )
        self.ordinary = self.plain and not pickles_itself(cls)
        self.keyed = safe_key(cls)

    def new(self, args: Tuple[Any, ...]) -> Any:
        """An instance without attributes, from the arguments of NEWOBJ."""
        raise Refusal("%s can not be made this way" % self.name)

    def call(self, args: Tuple[Any, ...], loader: Loader) -> Any:
        """What calling the class with *args* stands for; only enumerations allow it."""
        raise Refusal("%s would have to be called to be rebuilt" % self.name)

    def fill(self, instance: Any, state: Any, loader: Loader) -> None:
        """Give *instance* the attributes in *state*, once in its life."""
        loader.once(instance)
        if self.trusted and found(self.cls, "__setstate__") is not None:
            loader.charge(64 * loader.inspect(state))
            instance.__setstate__(state)
            return
        attributes, slots = self._split(state)
        if attributes is not None:
            self._fill_dict(instance, attributes, loader)
        if slots is not None:
            self._fill_slots(instance, slots)

    def _split(self, state: Any) -> Tuple[Any, Any]:
        """*state* as (attributes for ``__dict__``, values for slots), either may be None."""
        if type(state) is tuple and len(state) == 2:
            return state
        if type(state) is list:
            fields = dataclass_fields(self.cls) if writes_fields(self.cls) else None
            if fields is None or len(fields) != len(state):
                raise Refusal("%s has another number of fields" % self.name)
            slots = {name: value for name, value in zip(fields, state) if name in self.slots}
            others = {name: value for name, value in zip(fields, state) if name not in slots}
            return others or None, slots
        return state, None

    def _fill_dict(self, instance: Any, attributes: Any, loader: Loader) -> None:
        if type(attributes) is not dict or not self.cls.__dictoffset__:
            raise Refusal("%s does not take these attributes" % self.name)
        loader.charge(64 * len(attributes))
        loader.check_names(attributes)
        if not self.slots.keys().isdisjoint(attributes):  # one would hide behind the other
            raise Refusal("%s has a slot and an attribute of one name" % self.name)
        instance.__dict__.update(attributes)

    def _fill_slots(self, instance: Any, slots: Any) -> None:
        if type(slots) is not dict:
            raise Refusal("the slots of %s are not a dictionary" % self.name)
        for name, value in slots.items():
            if type(name) is not str or name not in self.slots:
                raise Refusal("%s has no slot %s" % (self.name, shown(name)))
            self.slots[name].__set__(instance, value)

    def key_parts(self, instance: Any) -> Sequence[Any]:
        """What the hash of *instance* depends on; `Refusal` if its hash is the user's code."""
        if not self.keyed:
            raise Refusal("%s has its own __hash__ or __eq__: it can not be a key" % self.name)
        return ()

    def attributes(self, instance: Any) -> Dict[str, Any]:
        """What *instance* has in ``__dict__`` and in its slots, by name."""
        held: Dict[str, Any] = {}
        for name, slot in self.slots.items():
            try:
                held[name] = slot.__get__(instance)
            except AttributeError:  # a slot that was never set
                pass
        if self.cls.__dictoffset__:
            held.update(instance.__dict__)
        return held

    def children(self, instance: Any) -> Sequence[Any]:
        """The values that *instance* holds."""
        return list(self.attributes(instance).values())


class Refused(Shape):
    """A class that is known but can not be rebuilt by value: every use says why."""

    __slots__ = ("reason",)

    def __init__(self, cls: type, reason: str) -> None:
        super().__init__(cls, False)
        self.reason = reason

    def new(self, args: Tuple[Any, ...]) -> Any:
        """Refuse."""
        raise Refusal(self.reason)

    def call(self, args: Tuple[Any, ...], loader: Loader) -> Any:
        """Refuse."""
        raise Refusal(self.reason)


class Instance(Shape):
    """A class made of Python alone: plain, a dataclass, with slots, or any mixture."""

    __slots__ = ("hashed",)

    def __init__(self, cls: type, trusted: bool) -> None:
        super().__init__(cls, trusted)
        self.hashed = None if self.keyed or cls.__hash__ is None else hashed_fields(cls)

    @staticmethod
    def of_simple(cls: type, trusted: bool) -> Instance:
        """As the constructor, for a class that `is_simple`: every slave makes two of these."""
        shape = object.__new__(Instance)
        shape.cls = cls
        shape.name = full_name(cls)
        shape.trusted = trusted
        shape.slots = {}
        shape.plain = shape.keyed = True
        shape.ordinary = cls not in copyreg.dispatch_table
        shape.hashed = None
        return shape

    def new(self, args: Tuple[Any, ...]) -> Any:
        """``object.__new__``, without arguments."""
        if args:
            raise Refusal("%s takes no arguments here" % self.name)
        return object.__new__(self.cls)

    def key_parts(self, instance: Any) -> Sequence[Any]:
        """Nothing for a hash by identity; the compared fields of a dataclass."""
        if self.keyed:
            return ()
        if self.hashed is None:
            raise Refusal("%s has its own __hash__ or __eq__: it can not be a key" % self.name)
        held = self.attributes(instance)
        if not self.hashed <= held.keys():
            raise Refusal("%s is a key before its fields are known" % self.name)
        return [held[name] for name in self.hashed]


class Tuple_(Shape):
    """A named tuple, or another subclass of tuple."""

    __slots__ = ()

    def new(self, args: Tuple[Any, ...]) -> Any:
        """``tuple.__new__`` of the fields."""
        fields = found(self.cls, "_fields")
        if type(fields) is tuple:
            if len(args) != len(fields):
                raise Refusal("%s has %d fields, not %d" % (self.name, len(fields), len(args)))
            return tuple.__new__(self.cls, args)
        if len(args) > 1 or (args and type(args[0]) is not tuple):
            raise Refusal("%s is made of one tuple" % self.name)
        return tuple.__new__(self.cls, *args)

    def key_parts(self, instance: Any) -> Sequence[Any]:
        """Its items."""
        super().key_parts(instance)
        return list(tuple.__iter__(instance))

    def children(self, instance: Any) -> Sequence[Any]:
        """Its items, then its attributes."""
        return [*tuple.__iter__(instance), *super().children(instance)]


class Scalar(Shape):
    """A subclass of a number or of text, such as ``class Metres(float)``."""

    __slots__ = ("base",)

    def __init__(self, cls: type, trusted: bool, base: Any) -> None:
        super().__init__(cls, trusted)
        self.base = base

    def new(self, args: Tuple[Any, ...]) -> Any:
        """The base's own ``__new__``, of arguments of exactly the base's type."""
        expected = float if self.base is complex else self.base
        if len(args) > 2 or any(type(each) is not expected for each in args):
            raise Refusal("%s is made of one %s" % (self.name, self.base.__name__))
        return self.base.__new__(self.cls, *args)

    def plain_value(self, instance: Any) -> Any:
        """The number or text alone, by the base's own methods."""
        if self.base is str:
            return str.__str__(instance)[:]
        if self.base is bytes:
            return bytes.__getitem__(instance, slice(None))
        if self.base is complex:
            return complex.__add__(instance, 0)
        return self.base.__int__(instance) if self.base is int else float.__float__(instance)


class Container(Shape):
    """A subclass of list or dict; its items come later, through the base's own methods."""

    __slots__ = ("base",)

    def __init__(self, cls: type, trusted: bool, base: Any) -> None:
        super().__init__(cls, trusted)
        self.base = base

    def new(self, args: Tuple[Any, ...]) -> Any:
        """An empty one."""
        if args:
            raise Refusal("%s takes no arguments here" % self.name)
        return self.base.__new__(self.cls)

    def children(self, instance: Any) -> Sequence[Any]:
        """Its items (keys and values of a dict), then its attributes."""
        if self.base is list:
            items = list(list.__iter__(instance))
        else:
            items = [*dict.keys(instance), *dict.values(instance)]
        return [*items, *super().children(instance)]


class Enumeration(Shape):
    """An enumeration: a member is found by its value or name, never made."""

    __slots__ = ("composed", "members", "names")

    LOOKED_UP = (*SCALARS, bool, tuple, type(None))  # what values are looked up by
    # The enum module keeps each combination of flags for ever: so many new ones by one
    # pickle, and so many of one enumeration in the life of the program.
    NEW_IN_ONE, NEW_IN_ALL = 1_000, 65_536

    def __init__(self, cls: type, trusted: bool) -> None:
        super().__init__(cls, trusted)
        self.names: Dict[str, Any] = dict(cls.__members__)  # type: ignore[attr-defined]  # an Enum
        self.members: Dict[Any, Any] = {}
        self.composed = 0
        for member in self.names.values():
            value = member._value_
            try:
                if type(value) in self.LOOKED_UP:
                    self.members[type(value), value] = member
            except TypeError:  # a tuple with something unhashable in it
                pass
        by_name = cls.__hash__ is loaded("enum", "Enum").__hash__
        self.keyed = safe_key(cls) or (by_name and object.__eq__ is found(cls, "__eq__"))

    def call(self, args: Tuple[Any, ...], loader: Loader) -> Any:
        """The member with this value."""
        if len(args) != 1:
            raise Refusal("%s is looked up by one value" % self.name)
        (value,) = args
        if type(value) not in self.LOOKED_UP:
            kind = type(value).__name__
            raise Refusal("a member of %s whose value is a %s can not travel" % (self.name, kind))
        loader.weigh(value)  # before anything hashes it
        member = self.members.get((type(value), value))
        return self._combination(value, loader) if member is None else member

    def _combination(self, value: Any, loader: Loader) -> Any:
        """A combination of flags, by the enum module's own code and no other."""
        known = self.cls._value2member_map_  # type: ignore[attr-defined]  # an Enum class
        if type(value) is int and value in known:
            return known[value]
        flag = loaded("enum", "Flag")
        missing = getattr(found(self.cls, "_missing_"), "__func__", None)
        own = found(self.cls, "_new_member_") or found(self.cls, "__new_member__")
        made = getattr(own, "__func__", own) or object.__new__
        pure = (
            issubclass(self.cls, flag)
            and type(self.cls).__module__ == "enum"
            and getattr(missing, "__module__", "") == "enum"
            and made in (object.__new__, int.__new__)
        )
        if not pure or type(value) is not int or value.bit_length() > 64:
            raise Refusal("%s has no member with the value %s" % (self.name, shown(value)))
        self.composed += 1
        loader.composed += 1
        if loader.composed > self.NEW_IN_ONE or self.composed > self.NEW_IN_ALL:
            raise Refusal("too many combinations of %s" % self.name)
        return self.cls(value)

    def fill(self, instance: Any, state: Any, loader: Loader) -> None:
        """Refuse: members are shared by the whole program."""
        raise Refusal("a member of %s can not be changed" % self.name)

    def children(self, instance: Any) -> Sequence[Any]:
        """Nothing: a member is the program's own."""
        return ()


def shape_of(cls: type, trusted: bool = False) -> Shape:
    """The shape of *cls*; a `Refused` one if it can not be rebuilt by value."""
    if is_simple(cls):
        return Instance.of_simple(cls, trusted)
    reason = objection(cls, trusted)
    if reason is not None:
        return Refused(cls, reason)
    if is_enum(cls):
        return Enumeration(cls, trusted)
    if issubclass(cls, tuple):
        return Tuple_(cls, trusted)
    for base in (list, dict):
        if issubclass(cls, base):
            return Container(cls, trusted, base)
    for scalar in SCALARS:
        if issubclass(cls, scalar):
            return Scalar(cls, trusted, scalar)
    return Instance(cls, trusted)
