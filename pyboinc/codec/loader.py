"""The loader: reads a pickle without ever running what is in it.

It is one interpreter, ours, over bytes held in memory.  There is no pre-scan that another
parser could read differently, and nothing of `pickle` is used.  A name in the bytes is
looked up in a table and gives an inert token (a `Constructor` or a `Shape`), never the
callable itself; nothing is imported for it.  Tokens make values of checked arguments
only.  When the last opcode is read, `inspect` looks over the finished value: every object
in it is of a known type, and it is not too deep.

Protocols 2 to 5 are read.  What the pickler of CPython never writes is refused, as are
protocols 0 and 1, EXT codes, persistent ids, INST, OBJ, NEWOBJ_EX and out-of-band buffers.

The loop below holds the opcodes that fill most pickles; the others are functions in
`OPCODES` and `CLOSERS`.  All costs are bounded by `Budget`.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

from itertools import repeat
from struct import Struct

from pyboinc.codec.classes import shown
from pyboinc.codec.inspection import inspect
from pyboinc.codec.opcodes import CLOSERS, OPCODES, REFUSED, setitems
from pyboinc.codec.shapes import Instance, Refusal, Refused, Shape
from pyboinc.codec.standard import CONSTANTS, CONSTRUCTORS, VALUE_TYPES, Pending
from pyboinc.errors import RejectedResult

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` itself is too slow an import for a slave
    from typing import Any, Dict, List, Set

    from pyboinc.codec.registry import Registry

_FLOAT = Struct(">d")
_CHEAP_KEYS = frozenset([str, bytes, bool, type(None)])
_INTEGERS = {int}
# hash(n) == n below this, so no two such keys have the same hash (but for -1 and -2)
_SPREAD = 2**61 - 1
_SAME_HASH = 64  # different keys with one hash: an attack on dictionaries, not data


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
        self.names: Set[str] = set()
        self.filled: Dict[int, Any] = {}  # by id; kept, or the id could be another's
        self.same_hash: Dict[int, List[Any]] = {}
        self.chained = 0  # defaultdicts in defaultdicts
        self.composed = 0  # new combinations of flags

    # ---- the loop -----------------------------------------------------------------

    def load(self) -> Any:
        """The value; `RejectedResult` if there is none that may be had."""
        value = self._run()
        try:
            self.inspect(value)
        except Exception as error:  # noqa: BLE001 - whatever hostile values can lead to
            raise RejectedResult(_reason(error)) from None
        return value

    def _run(self) -> Any:
        """Go through the opcodes; one long function, because calls are what would cost."""
        data, memo, marks = self.data, self.memo, self.marks
        shapes, names = self.shapes, self.names
        float_at, new, set_items = _FLOAT.unpack_from, object.__new__, setitems
        if self.size > self.budget.bytes:
            raise RejectedResult(
                "%d bytes; at most %d may be read" % (self.size, self.budget.bytes)
            )
        if data[:1] != b"\x80" or not 2 <= (data[1:2] or b"\0")[0] <= 5:
            raise RejectedResult("not a pickle of protocol 2, 3, 4 or 5", 0)
        limit = self.limit
        stack: List[Any] = []
        pos = 2
        try:
            for _ in repeat(None, self.budget.opcodes):
                code = data[pos]
                pos += 1
                if code == 0x94:  # MEMOIZE
                    memo.append(stack[-1])
                elif code == 0x68:  # BINGET
                    if pos >= limit:
                        limit = self.past_frame(pos, 1)
                    stack.append(memo[data[pos]])
                    pos += 1
                elif code == 0x8C:  # SHORT_BINUNICODE
                    end = pos + 1 + data[pos]
                    if end > limit:
                        limit = self.past_frame(pos, end - pos)
                    stack.append(str(data[pos + 1 : end], "utf-8"))
                    pos = end
                elif code == 0x47:  # BINFLOAT
                    end = pos + 8
                    if end > limit:
                        limit = self.past_frame(pos, 8)
                    stack.append(float_at(data, pos)[0])
                    pos = end
                elif code == 0x4B:  # BININT1
                    if pos >= limit:
                        limit = self.past_frame(pos, 1)
                    stack.append(data[pos])
                    pos += 1
                elif code == 0x29:  # EMPTY_TUPLE, and the NEWOBJ that it is mostly for
                    if data[pos] == 0x81 and type(stack[-1]) is Instance:
                        stack[-1] = new(stack[-1].cls)
                        pos += 1
                    else:
                        stack.append(())
                elif code == 0x7D:  # EMPTY_DICT
                    stack.append({})
                elif code == 0x28:  # MARK
                    marks.append(stack)
                    stack = []
                elif code == 0x75:  # SETITEMS
                    items = stack
                    stack = marks.pop()
                    set_items(self, stack, items)
                elif code == 0x62:  # BUILD
                    state = stack.pop()
                    shape = shapes.get(type(stack[-1]))
                    if shape is not None and shape.plain and type(state) is dict:
                        attributes = stack[-1].__dict__
                        if attributes or len(state) > 16 or not names.issuperset(state):
                            self.check_state(attributes, state, shape)
                        attributes.update(state)
                    else:
                        self.fill(stack, state)
                elif code == 0x4D:  # BININT2
                    end = pos + 2
                    if end > limit:
                        limit = self.past_frame(pos, 2)
                    stack.append(data[pos] + 256 * data[pos + 1])
                    pos = end
                elif code == 0x2E:  # STOP
                    break
                else:
                    opcode = OPCODES.get(code)
                    if opcode is not None:
                        pos = opcode(self, stack, pos)
                        limit = self.limit
                    elif code in CLOSERS:
                        items = stack
                        stack = marks.pop()
                        CLOSERS[code](self, stack, items)
                    else:
                        raise Refusal(_unknown_opcode(code))
            else:
                raise Refusal("more than %d opcodes" % self.budget.opcodes)
            if pos != self.size or len(stack) != 1 or marks:
                raise Refusal("the pickle does not end where its bytes end")
            return stack[0]
        except IndexError:
            if pos >= self.size:
                raise RejectedResult("the bytes end in the middle", pos) from None
            raise RejectedResult("an opcode that needs more than is there", pos - 1) from None
        except Exception as error:  # noqa: BLE001 - whatever hostile bytes can lead to
            raise RejectedResult(_reason(error), pos - 1) from None

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
        if self.names.issuperset(attributes):
            return
        for name in attributes:
            if type(name) is not str or not name.isidentifier():
                raise Refusal("%s is not the name of an attribute" % shown(name))
            if name.startswith("__") and name.endswith("__"):
                raise Refusal("%s may not be set" % shown(name))
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
        known = CONSTRUCTORS.get((module, name))
        if known is not None:
            return known
        if (module, name) in CONSTANTS:
            return CONSTANTS[module, name]
        if module.partition(".")[0] == "numpy":
            from pyboinc.codec import arrays

            known = arrays.CONSTRUCTORS.get((module, name))
            if known is not None:
                return known
        shape = self.registry.shape(module, name)
        if shape is None:
            raise Refusal("%s.%s is not a class of this job" % (_plain(module), _plain(name)))
        if type(shape) is not Refused:
            self.shapes[shape.cls] = shape
        return shape

    def inspect(self, value: Any) -> int:
        """How many items *value* holds; `Refusal` if they are unknown, too deep or endless."""
        return inspect(value, self.shapes, self.budget)


def _plain(text: str) -> str:
    """*text* as it may stand in a log, without quotes."""
    return ascii(text)[1:-1][:100]


def _unknown_opcode(code: int) -> str:
    return "the opcode %s (0x%02x) is not allowed" % (REFUSED.get(code, "of no known name"), code)


def _reason(error: Exception) -> str:
    """Why, in words, whatever kind of exception the bytes led to."""
    if isinstance(error, Refusal):
        return str(error)
    if isinstance(error, UnicodeDecodeError):
        return "text that is not UTF-8"
    # A message of other things than text would ask those things for their own.
    text = all(type(each) is str for each in error.args)
    return "%s: %s" % (type(error).__name__, _plain(str(error)) if text else "")
