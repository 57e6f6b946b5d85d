"""Masters and verbs started at a quarter of the cost, by a fork of a process that is warm.

:func:`start` is given what :class:`subprocess.Popen` would be, and returns what it would: a
process of its own, in a group of its own, with pipes for its output.  Where the command is
``python app_master.py`` or ``python -m pyboinc``, and nothing in its environment concerns Python's
own start, it is forked from a server that has everything imported (``forks.py``); each process
of tests has one, from the first time it is needed.  Everything else is started by ``exec``.

The server is asked by a message with the command, its directory and environment, and four
descriptors: the standard streams, and a socket.  Through that one it tells the process's
number, and in the end its status; the process is a zombie until the socket is closed, so
that its number means nobody else for as long as anybody asks.
"""

from __future__ import annotations

import marshal
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import forks

OWN = re.compile(r"(PYBOINC_(?!TEST_(TRACER|CLOCK))|PYTEST_|PHASES|TIMELINE)")
"""Variables that mean nothing to Python's start; of a fork, no others differ from its parent's."""

MODULES = ("pyboinc", "pyboinc.slave_volunteer")
"""What is started with ``-m`` by a fork."""

_LONGEST = 1 << 17
"""Bytes of a request: more does not go into one message."""


class Started:
    """A process that the server has forked, with the part of Popen's interface that tests use."""

    def __init__(self, args: Sequence[str], told: socket.socket, stdout: int, stderr: int) -> None:
        self.args = args
        self.stdin = None
        self.stdout: IO[str] = os.fdopen(stdout, "r")
        self.stderr: IO[str] = os.fdopen(stderr, "r")
        self.returncode: int | None = None
        self._unread = {stdout: self.stdout, stderr: self.stderr}
        self._parts: dict[int, list[bytes]] = {stdout: [], stderr: []}
        self._told = told
        self.pid: int = self._hear()

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()

    def __del__(self) -> None:
        self._told.close()

    def _hear(self) -> Any:
        data = self._told.recv(100)
        if not data:
            raise OSError("the process was not forked: its server says above why")
        return marshal.loads(data)

    def poll(self) -> int | None:
        """Its exit code, as of Popen, if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, at most so many seconds, and return its exit code."""
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._hear()
            self._told.close()
        return self.returncode

    def communicate(
        self, input: str | None = None, timeout: float | None = None
    ) -> tuple[str, str]:
        """Take all that it prints, and wait for its end; again, if that took too long before."""
        assert input is None, "its standard input is given when it is started"
        end = time.monotonic() + (1e6 if timeout is None else timeout)
        poller = select.poll()
        for number in self._unread:
            poller.register(number, select.POLLIN)
        while self._unread:
            ready = poller.poll(1000 * max(0.0, end - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            for number, _ in ready:
                if not self._read(number):
                    poller.unregister(number)
                    self._unread.pop(number).close()
        self.wait(max(0.0, end - time.monotonic()))
        stdout, stderr = (b"".join(parts).decode() for parts in self._parts.values())
        return stdout.replace("\r\n", "\n"), stderr.replace("\r\n", "\n")

    def _read(self, number: int) -> bytes:
        data = os.read(number, 1 << 16)
        self._parts[number].append(data)
        return data

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless its end is known."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)


Process = Started | subprocess.Popen[str]


class Starter:
    """The server as its clients see it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        path = os.pathsep.join(filter(None, [str(forks.HOOKS), os.environ.get("PYTHONPATH")]))
        self._ours = dict(os.environ)
        self.environ = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        self._owner = os.getpid()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=self.environ,
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        self._connection = ours

    def can_start(self, command: Sequence[str], place: str, environ: Mapping[str, str]) -> bool:
        """Whether a fork would be as this command, started in this environment."""
        if command[0] != sys.executable or len(command) < 2:
            return False
        if command[1] != "-m" or command[2] not in MODULES:
            path = os.path.join(place, command[1])
            if command[1].startswith("-") or not os.path.isfile(path):
                return False
        names = environ.keys() | self.environ.keys()
        alike = {name for name in names if environ.get(name) == self.environ.get(name)}
        alike |= {name for name in names if environ.get(name) == self._ours.get(name)}
        return all(OWN.match(name) for name in names - alike)

    def start(
        self, command: Sequence[str], place: str, environ: Mapping[str, str], stdin: int
    ) -> Started:
        """Have a process forked that runs *command*, with *stdin* and pipes for the rest."""
        message = marshal.dumps((list(command), place, dict(environ)))
        assert len(message) < _LONGEST, f"too much to be asked for: {command}"
        told, tells = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        (out, out_in), (error, error_in) = os.pipe(), os.pipe()
        streams = [stdin, out_in, error_in, tells.fileno()]
        socket.send_fds(self._connection, [message], streams)
        tells.close()
        os.close(out_in)
        os.close(error_in)
        return Started(command, told, out, error)

    def close(self) -> None:
        """End the server; what it has started goes on."""
        self._connection.close()
        if self._owner == os.getpid():
            self._process.wait()


_starter: Starter | None = None


def start(
    command: Sequence[str], place: Path, environ: Mapping[str, str], stdin: str = ""
) -> Process:
    """Start *command* in the directory *place*, in a process group of its own, to read *stdin*."""
    global _starter
    if _starter is None:
        _starter = Starter()
    path, reader = os.fspath(place), _to_be_read(stdin)
    try:
        if _starter.can_start(command, path, environ):
            return _starter.start(command, path, environ, reader)
        return subprocess.Popen(
            command,
            cwd=path,
            env=environ,
            stdin=reader,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
    finally:
        os.close(reader)


def _to_be_read(text: str) -> int:
    """Return a descriptor from which *text* is read."""
    if not text:
        return os.open(os.devnull, os.O_RDONLY)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as file:
        file.write(text)  # little enough for a pipe that nobody reads yet
    return reader


def run(
    command: Sequence[str], place: Path, environ: Mapping[str, str], stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Do :func:`start`, and wait for its end, two minutes at most."""
    with start(command, place, environ, stdin) as process:
        try:
            stdout, stderr = process.communicate(timeout=120)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode is not None
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def close() -> None:
    """End the server, if there is one: what it has measured is there then."""
    global _starter
    if _starter is not None:
        _starter.close()
        _starter = None


# ---------------------------------------------------------------- the server


class Server:
    """The process that forks, and tells how its children end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._poller = select.poll()
        self._poller.register(connection, select.POLLIN)
        self._running: dict[int, tuple[int, socket.socket]] = {}
        self._ended: dict[int, tuple[int, socket.socket]] = {}

    def serve(self) -> None:
        """Fork for as long as anybody may ask."""
        while True:
            for number, _ in self._poller.poll():
                if number in self._running:
                    self._tell_the_end(number)
                elif number in self._ended:
                    self._bury(number)
                elif not self._fork():
                    return

    def _fork(self) -> bool:
        message, descriptors, _, _ = socket.recv_fds(self._connection, _LONGEST, 4)
        if not message:
            return False
        command, place, environ = marshal.loads(message)
        *streams, tells = descriptors
        process = os.fork()
        if process == 0:
            forks.be(command, place, environ, streams)
        with suppress(OSError):  # as the child does itself: whoever is first
            os.setpgid(process, process)
        for one in streams:
            os.close(one)
        told = socket.socket(fileno=tells)
        told.send(marshal.dumps(process))
        descriptor = os.pidfd_open(process)
        self._running[descriptor] = process, told
        self._poller.register(descriptor, select.POLLIN)
        return True

    def _tell_the_end(self, number: int) -> None:
        process, told = self._running.pop(number)
        self._poller.unregister(number)
        os.close(number)
        how = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert how is not None
        code = how.si_status if how.si_code == os.CLD_EXITED else -how.si_status
        try:
            told.send(marshal.dumps(code))
        except BrokenPipeError:
            pass  # nobody wants to know
        self._ended[told.fileno()] = process, told
        self._poller.register(told, select.POLLIN)

    def _bury(self, number: int) -> None:
        process, told = self._ended.pop(number)
        self._poller.unregister(number)
        told.close()
        os.waitpid(process, 0)


def main(connection: int) -> None:
    """Be the server until the other end of the socket *connection* is closed."""
    del sys.path[0]  # this file's directory: none of a user's
    forks.make_ready()
    Server(socket.socket(fileno=connection)).serve()


if __name__ == "__main__":
    main(int(sys.argv[1]))
