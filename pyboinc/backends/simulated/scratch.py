"""Where a simulation writes: a directory that goes with its command, or at the next one's start.

It is locked for as long as a process of the command lives.  One that nobody holds was left by a
command that was killed with SIGKILL; whoever comes next removes it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from pyboinc import removal
from pyboinc.disk import close
from pyboinc.errors import JobDirectoryError
from pyboinc.locks import take_lock

MEMORY = Path("/dev/shm")
"""A file system in memory, where there is one: nothing here is to survive a power cut."""

ROOM = 1 << 30
"""Bytes that must be free there, at least."""

_PREFIX, _LOCK = "pyboinc-simulate-", "lock"


class Scratch:
    """A new directory ``path``, in memory if that has room for many times *size* bytes.

    If TMPDIR says where to write, it is there.
    """

    def __init__(self, size: int) -> None:
        where = _place(size)
        remove_left(where)
        # It gets its name when it is locked, so that nobody takes it for one that was left.
        new = Path(tempfile.mkdtemp(prefix=f"{_PREFIX[:-1]}.", dir=where)).resolve()
        self._lock = take_lock(new / _LOCK)
        self.path = new.with_name(_PREFIX + new.name[len(_PREFIX) :])
        new.rename(self.path)

    def close(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)
        close(self._lock)


def _place(size: int) -> Path:
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK):
        status = os.statvfs(MEMORY)
        if status.f_bavail * status.f_frsize > max(ROOM, 50 * size):
            return MEMORY
    return Path(tempfile.gettempdir())


def remove_left(where: Path) -> None:
    """Remove what commands of this user have left in *where* that do not live any more."""
    for path in where.glob(f"{_PREFIX}*"):
        with suppress(OSError, JobDirectoryError):  # somebody else's, or still in use
            status = path.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
                continue
            if (path / _LOCK).is_file():
                lock = take_lock(path / _LOCK)
                try:
                    removal.remove(str(path))
                finally:
                    close(lock)
