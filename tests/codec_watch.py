"""Reading hostile bytes under watch: what may happen is a value or a `RejectedResult`, cheaply."""

from __future__ import annotations

import pickle
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import codec_traps
import codec_types
import numpy as np

from pyboinc.codec import Budget, Registry, RejectedResult, decode
from pyboinc.codec.inspection import ROWS, TABLES

CLASSES = Registry.from_modules([codec_traps, codec_types])
SECONDS, KILOBYTES = 0.1, 64 * 1024  # of the processor and of memory, for one file

for _value in (np.zeros(1), np.float64(1)):  # the first array of a process imports numpy
    decode(pickle.dumps(_value), CLASSES)

WATCHED: list[str] = []
_WRITTEN = frozenset(codec_types.IntFlags._value2member_map_)
_watching = False


def _watch(event: str, args: tuple[Any, ...]) -> None:
    # The loader asks for identities, and looks whether `dataclasses` wrote a __hash__; all
    # else would be the payload's doing.
    of_our_own = event == "builtins.id" or args[1:] == ("__code__",)
    if _watching and not of_our_own:
        WATCHED.append(event)


sys.addaudithook(_watch)


@contextmanager
def watching() -> Iterator[None]:
    """Note every audit event: imports, files, processes, compiled code, addresses."""
    global _watching
    WATCHED.clear()
    codec_traps.ran.clear()
    _watching = True
    try:
        yield
    finally:
        _watching = False


def outcome(data: bytes, budget: Budget) -> Any:
    """The reason of the refusal (a RejectedResult), or the value."""
    try:
        return decode(data, CLASSES, budget)
    except RejectedResult as error:
        return error


def forget_combinations() -> None:
    """Let `enum` forget the combinations of flags that other tests have had made, for ever."""
    made = codec_types.IntFlags._value2member_map_
    for value in set(made) - _WRITTEN:
        del made[value]


def is_inert(value: Any) -> bool:
    """Whether *value* is made of plain types and of instances of the registry's classes."""
    todo, seen = [value], set()
    while todo:
        item = todo.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if type(item) in ROWS:
            todo += list(item)
        elif type(item) in TABLES:
            todo += [*dict.keys(item), *dict.values(item)]
        elif type(item) in CLASSES and type(type(item)) is type:
            todo += CLASSES.by_class[type(item)].children(item)
        elif (
            isinstance(item, type | memoryview)
            or callable(item)
            or (type(item).__module__ not in MODULES and type(item) not in CLASSES)
        ):
            return False
    return True


MODULES = ("builtins", "datetime", "decimal", "fractions", "uuid", "numpy", "numpy.dtypes")

BUDGET = Budget()


def shortest(data: bytes, seconds: float) -> float:
    """The time that reading *data* takes: of three readings, if the first, of *seconds*, was long.

    A collection of all the garbage of a test's process may fall into one of them.
    """
    for _ in range(2 if seconds > SECONDS else 0):
        started = time.thread_time()
        outcome(data, BUDGET)
        seconds = min(seconds, time.thread_time() - started)
    return seconds


def complaint(data: bytes) -> tuple[str, Any]:
    """What is wrong with how *data* is read, "" if nothing; and the value or the refusal."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.thread_time()
    try:
        with watching():
            result = outcome(data, BUDGET)
    except BaseException as error:  # noqa: BLE001 - nothing but RejectedResult may be raised
        return f"raised {type(error).__name__}", None
    seconds = time.thread_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    if WATCHED or codec_traps.ran:
        return f"did something: {WATCHED} {codec_traps.ran}", result
    if len(data) < 10_000 and (seconds := shortest(data, seconds)) > SECONDS:
        return f"took {seconds:.3f} s", result
    if grown > KILOBYTES:
        return f"took {grown} kB", result
    if type(result) is RejectedResult:
        shown = str(result)
        if len(shown) > 300 or not shown.isascii() or not shown.isprintable():
            return "has a message that no log should have", result
    elif not is_inert(result):
        return "gave what is not inert", result
    return "", result
