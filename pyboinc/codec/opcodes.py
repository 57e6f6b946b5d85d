"""The opcodes of a pickle, but for the few that the loader's own loop holds.

`OPCODES` maps an opcode to ``function(loader, stack, pos) -> pos``; *pos* is the place of
its argument, and of the next opcode on return.  `CLOSERS` maps the opcodes that end what a
MARK began to ``function(loader, stack, items)``.  An opcode in neither is refused by name.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from struct import Struct

from pyboinc.codec.shapes import Container, Refusal, Shape
from pyboinc.codec.standard import Constructor, NewUuid, Pending

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Callable, Dict, List, Tuple

    from pyboinc.codec.loader import Loader

    Opcode = Callable[[Loader, List[Any], int], int]
    Closer = Callable[[Loader, List[Any], List[Any]], None]

_INT32 = Struct("<i")
LONGEST_NAME = 1_000  # characters of a module or class name: more is an attack
CHAINED = 1_000  # a defaultdict in a defaultdict in ...: CPython frees those recursively

OPCODES: Dict[int, Opcode] = {}
CLOSERS: Dict[int, Closer] = {}

REFUSED = {
    0x80: "PROTO in the middle",
    0x51: "BINPERSID",
    0x50: "PERSID",
    0x82: "EXT1",
    0x83: "EXT2",
    0x84: "EXT4",
    0x69: "INST",
    0x6F: "OBJ",
    0x92: "NEWOBJ_EX",
    0x97: "NEXT_BUFFER",
    0x98: "READONLY_BUFFER",
    0x32: "DUP",
}


def _opcode(code: int) -> Callable[[Opcode], Opcode]:
    def register(function: Opcode) -> Opcode:
        OPCODES[code] = function
        return function

    return register


def _closer(code: int) -> Callable[[Closer], Closer]:
    def register(function: Closer) -> Closer:
        CLOSERS[code] = function
        return function

    return register


def _argument(loader: Loader, pos: int, length: int) -> bytes:
    """The *length* bytes at *pos*, within their frame."""
    if pos + length > loader.limit:
        loader.past_frame(pos, length)
    return loader.data[pos : pos + length]


def _sized(loader: Loader, pos: int, width: int) -> Tuple[int, int]:
    """Where a payload starts and ends, whose length stands in *width* bytes at *pos*."""
    start = pos + width
    end = start + int.from_bytes(_argument(loader, pos, width), "little")
    if end > loader.limit:
        loader.past_frame(pos, end - pos)
    return start, end


# ---- values ---------------------------------------------------------------------------


def _payloads() -> None:
    def text(width: int) -> Opcode:
        def push(loader: Loader, stack: List[Any], pos: int) -> int:
            start, end = _sized(loader, pos, width)
            stack.append(str(loader.data[start:end], "utf-8"))
            return end

        return push

    def raw(width: int) -> Opcode:
        def push(loader: Loader, stack: List[Any], pos: int) -> int:
            start, end = _sized(loader, pos, width)
            several = end - start > 1  # there is only one b"", and one of each single byte
            if several and len(stack) == 4 and loader.marks and _awaits_bytes(loader.marks[-1]):
                # The contents of an array: the array makes the only copy.
                stack.append(memoryview(loader.data)[start:end])
            else:
                stack.append(loader.data[start:end])
            return end

        return push

    def integer(width: int) -> Opcode:
        def push(loader: Loader, stack: List[Any], pos: int) -> int:
            start, end = _sized(loader, pos, width)
            if end - start > loader.budget.integer:
                raise Refusal("an integer of more than %d bytes" % loader.budget.integer)
            stack.append(int.from_bytes(loader.data[start:end], "little", signed=True))
            return end

        return push

    OPCODES.update({0x58: text(4), 0x8D: text(8)})  # BINUNICODE, BINUNICODE8
    OPCODES.update({0x43: raw(1), 0x42: raw(4), 0x8E: raw(8)})  # *BINBYTES*
    OPCODES.update({0x8A: integer(1), 0x8B: integer(4)})  # LONG1, LONG4


def _awaits_bytes(below: List[Any]) -> bool:
    kind: Any = type(below[-1]) if below else object
    return bool(issubclass(kind, Pending) and kind.takes_view)


_payloads()


@_opcode(0x4A)
def _binint(loader: Loader, stack: List[Any], pos: int) -> int:
    stack.append(_INT32.unpack(_argument(loader, pos, 4))[0])
    return pos + 4


@_opcode(0x4D)
def _binint2(loader: Loader, stack: List[Any], pos: int) -> int:
    low, high = _argument(loader, pos, 2)
    stack.append(low + 256 * high)
    return pos + 2


@_opcode(0x96)
def _bytearray8(loader: Loader, stack: List[Any], pos: int) -> int:
    start, end = _sized(loader, pos, 8)
    stack.append(bytearray(memoryview(loader.data)[start:end]))
    return end


@_opcode(0x5D)
def _empty_list(loader: Loader, stack: List[Any], pos: int) -> int:
    stack.append([])
    return pos


@_opcode(0x8F)
def _empty_set(loader: Loader, stack: List[Any], pos: int) -> int:
    stack.append(set())
    return pos


@_opcode(0x85)
def _tuple1(loader: Loader, stack: List[Any], pos: int) -> int:
    stack[-1] = (stack[-1],)
    return pos


@_opcode(0x86)
def _tuple2(loader: Loader, stack: List[Any], pos: int) -> int:
    stack[-2:] = [(stack[-2], stack[-1])]
    return pos


@_opcode(0x87)
def _tuple3(loader: Loader, stack: List[Any], pos: int) -> int:
    stack[-3:] = [(stack[-3], stack[-2], stack[-1])]
    return pos


@_closer(0x74)
def _tuple(loader: Loader, stack: List[Any], items: List[Any]) -> None:
    stack.append(tuple(items))


@_closer(0x91)
def _frozenset(loader: Loader, stack: List[Any], items: List[Any]) -> None:
    loader.check_keys(items)
    stack.append(frozenset(items))


@_closer(0x31)
def _pop_mark(loader: Loader, stack: List[Any], items: List[Any]) -> None:
    """What lies above the mark is dropped: a tuple that contains itself is written so."""


@_opcode(0x30)
def _pop(loader: Loader, stack: List[Any], pos: int) -> int:
    stack.pop()
    return pos


# ---- containers -------------------------------------------------------------------------


@_closer(0x65)
def _appends(loader: Loader, stack: List[Any], items: List[Any]) -> None:
    target = stack[-1]
    kind = type(target)
    if kind is list:
        target.extend(items)
    elif kind is deque:
        deque.extend(target, items)
    elif _base(loader, kind) is list:
        list.extend(target, items)
    else:
        raise Refusal("items for a %s" % kind.__name__)


@_opcode(0x61)
def _append(loader: Loader, stack: List[Any], pos: int) -> int:
    item = stack.pop()
    _appends(loader, stack, [item])
    return pos


@_closer(0x90)
def _additems(loader: Loader, stack: List[Any], items: List[Any]) -> None:
    target = stack[-1]
    if type(target) is not set:
        raise Refusal("set items for a %s" % type(target).__name__)
    loader.check_keys(items)
    target.update(items)


def setitems(loader: Loader, stack: List[Any], items: List[Any]) -> None:
    """SETITEMS: put keys and values, which alternate in *items*, into the top of *stack*."""
    target = stack[-1]
    if len(items) & 1:
        raise Refusal("a key without a value")
    if type(target) is dict and len(items) <= 32:  # the attributes of most objects
        alternating = iter(items)
        for key in alternating:
            if type(key) is not str:
                loader.check_keys([key])
            target[key] = next(alternating)
        return
    keys, values = items[::2], items[1::2]
    loader.check_keys(keys)
    if type(target) is dict:
        target.update(zip(keys, values))
    else:
        _set_items_of_other(loader, target, keys, values)


def _set_items_of_other(loader: Loader, target: Any, keys: List[Any], values: List[Any]) -> None:
    kind = type(target)
    setitem: Any = dict.__setitem__
    if kind is defaultdict:
        loader.chained += sum(type(value) is defaultdict for value in values)
        if loader.chained > CHAINED:
            raise Refusal("more than %d defaultdicts in defaultdicts" % CHAINED)
    elif kind is OrderedDict:
        setitem = OrderedDict.__setitem__
    elif _base(loader, kind) is not dict:
        raise Refusal("keys and values for a %s" % kind.__name__)
    for key, value in zip(keys, values):
        setitem(target, key, value)


@_opcode(0x73)
def _setitem(loader: Loader, stack: List[Any], pos: int) -> int:
    items = stack[-2:]
    del stack[-2:]
    setitems(loader, stack, items)
    return pos


def _base(loader: Loader, kind: type) -> Any:
    """list or dict, if *kind* is a class of the user's made from it."""
    shape = loader.shapes.get(kind)
    return shape.base if type(shape) is Container else None


