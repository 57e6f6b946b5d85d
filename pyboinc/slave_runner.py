"""Run one slave program of an archive in the current directory, and see it end well.

    python -m pyboinc.slave_runner ARCHIVE SLAVE

What :func:`run` promises about the end: the exit status is 0 only if the slave returned
an output and ended without an error; everything else leaves its reason on stderr, with
the slave's own frames and none of ours.  Threads are joined, ``atexit`` handlers run and
stdio is flushed; the interpreter is not torn down, so ``__del__`` of what is still alive
is not called.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import io
import os
import sys
from atexit import _run_exitfuncs
from types import TracebackType

from pyboinc import slave
from pyboinc.errors import ConfigurationError, PyboincError
from pyboinc.slave_program import Program, unpack

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes longer to import than all of this
    from collections.abc import Callable, Sequence
    from typing import Any

    from pyboinc.boinc_api import Task

PROGRAM = "program"
"""The directory in a slot that an archive is unpacked into."""


def run(program: Program, at_exit: Callable[[], object] = _run_exitfuncs) -> int:
    """Run the installed *program* in its slot; return its exit status (0..255).

    0 means that it returned an output and ended well, and that a BOINC client, if there is
    one, has been told so.  *at_exit* is called when the slave's own work is done.
    """
    ending = "ended"
    try:
        program.execute()
        status = 0
    except SystemExit as exit_:
        status = _status(exit_)
        ending = "called sys.exit(0)"
    except BaseException as error:  # noqa: BLE001  # whatever a slave raises ends the job
        status = 1
        _show(error, program.directory)
    if "threading" in sys.modules:
        _join_threads()
    instance = slave.current()
    if status == 0 and not instance.returned:
        sys.stderr.write(
            f"{program.slave} {ending} without an output: "
            "it must call pyboinc_return_output(output) once\n"
        )
        status = 1
    at_exit()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed, replaced or None: the slave's own affair
    if status == 0 and instance.task is not None:
        instance.task.finish()
    return status


def _status(exit_: SystemExit) -> int:
    """Return the exit status that the interpreter would make of *exit_*."""
    code = exit_.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _join_threads() -> None:
    """Wait for the slave's threads, as the interpreter does at its end."""
    threading: Any = sys.modules["threading"]
    threading._shutdown()


def _show(error: BaseException, directory: str) -> None:
    """Print *error* as the interpreter would, without our frames and with short file names."""
    error.__traceback__ = _own_frames(error.__traceback__)
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, error.__traceback__)
        return
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        sys.__excepthook__(type(error), error, error.__traceback__)
        text = sys.stderr.getvalue()
    finally:
        sys.stderr = stderr
    stderr.write(text.replace(directory + os.sep, ""))


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames of this library and of the import machinery."""
    frames = []
    # As this file calls itself: in an archive, or a self-contained program, there is no such path.
    library = os.path.dirname(os.path.normpath(_show.__code__.co_filename)) + os.sep
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        file = os.path.normpath(name)  # a client starts us as ../../projects/...
        if not file.startswith(library) and not name.startswith("<frozen importlib"):
            frames.append(trace)
        trace = trace.tb_next
    chain: TracebackType | None = None
    for frame in reversed(frames):
        chain = TracebackType(chain, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return chain


def main(arguments: Sequence[str]) -> int:
    """Run ``ARCHIVE SLAVE`` in the current directory; return the exit status."""
    if len(arguments) != 2:
        raise ConfigurationError("usage: python -m pyboinc.slave_runner ARCHIVE SLAVE")
    archive, name = arguments
    slot = os.getcwd()
    task = slave.task_in(slot)
    unpack(archive if task is None else task.resolve(archive), os.path.join(slot, PROGRAM))
    return start(slot, name, task)


def start(slot: str, name: str, task: Task | None) -> int:
    """Run the slave *name* of the archive that was unpacked in *slot*; return the exit status."""
    program = Program(os.path.join(slot, PROGRAM), name)
    program.install()
    slave.begin(slave.Instance(slot, program.classes, task))
    return run(program)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except PyboincError as problem:
        sys.stderr.write(f"{problem}\n")
        code = problem.exit_code
    os._exit(code)
