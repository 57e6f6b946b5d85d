"""The process that starts slaves: it waits for an order, forks, waits for the slave's end.

A fork costs what is mapped, and then a page fault for each page that either side touches
(here two microseconds each, and a careless slave touches five hundred).  So this process
does as little as it can: all talking, and all care of slots and limits, is its parent's,
the keeper's, which never forks again.  It is warm: it has imported the slave half of the
library and what was to be preloaded, and has everything ready that is the same for all
jobs of a program: compiled modules, their empty module objects, an empty ``__main__``.

What a slave then does before the user's program: a process group of its own, the lifeline,
closing what is not its own.  Orders come through one pipe; slaves' process numbers and
their ends go back through two others.
"""

from __future__ import annotations

import gc
import importlib
import marshal
import os
import signal
import sys

from pyboinc import slave, slave_runner
from pyboinc.backends.local import processes, slave_faults
from pyboinc.backends.local.rehearsal import rehearse
from pyboinc.slave_program import Program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

HELD = 20
"""A slave's descriptor of its lifeline; all between it and stderr is the server's."""

ORPHANED: int = signal.SIGRTMIN + 7 if processes.LINUX else 0
"""The signal that tells of the keeper's death: one that no program sends or minds."""


def main(
    orders: int, pids: int, ends: int, isolation: str, preload: Iterable[str], scratch: str
) -> None:
    """Be the fork server until the pipe *orders* is closed, or the keeper dies.

    The first message on *ends* is the isolation that there really is: a process that got
    threads by importing *preload* can not fork safely, and starts interpreters instead.
    """
    processes.become_subreaper()
    processes.offer_to_oom_killer()
    _end_with_keeper()
    if isolation == "fork":
        rehearse(f"{scratch}/pyboinc-rehearsal-{os.getpid()}")
    for name in filter(None, preload):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001  # the slave that needs it shows what is wrong
            pass
    if isolation == "fork" and processes.threads() > 1:
        isolation = "spawn"
    if isolation == "spawn" and not processes.LINUX:
        processes.watch(os.getppid())
    start = _Forking() if isolation == "fork" else _Spawning()
    os.write(ends, marshal.dumps(isolation))
    while order := os.read(orders, 1 << 16):
        slot, directory, name, max_output, fault, salt = marshal.loads(order)
        os.chdir(slot)
        os.environ["HOME"] = os.environ["TMPDIR"] = slot
        pid = start(slot, directory, name, max_output, fault, salt)
        os.write(pids, b"%d\n" % pid)
        _, status, usage = os.wait4(pid, 0)
        _clear_up()
        os.write(ends, marshal.dumps((status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)))
    processes.kill_children()


def _end_with_keeper() -> None:
    """When the keeper dies, kill what runs here and end; a slave leaves the signal alone."""
    server, keeper = os.getpid(), os.getppid()

    def orphaned(number: int = 0, frame: object = None) -> None:
        if os.getpid() == server:
            processes.kill_children()
            os._exit(1)

    if processes.LINUX:
        signal.signal(ORPHANED, orphaned)
        processes.die_with(keeper, ORPHANED)


def _clear_up() -> None:
    """Kill what a slave has left behind: it has become this process's own."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return
    processes.kill_children()


class _Forking:
    """Starts slaves by forking this process."""

    def __init__(self) -> None:
        processes.Lifeline(HELD)
        self._programs: dict[tuple[str, str], Program] = {}
        self._installed: Program | None = None
        self._renewals = list(_renewals())
        gc.disable()

    def __call__(
        self, slot: str, directory: str, name: str, max_output: int, fault: str | None, salt: int
    ) -> int:
        program = self._installed
        if program is None or (program.directory, program.slave) != (directory, name):
            program = self._install(directory, name)
        instance = slave.current()
        instance.slot = slot
        instance.max_output = max_output
        run = slave_runner.run if fault is None else _faulty(fault, salt)
        return os.fork() or self._become(program, run)

    def _install(self, directory: str, name: str) -> Program:
        if self._installed is not None:
            self._installed.uninstall()
        program = self._programs.get((directory, name))
        if program is None:
            program = self._programs[directory, name] = Program(directory, name)
            program.prepare()
        program.install()
        slave.begin(slave.Instance("", program.classes))
        self._installed = program
        # Keeps the slaves' garbage collectors away from what they share with this process.
        gc.collect()
        gc.freeze()
        return program

    def _become(self, program: Program, run: Callable[[Program], int]) -> NoReturn:
        """Turn this forked process into a slave."""
        status = 1
        try:
            os.setpgid(0, 0)
            processes.tie(HELD)
            os.closerange(3, HELD)
            processes.use_all_cpus()
            gc.enable()
            for renew in self._renewals:
                renew()
            status = run(program)
        except BaseException as error:  # noqa: BLE001  # nothing may return into the server
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(status)


def _faulty(fault: str, salt: int) -> Callable[[Program], int]:
    return lambda program: slave_faults.run(program, fault, salt)


def _renewals() -> list[Callable[[], object]]:
    """Return what a slave must do so that it does not share its sisters' state.

    The module random seeds itself anew after a fork; numpy's global generator does not.
    """
    numpy_random: Any = sys.modules.get("numpy.random")
    tempfile: Any = sys.modules.get("tempfile")
    found: list[Callable[[], object]] = []
    if numpy_random is not None:
        found.append(numpy_random.seed)
    if tempfile is not None:
        found.append(lambda: setattr(tempfile, "tempdir", None))
    return found


class _Spawning:
    """Starts slaves as fresh interpreters, started as this one was."""

    def __init__(self) -> None:
        interpreter = sys.orig_argv[: -len(sys.argv)]
        boot, root, search_path = sys.argv[:3]
        self._command = [*interpreter, boot, root, search_path, "slave", str(os.getpid())]

    def __call__(
        self, slot: str, directory: str, name: str, max_output: int, fault: str | None, salt: int
    ) -> int:
        arguments = [slot, directory, name, str(max_output), fault or "", str(salt)]
        return os.posix_spawn(sys.executable, [*self._command, *arguments], os.environ, setpgroup=0)


def spawned(arguments: list[str]) -> int:
    """Run the slave of which *arguments* tell in this fresh interpreter; return its status."""
    server, slot, directory, name, max_output, fault, salt = arguments
    processes.die_with(int(server), signal.SIGKILL)
    if not processes.LINUX:
        processes.watch(int(server))
    program = Program(directory, name)
    program.install()
    instance = slave.Instance(slot, program.classes)
    instance.max_output = int(max_output)
    slave.begin(instance)
    return _faulty(fault, int(salt))(program) if fault else slave_runner.run(program)
