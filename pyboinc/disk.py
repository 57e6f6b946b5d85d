"""The one module that touches the disk: what a job directory is made of, step by step.

Files appear whole or not at all: written under a temporary name in the same file system,
fsynced, renamed, and the directory fsynced (Pillai et al., "All file systems are not
created equal", OSDI 2014, shows what goes wrong without each of these).  A failed fsync
is final: it is never tried again, because the kernel may have dropped the data.

Every operation first calls :data:`before_step` with its name and its subject.  It does
nothing in an ordinary run; the crash tests put a function there that kills the process or
raises an ``OSError``, and injected faults (``master_killed``, ``disk_full``) come the same way.
"""

from __future__ import annotations

import errno
import fnmatch
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from pyboinc import removal
from pyboinc.errors import JobDirectoryError, RejectedResult


def _nothing(step: str, subject: str) -> None:
    """Let the operation go on."""


before_step: Callable[[str, str], None] = _nothing
"""Called before each step with its name and what it is about (a path or a job's name)."""

_FULL = 1 << 20
"""Bytes: with less than this free a disk counts as full, whatever its last file was."""

_NEXT_STEPS = {
    errno.ENOSPC: "the disk is full; nothing is lost: free some space and run the same command",
    errno.EDQUOT: "your disk quota is used up; nothing is lost: free some space and run it again",
    errno.EROFS: "the file system is read-only; copy the job directory to one you may write to",
    errno.EACCES: "you may not write there; change its owner or mode, or copy the job directory",
    errno.EPERM: "you may not write there; change its owner or mode, or copy the job directory",
    errno.EMFILE: "too many open files; raise the limit (ulimit -n) and run the same command",
}


def reach(step: str, subject: object = "") -> None:
    """Say that the protocol reaches *step*: the seam where tests and faults crash it."""
    if before_step is not _nothing:
        before_step(step, str(subject))


def explain(action: str, path: object, error: OSError) -> JobDirectoryError:
    """Return *error* as a :class:`JobDirectoryError` that says what to do next."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    advice = _NEXT_STEPS.get(error.errno or 0, "mend that and run the same command; it resumes")
    return JobDirectoryError(f"cannot {action} {os.fspath(str(path))}: {cause}; {advice}")


@contextmanager
def explained(action: str, path: object) -> Iterator[None]:
    """Let an ``OSError`` be one of a job directory, which says what to do next."""
    try:
        yield
    except JobDirectoryError:
        raise
    except OSError as error:
        raise explain(action, path, error) from error


def close(descriptor: int) -> None:
    """Give a descriptor back; an error is no news: what is to be kept was synced before."""
    with suppress(OSError):
        os.close(descriptor)


def make_directory(path: Path) -> None:
    """Make the directory *path* and its parents, if they are not there; durable."""
    with explained("make the directory", path):
        if path.is_dir():
            return
        reach("make directory", path)
        path.mkdir(parents=True, exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path | str) -> None:
    """Make the names in the directory *path* durable."""
    with explained("sync the directory", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            close(descriptor)


def sync_file_system(path: Path | str) -> None:
    """Make durable all that was written to the file system of *path*: cheap for many files."""
    reach("sync", path)
    sync_now(path)


def sync_now(path: Path | str) -> None:
    """Do so without a word: :func:`reach` is for the main thread."""
    import ctypes

    with explained("sync the file system of", path):
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            library = ctypes.CDLL(None, use_errno=True)
            if not hasattr(library, "syncfs"):
                os.sync()
            elif library.syncfs(descriptor):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        finally:
            close(descriptor)


def _write_all(descriptor: int, data: bytes | bytearray) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def publish(path: Path, data: bytes) -> None:
    """Write *data* to *path*, whole or not at all, durable when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained("write", path):
        reach("write", path)
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(temporary, flags, 0o666)
        try:
            _write_all(descriptor, data)
            reach("fsync", path)
            os.fsync(descriptor)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            close(descriptor)
        reach("publish", path)
        os.rename(temporary, path)
        sync_directory(path.parent)


def remove_temporaries(directory: Path, name: str = "*") -> None:
    """Remove what :func:`publish` left of files called *name* when it was cut short."""
    if directory.is_dir():
        for found in fnmatch.filter(names(directory), f".{name}.*.tmp"):
            if found.split(".")[-2].isdigit():
                remove(directory / found)


