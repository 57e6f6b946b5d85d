"""A fork of a process that has everything imported, made like one that a shell has started.

Starting an interpreter and importing takes most of the time of a short run, and the tests and
sweeps run masters by the thousand.  So such a master is a fork of a warm process, and its
emulator's server a fork of the master.  All else is as it is for a user: a process of its own
in a group of its own, real signals, a program that is run from its file as ``__main__``,
arguments, environment, standard streams, and Python's own way to end.
"""

from __future__ import annotations

import atexit
import builtins
import fcntl
import gc
import io
import os
import posix
import runpy
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

HOOKS = Path(__file__).parent / "crash_hook"

WARM = (
    "backends.boinc backends.local.emulator backends.local.server backends.local.store "
    "backends.local.workers "
    "bundle cli.cancel cli.clean cli.config cli.doctor cli.errors cli.findings cli.init "
    "cli.options cli.replay cli.rerun cli.run cli.status discovery endings live master progress "
    "slave_volunteer"
)
"""Modules of pyboinc that a master or a verb imports when it needs them."""

_search_path: list[str] = []
_forgotten: list[object] = []


def make_ready() -> None:
    """Make this process one whose forks are masters."""
    import pyboinc
    from pyboinc import endings, master
    from pyboinc.backends.local import conversation

    for name in pyboinc.__all__:
        getattr(pyboinc, name)
    for name in WARM.split():
        __import__(f"pyboinc.{name}")
    with suppress(ImportError):
        import pymysql  # noqa: F401  # of masters on a BOINC project
    assert not master._masters and not endings._hooked
    assert "subprocess" in vars(conversation), "it starts the server no more"
    conversation.subprocess = _Subprocess  # type: ignore[assignment] # what is used is there
    _search_path[:] = sys.path if str(HOOKS) in sys.path else [*sys.path, str(HOOKS)]
    gc.collect()
    gc.freeze()


def become(
    command: Sequence[str], place: str, environ: Mapping[str, str], streams: Sequence[int]
) -> None:
    """Make this fork a process as a shell would start it: *command* in the directory *place*.

    *streams* become its standard input, output and error.
    """
    os.setpgid(0, 0)
    os.chdir(place)
    _take(streams)
    os.environ.clear()
    os.environ.update(environ)
    sys.dont_write_bytecode = bool(environ.get("PYTHONDONTWRITEBYTECODE"))
    module = command[1] == "-m"
    _start(command, os.getcwd() if module else os.path.dirname(os.path.realpath(command[1])))


def _take(streams: Sequence[int]) -> None:
    """Let *streams* be stdin, stdout and stderr; what the warm process has of them is left."""
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
    # Never freed: what is still in their buffers is to be written by whoever put it there.
    old = sys.stdin, sys.stdout, sys.stderr
    _forgotten.extend(old)
    sys.stdin = sys.__stdin__ = _opened(old[0], 0, "<stdin>", "r")
    sys.stdout = sys.__stdout__ = _opened(old[1], 1, "<stdout>", "w")
    sys.stderr = sys.__stderr__ = _opened(old[2], 2, "<stderr>", "w")


def _opened(old: Any, number: int, name: str, mode: str) -> Any:
    """Return the stream that Python makes of a standard descriptor at its start."""
    at_once = mode == "w" and old.write_through  # as PYTHONUNBUFFERED wants it
    raw: Any = io.FileIO(number, mode, closefd=False)
    raw.name = name
    file = raw if at_once else io.BufferedWriter(raw) if mode == "w" else io.BufferedReader(raw)
    lines = not at_once and (number == 2 or os.isatty(number))
    text: Any = io.TextIOWrapper(
        file, old.encoding, old.errors, line_buffering=lines, write_through=at_once
    )
    text.mode = mode
    return text


def _start(command: Sequence[str], beside: str) -> None:
    """Do for *command* what Python does at its start; *beside* is the first place to import from.

    Before that one is, it measures, if it does, and listens to crash_hook.
    """
    from pyboinc import disk

    sys.orig_argv[:] = [sys.executable, *command[1:]]
    sys.argv[:] = ["-m", *command[3:]] if command[1] == "-m" else command[1:]
    sys.path[:] = _search_path
    atexit._clear()
    measured = sys.modules.get("measured")
    if measured is not None:
        measured.measured.begin_anew()
    disk.before_step = disk._nothing
    sys.modules.pop("sitecustomize", None)
    __import__("sitecustomize")
    sys.path.insert(0, beside)
    sys.path_importer_cache.pop(beside, None)


