"""The loader: reads a pickle without ever running what is in it.

It is one interpreter, ours, over bytes held in memory.  There is no pre-scan that another
parser could read differently, and nothing of `pickle` is used.  A name in the bytes is
looked up in a table and gives an inert token (a `Constructor` or a `Shape`), never the
callable itself; nothing is imported for it.  Tokens make values of checked arguments
only.  When the last opcode is read, `inspect` looks over the finished value: every object
in it is of a known type, and it is not too deep.

Protocols 2 to 5 are read.  What the pickler of CPython never writes is refused, as are
protocols 0 and 1, EXT codes, persistent ids, INST, OBJ, NEWOBJ_EX and out-of-band buffers.

The opcodes themselves are in `loop` and `opcodes`; here is what they ask for.  All costs
are bounded by `Budget`.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from pyboinc.codec.classes import plain_text, shown
from pyboinc.codec.inspection import inspect
from pyboinc.codec.loop import run
from pyboinc.codec.shapes import Refusal, Refused, Shape, reason
from pyboinc.codec.standard import NAMED, VALUE_TYPES, Pending
from pyboinc.errors import RejectedResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List

    from pyboinc.codec.registry import Registry

_CHEAP_KEYS = frozenset([str, bytes, bool, type(None)])
_INTEGERS = {int}
# hash(n) == n below this, so no two such keys have the same hash (but for -1 and -2)
_SPREAD = 2**61 - 1
_MOST_NAMES, _SHORT_NAME = 1_000, 100  # names of attributes that a registry remembers
_SAME_HASH = 64  # different keys with one hash: an attack on dictionaries, not data


_PACKED = (
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"PK\x03\x04", "zip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)
"""How packed files begin: an output that was packed by its slave is told from a damaged one."""


class Budget:
    """What reading one value may cost; each limit has its own reason when it is passed.

    ``bytes`` of the pickle, and of what its opcodes copy; ``opcodes``; ``depth`` of nesting
    (200, so that ``repr``, ``==`` and ``copy.deepcopy`` stay safe); ``integer``, the bytes of
    one integer (1,700: below the 4,300 digits that Python converts to text); ``key``, the
    parts of one dictionary key or set item; ``unfolded``, the items of built-in containers
    when every shared part is written out each time.
    """

    __slots__ = ("bytes", "depth", "integer", "key", "opcodes", "unfolded")

    def __init__(
        self,
        *,
        bytes: int = 64 * 1024 * 1024,  # noqa: A002 - the word for it
        opcodes: int = 200_000,
        depth: int = 200,
        integer: int = 1_700,
        key: int = 64,
        unfolded: int = 10_000_000,
    ) -> None:
        self.bytes = bytes
        self.opcodes = opcodes
        self.depth = depth
        self.integer = integer
        self.key = key
        self.unfolded = unfolded

    def __repr__(self) -> str:
        limits = ["%s=%d" % (name, getattr(self, name)) for name in self.__slots__]
        return "Budget(%s)" % ", ".join(limits)


class Loader:
    """One reading of one pickle."""

    def __init__(self, data: bytes, registry: Registry, budget: Budget) -> None:
        self.data = data
        self.size = self.limit = len(data)
        self.frame_end = 0
        self.registry = registry
        self.budget = budget
        self.allowance = budget.bytes
        self.key_allowance = budget.opcodes
        self.marks: List[List[Any]] = []
        self.memo: List[Any] = []
        self.shapes: Dict[type, Shape] = {}
        self.names = registry.names
        self.filled: Dict[int, Any] = {}  # by id; kept, or the id could be another's
        self.same_hash: Dict[int, List[Any]] = {}
        self.chained = 0  # defaultdicts in defaultdicts
        self.composed = 0  # new combinations of flags
        self.head: Any = None  # of the last array

    # ---- the loop -----------------------------------------------------------------

    def load(self) -> Any:
        """The value; `RejectedResult` if there is none that may be had."""
        if self.size > self.budget.bytes:
            raise RejectedResult(
                "%d bytes; at most %d may be read" % (self.size, self.budget.bytes)
            )
        if self.data[:1] != b"\x80" or not 2 <= (self.data[1:2] or b"\0")[0] <= 5:
            packed = [name for magic, name in _PACKED if self.data.startswith(magic)]
            what = "; packed with %s, and nothing is unpacked here" % packed[0] if packed else ""
            raise RejectedResult("not a pickle of protocol 2, 3, 4 or 5" + what, 0)
        value = run(self)
        try:
            self.inspect(value)
        except Exception as error:  # noqa: BLE001 - whatever hostile values can lead to
            raise RejectedResult(reason(error)) from None
        return value

    def past_frame(self, pos: int, length: int) -> int:
        """The new limit, when an opcode's argument at *pos* reaches beyond the present one.

        That is in order only if its frame ended before the opcode: `Refusal` otherwise.
        """
        if pos + length > self.size:
            raise Refusal("the bytes end in the middle of an opcode")
        if pos - 1 < self.frame_end:
            raise Refusal("an opcode straddles the end of its frame")
        self.limit = self.size
        return self.size

    # ---- what opcodes and shapes ask of the loader -----------------------------------

    def fill(self, stack: List[Any], state: Any) -> None:
        """BUILD: give the object on top of *stack* its attributes."""
        instance = stack[-1]
        shape = self.shapes.get(type(instance))
        if shape is None:
            stack[-1] = self.settle(instance, state)
        else:
            shape.fill(instance, state, self)

    def check_state(self, attributes: Dict[Any, Any], state: Dict[Any, Any], shape: Shape) -> None:
        """Refuse what a plain object may not be given as its attributes."""
        if attributes:
            raise Refusal("attributes of a %s, twice" % shape.name)
        self.check_names(state)
        self.charge(64 * len(state))

    def settle(self, pending: Any, state: Any) -> Any:
        """The value that *pending* stood for, here and in the memo."""
        if not issubclass(type(pending), Pending):
            raise Refusal("attributes for a %s" % type(pending).__name__)
        value = pending.value(state, self)
        index = pending.memo_index
        if index < len(self.memo) and self.memo[index] is pending:
            self.memo[index] = value
        return value

    def once(self, instance: Any) -> None:
        """Refuse the second filling of the same object."""
        if id(instance) in self.filled:
            raise Refusal("attributes of a %s, twice" % type(instance).__name__)
        self.filled[id(instance)] = instance

    def charge(self, size: int) -> None:
        """Account for *size* bytes that are copied, not read: opcodes can repeat that."""
        self.allowance -= size
        if self.allowance < 0:
            raise Refusal("more than %d bytes of copies" % self.budget.bytes)

    def check_names(self, attributes: Dict[Any, Any]) -> None:
        """Refuse attribute names that are not plain identifiers."""
        for name in attributes:
            # A text of the user's own class is not one, even if it equals one that is known.
            if type(name) is str and name in self.names:
                continue
            if type(name) is not str or not name.isidentifier():
                raise Refusal("%s is not the name of an attribute" % shown(name))
            if name.startswith("__") and name.endswith("__"):
                raise Refusal("%s may not be set" % shown(name))
            if len(self.names) < _MOST_NAMES and len(name) <= _SHORT_NAME:
                self.names.add(name)

    def check_keys(self, keys: List[Any]) -> None:
        """Refuse dictionary keys and set items that are costly to hash or not values."""
        kinds = set(map(type, keys))
        if kinds <= _CHEAP_KEYS:
            return
        if kinds == _INTEGERS and min(keys) > -_SPREAD and max(keys) < _SPREAD:
            return
        for key in keys:
            if type(key) is int:
                if -_SPREAD < key < _SPREAD:
                    continue
            elif type(key) in _CHEAP_KEYS:
                continue
            else:
                self.weigh(key)
            self.count_hash(key)

    def weigh(self, key: Any) -> None:
        """Refuse a key with more parts than `Budget.key`, or whose hash is not data."""
        weight, parts = 0, [key]
        while parts:
            part = parts.pop()
            weight += 1
            kind = type(part)
            if kind is tuple or kind is frozenset:
                parts.extend(part)
            elif kind in self.shapes:
                parts.extend(self.shapes[kind].key_parts(part))
            elif kind not in VALUE_TYPES or kind.__hash__ is None:
                raise Refusal("a %s can not be a key" % kind.__name__)
            if weight + len(parts) > self.budget.key:
                raise Refusal("a key of more than %d parts" % self.budget.key)
        self.key_allowance -= weight
        if self.key_allowance < 0:
            raise Refusal("the keys have more than %d parts" % self.budget.opcodes)

    def count_hash(self, key: Any) -> None:
        """Refuse the many different keys of one hash that make a dictionary slow."""
        same = self.same_hash.setdefault(hash(key), [])
        if key not in same:
            same.append(key)
            if len(same) > _SAME_HASH:
                raise Refusal("more than %d keys with the same hash" % _SAME_HASH)

    def find(self, module: Any, name: Any) -> Any:
        """The token (or constant) that the bytes call *module*.*name*."""
        if type(module) is not str or type(name) is not str:
            raise Refusal("a name that is not text")
        known = NAMED.get((module, name))
        if known is not None:
            return known
        if module.partition(".")[0] == "numpy":
            from pyboinc.codec import arrays, whole  # noqa: F401 - it puts itself behind a name

            NAMED.update(arrays.CONSTRUCTORS)
            known = NAMED.get((module, name))
            if known is not None:
                return known
        shape = self.registry.shape(module, name)
        if shape is None:
            names = plain_text(module), plain_text(name)
            raise Refusal("%s.%s is not a class of this job" % names)
        if type(shape) is not Refused:
            self.shapes[shape.cls] = shape
        return shape

    def inspect(self, value: Any) -> int:
        """How many items *value* holds; `Refusal` if they are unknown, too deep or endless."""
        return inspect(value, self.shapes, self.budget)
