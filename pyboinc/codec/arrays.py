"""numpy arrays and scalars, rebuilt from their bytes and from nothing else.

A pickle of an array names functions of numpy and hands them a description of the memory.
With a wrong description numpy itself reads outside of the array, or takes numbers for
addresses.  So here the description is read as data: a type of the plain kinds, a shape
whose size is exactly that of the bytes, an order.  Everything else in it is ignored.

numpy is imported when the bytes hold an array or a scalar, and not before.
This file travels to volunteers: Python 3.8, and numpy if there is any.
"""

from __future__ import annotations

from pyboinc.codec.classes import shown
from pyboinc.codec.shapes import Refusal
from pyboinc.codec.standard import RECONSTRUCT, VALUE_TYPES, Constructor, Pending, expect

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Tuple

    from pyboinc.codec.loader import Loader

_SIZES = {
    "b": (1,),
    "i": (1, 2, 4, 8),
    "u": (1, 2, 4, 8),
    "f": (2, 4, 8),
    "c": (8, 16),
    "M": (8,),
    "m": (8,),
}
_UNITS = ("Y", "M", "W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as", "generic")
_MOST_DIMENSIONS = 32
_numpy: Any = None


def numpy() -> Any:
    """The numpy module; `Refusal` if it is not installed."""
    global _numpy
    if _numpy is None:
        try:
            import numpy as module
        except ImportError:
            raise Refusal("the value holds a numpy array, and numpy is not installed") from None
        VALUE_TYPES.add(module.ndarray)
        for code in "?bhilqBHILQefdFDSUMm":
            dtype = module.dtype(code)
            VALUE_TYPES.update((dtype.type, type(dtype)))
        _numpy = module
    return _numpy


def _no_call(loader: Loader, args: Tuple[Any, ...]) -> Any:
    raise Refusal("numpy.ndarray may not be called")


class _PendingDtype(Pending):
    __slots__ = ("spec",)

    def __init__(self, loader: Loader, spec: str) -> None:
        super().__init__(loader)
        self.spec = spec

    def value(self, state: Any, loader: Loader) -> Any:
        """The dtype: kind and size from the name, byte order and unit from *state*."""
        if type(state) is not tuple or len(state) not in (8, 9) or type(state[1]) is not str:
            raise Refusal("the state of a numpy type is not what numpy writes")
        if any(each is not None for each in state[2:5]):
            raise Refusal("structured numpy types can not travel: send one array for each field")
        order = {"<": "<", ">": ">", "|": "=", "=": "="}.get(state[1])
        if order is None:
            raise Refusal("numpy's byte order %s" % shown(state[1]))
        unit = _unit(state[8]) if len(state) == 9 and self.spec[0] in "Mm" else ""
        return numpy().dtype(order + self.spec + unit)


def _unit(metadata: Any) -> str:
    """``"[25s]"``, from the description of a datetime64's unit."""
    strange = Refusal("the unit of a numpy time is not what numpy writes")
    if type(metadata) is not tuple or len(metadata) != 2 or type(metadata[1]) is not tuple:
        raise strange
    if list(map(type, metadata[1])) != [bytes, int, int, int]:
        raise strange
    unit, number, divisor, _ = metadata[1]
    name = str(unit, "ascii")
    if name not in _UNITS or divisor != 1 or not 0 < number < 2**31:
        raise Refusal("the unit of a numpy time is unknown")
    return "" if name == "generic" else "[%d%s]" % (number, name)


def _dtype(loader: Loader, args: Tuple[Any, ...]) -> Any:
    spec, _, _ = expect("numpy.dtype", args, str, bool, bool)
    kind, size = spec[:1], spec[1:]
    if kind == "O":
        raise Refusal("numpy arrays of objects can not travel: send a list")
    if not (size.isascii() and size.isdigit() and len(size) < 10):
        raise Refusal("numpy type %s can not travel" % shown(spec))
    if int(size) not in _SIZES.get(kind, ()) and kind not in ("S", "U"):
        raise Refusal("numpy type %s can not travel" % shown(spec))
    return _PendingDtype(loader, "%s%d" % (kind, int(size)))


class _PendingArray(Pending):
    __slots__ = ()
    takes_view = True

    def value(self, state: Any, loader: Loader) -> Any:
        """The array, with a copy of the bytes in *state*."""
        if type(state) is not tuple or len(state) != 5 or type(state[0]) is not int:
            raise Refusal("the state of a numpy array is not what numpy writes")
        _, shape, dtype, fortran, data = state
        if type(data) is bytes:
            loader.charge(len(data))
        elif type(data) is not memoryview:
            raise Refusal("numpy arrays of objects can not travel: send a list")
        order = "F" if fortran is True else "C"
        return _array(data, dtype, shape, order, loader).copy(order)