# ---- the memo, frames ---------------------------------------------------------------------


@_opcode(0x6A)
def _long_binget(loader: Loader, stack: List[Any], pos: int) -> int:
    stack.append(loader.memo[int.from_bytes(_argument(loader, pos, 4), "little")])
    return pos + 4


def _put(loader: Loader, stack: List[Any], pos: int, width: int) -> int:
    # Picklers number from 0 upwards.  A free choice would be a way to ask for memory.
    if int.from_bytes(_argument(loader, pos, width), "little") != len(loader.memo):
        raise Refusal("a memo index out of order")
    loader.memo.append(stack[-1])
    return pos + width


@_opcode(0x71)
def _binput(loader: Loader, stack: List[Any], pos: int) -> int:
    return _put(loader, stack, pos, 1)


@_opcode(0x72)
def _long_binput(loader: Loader, stack: List[Any], pos: int) -> int:
    return _put(loader, stack, pos, 4)


@_opcode(0x95)
def frame(loader: Loader, stack: List[Any], pos: int) -> int:
    """FRAME: no argument of an opcode in it may reach beyond it."""
    if pos - 1 < loader.frame_end:
        raise Refusal("a frame in a frame")
    loader.limit = loader.size
    length = int.from_bytes(_argument(loader, pos, 8), "little")
    loader.frame_end = loader.limit = pos + 8 + length
    if loader.limit > loader.size:
        raise Refusal("a frame longer than the bytes")
    return pos + 8


