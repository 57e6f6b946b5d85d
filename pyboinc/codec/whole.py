"""An array of numbers exactly as numpy and CPython's pickler write it, read at once.

Of the fifty opcodes that an array is made of, all but the contents are the same for every
array of one type and shape: its *head*.  A head is read once, piece by piece, and after
that only compared; in a row of arrays that are alike, it is all that is compared.  An array
that has not this form, and all but plain numbers, is left to the loop; it makes of it what
`arrays` says, and so of this.

This file travels to volunteers: Python 3.8, and numpy if there is any.
"""

from __future__ import annotations

from pyboinc.codec.arrays import CONSTRUCTORS, numpy
from pyboinc.codec.opcodes import frame
from pyboinc.codec.standard import RECONSTRUCT, Constructor, NoGlance, no_call

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List, Optional, Set, Tuple

    from pyboinc.codec.loader import Loader

# What stands in the memo for the contents, and can not become a value or a part of one.
_CONTENTS = Constructor("the contents of an array", no_call)
_NDARRAY, _DTYPE = CONSTRUCTORS["numpy", "ndarray"], CONSTRUCTORS["numpy", "dtype"]
_FIRST = (
    b"\x94\x8c\x05numpy\x94\x8c\x07ndarray\x94\x93\x94K\x00\x85\x94C\x01b\x94\x87\x94R\x94(K\x01"
)
_AGAIN = b"K\x00\x85\x94h", b"\x87\x94R\x94(K\x01"
_FIRST_ENTRIES = [RECONSTRUCT, "numpy", "ndarray", _NDARRAY, (0,), b"b", (_NDARRAY, (0,), b"b")]
_AGAIN_ENTRIES = [(0,), (_NDARRAY, (0,), b"b")]
_NUMPY_AT = 1  # where "numpy" stands among the first entries
_END = b"\x94t\x94b"
_TYPE = (
    b"\x8c\x05dtype\x94\x93\x94\x8c%c%s\x94\x89\x88\x87\x94R\x94(K\x03\x8c\x01%s\x94"
    b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94b"
)
_TYPE_SIZE = len(_TYPE % (1, b"", b"<"))  # without the letters of its name
_NAME_AT = 11  # where the number of these letters stands
_SPECS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16")
_MOST_HEADS = 64

_types: Dict[bytes, Tuple[Any, ...]] = {}  # the bytes of a type -> it, and what to remember
_kinds: Set[type] = set()
# By the length of the memo, heads of first arrays and of later ones.
_first: Dict[int, _Head] = {}
_again: Dict[int, _Head] = {}
_frombuffer: Any = None
_ndarray: Any = None


class _Head:
    """What stands before the contents of an array, and what it says."""

    __slots__ = (
        "count",
        "data",
        "dtype",
        "entries",
        "more",
        "needs",
        "opcode",
        "opcodes",
        "order",
        "reshaped",
        "shape",
        "size",
    )

    data: bytes
    shape: Tuple[int, ...]
    dtype: Any
    order: str
    more: List[Any]  # for the memo, behind the array itself
    reshaped: bool  # not simply in a row
    count: int  # of numbers
    size: int  # bytes of the contents
    opcode: int  # where in the head that of the contents is

    def __init__(self, entries: List[Any], needs: List[Tuple[int, Any]], opcodes: int) -> None:
        self.needs = needs  # what it takes from the memo, and where
        self.entries = entries  # for the memo, before the array itself
        self.opcodes = opcodes  # of the whole array


