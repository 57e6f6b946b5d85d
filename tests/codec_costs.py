"""Hostile pickles that cost much, mean something else to another reader, or lie about memory.

Entries are as in `codec_gadgets`.
"""

from __future__ import annotations

import pickle
import struct
import zlib
from collections.abc import Iterator

from codec_gadgets import FIRE, Entry, of, then
from codec_hostile import (
    ADDITEMS,
    APPEND,
    APPENDS,
    BUILD,
    DICT,
    EMPTY,
    LIST,
    MARK,
    MEMO,
    NEWOBJ,
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
    TUPLE3,
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


def bomb(megabytes: int) -> bytes:
    """So many megabytes of zeros, compressed: the same piece again and again."""
    press, zeros = zlib.compressobj(9), bytes(2**20)
    first, piece = (press.compress(zeros) + press.flush(zlib.Z_FULL_FLUSH) for _ in range(2))
    check = (megabytes * 2**20 % 65521) << 16 | 1
    return first + piece * (megabytes - 1) + press.flush()[:-4] + struct.pack(">I", check)


def costs() -> Iterator[Entry]:
    """Few bytes that ask for much."""
    huge = struct.pack("<Q", 2**40)
    yield "LONG_BINPUT asks for a large memo", "memory", pickled(LIST, b"r\xff\xff\xff\x7f")
    yield "BINBYTES8 asks before it reads", "memory", PROTO + b"\x8e" + huge + b"x."
    yield "BINUNICODE8 asks before it reads", "nothing", PROTO + b"\x8d" + huge + b"x."
    yield "BYTEARRAY8 asks before it reads", "memory", b"\x80\x05\x96" + huge + b"x."
    yield "FRAME asks before it reads", "nothing", PROTO + b"\x95" + huge + b"N."
    yield "BINBYTES asks before it reads", "memory", PROTO + b"B\xff\xff\xff\x7fx."
    yield "LONG4 asks before it reads", "nothing", PROTO + b"\x8b\xff\xff\xff\x7fx."
    yield "bytes() of a length", "memory", pickled(of("builtins.bytes", number(2**30)))
    yield "bytearray() of a length", "memory", pickled(of("builtins.bytearray", number(2**30)))
    yield (
        "list() of a range",
        "memory",
        pickled(of("builtins.list", of("builtins.range", number(2**28)))),
    )
    yield "text times a number", "memory", pickled(of("operator.mul", text("x"), number(2**30)))
    yield "str.ljust", "memory", pickled(call("builtins", "str.ljust", text("x"), number(2**30)))
    yield (
        "str.format of a width",
        "memory",
        pickled(call("builtins", "str.format", text("{:>1073741824}"), text("x"))),
    )
    yield "a decompression bomb", "memory|time", pickled(of("zlib.decompress", raw(bomb(400))))
    yield "numpy.empty, filled", "memory", pickled(of("numpy.ones", number(2**28)))
    copies = raw(bytes(10**6)) + MEMO + POP + name("builtins", "bytearray") + MEMO + POP
    yield (
        "copies of the same bytes",
        "memory|time",
        pickled(copies, MARK, (get(1) + get(0) + TUPLE1 + REDUCE) * 500, b"l"),
    )
    doubled = EMPTY + MEMO + b"".join(get(n) + TUPLE2 + MEMO for n in range(40))
    yield "a key of 2**40 parts", "time", pickled(DICT, doubled, NONE, SETITEM)
    frozen = EMPTY + (b"2" + TUPLE2) * 40
    yield "a key of 2**40 parts, by DUP", "time", pickled(DICT, frozen, NONE, SETITEM)
    laughs = row(text("ha")) + MEMO
    for n in range(60):
        laughs += LIST + MEMO + MARK + get(n) + get(n) + APPENDS
    yield "a thousand million laughs", "other", pickled(laughs)
    same = b"".join(pickle.dumps((2**61 - 1) * n, 4)[11:-1] for n in range(1, 12_000))
    yield "integers of one hash", "time", pickled(SET, MARK, same, ADDITEMS)
    yield "a power", "time", pickled(of("builtins.pow", number(7), number(10**7)))
    yield (
        "a Fraction of a large exponent",
        "time",
        pickled(of("fractions.Fraction", text("1e9999999"))),
    )
    yield (
        "a regular expression",
        "time",
        pickled(of("re.match", text("(a|a)*$"), text("a" * 40 + "b"))),
    )
    yield "sleep", "time", pickled(of("time.sleep", number(100)))
    yield (
        "every permutation",
        "time",
        pickled(
            of(
                "collections.deque",
                of("itertools.permutations", of("builtins.range", number(13))),
                number(0),
            )
        ),
    )
    yield (
        "a lock taken twice",
        "time",
        pickled(
            name("_thread", "LockType.acquire"),
            of("_thread.allocate_lock"),
            MEMO,
            TUPLE1,
            REDUCE,
            POP,
            name("_thread", "LockType.acquire"),
            get(0),
            TUPLE1,
            REDUCE,
        ),
    )
    yield "a read of the terminal", "open|time|builtins.input", pickled(of("builtins.input"))
    yield "select without end", "time", pickled(of("select.select", LIST, LIST, LIST))
    yield (
        "a tuple too deep to hash",
        "killed|time|RecursionError",
        pickled(DICT, NONE + TUPLE1 * 3_000_000, NONE, SETITEM),
    )
    yield "lists too deep to copy", "other", pickled(LIST * 2_000, APPEND * 1_999)
    yield "objects too deep to print", "other", pickled(_nested(300))
    chained = name("collections", "defaultdict") + MEMO + POP
    step = get(0) + EMPTY + REDUCE + NONE
    yield (
        "defaultdicts too deep to free",
        "killed|token",
        pickled(chained, step * 39_000, NONE, SETITEM * 39_000),
    )
    digits = (10**200_000).to_bytes(90_000, "little")
    yield (
        "an integer too long to print",
        "other",
        pickled(b"\x8b", struct.pack("<I", len(digits)), digits),
    )
    yield "a Decimal too long to be one", "other", pickled(of("decimal.Decimal", text("9" * 10**5)))
    yield (
        "a Decimal that integers can not be",
        "other",
        pickled(of("decimal.Decimal", text("1e999999999"))),
    )
    flags = name("codec_types", "IntFlags") + MEMO + POP
    every = b"".join(get(0) + number(8 * n) + TUPLE1 + REDUCE + POP for n in range(1, 2_000))
    yield "flags that are kept for ever", "state", pickled(flags, every, NONE)
    yield "a million opcodes", "other", pickled((NONE + POP) * 200_000, NONE)
    yield "a million marks", "other", PROTO + MARK * 300_000 + b"1" * 300_000 + NONE + STOP
    yield "a million names", "other|time", pickled((name("builtins", "set") + POP) * 90_000, NONE)
    yield (
        "an absurd empty array",
        "other",
        pickled(
            of("numpy.empty", number(0) + number(2**31 - 1) + TUPLE2),
        ),
    )


def _nested(depth: int) -> bytes:
    start = new("codec_types", "Plain") * depth
    return start.replace(NEWOBJ, NEWOBJ + DICT + text("value")) + NONE + (SETITEM + BUILD) * depth


def streams() -> Iterator[Entry]:
    """Bytes that one reader takes for something else than another."""
    honest = pickle.dumps({"a": [1.5, "x"]}, 4)
    yield "a second pickle behind the first", "other", honest + pickled(FIRE, EMPTY, REDUCE)
    yield "a byte behind the first", "other", honest + b"\n"
    yield "PROTO in the middle", "other", PROTO + PROTO + NONE + STOP
    yield "no PROTO", "other", b"N."
    yield "protocol 1", "other", pickle.dumps([1, 2], 1)
    yield "a protocol that does not exist", "nothing", b"\x80\x09N."
    hidden = b"\x95" + struct.pack("<Q", 6) + b"B" + struct.pack("<I", 300) + bytes(300)
    yield "bytes that straddle a frame", "nothing|other", PROTO + hidden + STOP
    yield "a frame in a frame", "other|nothing", PROTO + framed(framed(NONE + STOP))
    yield (
        "a frame longer than the bytes",
        "nothing",
        PROTO + b"\x95" + struct.pack("<Q", 100) + NONE + STOP,
    )
    yield "no STOP", "nothing", PROTO + NONE
    yield "an empty stack at STOP", "nothing", PROTO + STOP
    yield "two values at STOP", "other", pickled(NONE, NONE)
    yield "a mark left over", "other|nothing", pickled(MARK, NONE)
    yield "a memo index again", "other", pickled(LIST, b"q\0q\0")
    yield "a memo index out of order", "other", pickled(LIST, b"q\x05")
    yield "the memo of nothing", "nothing", pickled(get(7))
    yield "DUP", "other", pickled(NONE, b"2", TUPLE2)
    yield "text opcodes of numbers", "other", pickled(b"I01\n")
    yield "a long in text", "other", pickled(b"L1L\n")
    yield "a float in text", "other", pickled(b"F1.5\n")
    yield "a string in quotes", "other", pickled(b"S'x'\n")
    yield "text with escapes", "other", pickled(b"V\\u0041\n")
    yield "Python 2's bytes", "other", pickled(b"U\x01x")
    yield "lone surrogates", "other", pickled(text("\ud800"))
    yield "overlong UTF-8", "nothing", pickled(b"\x8c\x02\xc0\x80")
    yield "an odd number of SETITEMS", "nothing", pickled(DICT, MARK, text("a"), SETITEMS)
    yield "LIST of protocol 0", "other", pickled(MARK, number(1), b"l")
    yield "DICT of protocol 0", "other", pickled(MARK, number(1), number(2), b"d")
    yield "GET and PUT in text", "other", pickled(NONE, b"p0\n", POP, b"g0\n")
    yield "a name that is not text", "nothing", pickled(number(1), text("x"), b"\x93")
    yield "a name of a megabyte", "nothing", b"\x80\x02c" + b"a" * 10**6 + b"\nb\n."
    escapes = "\x1b[2J\x1b]0;owned\x07\n\r"
    yield "terminal escapes in a name", "nothing", pickled(name("os" + escapes, escapes))
    yield (
        "terminal escapes in an attribute",
        "other",
        pickled(new("codec_types", "Plain"), table(text(escapes), NONE), BUILD),
    )
    yield (
        "an attribute's name that is no name",
        "other",
        pickled(new("codec_types", "Plain"), table(text("a b"), NONE), BUILD),
    )
    yield (
        "a __class__ among the attributes",
        "other",
        pickled(new("codec_types", "Plain"), table(text("__class__"), NONE), BUILD),
    )
    yield (
        "attributes that are not text",
        "other|nothing",
        pickled(new("codec_types", "Plain"), table(number(1), NONE), BUILD),
    )


def _dtype(spec: str, *state: bytes) -> bytes:
    ordinary = (number(3), text("<"), NONE, NONE, NONE, number(-1), number(-1), number(0))
    made = call("numpy", "dtype", text(spec), b"\x89", b"\x88")
    return made + MARK + b"".join(state or ordinary) + TUPLE + BUILD


def _array(shape: bytes, kind: bytes, data: bytes, cls: bytes | None = None) -> bytes:
    start = name("numpy._core.multiarray", "_reconstruct") + (cls or name("numpy", "ndarray"))
    empty = start + number(0) + TUPLE1 + raw(b"b") + TUPLE3 + REDUCE
    return empty + MARK + number(1) + shape + kind + b"\x89" + data + TUPLE + BUILD


def arrays() -> Iterator[Entry]:
    """Arrays that describe memory that is not theirs, or hold what is no number."""
    one, eight = number(1) + TUPLE1, raw(bytes(8))
    pointers = _array(
        one,
        _dtype("O8", number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(0)),
        raw(b"A" * 8),
    )
    then_used = call("builtins", "repr", pointers)
    yield "numpy: bytes taken for addresses", "killed", pickled(then_used)
    yield (
        "numpy: an array of objects",
        "trap",
        pickled(
            _array(
                one,
                _dtype(
                    "O8", number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(63)
                ),
                row(then(FIRE)),
            )
        ),
    )
    fields = table(text("x"), _dtype("f8") + number(2**20) + TUPLE2)
    state = (
        number(3),
        text("|"),
        NONE,
        text("x") + TUPLE1,
        fields,
        number(8),
        number(1),
        number(0),
    )
    yield (
        "numpy: a field out of range",
        "other|killed|nothing",
        pickled(_array(one, _dtype("V8", *state), eight)),
    )
    yield (
        "numpy: a size that the type has not",
        "other|killed|nothing",
        pickled(
            _array(
                one,
                _dtype(
                    "f8",
                    number(3),
                    text("<"),
                    NONE,
                    NONE,
                    NONE,
                    number(10**6),
                    number(1),
                    number(0),
                ),
                eight,
            )
        ),
    )
    yield (
        "numpy: a shape larger than the bytes",
        "nothing",
        pickled(_array(number(99) + TUPLE1, _dtype("f8"), eight)),
    )
    yield (
        "numpy: a negative shape",
        "nothing",
        pickled(_array(number(-1) + TUPLE1, _dtype("f8"), eight)),
    )
    yield (
        "numpy: a shape that overflows",
        "nothing|memory",
        pickled(
            _array(b"\x8a\x08" + b"\0" * 7 + b"\x40" + number(4) + TUPLE2, _dtype("f8"), eight)
        ),
    )
    yield "numpy: truth that is 7", "other", pickled(_array(one, _dtype("b1"), raw(b"\7")))
    yield (
        "numpy: characters that do not exist",
        "other|nothing|killed",
        pickled(_array(one, _dtype("U1"), raw(b"\0\0\0\x80"))),
    )
    yield (
        "numpy: a subclass of ndarray",
        "trap|other",
        pickled(_array(one, _dtype("f8"), eight, cls=name("codec_sacrifice", "TrapArray"))),
    )
    yield "numpy: a structured type", "other", pickled(_dtype("V8", *state))
    yield (
        "numpy: a scalar from an object",
        "trap|other",
        pickled(
            call(
                "numpy._core.multiarray",
                "scalar",
                _dtype(
                    "O8", number(3), text("|"), NONE, NONE, NONE, number(-1), number(-1), number(63)
                ),
                then(FIRE),
            )
        ),
    )
    yield "numpy: a type by its class", "other", pickled(call("numpy", "dtype", text("f8,O")))
    yield (
        "numpy: a random generator by name",
        "other",
        pickled(call("numpy.random._pickle", "__generator_ctor", text("MT19937"))),
    )
    yield (
        "numpy: _frombuffer of the loader's bytes",
        "other|nothing",
        pickled(
            call(
                "numpy._core.numeric",
                "_frombuffer",
                eight,
                _dtype("f8"),
                number(2) + TUPLE1,
                text("C"),
            )
        ),
    )


WAYS = (costs, streams, arrays)