# ---- names, and what is made of them ----------------------------------------------------


@_opcode(0x63)
def _global(loader: Loader, stack: List[Any], pos: int) -> int:
    middle = loader.data.find(b"\n", pos, pos + LONGEST_NAME)
    end = loader.data.find(b"\n", middle + 1, middle + 1 + LONGEST_NAME)
    if middle < 0 or end < 0:
        raise Refusal("a name without an end")
    _argument(loader, pos, end + 1 - pos)
    module, name = str(loader.data[pos:end], "utf-8").split("\n")
    stack.append(loader.find(module, name))
    return end + 1


@_opcode(0x93)
def stack_global(loader: Loader, stack: List[Any], pos: int) -> int:
    """STACK_GLOBAL: what the two texts on top of *stack* name."""
    name = stack.pop()
    stack[-1] = loader.find(stack[-1], name)
    return pos


@_opcode(0x81)
def _newobj(loader: Loader, stack: List[Any], pos: int) -> int:
    args = stack.pop()
    token = stack[-1]
    if type(args) is not tuple:
        raise Refusal("arguments that are not a tuple")
    if issubclass(type(token), Shape):
        stack[-1] = token.new(args)
    elif type(token) is NewUuid:
        stack[-1] = token.new(loader, args)
    else:
        raise Refusal("a new %s" % type(token).__name__)
    return pos


@_opcode(0x52)
def _reduce(loader: Loader, stack: List[Any], pos: int) -> int:
    args = stack.pop()
    token = stack[-1]
    if type(args) is not tuple:
        raise Refusal("arguments that are not a tuple")
    if issubclass(type(token), Constructor):
        stack[-1] = token.call(loader, args)
    elif issubclass(type(token), Shape):
        stack[-1] = token.call(args, loader)
    else:
        raise Refusal("a call of a %s" % type(token).__name__)
    return pos