def program(command: Sequence[str]) -> Callable[[], object]:
    """What Python does when it is called by *command*: a program's file, or ``-m`` and a module."""
    sys.modules["__main__"] = main = ModuleType("__main__")
    if command[1] == "-m":
        return lambda: runpy._run_module_as_main(command[2])  # type: ignore[attr-defined]
    path = os.path.join(os.getcwd(), command[1])
    main.__dict__.update(__file__=path, __cached__=None, __annotations__={})
    main.__dict__.update(__builtins__=builtins)
    main.__loader__ = SourceFileLoader("__main__", path)

    def run() -> None:
        source = Path(path).read_bytes()
        exec(compile(source, path, "exec", dont_inherit=True), main.__dict__)

    return run


def be(
    command: Sequence[str], place: str, environ: Mapping[str, str], streams: Sequence[int]
) -> NoReturn:
    """Do :func:`become`, with nothing open but *streams*, then what *command* says, and end."""
    play: Callable[[], object]
    try:
        become(command, place, environ, streams)
        os.closerange(3, 1 << 16)
        play = program(command)
    except BaseException:  # noqa: BLE001 # nothing may come back into the code that forked
        traceback.print_exc()
        posix._exit(1)
    end(play)


def end(play: Callable[[], object]) -> NoReturn:
    """Run *play* and end as Python does after a program; nothing comes back to who forked."""
    code = 1
    try:
        code = _run(play)
        threading._shutdown()  # type: ignore[attr-defined] # Python's own, at this very point
        atexit._run_exitfuncs()
        code = code if _flush() else 120
    except BaseException:  # noqa: BLE001 # nothing may come back into the code that forked
        traceback.print_exc()
    finally:
        if code == -signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGINT)
        posix._exit(code & 0xFF)  # the handlers have been run


def _run(play: Callable[[], object]) -> int:
    try:
        play()
        return 0
    except SystemExit as error:
        return _status(error)
    except BaseException as error:  # noqa: BLE001 # as for Python, whatever it is
        trace = error.__traceback__
        while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
        try:
            sys.excepthook(type(error), error.with_traceback(trace), trace)
        except SystemExit as other:
            return _status(other)
        return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _status(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    print(error.code, file=sys.stderr)
    return 1


def _flush() -> bool:
    """Write what is left for stdout and stderr; return whether that was possible."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except OSError as error:
            if stream is sys.stdout:
                why = "".join(traceback.format_exception_only(error))
                sys.stderr.write(f"Exception ignored in: {stream!r}\n{why}")
            return False
    return True


class ForkedServer:
    """Stands in for :class:`subprocess.Popen` when a master starts the emulator's server."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], **_: Any) -> None:
        reader, writer = os.pipe()
        news, told = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            _serve(command, env, (reader, told, 2))
        os.close(reader)
        os.close(told)
        self.stdin = os.fdopen(writer, "wb")
        self.stdout = os.fdopen(news, "rb", buffering=0)
        self._code: int | None = None

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        if self._code is None:
            _, status = os.waitpid(self.pid, 0)
            self._code = os.waitstatus_to_exitcode(status)
        return self._code


def _serve(command: Sequence[str], environ: Mapping[str, str], streams: Sequence[int]) -> NoReturn:
    """Be the emulator's server, as after ``exec``: nothing is left of the master."""
    os.setsid()
    _take(streams)
    for name in os.listdir("/proc/self/fd"):  # what is not to be inherited, the lock among it
        number = int(name)
        try:
            if fcntl.fcntl(number, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                os.close(number)
        except OSError:
            pass  # that of the listing itself
    for one in signal.valid_signals():
        if callable(signal.getsignal(one)):
            signal.signal(one, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.excepthook = sys.__excepthook__
    os.environ.clear()
    os.environ.update(environ)
    _forget_the_program(os.getcwd())
    _start(command, environ["PYTHONPATH"].partition(os.pathsep)[0])
    from pyboinc.backends.local import server

    end(lambda: sys.exit(server.main(list(command[-1:]))))


def _forget_the_program(place: str) -> None:
    """Let no module of the user's be imported already."""
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(place + os.sep):
            del sys.modules[name]


class _Subprocess:
    """The module subprocess as the master's end of the emulator sees it."""

    PIPE = subprocess.PIPE

    @staticmethod
    def Popen(command: Sequence[str], env: Mapping[str, str], **how: Any) -> Any:
        """Start the server: by a fork, unless the program has threads, which no fork has.

        One that serves is started as for a user: what it needs beside is not in memory yet.
        """
        served = "pyboinc.backends.served.server" in command
        if served or len(os.listdir("/proc/self/task")) > 1:
            return subprocess.Popen(command, env=env, **how)
        return ForkedServer(command, env, **how)