def read_arrays(loader: Loader, stack: List[Any], pos: int, most: int) -> Tuple[int, int]:
    """Put an array in the place of RECONSTRUCT, on top of *stack*, if *pos* goes on so.

    If arrays with the same head follow, they are put on the stack as well.  Returns where the
    loop goes on, and how many opcodes were read: hardly more than *most*, and none if the
    array is the loop's affair.
    """
    data, memo = loader.data, loader.memo
    head = loader.head
    if head is None or not data.startswith(head.data, pos):
        head = _known(data, memo, pos) or _learn(data, memo, pos)
        if head is None:
            return pos, 0
        loader.head = head if head.needs else None
    start = pos + len(head.data)
    after = start + head.size
    used = head.opcodes
    if data[after : after + 4] != _END or after > loader.limit:
        used += _beyond_frame(loader, pos + head.opcode, start, after)
        if used < head.opcodes:
            return pos, 0
        after += 9 * (used - head.opcodes)
    stack[-1] = _array(head, data, start, memo)
    after += 4
    if head.needs and data[after : after + 1] == b"h" and data.startswith(head.data, after + 2):
        return _row(loader, head, stack, after, used, most)
    return after, used


def _row(
    loader: Loader, head: _Head, stack: List[Any], pos: int, used: int, most: int
) -> Tuple[int, int]:
    """Read arrays from the BINGET at *pos* on, as long as they have this *head*."""
    data, memo, limit = loader.data, loader.memo, loader.limit
    get = data[pos : pos + 2]
    if get[1] >= len(memo) or memo[get[1]] is not RECONSTRUCT:
        return pos, used
    begin, step = get + head.data, len(head.data) + head.size + 6
    end, many = pos + step, 0
    while used < most and end <= limit and data[end - 4 : end] == _END:
        if not data.startswith(begin, end - step):
            break
        used += 1 + head.opcodes
        end += step
        many += 1
    if many:
        strides = step, head.dtype.itemsize
        rows = _ndarray((many, head.count), head.dtype, data, pos + len(begin), strides)
        arrays = [_copy(head, row) for row in rows]
        stack += arrays
        entries = [*head.entries, None, *head.more] * many
        entries[len(head.entries) :: len(entries) // many] = arrays
        memo += entries
    return end - step, used


def glance(data: bytes, memo: List[Any], pos: int) -> Tuple[Any, int]:
    """The array with a known head at *pos*, and where it ends; `NoGlance` if there is none.

    What the array leaves in the *memo* is there.
    """
    head = _known(data, memo, pos)
    if head is None:
        raise NoGlance
    start = pos + len(head.data)
    after = start + head.size
    if data[after : after + 4] != _END:
        raise NoGlance
    return _array(head, data, start, memo), after + 4


def _known(data: bytes, memo: List[Any], pos: int) -> Optional[_Head]:
    """The head at *pos*, if it has been read before, with the same in the memo."""
    for heads in (_again, _first):
        head = heads.get(len(memo))
        if head is not None and data.startswith(head.data, pos):
            for index, needed in head.needs:
                if memo[index] is not needed:
                    break
            else:
                return head
    return None


def _array(head: _Head, data: bytes, start: int, memo: List[Any]) -> Any:
    """The array whose contents begin at *start*; it is remembered as its opcodes would."""
    array = _copy(head, _frombuffer(data, head.dtype, head.count, start))
    memo += head.entries
    memo.append(array)
    memo += head.more
    return array


def _copy(head: _Head, flat: Any) -> Any:
    """The array whose numbers are these, all in a row."""
    if head.reshaped:
        return flat.reshape(head.shape, order=head.order).copy(head.order)
    return flat.copy()


def _beyond_frame(loader: Loader, opcode: int, start: int, after: int) -> int:
    """Long contents lie outside of frames: 1 if a new one begins behind them, else 0; or -1."""
    data = loader.data
    framed = int(data[after : after + 1] == b"\x95")
    end = after + 9 * framed
    if opcode > loader.limit or data[end : end + 4] != _END:
        return -1
    if after > loader.limit:
        loader.past_frame(opcode + 1, after - opcode - 1)
    if framed:
        frame(loader, [], after + 1)
    return framed


def _learn(data: bytes, memo: List[Any], pos: int) -> Optional[_Head]:
    """The head at *pos*, which is remembered; None if there is none."""
    if not _types:
        _learn_types()
    try:
        found = _start(data, memo, pos)
        if found is None:
            return None
        head, at = found
        at = _contents(data, head, _description(data, memo, head, at))
    except IndexError:
        return None
    if at < 0:
        return None
    head.data = data[pos:at]
    head.opcode -= pos
    heads = _again if head.needs else _first
    if len(heads) >= _MOST_HEADS:
        heads.clear()
    heads[len(memo)] = head
    return head


def _learn_types() -> None:
    global _frombuffer, _ndarray
    np = numpy()
    _frombuffer, _ndarray = np.frombuffer, np.ndarray
    for spec in _SPECS:
        for order in "|" if spec[1:] == "1" else "<>":
            dtype = np.dtype(order + spec)
            state = (3, order, None, None, None, -1, -1, 0)
            written = _TYPE % (len(spec), spec.encode(), order.encode())
            made = (spec, False, True)
            _types[written] = (dtype, "dtype", _DTYPE, spec, made, dtype, order, state)
            _kinds.add(type(dtype))


def _start(data: bytes, memo: List[Any], pos: int) -> Optional[Tuple[_Head, int]]:
    """A new head, and where its shape begins."""
    if data.startswith(_FIRST, pos):
        return _Head(_FIRST_ENTRIES, [], 24), pos + len(_FIRST)
    if data[pos] != 0x68 or (data[pos + 2 : pos + 7], data[pos + 8 : pos + 15]) != _AGAIN:
        return None
    flag = memo[data[pos + 7]]
    if memo[data[pos + 1]] is not _NDARRAY or type(flag) is not bytes or flag != b"b":
        return None
    needs = [(data[pos + 1], _NDARRAY), (data[pos + 7], flag)]
    return _Head(_AGAIN_ENTRIES, needs, 17), pos + 15


def _description(data: bytes, memo: List[Any], head: _Head, at: int) -> int:
    """Read shape and type; where they end, or -1."""
    shape: List[int] = []
    while len(shape) < 3 and data[at] in (0x4B, 0x4D, 0x4A):  # BININT1, BININT2, BININT
        width = {0x4B: 1, 0x4D: 2, 0x4A: 4}[data[at]]
        shape.append(int.from_bytes(data[at + 1 : at + 1 + width], "little"))
        at += 1 + width
    if data[at : at + 3] != b"%c\x94h" % (0x84 + len(shape)):
        return -1
    head.shape = tuple(shape)
    head.opcodes += len(shape) + 3
    index = data[at + 3]
    at += 4
    head.more = [head.shape]
    if index < len(memo):
        if not head.needs:
            return -1  # what it says depends on more than its bytes: not to be kept
        head.dtype = memo[index]
        head.needs.append((index, head.dtype))
        return at if type(head.dtype) in _kinds else -1
    size = _TYPE_SIZE + data[at + _NAME_AT]
    known = _types.get(data[at : at + size])
    if known is None or head.needs or index != len(memo) + _NUMPY_AT:
        return -1
    head.dtype, *more = known
    head.more += more
    head.opcodes += 25
    return at + size


def _contents(data: bytes, head: _Head, at: int) -> int:
    """Read the flag and the opcode of the contents; where these begin, or -1."""
    if at < 0 or data[at] not in (0x88, 0x89):
        return -1
    head.order = "F" if data[at] == 0x88 else "C"
    head.opcode = at + 1
    width = {0x43: 1, 0x42: 4, 0x8E: 8}.get(data[at + 1])
    if width is None:
        return -1
    start = at + 2 + width
    head.size = int.from_bytes(data[at + 2 : start], "little")
    head.count = 1
    for each in head.shape:
        head.count *= each
    head.reshaped = len(head.shape) > 1
    # No pickler asks again for the contents, but for those of no byte or one, which are shared.
    head.more += _CONTENTS, _CONTENTS
    return start if head.count * head.dtype.itemsize == head.size > 1 else -1


RECONSTRUCT.whole, RECONSTRUCT.glance = read_arrays, glance
