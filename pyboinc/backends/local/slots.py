"""The directory that an instance runs in, BOINC's slot, as the fork server keeps it.

A slot is used again and again.  Before a job it is emptied, but for the input file, which
is written over: that is cheaper than a new file.  What the slave writes to stderr comes
through a pipe and is kept in ``stderr.txt`` with a limit, so that a slave which floods it
fills no disk: the beginning as it comes, and the end.
"""

from __future__ import annotations

import os
import shutil
import stat

from pyboinc import slave

STDERR = "stderr.txt"

KEPT = 1 << 15
"""Bytes of stderr kept from its beginning, and as many from its end."""

_LEFT_OUT = b"\n[... %d bytes left out ...]\n"
_STALE = (slave.OUTPUT, slave.OUTPUT + ".tmp", slave.TOO_BIG)
"""What a job that goes on after a restart of its host must not find."""


class Slot:
    """A slot directory; the process that prepares it works in it from then on.

    ``keep``: the files are kept, because a job goes on in them.
    """

    def __init__(self, path: str, keep: bool = False) -> None:
        self.path = path
        self.keep = keep
        self.written = 0
        self._tail = b""
        self._stderr = -1

    def prepare(self, data: bytes) -> None:
        """Enter the slot, empty it and write the input *data*; raises ``OSError``."""
        try:
            os.chdir(self.path)
        except FileNotFoundError:
            os.makedirs(self.path)
            os.chdir(self.path)
        if os.environ.get("HOME") != self.path:
            os.environ["HOME"] = os.environ["TMPDIR"] = self.path
        for name in os.listdir("."):
            if name in _STALE or (name != slave.INPUT and not self.keep):
                _remove(name)
        descriptor = os.open(
            slave.INPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
        )
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)

    def add_stderr(self, data: bytes) -> int:
        """Keep *data*, which the slave wrote to stderr; return how many bytes that are so far."""
        room = max(0, KEPT - self.written)
        self.written += len(data)
        if room:
            if self._stderr < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._stderr = os.open(STDERR, flags, 0o666)
            os.write(self._stderr, data[:room])
        self._tail = (self._tail + data[room:])[-KEPT:]
        return self.written

    def close_stderr(self) -> None:
        """Write what is kept of the end of stderr."""
        if self._stderr >= 0:
            left_out = self.written - KEPT - len(self._tail)
            if left_out > 0:
                os.write(self._stderr, _LEFT_OUT % left_out)
            os.write(self._stderr, self._tail)
            os.close(self._stderr)
            self._stderr = -1

    def disk_usage(self) -> int:
        """Return the bytes of disk that the slot's files take."""
        return _blocks(".") * 512

    def output_size(self) -> int | None:
        """Return the size of the output in bytes, None if there is none."""
        try:
            status = os.stat(slave.OUTPUT, follow_symlinks=False)
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def output_refused(self) -> bool:
        """Say whether the slave tried to return an output that is too big."""
        return os.path.lexists(slave.TOO_BIG)


def _remove(name: str) -> None:
    try:
        os.unlink(name)
    except IsADirectoryError:
        shutil.rmtree(name)


def _blocks(directory: str) -> int:
    total = 0
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                try:
                    total += entry.stat(follow_symlinks=False).st_blocks
                except FileNotFoundError:
                    continue  # removed in this moment
                if entry.is_dir(follow_symlinks=False):
                    total += _blocks(entry.path)
    except (FileNotFoundError, PermissionError):
        pass
    return total
