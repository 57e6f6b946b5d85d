"""How a master ends: ^C once and twice, and which exit code says what.

An error of PyBOINC that the program does not catch is shown as its message and the line
of the user's program that it came from, not as a traceback through this package, and ends
the program with the exit code of its class (:mod:`pyboinc.errors`).
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from pyboinc.disk import explain
from pyboinc.errors import ConfigurationError, EncodeError, PyboincError, ReplayMismatch
from pyboinc.jobdir import JobDirectory
from pyboinc.stderr import say

_HERE = Path(__file__).parent
_LIBRARY = str(Path(traceback.__file__).parent)


class Interrupts:
    """While this context is active the first ^C asks to stop, and the second one stops.

    ``asked`` tells whether ^C was pressed.  Inside :meth:`at_once` there is nothing to
    finish first, so one ^C stops.  Only the main thread can hear ^C; elsewhere this does
    nothing.
    """

    def __init__(self) -> None:
        self.asked = False
        self._at_once = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked or self._at_once:
            raise KeyboardInterrupt
        self.asked = True
        say("\npyboinc: stopping; press ^C again to stop at once")

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within this context one ^C is enough."""
        self._at_once = True
        try:
            yield
        finally:
            self._at_once = False


def wants_job(handler: Callable[..., object]) -> bool:
    """Return whether *handler* is to be called as handler(output, job).

    It is if its second parameter has to be given, or is called ``job``.  One with another
    name and a default is the program's own: ``lambda output, total=total: ...``.
    """
    import inspect

    try:
        parameters = inspect.signature(handler).parameters.values()
    except (TypeError, ValueError):
        return False
    by_position = [one for one in parameters if one.kind <= one.POSITIONAL_OR_KEYWORD]
    if len(by_position) < 2:
        return False
    return by_position[1].default is by_position[1].empty or by_position[1].name == "job"


def check_function(name: str, function: object, arguments: int) -> None:
    """Raise :class:`ConfigurationError` unless *function* can be called with so many *arguments*.

    Told before any job is made: an hour later it would be late, and a coroutine or a
    generator, which a call only prepares, would never be told at all.
    """
    import inspect

    if not callable(function):
        raise ConfigurationError(f"{name} is {function!r:.80}; give pyboinc_master a function")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise ConfigurationError(
            f"{name} would do nothing when it is called: it is async or has a yield; "
            "make it an ordinary function"
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some that are written in C do not say
    try:
        signature.bind(*[None] * arguments)
    except TypeError as error:
        raise ConfigurationError(
            f"{name}{signature} can not be called with {arguments} argument"
            f"{'s' * (arguments != 1)}: {error}; "
            "it is make_calls(), handle_result(output) or (output, job), handle_error(failure)"
        ) from error


_IN_THE_PROGRAM = (ConfigurationError, EncodeError, ReplayMismatch)
"""Errors of which it helps to know the line of the program that they came from."""

_hooked: list[Any] = []


def show_errors_briefly() -> None:
    """Let errors of PyBOINC that nobody catches end the program as this module's head says."""
    if not _hooked:
        _hooked.append(sys.excepthook)
        sys.excepthook = _show


def _show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, PyboincError):
        _hooked[0](kind, error, trace)
        return
    with suppress(AttributeError, OSError, ValueError):  # closed, or its reader is gone
        sys.stdout.flush()
    say(f"pyboinc: {error}")
    place = users_place(trace) if isinstance(error, _IN_THE_PROGRAM) else ""
    if place:
        say(f"  at {place}")
    sys.exit(error.exit_code)


def explain_our_own(error: BaseException, directory: JobDirectory) -> None:
    """Raise a clear error in the place of an ``OSError`` that came up in PyBOINC itself.

    Whatever failed, if *directory* was moved this is why: then that is said.
    What a function of the user's raised is the user's, and keeps its traceback: then the last
    frame, but for those of the standard library, is not in this package.
    """
    if not isinstance(error, OSError):
        return
    directory.check_place()
    if isinstance(error, PyboincError):
        return
    for frame, _ in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = frame.f_code.co_filename
        if _HERE in Path(file).parents:
            raise explain("use", error.filename or directory.path, error) from error
        if not file.startswith((_LIBRARY, "<frozen ")) or "-packages" in file:
            return


def users_place(trace: TracebackType | None) -> str:
    """Return the last line of the user's own program in *trace*: file, line and function."""
    frames = [one for one in traceback.extract_tb(trace) if _HERE not in Path(one.filename).parents]
    if not frames:
        return ""
    last = frames[-1]
    return f"{last.filename}, line {last.lineno}, in {last.name}"
