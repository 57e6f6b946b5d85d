"""The directory that an instance runs in, BOINC's slot, as the fork server keeps it.

A slot is used again and again.  Before a job it is emptied, but for the input file, which
is written over: that is cheaper than a new file.  What the slave writes to stderr comes
through a pipe and is kept in ``stderr.txt`` with a limit, so that a slave which floods it
fills no disk: the beginning as it comes, and the end.
"""

from __future__ import annotations

import os
import stat
import time

from pyboinc.errors import RejectedResult
from pyboinc.slave import INPUT, OUTPUT, TOO_BIG

STDERR = "stderr.txt"

KEPT = 1 << 15
"""Bytes of stderr kept from its beginning, and as many from its end."""

_MOST_STDERR = 4 * KEPT
"""Bytes of it that are read: more than is ever kept."""

_LEFT_OUT = b"\n[... %d bytes left out ...]\n"
_STALE = (OUTPUT, OUTPUT + ".tmp", TOO_BIG)
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
        """Enter the slot, empty it and write the input *data*; raises ``OSError``.

        A slot that can not be emptied, whatever a slave has made of it, is set aside.
        """
        try:
            self._empty(data)
        except OSError:
            os.rename(self.path, f"{self.path}.spoilt-{time.time_ns()}")
            self._empty(data)
        try:
            _overwrite(INPUT, data)
        except OSError:  # a slave made something else of it
            _remove(INPUT)
            _overwrite(INPUT, data)

    def _empty(self, data: bytes) -> None:
        try:
            names = self._enter()
        except PermissionError:  # a slave has taken it away
            os.chmod(self.path, 0o700)
            names = self._enter()
        # After a kill of the emulator the files may be those of another job, which had begun
        # here before it was written down: a checkpoint of that one would be a wrong answer.
        keep = self.keep and _holds(INPUT, data)
        for name in names:
            if name in _STALE or (name != INPUT and not keep):
                _remove(name)

    def _enter(self) -> list[str]:
        try:
            os.chdir(self.path)
        except FileNotFoundError:
            # Not its parents: where the whole job directory was moved away, nothing is made.
            above = os.path.dirname(self.path)
            if not os.path.isdir(above):
                try:
                    os.mkdir(above)
                except FileExistsError:
                    pass  # another keeper has made it in this moment
            os.mkdir(self.path)
            os.chdir(self.path)
        return os.listdir(".")

    def add_stderr(self, data: bytes) -> int:
        """Keep *data*, which the slave wrote to stderr; return how many bytes that are so far."""
        room = max(0, KEPT - self.written)
        self.written += len(data)
        if room:
            self._write_stderr(data[:room])
        self._tail = (self._tail + data[room:])[-KEPT:]
        return self.written

    def _write_stderr(self, data: bytes) -> None:
        try:
            if self._stderr < 0:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._stderr = os.open(STDERR, flags, 0o666)
            os.write(self._stderr, data)
        except OSError:
            pass  # a full disk costs words; whether the job is well does not depend on them

    def close_stderr(self) -> None:
        """Write what is kept of the end of stderr."""
        if self._stderr >= 0:
            left_out = self.written - KEPT - len(self._tail)
            if left_out > 0:
                self._write_stderr(_LEFT_OUT % left_out)
            self._write_stderr(self._tail)
            os.close(self._stderr)
            self._stderr = -1

    def disk_usage(self) -> int:
        """Return the bytes of disk that the slot's files take."""
        return _blocks(".") * 512

    def output_size(self) -> int | None:
        """Return the size of the output in bytes, None if there is none."""
        try:
            status = os.stat(OUTPUT, follow_symlinks=False)
        except OSError:
            return None
        return status.st_size if stat.S_ISREG(status.st_mode) else None

    def output_refused(self) -> bool:
        """Say whether the slave tried to return an output that is too big."""
        return os.path.lexists(TOO_BIG)


def _holds(name: str, data: bytes) -> bool:
    """Return whether the plain file *name* holds exactly *data*."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        status = os.fstat(descriptor)
        plain = stat.S_ISREG(status.st_mode) and status.st_size == len(data)
        return plain and os.read(descriptor, len(data) + 1) == data
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        from pyboinc.removal import remove

        remove(path)


def _overwrite(path: str, data: bytes) -> None:
    """Write the file *path* in place.

    Truncating a file, or renaming another one over it, makes ext4 write the new one to the
    disk at once (its ``auto_da_alloc``), which takes twenty times as long.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if size > len(data):
            os.ftruncate(descriptor, len(data))
    finally:
        os.close(descriptor)


def _blocks(directory: str) -> int:
    """Return the 512-byte blocks of all that is in *directory*, as far as one may look."""
    total = 0
    found = [directory]
    while found:
        try:
            with os.scandir(found.pop()) as entries:
                for entry in entries:
                    total += _blocks_of(entry)
                    if entry.is_dir(follow_symlinks=False):
                        found.append(entry.path)
        except OSError:
            continue  # removed in this moment, or the slave took it away
    return total


def _blocks_of(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_blocks
    except FileNotFoundError:
        return 0


def names(directory: str) -> list[str]:
    """Return the names of all slots in *directory*."""
    try:
        return os.listdir(directory)
    except OSError:
        return []  # no slave has run, or the directory was moved


def read_stderr(slot: str) -> str:
    """Return what a slave wrote; most write nothing, and opening a file costs more than a look."""
    from pyboinc import disk  # who keeps a slot needs it not

    path = f"{slot}/{STDERR}"
    try:
        if not os.stat(path).st_size:
            return ""
        return disk.read_bounded(path, _MOST_STDERR).decode("utf-8", "replace")
    except (OSError, RejectedResult):  # whatever a slave has made of its slot
        return ""
