"""The loop over the opcodes, which is where the loader spends its time.

It holds the opcodes that fill most pickles; the others are functions in `OPCODES` and
`CLOSERS`.  Where one opcode is nearly always followed by certain others, they are done
together: the new instance with its empty dictionary, the text that is remembered, the
dictionary that becomes attributes, a thousand floats in a row.  That saves turns of the
loop and changes nothing else: each does what its opcodes do one after the other, counts as
many, and is left alone where the bytes go on in another way.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from struct import Struct

from pyboinc.codec.opcodes import CLOSERS, OPCODES, REFUSED, setitems, stack_global
from pyboinc.codec.rows import NUMBERS, SINGLE, read_numbers, read_pairs
from pyboinc.codec.shapes import Instance, Refusal, reason
from pyboinc.codec.standard import RECONSTRUCT
from pyboinc.errors import RejectedResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, List

    from pyboinc.codec.loader import Loader

_FLOAT = Struct(">d")
_TEXT = frozenset([str])


def run(loader: Loader) -> Any:
    """The value that *loader*'s opcodes make; `RejectedResult` if they may not.

    One long function, because calls are what would cost.
    """
    data, memo, marks = loader.data, loader.memo, loader.marks
    shapes, names = loader.shapes, loader.names
    float_at, new, set_items = _FLOAT.unpack_from, object.__new__, setitems
    limit = loader.limit
    left = loader.budget.opcodes
    stack: List[Any] = []
    pos = 2
    try:
        while left > 0:
            left -= 1
            code = data[pos]
            pos += 1
            if code >= 0x68:
                if code == 0x68:  # BINGET
                    if pos >= limit:
                        limit = loader.past_frame(pos, 1)
                    value = memo[data[pos]]
                    stack.append(value)
                    pos += 1
                    if value is RECONSTRUCT:
                        pos, used = value.whole(loader, stack, pos, left)
                        left -= used
                        limit = loader.limit
                    continue
                if code == 0x8C:  # SHORT_BINUNICODE, and the MEMOIZE that it is written with
                    end = pos + 1 + data[pos]
                    if end > limit:
                        limit = loader.past_frame(pos, end - pos)
                    text = str(data[pos + 1 : end], "utf-8")
                    stack.append(text)
                    pos = end
                    if data[pos] == 0x94:
                        memo.append(text)
                        pos += 1
                        left -= 1
                    continue
                if code == 0x7D:  # EMPTY_DICT, and the keys and values that follow it
                    table: Any = {}
                    stack.append(table)
                    if data[pos : pos + 2] == b"\x94(":
                        memo.append(table)
                        loose, pos, used = read_pairs(data, pos + 2, limit, memo, table, left)
                        left -= used + 2
                        if loose is not None:
                            marks.append(stack)
                            stack = loose
                    continue
                if code == 0x94:  # MEMOIZE
                    memo.append(stack[-1])
                    continue
                if code == 0x75:  # SETITEMS
                    items = stack
                    stack = marks.pop()
                    set_items(loader, stack, items)
                    continue
                if code == 0x93:  # STACK_GLOBAL
                    stack_global(loader, stack, pos)
                    if stack[-1] is RECONSTRUCT:
                        pos, used = stack[-1].whole(loader, stack, pos, left)
                        left -= used
                        limit = loader.limit
                    continue
            elif code == 0x62:  # BUILD
                state = stack.pop()
                instance = stack[-1]
                shape = shapes.get(type(instance))
                if shape is not None and shape.plain and type(state) is dict:
                    attributes = instance.__dict__
                    known = names.issuperset(state) and _TEXT.issuperset(map(type, state))
                    if attributes or len(state) > 16 or not known:
                        loader.check_state(attributes, state, shape)
                    attributes.update(state)
                else:
                    loader.fill(stack, state)
                continue
            elif code == 0x29:  # EMPTY_TUPLE, and the NEWOBJ that it is mostly for
                if data[pos] == 0x81 and type(stack[-1]) is Instance:
                    stack[-1] = new(stack[-1].cls)
                    pos += 1
                    left -= 1
                    if data[pos] == 0x94:
                        memo.append(stack[-1])
                        pos += 1
                        left -= 1
                else:
                    stack.append(())
                continue
            elif code == 0x4B:  # BININT1
                if pos >= limit:
                    limit = loader.past_frame(pos, 1)
                stack.append(data[pos])
                pos += 1
                continue
            elif code == 0x47:  # BINFLOAT
                end = pos + 8
                if end > limit:
                    limit = loader.past_frame(pos, 8)
                stack.append(float_at(data, pos)[0])
                pos = end
                continue
            elif code == 0x28:  # MARK, and the pairs or numbers in a row that follow it
                marks.append(stack)
                if stack and type(stack[-1]) is dict:
                    table = {}
                    loose, pos, used = read_pairs(data, pos, limit, memo, table, left)
                    left -= used
                    if loose is None:
                        stack = marks.pop()
                        stack[-1].update(table)
                    else:
                        stack = loose
                elif data[pos] in NUMBERS:
                    stack, pos = read_numbers(data, pos, limit, left)
                    left -= len(stack)
                else:
                    stack = []
                continue
            elif code == 0x5D:  # EMPTY_LIST, remembered, and its MARK
                stack.append([])
                if data[pos : pos + 2] == b"\x94(":
                    memo.append(stack[-1])
                    pos += 1
                    left -= 1
                continue
            elif code == 0x65 and type(marks[-1][-1]) is list:  # APPENDS
                items = stack
                stack = marks.pop()
                stack[-1].extend(items)
                continue
            elif code == 0x2E:  # STOP
                break
            if code in SINGLE:  # NONE, NEWTRUE, NEWFALSE
                stack.append(SINGLE[code])
            else:
                opcode = OPCODES.get(code)
                if opcode is not None:
                    pos = opcode(loader, stack, pos)
                    limit = loader.limit
                elif code in CLOSERS:
                    items = stack
                    stack = marks.pop()
                    CLOSERS[code](loader, stack, items)
                else:
                    raise Refusal(_unknown_opcode(code))
        else:
            raise Refusal("more than %d opcodes" % loader.budget.opcodes)
        if pos != loader.size or len(stack) != 1 or marks:
            raise Refusal("the pickle does not end where its bytes end")
        return stack[0]
    except IndexError:
        if pos >= loader.size:
            raise RejectedResult("the bytes end in the middle", pos) from None
        raise RejectedResult("an opcode that needs more than is there", pos - 1) from None
    except Exception as error:  # noqa: BLE001 - whatever hostile bytes can lead to
        raise RejectedResult(reason(error), pos - 1) from None


def _unknown_opcode(code: int) -> str:
    return "the opcode %s (0x%02x) is not allowed" % (REFUSED.get(code, "of no known name"), code)
