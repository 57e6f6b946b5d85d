"""An array of numbers exactly as numpy and CPython's pickler write it, read at once.

Of the fifty opcodes that an array is made of, all but the contents are the same for every
array of one type and shape: its *head*.  A head is read once, piece by piece, and after
that only compared.  An array that has not this form, and all but plain numbers, is left to
the loop; it makes of it what `arrays` says, and so of this.

This file travels to volunteers: Python 3.8, and numpy if there is any.
"""

from __future__ import annotations

from pyboinc.codec.arrays import CONSTRUCTORS, numpy
from pyboinc.codec.opcodes import frame
from pyboinc.codec.standard import RECONSTRUCT

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List, Optional, Set, Tuple

    from pyboinc.codec.loader import Loader

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
_first: Dict[int, _Head] = {}  # by the length of the memo: nothing else of the past matters
_frombuffer: Any = None


class _Head:
    """What stands before the contents of an array, and what it says."""

    __slots__ = (
        "count",
        "data",
        "dtype",
        "entries",
        "more",
        "opcode",
        "opcodes",
        "order",
        "reshaped",
        "shape",
        "size",
    )

    def __init__(self, entries: List[Any], opcodes: int) -> None:
        self.entries = entries  # for the memo, before the array itself
        self.more: List[Any] = []  # and behind it
        self.opcodes = opcodes  # of the whole array
        self.data = b""
        self.shape: Tuple[int, ...] = ()
        self.dtype: Any = None
        self.order = "C"
        self.reshaped = False  # not simply in a row
        self.count = 0  # of numbers
        self.size = 0  # bytes of the contents
        self.opcode = 0  # where in the head that of the contents is


def read_array(loader: Loader, stack: List[Any], pos: int) -> Tuple[int, int]:
    """Put an array in the place of RECONSTRUCT, on top of *stack*, if *pos* goes on so.

    Returns where the loop goes on, and how many opcodes were read: none if the array is
    the loop's affair.
    """
    data, memo = loader.data, loader.memo
    head = loader.head
    if head is None or not data.startswith(head.data, pos):
        head = _first.get(len(memo))
        if head is None or not data.startswith(head.data, pos):
            head = _learn(loader, pos)
            if head is None:
                return pos, 0
    start = pos + len(head.data)
    after = start + head.size
    opcodes = head.opcodes
    if data[after : after + 4] != _END or after > loader.limit:
        opcodes += _beyond_frame(loader, pos + head.opcode, start, after)
        if opcodes < head.opcodes:
            return pos, 0
        after += 9 * (opcodes - head.opcodes)
    array = _frombuffer(data, head.dtype, head.count, start)
    if head.reshaped:
        array = array.reshape(head.shape, order=head.order)
    array = stack[-1] = array.copy(head.order)
    memo += head.entries
    memo.append(array)
    memo += head.more
    return after + 4, opcodes


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


def _learn(loader: Loader, pos: int) -> Optional[_Head]:
    """The head at *pos*; None if there is none."""
    if not _types:
        _learn_types()
    try:
        found = _start(loader, pos)
        if found is None:
            return None
        head, at = found
        at = _contents(loader.data, head, _description(loader, head, at))
    except IndexError:
        return None
    if at < 0:
        return None
    head.data = loader.data[pos:at]
    head.opcode -= pos
    if len(head.entries) == len(_AGAIN_ENTRIES):
        loader.head = head
    else:
        if len(_first) >= _MOST_HEADS:
            _first.clear()
        _first[len(loader.memo)] = head
    return head


def _learn_types() -> None:
    global _frombuffer
    np = numpy()
    _frombuffer = np.frombuffer
    for spec in _SPECS:
        for order in "|" if spec[1:] == "1" else "<>":
            dtype = np.dtype(order + spec)
            state = (3, order, None, None, None, -1, -1, 0)
            written = _TYPE % (len(spec), spec.encode(), order.encode())
            made = (spec, False, True)
            _types[written] = (dtype, "dtype", _DTYPE, spec, made, dtype, order, state)
            _kinds.add(type(dtype))


def _start(loader: Loader, pos: int) -> Optional[Tuple[_Head, int]]:
    """A new head, and where its shape begins."""
    data, memo = loader.data, loader.memo
    if data.startswith(_FIRST, pos):
        return _Head(_FIRST_ENTRIES, 24), pos + len(_FIRST)
    if data[pos] != 0x68 or (data[pos + 2 : pos + 7], data[pos + 8 : pos + 15]) != _AGAIN:
        return None
    flag = memo[data[pos + 7]]
    if memo[data[pos + 1]] is not _NDARRAY or type(flag) is not bytes or flag != b"b":
        return None
    return _Head(_AGAIN_ENTRIES, 17), pos + 15


def _description(loader: Loader, head: _Head, at: int) -> int:
    """Read shape and type; where they end, or -1."""
    data, memo = loader.data, loader.memo
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
        if head.entries is _FIRST_ENTRIES:
            return -1  # what it says depends on more than its bytes: not to be kept
        head.dtype = memo[index]
        return at if type(head.dtype) in _kinds else -1
    size = _TYPE_SIZE + data[at + _NAME_AT]
    known = _types.get(data[at : at + size])
    if known is None or head.entries is not _FIRST_ENTRIES or index != len(memo) + _NUMPY_AT:
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
    # No pickler asks again for the contents: what stands for them can not become a value.
    head.more += _NDARRAY, _NDARRAY
    return start if head.count * head.dtype.itemsize == head.size > 0 else -1


RECONSTRUCT.whole = read_array
