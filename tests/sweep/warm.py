"""Masters forked from a process that has everything imported: real processes, quickly.

A thousand masters are killed here.  Starting an interpreter and importing takes most of the
time of a short run, so each is a fork of this process, as is the emulator's server of each.
Everything else is as it is for a user: a process of its own in a group of its own, a real
SIGKILL, a program that is run from its file, settings from flags and environment.
"""

from __future__ import annotations

import faulthandler
import fcntl
import gc
import os
import runpy
import select
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import masters
from masters import HOOKS, Run

import pyboinc
from pyboinc import backends, disk, endings, live, master, progress  # noqa: F401 # to be warm
from pyboinc.backends import local
from pyboinc.backends.local import server
from pyboinc.backends.local.processes import children

sys.path.append(str(HOOKS))

ready = False
"""Whether this process is one whose forks are masters (:func:`make_ready`)."""


def run(
    place: Path,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    play: Callable[[], object] | None = None,
) -> Run:
    """Run the program in *place* as ``python app_master.py FLAGS`` would, to its end.

    *play* is run instead of the program, if it is given.
    """
    out, error = os.memfd_create("stdout"), os.memfd_create("stderr")
    process = os.fork()
    if process == 0:
        _become(place, flags, environ or {}, out, error)
        _end(play or _program)
    hangs, status = _wait(process)
    texts = [os.pread(one, 1 << 20, 0).decode(errors="replace") for one in (out, error)]
    os.close(out)
    os.close(error)
    assert not hangs, f"hangs; its processes say {' '.join(texts)}"
    return Run(texts[0], texts[1], os.waitstatus_to_exitcode(status))


def _wait(process: int) -> tuple[bool, int]:
    """Wait for the end of a process; one that hangs says where it and those behind it are."""
    descriptor = os.pidfd_open(process)
    ended, _, _ = select.select([descriptor], [], [], masters.PATIENCE)
    if not ended:
        for one in _family(process):
            os.kill(one, signal.SIGABRT)
    os.close(descriptor)
    _, status = os.waitpid(process, 0)
    return not ended, status


def _family(process: int) -> list[int]:
    """A process and all below it, itself last."""
    below = [one for child in children(process) for one in _family(child)]
    return [*below, process]


def _become(
    place: Path, flags: Sequence[str], environ: Mapping[str, str], out: int, error: int
) -> None:
    """Make this fork a process as a shell would start it."""
    os.setpgid(0, 0)
    os.chdir(place)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, out, error)):
        os.dup2(descriptor, number)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    for name in [one for one in os.environ if one.startswith("PYBOINC_")]:
        del os.environ[name]
    os.environ.update(environ, PYBOINC_TEST_DIRECTORY=str(place))
    sys.argv[:] = ["app_master.py", *flags]
    sys.orig_argv[:] = [sys.executable, *sys.argv]
    sys.path.insert(0, str(place))
    faulthandler.enable(file=2)
    _listen()


def _listen() -> None:
    """Install the hook of the crash tests, which tells by its arguments which process this is."""
    disk.before_step = disk._nothing
    sys.modules.pop("sitecustomize", None)
    runpy.run_path(str(HOOKS / "sitecustomize.py"))


def _program() -> None:
    runpy.run_path("app_master.py", run_name="__main__")


def _end(play: Callable[[], object]) -> NoReturn:
    """Run *play* and end as Python does after a program; this process's own plans are dropped."""
    code = 1
    try:
        try:
            play()
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
        except BaseException:  # noqa: BLE001 # as for Python, whatever it is
            try:
                sys.excepthook(*sys.exc_info())  # type: ignore[arg-type] # there is one
            except SystemExit as error:
                code = int(str(error.code))
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001 # nothing may come back into the code that forked
        traceback.print_exc()
    finally:
        os._exit(code)


class ForkedServer:
    """Stands in for :class:`subprocess.Popen` when a master starts the emulator's server."""

    def __init__(self, command: Sequence[str], **_: Any) -> None:
        reader, writer = os.pipe()
        news, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._serve(command, reader, told)
        os.close(reader)
        os.close(told)
        self.stdin = os.fdopen(writer, "wb")
        self.stdout = os.fdopen(news, "rb", buffering=0)
        self._code: int | None = None

    @staticmethod
    def _serve(command: Sequence[str], reader: int, told: int) -> NoReturn:
        os.setsid()
        os.dup2(reader, 0)
        os.dup2(told, 1)
        # As by exec: what is not to be inherited is closed, the master's lock among it.
        for name in os.listdir("/proc/self/fd"):
            number = int(name)
            try:
                if fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                    os.close(number)
            except OSError:
                pass  # that of the listing itself
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.excepthook = sys.__excepthook__
        sys.orig_argv[:] = command
        _listen()
        _end(lambda: sys.exit(server.main(list(command[-1:]))))

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        if self._code is None:
            _, status = os.waitpid(self.pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
        return self._code


class _Subprocess:
    """The module subprocess as the master's end of the emulator sees it."""

    PIPE = -1
    Popen = ForkedServer


def make_ready() -> None:
    """Make this process one whose forks are masters."""
    global ready
    ready = True
    for name in pyboinc.__all__:
        getattr(pyboinc, name)
    from pyboinc import bundle, discovery  # noqa: F401 # to be warm
    from pyboinc.backends.local import emulator, store, workers  # noqa: F401

    assert not master._masters and not endings._hooked
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    local.subprocess = _Subprocess  # type: ignore[assignment] # what is used of it is there
    gc.collect()
    gc.freeze()
