"""The computers of the emulator, seen from the master's side: one :class:`Worker` each.

A worker runs instances one after the other, each in a process of its own.  Behind it
stand two processes (see :mod:`pyboinc.backends.local.forkserver`): a keeper, which sees
to it that nothing outlives this process, and the fork server, which starts the slaves.
This side only sends them :class:`Run` and receives :class:`Ended`, over one socket.
"""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pyboinc import slave_program
from pyboinc.backends.local.frames import Receiver, pack
from pyboinc.backends.local.roles import BROKEN, ENDS
from pyboinc.errors import BackendError

Isolation = Literal["fork", "spawn"]

INTERPRETER = (sys.executable, "-I", "-S", "-E")
"""How a slave's Python is started: without site, environment variables and user packages."""

_numbers = itertools.count(os.getpid())
"""Tells workers apart; not from 0, so that two masters do not load the same CPUs first."""

_BOOT = Path(__file__).with_name("boot.py")
_ROOT = Path(slave_program.__file__).parents[1]


@dataclass(slots=True)
class Run:
    """One instance to run: what, where and within which limits.

    ``name`` is the result's name; ``slot`` the directory it runs in, emptied first unless
    ``resume`` says that the host restarted and the slot's files are to be kept; ``archive``
    the zip with the program ``slave``; ``input`` the encoded input.  ``time_limit`` is in
    seconds of wall time, not counting time suspended; ``memory``, ``disk`` and
    ``max_output`` are in bytes.  ``fault`` is what the slave does wrong, if anything
    ("crash", "error", "hang", "wrong"), and ``salt`` chooses which way.
    """

    name: str
    slot: str
    archive: str
    slave: str
    input: bytes
    time_limit: float
    memory: float
    disk: float
    max_output: int
    resume: bool = False
    fault: str | None = None
    salt: int = 0


@dataclass(slots=True)
class Ended:
    """How an instance ended.

    ``exit_status`` is 0..255, or the signal's number if ``signal``.  ``reason`` is None, or
    why the worker ended it: "time limit", "memory limit", "disk limit", "output too big",
    "stderr flood", "killed", "worker died"; or "taken back", of one that has not begun.
    ``elapsed`` and ``cpu`` are in seconds; ``cpu`` is of the process and of the children that it
    waited for.
    """

    name: str
    exit_status: int
    signal: bool
    reason: str | None
    elapsed: float
    cpu: float


