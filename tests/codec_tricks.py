"""Hostile pickles that use an opcode, or what an object's class does when it is touched.

Entries are as in `codec_gadgets`.
"""

from __future__ import annotations

from collections.abc import Iterator

from codec_gadgets import FIRE, Entry, of, then
from codec_hostile import (
    ADDITEMS,
    APPEND,
    APPENDS,
    BUILD,
    DICT,
    EMPTY,
    MARK,
    MEMO,
    NONE,
    POP,
    PROTO,
    REDUCE,
    SET,
    SETITEM,
    SETITEMS,
    STOP,
    TUPLE,
    TUPLE1,
    TUPLE2,
    call,
    framed,
    get,
    name,
    new,
    number,
    pickled,
    raw,
    row,
    table,
    text,
)

TRAP = new("codec_traps", "Trap")
KEYED = new("codec_traps", "Keyed")
LINE = b"codec_traps\nfire\n"


def opcodes() -> Iterator[Entry]:
    """Each opcode that calls, or has something called."""
    yield "REDUCE of STACK_GLOBAL", "trap", pickled(FIRE, EMPTY, REDUCE)
    yield "REDUCE of GLOBAL", "trap", b"\x80\x02c" + LINE + EMPTY + REDUCE + STOP
    yield "REDUCE in protocol 0", "trap", b"c" + LINE + MARK + TUPLE + REDUCE + STOP
    yield "REDUCE of a name in the memo", "trap", pickled(FIRE, MEMO, POP, get(0), EMPTY, REDUCE)
    yield "REDUCE of a name by BINPUT", "trap", pickled(FIRE, b"q\0", POP, b"h\0", EMPTY, REDUCE)
    yield "REDUCE between frames", "trap", PROTO + framed(FIRE) + framed(EMPTY + REDUCE) + STOP
    yield "INST", "trap", b"\x80\x02" + MARK + b"i" + LINE + STOP
    yield "OBJ", "trap", b"\x80\x02" + MARK + b"c" + LINE + b"o" + STOP
    yield "NEWOBJ of a class's own __new__", "trap", pickled(new("codec_traps", "OwnNew"))
    yield (
        "NEWOBJ_EX with keywords",
        "trap",
        pickled(name("codec_traps", "OwnNew"), EMPTY, DICT, b"\x92"),
    )
    yield (
        "a named tuple's own __new__",
        "trap",
        pickled(new("codec_traps", "OwnPair", number(1), number(2))),
    )
    yield "REDUCE of a class: its __init__", "trap", pickled(call("codec_traps", "Trap", number(1)))
    yield "an enumeration's _missing_", "trap", pickled(call("codec_traps", "Kind", number(9)))
    yield "flags' _missing_", "trap", pickled(call("codec_traps", "Bits", number(64)))
    yield "EXT1", "trap", pickled(b"\x82\xf0", EMPTY, REDUCE)
    yield "EXT2", "trap", pickled(b"\x83\xf1\x01", EMPTY, REDUCE)
    yield "EXT4", "trap", pickled(b"\x84\xf2\x01\x01\x00", EMPTY, REDUCE)
    yield "PERSID", "nothing", b"Pcodec_traps.fire\n."
    yield "BINPERSID", "nothing", pickled(text("x"), b"Q")
    yield "NEXT_BUFFER", "nothing", b"\x80\x05\x97."
    yield "READONLY_BUFFER of bytes", "nothing", b"\x80\x05" + raw(b"x") + b"\x98."
    yield "call, then POP", "trap", pickled(FIRE, EMPTY, REDUCE, POP, NONE)
    yield "call, then POP_MARK", "trap", pickled(MARK, FIRE, EMPTY, REDUCE, b"1", NONE)
    yield "call, then an error", "trap", PROTO + FIRE + EMPTY + REDUCE + b"\xff"
    yield "call, then the end of the bytes", "trap", PROTO + FIRE + EMPTY + REDUCE
    yield "call as an argument of a call", "trap", pickled(of("builtins.set", row(then(FIRE))))
    yield (
        "call inside an honest value",
        "trap",
        pickled(table(text("a"), row(number(1), then(FIRE)))),
    )
    yield "a function as value, for later", "token", pickled(FIRE)
    yield "a class as value, for later", "token", pickled(row(name("codec_traps", "Trap")))
    yield "a built-in as value", "token", pickled(table(text("a"), name("builtins", "eval")))
    yield "a partial as value", "token", pickled(of("functools.partial", FIRE))


