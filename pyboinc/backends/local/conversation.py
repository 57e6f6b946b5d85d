"""What a master and the project's process say to each other, wherever that process comes from.

It is lines of JSON (:mod:`pyboinc.backends.local.server` says which), through two pipes if the
process is the master's own, and through one socket if it stands here already.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

from pyboinc.backends.local import processes
from pyboinc.errors import BackendError


def start(program: str, options: str, **how: Any) -> subprocess.Popen[bytes]:
    """Start the module *program* as the project's process; *how* is for ``Popen``."""
    # -P: nothing in the user's current directory stands in for a module of Python's.
    command = [sys.executable, "-P", "-m", program, options]
    try:
        return subprocess.Popen(command, start_new_session=True, env=processes.environment(), **how)
    except OSError as error:
        raise BackendError(
            f"the emulated project's server can not be started: {error.strerror} (too many "
            "processes? too little memory?); mend that and run the same command"
        ) from error


def status_of(process: subprocess.Popen[bytes]) -> int | None:
    """Wait for the end of *process* and return its exit status; None if that can not be had.

    What it did is in its files; its status is only for a message.
    """
    try:
        return process.wait()
    except OSError:
        return None


class Conversation:
    """A master's end: *ears* and *mouth* are descriptors, which *hang_up* closes.

    ``process`` is the master's own server; None if it is one that stands here.
    """

    def __init__(
        self,
        ears: int,
        mouth: int,
        hang_up: Callable[[], object],
        process: subprocess.Popen[bytes] | None = None,
    ) -> None:
        self.ears = ears
        self.process = process
        self._mouth = mouth
        self._hang_up = hang_up
        self._speaks = True

    @property
    def stands(self) -> bool:
        """Whether the server goes on when this master ends."""
        return self.process is None

    def tell(self, line: bytes) -> None:
        """Say *line*.

        If that can not be, the server has ended, or ends for want of a master: who listens will
        find that, and go on with another one.
        """
        data = line + b"\n" if self._speaks else b""
        try:
            while data:
                data = data[os.write(self._mouth, data) :]
        except OSError:
            self._fall_silent()

    def _fall_silent(self) -> None:
        self._speaks = False
        if self.process is not None and self.process.stdin is not None:
            _close(self.process.stdin)

    def hear(self) -> bytes:
        """Return what the server has said; nothing if it has ended."""
        try:
            return os.read(self.ears, 1 << 16)
        except ConnectionResetError:
            return b""

    def end(self) -> int | None:
        """Hang up; return the exit status of a server of one's own, when it has ended."""
        if self.process is not None:
            self.tell(b'{"stop": true}')
        self._speaks = False
        self._hang_up()
        return None if self.process is None else status_of(self.process)


def _close(pipe: Any) -> None:
    try:
        pipe.close()
    except OSError:  # a broken pipe, mostly: what was not said is not heard
        pass


def with_own(
    process: subprocess.Popen[bytes], hang_up: Callable[[], object] = lambda: None
) -> Conversation:
    """Return the conversation with a server of one's own, by its pipes.

    Beside them *hang_up* gives back what else was taken for it.
    """
    pipes: Sequence[Any] = (process.stdin, process.stdout)

    def close() -> None:
        for pipe in pipes:
            _close(pipe)
        hang_up()

    return Conversation(pipes[1].fileno(), pipes[0].fileno(), close, process)