class Worker:
    """One emulated computer: it runs instances in the order in which they were started.

    ``isolation`` "fork" starts each slave by forking a warm server, "spawn" by a fresh
    interpreter; the attribute says which it really is, for a server that has threads after
    importing ``preload`` (names of modules that are not the user's) can not fork safely and
    spawns instead.  In ``scratch`` a worker makes a directory while it boots, and removes it
    again unless it is killed.  Poll :meth:`fileno` for reading, then take :meth:`reports`.

    Everything behind a worker ends with the process that made it, even by SIGKILL.
    """

    def __init__(
        self, isolation: Isolation = "fork", preload: Sequence[str] = (), scratch: str = "/tmp"
    ) -> None:
        self.isolation: Isolation = isolation
        self._unpacked: dict[str, str] = {}
        self._started: dict[str, Run] = {}
        self._receiver = Receiver()
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = ["server", str(theirs.fileno()), isolation, ",".join(preload)]
            arguments += [str(next(_numbers)), os.path.abspath(scratch)]
            self._keeper = subprocess.Popen(
                [*INTERPRETER, str(_BOOT), str(_ROOT), _search_path(), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                start_new_session=True,
            )
        self._socket = ours

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there are reports."""
        return self._socket.fileno()

    def start(self, run: Run) -> None:
        """Start *run*, or queue it behind those started before."""
        self._started[run.name] = run
        self._send(
            "run",
            run.name,
            os.path.abspath(run.slot),
            self._program(run.archive),
            run.slave,
            run.input,
            run.time_limit,
            run.memory,
            run.disk,
            run.max_output,
            run.resume,
            run.fault,
            run.salt,
        )

    def kill(self, name: str) -> None:
        """End the instance *name*, running or queued; it is reported as "killed"."""
        self._send("kill", name)

    def take_back(self) -> None:
        """Give up what has not begun, but for the next one; it is reported as "taken back"."""
        self._send("take back")

    def suspend(self, name: str) -> None:
        """Stop the instance *name* and the clock of its time limit, until :meth:`resume`."""
        self._send("suspend", name)

    def resume(self, name: str) -> None:
        """Let the suspended instance *name* go on."""
        self._send("resume", name)

    def reports(self) -> list[Ended]:
        """Return what ended since the last call, without waiting.

        When the processes behind this worker have died, every instance that it had is
        reported as ended with the reason "worker died", and :meth:`alive` is false.
        """
        alive, messages = self._receive()
        ended = []
        for message in messages:
            if message[0] == "isolation":
                self.isolation = message[1]
            elif self._started.pop(message[0], None) is not None:
                ended.append(Ended(*message))
        if not alive:
            ended += [Ended(name, 9, True, "worker died", 0.0, 0.0) for name in self._started]
            self._started.clear()
        return ended

    def alive(self) -> bool:
        """Say whether this worker can still run instances."""
        return self._socket.fileno() >= 0

    def check_system(self, said: str) -> None:
        """Raise :class:`BackendError` if this worker died because the system failed it.

        *said* is what stands in the last run's stderr: also what the worker itself has said,
        if it was at that run.
        """
        if self._keeper.returncode == BROKEN:
            last = said.rstrip("\n").rpartition("\n")[2]
            itself = last.startswith(ENDS) and last.isprintable()  # a slave may write anything
            why = f": {last.removeprefix(ENDS)}" if itself else ", as they said above"
            raise BackendError(
                f"the processes that run slaves fail{why}; nothing is lost: mend that and run the "
                "same command"
            )

    def close(self) -> None:
        """End everything behind this worker, and wait until it has."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)  # whoever else may still hold it
        except OSError:
            pass  # the other side has gone, or it is closed already
        self._socket.close()
        self._keeper.wait()

    def leave(self) -> None:
        """Forget it in a fork of the process whose it is, where it goes on.

        The socket itself is closed, not its descriptor: whoever still knows this worker would
        close that number once more when it goes, whatever has it by then.
        """
        self._socket.close()
        self._keeper.returncode = 0  # no child of this process: not to be waited for

    def _program(self, archive: str) -> str:
        """Return the directory with the files of *archive*, shared by all jobs."""
        directory = self._unpacked.get(archive)
        if directory is None:
            path = os.path.abspath(archive)
            directory = path[:-4] if path.endswith(".zip") else path + ".files"
            slave_program.unpack(archive, directory)
            self._unpacked[archive] = directory
        return directory

    def _send(self, *message: str | bytes | float | None) -> None:
        if not self.alive():
            return  # reports() says, or has said, that the worker died
        try:
            self._socket.sendall(pack(message))
        except (BrokenPipeError, ConnectionResetError):
            pass  # as above

    def _receive(self) -> tuple[bool, list[Any]]:
        """Return whether the other side is still there, and the messages that have come."""
        messages: list[Any] = []
        if not self.alive():
            return False, messages
        try:
            while data := self._socket.recv(1 << 16, socket.MSG_DONTWAIT):
                messages += self._receiver.take(data)
        except BlockingIOError:
            return True, messages
        except ConnectionResetError:
            pass
        self.close()
        return False, messages


def _environment() -> dict[str, str]:
    """Return the clean environment of slaves: nothing of the user's gets in."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "LD_BIND_NOW": "1",
        **dict.fromkeys(threads, "1"),
    }


def _search_path() -> str:
    """Return where slaves find third-party packages: as this program, less its own places."""
    own = {os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep)}
    own |= {os.getcwd(), os.path.abspath(sys.path[0])}
    return os.pathsep.join(path for path in sys.path if os.path.isabs(path) and path not in own)
