"""The standing server, ``pyboinc serve DIR``: a project that is served with a master or without.

It is small: it holds the lock, the address and the socket for masters, and lets the project's
process (:mod:`pyboinc.backends.served.server`) do everything else.  Each master that comes
gets one that was started anew, as it would be for the master alone, so that no program, class
or batch of an earlier one is left in it; when the master goes, that process goes on.

    a master dies         the project's process goes on without one
    that process dies     another one is started, and its master comes again
    this process dies     the project's process sees that its leash is let go, and ends; masters
                          wait until somebody serves again

Requests that come while one of them follows the other wait in the socket's queue.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from pyboinc import copies, disk, errors, locks
from pyboinc.backends.local import standing
from pyboinc.backends.local.conversation import start
from pyboinc.backends.local.server import own_lock
from pyboinc.backends.served import ServedBackend
from pyboinc.backends.served.addresses import choose
from pyboinc.backends.served.options import ServedOptions
from pyboinc.config import Settings
from pyboinc.config.settings import BY_NAME
from pyboinc.config.values import text_of
from pyboinc.errors import BackendError, ConfigurationError
from pyboinc.jobdir import JobDirectory, moved

_DEATHS = 5
"""How often a process that died is followed by another one while the same master is there."""

_GRACE = 0.5
"""Seconds in which a master whose process died comes again."""

_FAREWELL = 30.0
"""Seconds that the project's process has to end; it loses nothing if it is killed."""

_MASTERS_OWN = ("batch", "seed", "slaves", "modules", "archives")
"""Which of the options are the master's; the others are settings of the server."""


