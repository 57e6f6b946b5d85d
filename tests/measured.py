"""Notes which branches of pyboinc run in this process: coverage's tracer, without the rest of it.

To import coverage and to read its configuration takes ten times as long as to start Python,
and the tests start a thousand processes.  So ``measuring`` has each of them import this module
at its start instead: it runs the tracer that coverage would run, which is written in C, and
leaves what that saw in a file.  In the end ``measuring`` gives all of it to coverage.

Nothing is imported that a slave does not have anyway: tests look at what it carries.
"""

from __future__ import annotations

import _thread
import atexit
import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

COVERAGE = os.environ["COVERAGE_TRACER"]
FOUND = os.environ["COVERAGE_FOUND"]
SOURCE = os.environ["COVERAGE_SOURCE"]


def _types() -> tuple[Any, Any]:
    """Return the two types of coverage's extension, whose package is not run for it."""
    package: Any = type(sys)("coverage")
    package.__path__ = [COVERAGE]
    sys.modules["coverage"] = package
    try:
        from coverage.tracer import CFileDisposition, CTracer
    finally:
        sys.modules.pop("coverage.tracer", None)
        del sys.modules["coverage"]  # whoever imports it gets the real one
    return CFileDisposition, CTracer


class Measured:
    """What has run in this process: for each file its branches, as the tracer packs them."""

    def __init__(self) -> None:
        self._disposition, self._tracer = _types()
        self._branches: dict[str, set[int]] = {}
        self._files: dict[str, Any] = {}
        self._tracers: list[Any] = []

    def begin_anew(self) -> None:
        """Leave out what has run so far: a forked process is to be one that was started."""
        self._branches.clear()
        atexit.register(self.stop)

    def start(self) -> None:
        """Trace this thread from here on."""
        tracer = self._tracer()
        tracer.data = self._branches
        tracer.trace_arcs = True
        tracer.should_trace = self._look_at
        tracer.should_trace_cache = self._files
        tracer.file_tracers = {}
        tracer.concur_id_func = tracer.should_start_context = tracer.switch_context = None
        tracer.lock_data = tracer.unlock_data = _nothing
        tracer.warn = tracer.check_include = tracer.disable_plugin = _nothing
        tracer.start()
        self._tracers.append(tracer)

    def starting(self, start: Callable[..., Any]) -> Callable[..., Any]:
        """Return a way to *start* a thread that is traced."""

        def traced(function: Callable[..., object], *arguments: Any, **how: Any) -> Any:
            return start(lambda *a, **k: (self.start(), function(*a, **k))[1], *arguments, **how)

        return traced

    def _look_at(self, name: str, frame: object) -> Any:
        """Say whether the code of the file *name* is to be measured; asked once for each."""
        path = os.path.realpath(name) if "pyboinc" in name else ""
        found = self._disposition()
        found.original_filename = found.canonical_filename = found.source_filename = path or name
        found.trace = path.startswith(SOURCE)
        found.reason = ""
        found.file_tracer, found.has_dynamic_filename = None, False
        return found

    def save(self) -> None:
        """Leave what has run so far in a new file."""
        ran = {name: tuple(numbers) for name, numbers in self._branches.copy().items() if numbers}
        name = f"{FOUND}/{os.getpid()}.{os.urandom(8).hex()}"
        try:
            with open(name, "xb") as file:
                marshal.dump(ran, file)
            os.rename(name, name + ".ran")
        except FileNotFoundError:
            pass  # the tests are over, and this process is not

    def stop(self) -> None:
        """Trace nothing any more, for Python takes itself apart, and leave what has run."""
        for tracer in self._tracers:
            tracer.stop()
        self.save()

    def exit(self, status: int) -> NoReturn:
        """End as ``os._exit`` does, and leave what has run."""
        try:
            self.save()
        finally:
            _exit(status)


def _nothing(*arguments: object) -> None:
    """Do what the tracer asks for when there is nothing to be done."""


_exit = os._exit
measured = Measured()
atexit.register(measured.stop)
os._exit = measured.exit
for name in ("start_new_thread", "start_joinable_thread"):  # the latter since Python 3.13
    if hasattr(_thread, name):
        setattr(_thread, name, measured.starting(getattr(_thread, name)))
measured.start()
