"""The outputs that emulated hosts have uploaded, until they are delivered into new/.

A file lies in ``upload/`` under its result's name from its report until its workunit is
assimilated; delivering it is one rename.  What lies there when a server starts was left by
one that was killed, and the rows say whether it is to be delivered.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import stat
import sys
from collections.abc import Iterable
from hashlib import md5, sha256
from pathlib import Path

from pyboinc import disk
from pyboinc.errors import RejectedResult

_MANY = 4
"""From so many files on one syncfs is cheaper than an fsync for each."""


class Uploads:
    """The upload directory, and the way from it to the job directory's new/."""

    def __init__(self, directory: Path, new: Path, old: Path) -> None:
        disk.make_directory(directory)
        self._path = os.fspath(directory)
        self._new = os.fspath(new)
        self._old = os.fspath(old)
        self._unsynced: set[str] = set()
        self._delivered = False

    def take(self, slot: str, result: str) -> None:
        """Move the file ``out`` of a slot here; ``FileNotFoundError`` if there is none.

        What a slave has made of its slot, and of that file's permissions, makes no difference.
        """
        path = f"{self._path}/{result}"
        try:
            mode = _move_plain_file(f"{slot}/out", path)
        except NotADirectoryError as error:
            raise FileNotFoundError(f"{slot} is no directory any more") from error
        except PermissionError:
            os.chmod(slot, 0o700)
            mode = _move_plain_file(f"{slot}/out", path)
        if mode & 0o7400 != 0o400:
            os.chmod(path, 0o644)
        self._unsynced.add(path)

    def take_file(self, path: str, result: str) -> None:
        """Move the plain file *path*, which a client has uploaded, here."""
        os.rename(path, f"{self._path}/{result}")
        self._unsynced.add(f"{self._path}/{result}")

    def put(self, name: str, data: bytes) -> None:
        """Write a file here; durable after :meth:`sync`, in new/ after :meth:`deliver`."""
        path = f"{self._path}/{name}"
        if os.path.lexists(path):  # of an earlier time, or something that a slave has put there
            self.delete(name)
        try:
            with open(path, "xb") as file:
                file.write(data)
        except OSError:
            disk.remove(Path(path))
            raise
        self._unsynced.add(path)

    def read(self, name: str, delivered: str, limit: int) -> bytes | None:
        """Return a file's bytes, here or where it was delivered to; None if it is gone."""
        places = (f"{self._path}/{name}", f"{self._new}/{delivered}", f"{self._old}/{delivered}")
        for path in places:
            try:
                return disk.read_bounded(path, limit)
            except (FileNotFoundError, RejectedResult):
                continue
        return None

    def holds(self, name: str, digest: str, limit: int) -> bool:
        """Whether a file *name* lies here whose MD5 is *digest*, of at most *limit* bytes."""
        return has_md5(f"{self._path}/{name}", digest, limit)

    def sync(self) -> None:
        """Make every file that came since the last time durable, before any row tells of it.

        So is every delivery before: until then a power cut can at most undo one, and
        what it leaves here is delivered again (:meth:`Emulator.recover`).
        """
        paths, self._unsynced = self._unsynced, set()
        if not paths and not self._delivered:
            return
        disk.reach("sync uploads", self._path)
        if len(paths) < _MANY or not _sync_file_system(self._path):
            for path in paths:
                _sync_file(path)
            disk.sync_directory(self._path)
            disk.sync_directory(self._new)
        self._delivered = False

    def deliver(self, deliveries: Iterable[tuple[str, str]]) -> None:
        """Move files into new/: pairs of a name here and a name there; safe to repeat."""
        moved = False
        for here, there in deliveries:
            try:
                disk.move("deliver", f"{self._path}/{here}", f"{self._new}/{there}")
            except FileNotFoundError:
                continue
            moved = True
        self._delivered = self._delivered or moved

    def is_there(self, name: str) -> bool:
        """Return whether an outcome lies in new/ or old/ (in this order: files move that way)."""
        return os.path.exists(f"{self._new}/{name}") or os.path.exists(f"{self._old}/{name}")

    def delivered(self) -> set[str]:
        """Return the names in new/ and old/; in this order, for files move that way."""
        return {*disk.listing(Path(self._new)), *disk.listing(Path(self._old))}

    def delete(self, result: str) -> None:
        """Remove the file of a result, if it is still here."""
        self._unsynced.discard(f"{self._path}/{result}")
        disk.remove_tree(Path(self._path, result))

    def names(self) -> list[str]:
        """Return what lies here."""
        return disk.listing(Path(self._path))


def digest(data: bytes) -> bytes:
    """Return what stands for an output in the rows: its SHA-256."""
    return sha256(data).digest()


def has_md5(path: str, digest: str, limit: int) -> bool:
    """Whether *path* is a plain file of at most *limit* bytes, and *digest* is its MD5."""
    try:
        data = disk.read_bounded(path, limit)
    except (FileNotFoundError, RejectedResult):
        return False
    return md5(data, usedforsecurity=False).hexdigest() == digest


def _move_plain_file(source: str, target: str) -> int:
    """Rename a file and return its mode; what is no plain file is not there."""
    mode = os.lstat(source).st_mode
    if not stat.S_ISREG(mode):
        raise FileNotFoundError(f"{source} is no plain file")
    os.rename(source, target)
    return mode


def _sync_file(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def tells_of_errors(system: str, release: str) -> bool:
    """Whether ``syncfs`` exists and says when data could not be written: Linux from 5.8 on.

    Before, it answered 0 whatever happened to the data (syncfs(2), "Versions").
    """
    version = re.match(r"(\d+)\.(\d+)", release)
    return system == "linux" and version is not None and (*map(int, version.groups()),) >= (5, 8)


_syncfs = (
    getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if tells_of_errors(sys.platform, os.uname().release)
    else None
)


def _sync_file_system(directory: str) -> bool:
    """Flush the file system of *directory* as a whole; False where that can not be asked.

    Any other failure is final: a flush of the single files could succeed although the kernel
    has dropped their data.
    """
    if _syncfs is None:
        return False
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _syncfs(descriptor) == 0:
            return True
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM):  # an old kernel, or a sandbox that forbids it
            return False
        raise OSError(number, os.strerror(number), directory)
    finally:
        os.close(descriptor)