def _reconstruct(loader: Loader, args: Tuple[Any, ...]) -> Any:
    if len(args) != 3 or args[0] is not CONSTRUCTORS["numpy", "ndarray"]:
        raise Refusal("subclasses of numpy.ndarray can not travel")
    numpy()
    return _PendingArray(loader)


def _frombuffer(loader: Loader, args: Tuple[Any, ...]) -> Any:
    if len(args) not in (4, 5) or type(args[0]) not in (bytes, bytearray):
        raise Refusal("numpy._frombuffer with arguments it can not have")
    data, dtype, shape, order = args[:4]
    if type(order) is not str:
        raise Refusal("a numpy array without an order")
    if order == "K" and len(args) == 5 and type(args[4]) is tuple:
        expect("numpy._frombuffer", args[4], *[int] * len(args[4]))
        return _array(data, dtype, shape, "C", loader).transpose(args[4])
    if order not in ("C", "F"):
        raise Refusal("a numpy array in the order %s" % shown(order))
    return _array(data, dtype, shape, order, loader)


def _array(data: Any, dtype: Any, shape: Any, order: str, loader: Loader) -> Any:
    """A view of *data* as an array, after everything that describes it was checked."""
    np = numpy()
    if not issubclass(type(dtype), np.dtype):
        raise Refusal("a numpy array without a type")
    if type(shape) is not tuple or any(type(each) is not int or each < 0 for each in shape):
        raise Refusal("a numpy array without a shape")
    size, extent = dtype.itemsize, 1
    for each in shape:
        size *= each
        extent *= max(each, 1)
    if size != len(data) or not dtype.itemsize or len(shape) > _MOST_DIMENSIONS:
        raise Refusal("a numpy array whose shape does not fit its bytes")
    if extent > loader.budget.bytes:
        raise Refusal("an empty numpy array of absurd shape")
    if not data:
        return np.empty(shape, dtype, order)
    _check_contents(np, data, dtype)
    return np.frombuffer(data, dtype).reshape(shape, order=order)


def _check_contents(np: Any, data: Any, dtype: Any) -> None:
    """Refuse bytes that numpy trusts to be otherwise: truth values and characters."""
    if dtype.kind == "b":
        if np.frombuffer(data, "u1").max() > 1:
            raise Refusal("a numpy truth value that is neither true nor false")
    elif dtype.kind == "U":
        codes = np.frombuffer(data, np.dtype("u4").newbyteorder(dtype.byteorder))
        if codes.max() > 0x10FFFF or bool(((codes >> 11) == 0x1B).any()):
            raise Refusal("numpy text with characters that do not exist")


def _scalar(loader: Loader, args: Tuple[Any, ...]) -> Any:
    np = numpy()
    if len(args) != 2 or type(args[1]) is not bytes:
        raise Refusal("a numpy scalar without bytes")
    dtype, data = args
    if issubclass(type(dtype), np.dtype) and not data and dtype.kind in "SU":
        return dtype.type()
    loader.charge(len(data))
    return _array(data, dtype, (1,), "C", loader)[0]


def exact(item: Any) -> Any:
    """Something hashable that is equal for two arrays, scalars or types that are the same."""
    np = numpy()
    if issubclass(type(item), np.dtype):
        return item.str
    array = np.array(item)  # a copy: what follows writes into it
    if array.dtype.kind in "fc":
        array = array.astype(array.dtype.newbyteorder("=")).reshape(-1)
        array = array.view(array.real.dtype)
        array[np.isnan(array)] = np.nan
    return item.dtype.str, item.shape, array.tobytes()


CONSTRUCTORS = {
    ("numpy", "ndarray"): Constructor("numpy.ndarray", _no_call),
    ("numpy", "dtype"): Constructor("numpy.dtype", _dtype),
}
RECONSTRUCT.call = _reconstruct
for _core in ("numpy.core", "numpy._core"):
    CONSTRUCTORS[_core + ".multiarray", "_reconstruct"] = RECONSTRUCT
    for _module, _name, _call in (
        ("multiarray", "scalar", _scalar),
        ("numeric", "_frombuffer", _frombuffer),
    ):
        CONSTRUCTORS["%s.%s" % (_core, _module), _name] = Constructor("numpy.%s" % _name, _call)
