"""What stands in a row is read at once: numbers in a list, keys and values in a dictionary.

Both are what MARK begins in most pickles.  Each function reads as far as it knows its way,
does what the opcodes would have done one after the other, and says where the loop goes on:
at the end, or at the first opcode of another kind.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from struct import Struct, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List, Optional, Tuple

NUMBERS = {0x47: (8, ">%dd"), 0x4B: (1, "<%dB"), 0x4D: (2, "<%dH"), 0x4A: (4, "<%di")}
"""BINFLOAT, BININT1, BININT2, BININT: the bytes of one, and how `struct` names a row of them."""
SINGLE = {0x4E: None, 0x88: True, 0x89: False}
"""NONE, NEWTRUE, NEWFALSE: opcodes that are a value."""

_AT_ONCE = 256  # so many opcodes are looked at, although fewer may be in the row
_ROW = 8  # fewer in a row are quicker read one by one
_LONGEST = 14  # bytes: the opcodes of a key in the memo and of a number are within the limit

_float_at = Struct(">d").unpack_from


def read_numbers(data: bytes, pos: int, limit: int, most: int) -> Tuple[List[float], int]:
    """The numbers in the opcodes from *pos* on, and where the loop goes on.

    They may be none; they are hardly more than *most*, and do not reach beyond *limit*.
    """
    numbers: List[float] = []
    while len(numbers) < most and data[pos] in NUMBERS:
        width, layout = NUMBERS[data[pos]]
        step = width + 1
        if pos + _ROW * step > limit or data[pos + step] != data[pos]:
            break
        codes = data[pos : min(pos + _AT_ONCE * step, limit - width) : step]
        count = len(codes) - len(codes.lstrip(codes[:1]))
        end = pos + count * step
        row = bytearray(count * width)
        for place in range(width):
            row[place::width] = data[pos + 1 + place : end : step]
        numbers += unpack(layout % count, row)
        pos = end
        if count < _ROW:
            break
    return numbers, pos


def read_pairs(
    data: bytes, pos: int, limit: int, memo: List[Any], table: Dict[Any, Any], most: int
) -> Tuple[Optional[List[Any]], int, int]:
    """Put the keys and values in the opcodes from *pos* on into *table*, which is empty.

    Keys are text.  Returns None, and where the loop goes on behind the SETITEMS, and how
    many opcodes were read: hardly more than *most*.  If it does not come to SETITEMS the
    table stays empty, and what it would have got is returned instead of None, in a row: that may
    be the items of a tuple, so no key is read twice.
    """
    last, used = limit - _LONGEST, 0
    pending: Any = table  # a key whose value is of another kind
    while pos < last and used < most:
        code = data[pos]
        if code == 0x68:  # BINGET
            key = memo[data[pos + 1]]
            if type(key) is not str or key in table:
                break
            pos += 2
        elif code == 0x8C:  # SHORT_BINUNICODE, MEMOIZE
            end = pos + 2 + data[pos + 1]
            if end >= last or data[end] != 0x94:
                break
            key = str(data[pos + 2 : end], "utf-8")
            if key in table:
                break
            memo.append(key)
            pos = end + 1
            used += 1
        elif code == 0x75:  # SETITEMS
            return None, pos + 1, used + 1
        else:
            break
        used += 2
        code = data[pos]
        if code == 0x4B:  # BININT1
            table[key] = data[pos + 1]
            pos += 2
        elif code == 0x8C and pos + 3 + data[pos + 1] < last:  # SHORT_BINUNICODE
            end = pos + 2 + data[pos + 1]
            value = table[key] = str(data[pos + 2 : end], "utf-8")
            pos = end
            if data[end] == 0x94:  # MEMOIZE
                memo.append(value)
                pos += 1
                used += 1
        elif code == 0x47:  # BINFLOAT
            table[key] = _float_at(data, pos + 1)[0]
            pos += 9
        elif code == 0x4D:  # BININT2
            table[key] = data[pos + 1] + 256 * data[pos + 2]
            pos += 3
        elif code in SINGLE:
            table[key] = SINGLE[code]
            pos += 1
        elif code == 0x68:  # BINGET
            table[key] = memo[data[pos + 1]]
            pos += 2
        else:
            pending = key
            used -= 1
            break
    row = [each for pair in table.items() for each in pair]
    if pending is not table:
        row.append(pending)
    table.clear()
    return row, pos, used
