"""The most common pickle of all, read at a glance: a plain object of plain values and arrays.

A slave reads one such input, a master one such output for each job.  For the loader they
are a dozen opcodes; here they are one form, exactly as CPython's pickler writes it, that
the bytes have or have not.  What has not is left to the loader, and what has is what the
loader would make of it: the tests hold each against the other.

    PROTO 4, FRAME, module, name, STACK_GLOBAL, EMPTY_TUPLE, NEWOBJ, EMPTY_DICT,
    key, value (SETITEM) or MARK, key, value, ... (SETITEMS), BUILD, STOP

An array among the values is read by `whole`, if one like it came before.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from struct import Struct, error

from pyboinc.codec.standard import CONSTANTS, CONSTRUCTORS, RECONSTRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List, Optional

    from pyboinc.codec.loader import Budget
    from pyboinc.codec.registry import Registry

MOST = 66_000  # bytes: what has more than a frame of 64 KiB is of another kind
_START = b"\x80\x04\x95"  # PROTO 4, FRAME
_FRAMED = 11  # bytes before the frame's content
_NEW = b"\x94\x93\x94)\x81\x94}\x94"  # from behind the class's name to its empty dictionary
_MODULES = frozenset(["numpy._core.multiarray", "numpy.core.multiarray"])
_NAME = "_reconstruct"
_NAMED = b"\x94\x8c\x0c_reconstruct\x94\x93"  # from behind the module's name to the token
_float_at = Struct(">d").unpack_from
_SINGLE = {0x4E: None, 0x88: True, 0x89: False}


def plain_object(data: bytes, registry: Registry, budget: Budget) -> Optional[Any]:
    """The object in *data*, if that has the plain form and few bytes; else None."""
    size = len(data)
    if size > min(budget.bytes, budget.opcodes, MOST) or budget.depth < 3 or budget.integer < 8:
        return None
    if data[:3] != _START or int.from_bytes(data[3:_FRAMED], "little") != size - _FRAMED:
        return None
    try:
        return _read(data, registry, budget)
    except (IndexError, ValueError, error):  # shorter than the form, or text that is not UTF-8
        return None


def _read(data: bytes, registry: Registry, budget: Budget) -> Optional[Any]:
    pos = _FRAMED
    if data[pos] != 0x8C:
        return None
    end = pos + 2 + data[pos + 1]
    module = str(data[pos + 2 : end], "utf-8")
    if data[end : end + 2] != b"\x94\x8c":
        return None
    pos, end = end + 3, end + 3 + data[end + 2]
    name = str(data[pos:end], "utf-8")
    if data[end : end + 8] != _NEW:
        return None
    if (module, name) in CONSTRUCTORS or (module, name) in CONSTANTS or module[:5] == "numpy":
        return None
    shape = registry.shape(module, name)
    if shape is None or not shape.plain:
        return None
    state = _state(data, end + 8, [module, name, shape, None, None])
    if state is None or 64 * len(state) > budget.bytes:  # that is what the loader charges
        return None
    value: Any = object.__new__(shape.cls)
    value.__dict__.update(state)
    return value


def _state(data: bytes, pos: int, memo: List[Any]) -> Optional[Dict[str, Any]]:
    """The attributes from *pos* to the end; None if they have another form."""
    several = data[pos] == 0x28  # MARK
    pos += several
    state: Dict[str, Any] = {}
    while data[pos] == 0x8C:
        end = pos + 2 + data[pos + 1]
        key = str(data[pos + 2 : end], "utf-8")
        if data[end] != 0x94 or key in state or not key.isidentifier() or key[:2] == "__":
            return None
        memo.append(key)
        code = data[end + 1]
        pos = end + 2
        if code == 0x4B:
            state[key] = data[pos]
            pos += 1
        elif code == 0x47:
            state[key] = _float_at(data, pos)[0]
            pos += 8
        elif code in _SINGLE:
            state[key] = _SINGLE[code]
        elif code == 0x4D:
            state[key] = data[pos] + 256 * data[pos + 1]
            pos += 2
        elif code == 0x4A:
            state[key] = int.from_bytes(data[pos : pos + 4], "little", signed=True)
            pos += 4
        elif code == 0x8C:
            end = pos + 1 + data[pos]
            text = state[key] = str(data[pos + 1 : end], "utf-8")
            if data[end] != 0x94:
                return None
            memo.append(text)
            pos = end + 1
            if text in _MODULES and data.startswith(_NAMED, end):
                memo.append(_NAME)
                state[key], pos = RECONSTRUCT.glance(data, memo, end + len(_NAMED))
        elif code == 0x68 and memo[data[pos]] is RECONSTRUCT:
            state[key], pos = RECONSTRUCT.glance(data, memo, pos + 1)
        else:
            return None
        if not several:
            break
    ending = b"ub." if several else b"sb."
    return state if state and data[pos:] == ending else None
