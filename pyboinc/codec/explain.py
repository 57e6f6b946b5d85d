"""Why a value can not travel, and where in it: the message of an `EncodeError`.

It runs only when `encode` has failed.  It walks the value breadth first, so that the
shortest path to a fault is the one that is named, and looks at one object at a time.
"""

from __future__ import annotations

import copyreg
from collections import Counter, OrderedDict, defaultdict, deque
from enum import Enum
from pickle import dumps
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import TYPE_CHECKING, Any, Iterator, List, Optional, Tuple

from pyboinc.codec.classes import full_name
from pyboinc.codec.loader import Loader
from pyboinc.codec.registry import foreign
from pyboinc.codec.shapes import Refusal, Refused
from pyboinc.codec.standard import CONSTRUCTORS
from pyboinc.errors import RejectedResult

if TYPE_CHECKING:
    from pyboinc.codec.loader import Budget
    from pyboinc.codec.registry import Registry

_MOST_OBJECTS = 100_000  # a fault beyond these is reported without its path
_LONGEST_PATH = 120  # characters

_HINTS = {
    "pathlib": "send str(path)",
    "zoneinfo": "use datetime.timezone, or send the zone's name",
    "re": "send the pattern's text",
    "io": "send the file's contents",
}


class _Fault(Exception):
    """What is wrong with one object."""


def explain(
    value: Any, what: str, classes: Registry, budget: Budget, error: Exception
) -> Tuple[str, str]:
    """(path, reason) for *value*, called *what*, which *error* kept from travelling."""
    seen = set()
    kept: List[Any] = []  # an id is only good while its object lives
    root = what + ", its " if " " in what else what
    todo = deque([(root, value, 1)])
    while todo and len(kept) < _MOST_OBJECTS:
        path, item, depth = todo.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        kept.append(item)
        if depth > budget.depth:
            return _shown(path), "nested more than %d deep" % budget.depth
        try:
            parts = list(_parts(item, classes, budget))
        except _Fault as fault:
            return _shown(path), str(fault)
        except Exception as strange:  # noqa: BLE001 - a class of the user's that resists
            return _shown(path), _plain_reason(strange)
        kept.append(parts)
        todo.extend((path + step, part, depth + 1) for step, part in parts)
    return what, _plain_reason(error)


def _plain_reason(error: Exception) -> str:
    if isinstance(error, RejectedResult):
        if error.reason.endswith(" opcodes"):
            return error.reason + ", one for each number, text or object: send numpy arrays"
        return error.reason
    if isinstance(error, RecursionError):
        return "nested too deep to be pickled"
    if isinstance(error, TypeError) and str(error).startswith("cannot pickle"):
        return str(error)
    return "can not be pickled: %s: %s" % (type(error).__name__, error)


def _shown(path: str) -> str:
    """*path*, cut in its middle if it is long; "the input of call 3, its model.lock"."""
    path = path.replace(", its .", ", its ")
    if path.endswith(", its "):
        return path[: -len(", its ")]
    if len(path) <= _LONGEST_PATH:
        return path
    return path[: _LONGEST_PATH - 20] + "..." + path[-20:]


def _parts(item: Any, classes: Registry, budget: Budget) -> Iterator[Tuple[str, Any]]:
    """The (step, part) pairs of what *item* holds; `_Fault` if *item* itself can not travel."""
    kind = type(item)
    _refuse_code(item)
    if kind in (list, tuple, deque):
        yield from _numbered(item)
    elif kind in (dict, OrderedDict, Counter):
        _refuse_keys(item, classes, budget)
        yield from _keyed(item)
    elif kind is defaultdict:
        _try(defaultdict(item.default_factory), classes, budget)
        _refuse_keys(item, classes, budget)
        yield from _keyed(item)
    elif kind in (set, frozenset):
        _refuse_keys(item, classes, budget)
        yield from (("{%s}" % _label(each), each) for each in item)
    elif kind in (bool, float, type(None)) or (kind is int and -(2**62) < item < 2**62):
        return
    elif kind.__module__ == "builtins" or kind.__module__.partition(".")[0] == "numpy":
        _try(item, classes, budget)
    elif isinstance(item, Enum):
        _refuse_class(kind, classes)
        _try(item, classes, budget)
    else:
        yield from _reduced(item, classes, budget)


def _numbered(items: Any) -> Iterator[Tuple[str, Any]]:
    for index, each in enumerate(items):
        yield "[%d]" % index, each


