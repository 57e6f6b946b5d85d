"""Files that clients are uploading, until they report the results that the files belong to.

A file lies in ``incoming/`` under its own name, whole or in part; who reports a result names
the MD5 of each file, and only a file that has it is taken.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pyboinc import disk
from pyboinc.backends.local.uploads import has_md5


class Incoming:
    """The directory of uploads that are under way, none larger than *largest* bytes.

    Who calls has checked the names: none is another path than it seems.
    """

    def __init__(self, directory: Path, largest: int) -> None:
        disk.make_directory(directory)
        self._path = os.fspath(directory)
        self._largest = largest

    def path(self, name: str) -> str:
        """Return where the file *name* lies."""
        return f"{self._path}/{name}"

    def size(self, name: str) -> int:
        """Return how many bytes of *name* are here."""
        try:
            status = os.lstat(self.path(name))
        except FileNotFoundError:
            return 0
        return status.st_size if stat.S_ISREG(status.st_mode) else 0

    def holds(self, name: str, digest: str) -> bool:
        """Whether the file *name* is here, and its MD5 is *digest*."""
        return has_md5(self.path(name), digest, self._largest)

    def open_at(self, name: str, offset: int) -> int | None:
        """Open *name* to be written from *offset* on; None if so much of it is not here.

        What was here beyond is cut off: it is sent again.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(self.path(name), flags, 0o666)
        if os.fstat(descriptor).st_size < offset:
            os.close(descriptor)
            return None
        os.ftruncate(descriptor, offset)
        os.lseek(descriptor, offset, os.SEEK_SET)
        return descriptor

    def remove(self, name: str) -> None:
        """Remove the file *name*, if it is here."""
        disk.remove(Path(self.path(name)))

    def names(self) -> list[str]:
        """Return what lies here."""
        return disk.listing(Path(self._path))