def read_bounded(path: Path | str, limit: int) -> bytes:
    """Return the content of the plain file *path*, of at most *limit* bytes.

    Raises :class:`RejectedResult` for a link, a directory, a pipe, or too many bytes, and
    ``FileNotFoundError``; it neither blocks nor follows a link.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        _refuse_to_open(path, error)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise RejectedResult("not a plain file")
        if status.st_size > limit:
            raise RejectedResult(f"{status.st_size} bytes; the limit is {limit}")
        return _read_all(descriptor, status.st_size, limit)
    except OSError as error:
        raise explain("read", path, error) from error
    finally:
        close(descriptor)


def _refuse_to_open(path: object, error: OSError) -> NoReturn:
    if isinstance(error, FileNotFoundError):
        raise error
    if error.errno == errno.ELOOP:
        raise RejectedResult("a symbolic link, not a plain file") from error
    if error.errno in (errno.ENXIO, errno.EACCES, errno.EPERM):
        raise RejectedResult(f"cannot be opened: {os.strerror(error.errno)}") from error
    raise explain("read", path, error) from error


def _read_all(descriptor: int, size: int, limit: int) -> bytes:
    """Read to the end; one byte more than *size* tells whether the file is still growing."""
    whole = os.read(descriptor, size + 1)
    part = whole if len(whole) != size else b""
    while part and len(whole) <= limit:
        part = os.read(descriptor, 1 << 20)
        whole += part
    if len(whole) > limit:
        raise RejectedResult(f"grew past the limit of {limit} bytes while it was read")
    return whole


def move(step: str, source: Path | str, target: Path | str) -> None:
    """Rename *source* to *target*; the caller syncs the directories, once for many.

    A power cut can leave half of such a move: one file with both names, and a rename from one
    name of a file to another one does nothing.  So the old name is removed if it is still there.
    A directory that lies where a file is to go is moved out of the way.
    ``FileNotFoundError`` passes through: the caller knows whether that may be.
    """
    try:
        reach(step, source)
        try:
            os.rename(source, target)
        except IsADirectoryError:
            os.rename(target, f"{os.fspath(target)}.displaced-{time.time_ns()}")
            os.rename(source, target)
        if os.path.lexists(source) and same_file(source, target):
            os.unlink(source)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise explain("move", source, error) from error


def same_file(path: Path | str, other: Path | str) -> bool:
    """Return whether *path* and *other* are two names of one file; links are not followed."""
    return os.path.samestat(os.lstat(path), os.lstat(other))


def remove(path: Path) -> None:
    """Remove the file *path* if it is there."""
    with explained("remove", path):
        reach("remove", path)
        path.unlink(missing_ok=True)


def remove_tree(path: Path) -> None:
    """Remove *path* and, if it is a directory, all that is in it; it need not be there."""
    with explained("remove", path):
        reach("remove", path)
        if path.is_symlink() or path.exists():
            removal.remove(os.fspath(path))


def remove_empty(path: Path) -> bool:
    """Remove the directory *path* unless something is in it; return whether it is gone."""
    with explained("remove", path):
        reach("remove", path)
        if path.is_dir():
            try:
                path.rmdir()
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
    return not path.exists()


def check_space(path: Path | str) -> None:
    """Raise :class:`JobDirectoryError` if there is no room left where *path* is."""
    with explained("look at the disk of", path):
        status = os.statvfs(path)
    if status.f_blocks and status.f_bavail * status.f_frsize < _FULL:
        raise explain("write to", path, OSError(errno.ENOSPC, ""))


def listing(path: Path) -> list[str]:
    """Return the names in the directory *path*, in no order."""
    with explained("list", path):
        return os.listdir(path)


def listing_if_any(path: Path) -> list[str]:
    """Return the names in the directory *path*; none if there is no directory.

    For those who only look: a look before may have found what is gone by now.
    """
    with explained("list", path), suppress(FileNotFoundError):
        return os.listdir(path)
    return []


def names(path: Path) -> Iterator[str]:
    """Yield the names in the directory *path*, in no order, and not all of them in memory.

    A file that is moved out meanwhile disturbs nothing; one that comes in may be seen or not.
    """
    with explained("list", path), os.scandir(path) as entries:
        for entry in entries:
            yield entry.name


class AppendLog:
    """An append-only file: lines go into a buffer, :meth:`sync` makes them durable.

    What a crash leaves after the last sync may be torn; the owner of the format finds the
    last whole record and calls :meth:`truncate`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        with explained("open", path):
            self._descriptor = os.open(path, flags, 0o666)
            self._written = os.fstat(self._descriptor).st_size
            sync_directory(path.parent)
        self._buffer = bytearray()
        # A process that was killed may have left what is here in memory only.
        self._synced = 0

    @property
    def size(self) -> int:
        """The bytes appended so far, those in the buffer included."""
        return self._written + len(self._buffer)

    def append(self, data: bytes) -> None:
        """Append *data*; durable only after :meth:`sync`."""
        self._buffer += data
        if len(self._buffer) > 1 << 20:
            self._flush()

    def _flush(self) -> None:
        if not self._buffer:
            return
        with explained("append to", self.path):
            reach("append", self.path)
            os.lseek(self._descriptor, self._written, os.SEEK_SET)
            _write_all(self._descriptor, self._buffer)
        self._written += len(self._buffer)
        self._buffer = bytearray()

    def sync(self) -> None:
        """Make everything appended so far durable."""
        self._flush()
        if self._synced == self._written:
            return
        with explained("sync", self.path):
            reach("fsync", self.path)
            os.fsync(self._descriptor)
        self._synced = self._written

    def truncate(self, size: int) -> None:
        """Forget everything from byte *size* on."""
        if size >= self._written:
            del self._buffer[size - self._written :]
            return
        self._buffer.clear()
        with explained("truncate", self.path):
            reach("truncate", self.path)
            os.ftruncate(self._descriptor, size)
        self._written = size
        self._synced = min(self._synced, size)

    def read(self, offset: int, length: int) -> bytes:
        """Return *length* bytes from *offset* (fewer at the end of the file)."""
        self._flush()
        with explained("read", self.path):
            return os.pread(self._descriptor, length, offset)

    def close(self) -> None:
        """Give the descriptor back; what was not synced may be lost."""
        if self._descriptor >= 0:
            close(self._descriptor)
            self._descriptor = -1


class ReadLog(AppendLog):
    """A log read beside the process that writes it: nothing is made, changed or cut off.

    A file that is not there yet reads as an empty one.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained("open", path):
            flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
            try:
                self._descriptor = os.open(path, flags)
            except FileNotFoundError:
                self._descriptor = os.open(os.devnull, flags)
            self._written = self._synced = os.fstat(self._descriptor).st_size
        self._buffer = bytearray()

    def append(self, data: bytes) -> None:
        """Refuse: the log belongs to another process."""
        raise JobDirectoryError(f"{self.path} was opened to be read only")

    def truncate(self, size: int) -> None:
        """Change nothing: what looks torn may be what the other process is writing now."""