def _keyed(items: Any) -> Iterator[Tuple[str, Any]]:
    for key, each in items.items():
        yield ".key(%s)" % _label(key), key
        yield "[%s]" % _label(key), each


def _label(key: Any) -> str:
    text = ascii(key) if type(key) in (str, int, float, bool, bytes) else type(key).__name__
    return text if len(text) <= 40 else text[:40] + "..."


def _refuse_code(item: Any) -> None:
    if isinstance(item, (FunctionType, BuiltinFunctionType, MethodType)):
        name = getattr(item, "__qualname__", "?")
        raise _Fault(
            "a function can not travel (%s); define it in a module of the slave and send its name"
            % name
        )
    if isinstance(item, type):
        raise _Fault("a class can not travel (%s); send its name" % full_name(item))
    if isinstance(item, BaseException):
        raise _Fault("an exception can not travel (%s); send str(error)" % type(item).__name__)
    if isinstance(item, ModuleType):
        raise _Fault("a module can not travel (%s); import it in the slave" % item.__name__)


def _refuse_keys(keys: Any, classes: Registry, budget: Budget) -> None:
    """Whether these may be dictionary keys or set items, as far as their classes are known."""
    loader = Loader(b"", classes, budget)
    for key in keys:
        classes.shape(type(key).__module__, type(key).__qualname__)
    loader.shapes = classes.by_class
    try:
        loader.check_keys(list(keys))
    except Refusal as error:
        raise _Fault(str(error)) from None


def _refuse_names(attributes: Any, classes: Registry, budget: Budget) -> None:
    try:
        Loader(b"", classes, budget).check_names(attributes)
    except Refusal as error:
        raise _Fault(str(error)) from None


def _try(item: Any, classes: Registry, budget: Budget) -> None:
    """Encode *item* alone."""
    try:
        Loader(dumps(item, 4), classes, budget).load()
    except Exception as error:  # noqa: BLE001 - whatever the user's own class raises
        raise _Fault(_plain_reason(error)) from None


def _reduced(item: Any, classes: Registry, budget: Budget) -> Iterator[Tuple[str, Any]]:
    """The parts of an object, as its class tells `pickle`."""
    special = copyreg.dispatch_table.get(type(item))
    try:
        reduced = item.__reduce_ex__(4) if special is None else special(item)
    except Exception as error:  # noqa: BLE001 - whatever the user's own class raises
        raise _Fault(_plain_reason(error)) from None
    _refuse_class(type(item), classes)
    if type(reduced) is not tuple:
        raise _Fault("a bare name can not travel (%s)" % (reduced,))
    call, args, state, items, pairs = (*reduced, None, None, None)[:5]
    if call is copyreg.__newobj__:  # type: ignore[attr-defined]  # typeshed leaves it out
        args = args[1:]
    else:
        _refuse_call(type(item), call)
    fields = getattr(type(item), "_fields", None)
    if isinstance(item, tuple) and fields is not None:
        yield from (("." + name, each) for name, each in zip(fields, args))
    else:
        yield from _numbered(args)
    yield from _numbered(items or ())
    yield from _keyed(dict(pairs or ()))
    for attributes in state if type(state) is tuple else (state,):
        if type(attributes) is dict:
            _refuse_names(attributes, classes, budget)
            yield from (("." + str(name), each) for name, each in attributes.items())
        elif attributes is not None:
            yield "", attributes


def _refuse_class(cls: type, classes: Registry) -> None:
    if (cls.__module__, cls.__qualname__) in CONSTRUCTORS:
        return
    if "<locals>" in cls.__qualname__:
        raise _Fault(
            "class %s is defined inside a function; move it to the top of app_types.py"
            % cls.__qualname__
        )
    shape = classes.shape(cls.__module__, cls.__qualname__)
    if isinstance(shape, Refused):
        raise _Fault(shape.reason)
    if shape is None or shape.cls is not cls:
        raise _Fault(_unknown(cls))


def _unknown(cls: type) -> str:
    reason = foreign(cls) or "%s is not a class of this job's modules" % full_name(cls)
    hint = _HINTS.get(cls.__module__.partition(".")[0].lstrip("_"))
    return reason if hint is None else "%s; %s" % (reason, hint)


def _refuse_call(cls: type, call: Any) -> None:
    name: Optional[str] = getattr(call, "__qualname__", None)
    module: Optional[str] = getattr(call, "__module__", None)
    if (module, name) in CONSTRUCTORS:
        return
    raise _Fault(
        "%s would be rebuilt by calling %s.%s (its own __reduce__, or a base's says so); "
        "that is not done here" % (full_name(cls), module, name)
    )