class StandingServer:
    """What one ``pyboinc serve DIR`` is."""

    def __init__(self, path: Path, settings: Settings) -> None:
        self._path = path
        self._settings = settings
        self._local = path / ".pyboinc" / "local"
        self._served = ServedBackend(JobDirectory(path, read_only=True), settings)
        self._options = self._served.options()
        self._stopped = False
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: socket.socket | None = None
        self._callers: dict[socket.socket, bytes] = {}
        self._text = b""
        self._master = self._deaths = 0
        self._alone_at = 0.0

    def serve(self) -> None:
        """Serve until SIGINT, SIGTERM or SIGHUP."""
        self._left_by_masters()  # what can not be is said before anything is made
        for directory in (self._local, self._path / "new", self._path / "old"):
            disk.make_directory(directory)
        self._lock = standing.hold(self._local)
        os.close(own_lock(self._local / "lock"))  # an earlier one's process may still be ending
        options, address = self._options, self._local / "address"
        _, self._listener = choose(address, options.host, options.port)
        self._door = standing.listen(self._local)
        with self._signals() as woken:
            try:
                while not self._stopped:
                    self._turn(woken)
            finally:
                self._end()

    def _left_by_masters(self) -> ServedOptions:
        """Return the options for the batch that is on disk now, if a master has begun one."""
        directory = JobDirectory(self._path, read_only=True)
        directory.load()
        record = directory.record
        if record is None or record.batch is None or record.abandoned:
            return self._options
        if record.backend != "local":
            raise ConfigurationError(
                f"the batch in {self._path} was begun with the backend {record.backend!r}, which "
                "has clients of its own; serve the emulated project in another directory"
            )
        if not self._settings.accept_copy:
            copies.refuse_copy(directory, "pyboinc serve")
        return replace(
            self._options,
            batch=int(record.batch),
            seed=record.seed,
            slaves=tuple(record.slaves),
            modules=tuple(record.modules),
        )

    @contextmanager
    def _signals(self) -> Iterator[int]:
        """Give a descriptor that is readable when a signal came: to stop, or of a process' end."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        before = {
            number: signal.signal(number, self._hear_signal)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
            if signal.getsignal(number) != signal.SIG_IGN or number == signal.SIGCHLD
        }
        woke = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(woke)
            for number, handler in before.items():
                signal.signal(number, handler)
            for descriptor in (reader, writer):
                os.close(descriptor)

    def _hear_signal(self, number: int, frame: object) -> None:
        self._stopped = self._stopped or number != signal.SIGCHLD

    # The loop.

    def _turn(self, woken: int) -> None:
        callers = {one.fileno(): one for one in self._callers}
        process = self._process
        news = -1 if process is None or process.stdout is None else process.stdout.fileno()
        heard = [woken, self._door.fileno(), *callers, *([] if news < 0 else [news])]
        patience = None if process is not None else max(0.0, self._alone_at - time.monotonic())
        ready, _, _ = select.select(heard, [], [], patience)
        if woken in ready:
            os.read(woken, 1000)
        if news in ready:
            self._hear(os.read(news, 1 << 16))
        for one in callers.keys() & ready:
            self._listen_to(callers[one])
        if self._door.fileno() in ready:
            self._admit()
        if not self._stopped:
            self._look_after_process()

    def _admit(self) -> None:
        caller, _ = self._door.accept()
        caller.setblocking(False)
        self._callers[caller] = b""

    def _listen_to(self, caller: socket.socket) -> None:
        """Read the first line of a master, and not a byte of what follows."""
        try:
            while (byte := caller.recv(1)) not in (b"", b"\n"):
                self._callers[caller] += byte
        except BlockingIOError:
            return
        except OSError:
            byte = b""
        line = self._callers.pop(caller)
        with caller:
            caller.setblocking(True)
            if byte:
                self._take(caller, json.loads(line))

    def _take(self, caller: socket.socket, opening: Mapping[str, Any]) -> None:
        """Give the master that says *opening* a process of its own, or say why not."""
        refusal = self._refusal(opening)
        if refusal is not None:
            news = {"refused": str(refusal), "kind": type(refusal).__name__}
            caller.sendall(json.dumps(news).encode() + b"\n")
            return
        if opening["master"] != self._master:
            self._master, self._deaths = opening["master"], 0
        own = {name: opening["options"][name] for name in _MASTERS_OWN}
        self._stop_process()
        self._start(replace(self._options, **own), caller, caller)

    def _refusal(self, opening: Mapping[str, Any]) -> errors.PyboincError | None:
        if opening["place"] != copies.place_of(self._local.parent):
            return errors.DirectoryBusy(
                f"the socket leads to the server of {self._path}, which is another directory; "
                "remove .pyboinc/local/socket and standing where the master is"
            )
        for name, theirs in opening["given"].items():
            ours = self._value(name)
            if theirs != ours and not (name == "serve" and theirs.endswith(":0")):
                return ConfigurationError(
                    f"{BY_NAME[name].flag} is {theirs} for this master and {ours or 'not given'} "
                    f"for the server that stands here (pyboinc serve, process {os.getpid()}), "
                    "whose setting it is: give it there, or leave it out here"
                )
        return None

    def _value(self, name: str) -> str:
        if name == "workers":
            return str(self._options.workers)
        return text_of(getattr(self._settings, name))

    # The project's process.

    def _start(self, options: ServedOptions, stdin: Any, stdout: Any) -> None:
        if not locks.is_at(self._lock, self._local / "standing"):
            raise moved(self._path)
        self._leash, theirs = socket.socketpair()
        options = replace(options, listener=self._listener.fileno(), leash=theirs.fileno())
        with theirs:
            self._process = start(
                "pyboinc.backends.served.server",
                options.as_json(),
                stdin=stdin,
                stdout=stdout,
                pass_fds=(options.listener, options.leash),
            )

    def _start_alone(self) -> None:
        """Start it without a master: what an earlier one has made is done."""
        self._text = b""
        self._start(self._left_by_masters(), subprocess.PIPE, subprocess.PIPE)
        assert self._process is not None and self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has died already, which the next turn sees
            os.write(self._process.stdin.fileno(), b'{"start": true}\n')

    def _hear(self, data: bytes) -> None:
        """Take what is said to nobody: where it serves, and why it can not."""
        *lines, self._text = (self._text + data).split(b"\n")
        for news in map(json.loads, lines):
            if "serving" in news:
                self._served.tell_where(news["serving"])
                self._served.start_clients()
            if "refused" in news:
                raise getattr(errors, news["kind"])(news["refused"])

    def _look_after_process(self) -> None:
        """Start another process in the place of one that ended unasked.

        Its master is given time to come again, so that there is one for both.
        """
        if self._process is None:
            if time.monotonic() >= self._alone_at:
                self._start_alone()
        elif self._process.poll() is not None:
            attended = self._process.stdout is None
            status = self._stop_process()
            self._deaths += 1
            if self._deaths > _DEATHS:
                raise BackendError(
                    f"the emulated project's server died {self._deaths} times (the last time with "
                    f"status {status}); what it said stands above; run the same command to go on"
                )
            self._alone_at = time.monotonic() + attended * _GRACE

    def _stop_process(self) -> int | None:
        """Let the process end, and hear its last words; return its exit status."""
        process, self._process = self._process, None
        if self._leash is not None:
            self._leash.close()
        if process is None:
            return None
        try:
            status = process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        if process.stdin is not None and process.stdout is not None:
            with process.stdin, process.stdout:
                self._hear(process.stdout.read())
        return status

    def _end(self) -> None:
        """Let nobody in any more; stop the clients and the project."""
        disk.remove(self._local / "socket")
        for one in (self._door, *self._callers):
            one.close()
        self._served.stop_clients()
        try:
            self._stop_process()
        finally:
            self._listener.close()
            os.close(self._lock)


def serve(path: Path, settings: Settings) -> None:
    """Serve the project of the job directory *path* until a signal says stop."""
    if settings.backend != "local":
        raise ConfigurationError(
            f"what is served is the emulated project, and the backend is {settings.backend!r}; "
            "leave that out, or give --backend local"
        )
    if not path.is_dir():
        raise ConfigurationError(f"{path} is not a directory; name the job's directory")
    StandingServer(path, settings).serve()