def objects() -> Iterator[Entry]:
    """What an instance's class, attributes and methods are good for."""
    own = new("codec_traps", "OwnSetstate")
    yield "BUILD calls __setstate__", "trap", pickled(own, DICT, BUILD)
    planted = table(text("__setstate__"), FIRE)
    yield (
        "BUILD twice: a planted __setstate__",
        "trap",
        pickled(new("codec_types", "Plain"), planted, BUILD, DICT, BUILD),
    )
    yield (
        "BUILD of slots calls __setattr__",
        "trap",
        pickled(TRAP, NONE + table(text("value"), number(1)) + TUPLE2, BUILD),
    )
    yield (
        "BUILD of slots sets a property",
        "trap",
        pickled(new("codec_traps", "Hidden"), NONE + table(text("b"), number(1)) + TUPLE2, BUILD),
    )
    yield (
        "BUILD of slots meets a descriptor",
        "trap",
        pickled(
            new("codec_traps", "Described"), NONE + table(text("value"), number(1)) + TUPLE2, BUILD
        ),
    )
    changed = NONE + table(text("__class__"), name("codec_traps", "OwnDel")) + TUPLE2
    yield (
        "BUILD of slots changes the class",
        "trap",
        pickled(new("codec_types", "Plain"), changed, BUILD, POP, NONE),
    )
    names = NONE + table(text("__dict__"), table(text("a b"), NONE)) + TUPLE2
    yield (
        "BUILD of slots replaces __dict__",
        "nothing",
        pickled(new("codec_types", "Plain"), names, BUILD),
    )
    yield "__getattr__ asked for __setstate__", "trap", pickled(TRAP, table(text("a"), NONE), BUILD)
    yield (
        "state that is a dictionary of its own",
        "other",
        pickled(new("codec_types", "Plain"), new("codec_traps", "TrapDict"), BUILD),
    )
    yield "a __del__ of something dropped", "trap", pickled(new("codec_traps", "OwnDel"), POP, NONE)
    yield "a key's __hash__", "trap", pickled(DICT, KEYED, NONE, SETITEM)
    yield "two keys' __eq__", "trap", pickled(DICT, MARK, KEYED, NONE, KEYED, NONE, SETITEMS)
    yield "a set item's __hash__", "trap", pickled(SET, MARK, KEYED, ADDITEMS)
    yield "the hash of a tuple's item", "trap", pickled(DICT, KEYED + TUPLE1, NONE, SETITEM)
    trapped = new("codec_traps", "Key") + table(text("a"), KEYED, text("b"), NONE) + BUILD
    yield "the hash of a dataclass's field", "trap", pickled(DICT, trapped, NONE, SETITEM)
    property_ = new("codec_traps", "PropertyKey")
    yield "a dataclass key's property", "trap", pickled(DICT, property_, NONE, SETITEM)
    yield (
        "a float's own __hash__",
        "trap",
        pickled(DICT, new("codec_traps", "TrapFloat", b"G" + bytes(8)), NONE, SETITEM),
    )
    yield (
        "an enumeration looked up by an object",
        "trap",
        pickled(call("codec_traps", "Kind", KEYED)),
    )
    yield "APPEND calls append", "trap", pickled(TRAP, number(1), APPEND)
    yield "APPENDS calls extend", "trap", pickled(TRAP, MARK, number(1), APPENDS)
    yield "ADDITEMS calls add or update", "trap", pickled(TRAP, MARK, number(1), ADDITEMS)
    yield "SETITEM calls __setitem__", "trap", pickled(TRAP, text("a"), number(1), SETITEM)
    yield "SETITEMS calls __setitem__", "trap", pickled(TRAP, MARK, text("a"), number(1), SETITEMS)
    yield (
        "a planted append",
        "trap",
        pickled(new("codec_types", "Plain"), table(text("append"), FIRE), BUILD, number(1), APPEND),
    )
    yield "a defaultdict's factory", "token", pickled(of("collections.defaultdict", FIRE))
    yield "set() iterates its argument", "trap", pickled(of("builtins.set", TRAP))
    yield "list() iterates its argument", "trap", pickled(of("builtins.list", TRAP))
    yield "Counter iterates its argument", "trap", pickled(of("collections.Counter", TRAP))
    yield "deque iterates its argument", "trap", pickled(of("collections.deque", TRAP))
    yield "range() calls __index__", "trap", pickled(of("builtins.range", TRAP))
    yield "bytearray() calls __index__", "trap", pickled(of("builtins.bytearray", TRAP))
    yield "str() calls __repr__", "trap", pickled(of("builtins.str", TRAP))
    yield "bool() calls __bool__ or __len__", "trap", pickled(of("builtins.bool", TRAP))
    yield (
        "or_ calls __or__ or fails with a repr",
        "nothing",
        pickled(of("operator.or_", TRAP, TRAP)),
    )
    yield (
        "a metaclass's __eq__",
        "trap",
        pickled(DICT, name("codec_traps", "WithMeta"), NONE, SETITEM),
    )
    yield "a base without __init__ run", "other", pickled(new("codec_types", "Frozen"))
    yield "a float made of text", "other", pickled(new("codec_types", "Metres", text("1")))
    later = DICT + MEMO + BUILD + get(0) + text("a") + number(1) + SETITEM + POP
    yield "the state changed after BUILD", "other", pickled(new("codec_types", "Plain"), later)
    yield (
        "tuple.__new__ with other fields",
        "other",
        pickled(
            of("builtins.tuple", EMPTY),
            POP,
            name("builtins", "tuple.__new__"),
            name("codec_types", "Pair"),
            EMPTY,
            TUPLE2,
            REDUCE,
        ),
    )


WAYS = (opcodes, objects)
