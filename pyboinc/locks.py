"""Who works in a job directory: locks that end with their process, and what they keep out.

A lock is ``flock``'s, on a file that says whose it is.  It ends with the process, however
that ends, and so can never be stale.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pyboinc.disk import close, explained, make_directory, reach
from pyboinc.errors import ConfigurationError, DirectoryBusy, JobDirectoryError
from pyboinc.stderr import keep_standard_descriptors


def enter(state: Path) -> int:
    """Make the directory *state* in a job directory, if it is not there, and lock it.

    `pyboinc clean` may remove it in between: then it is made once more.
    """
    while True:
        if not state.parent.is_dir():
            raise JobDirectoryError(f"{state.parent} is not a directory; name the job's directory")
        make_directory(state)
        try:
            return take_lock(state / "lock")
        except JobDirectoryError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                raise


def take_lock(path: Path) -> int:
    """Lock the file *path* for this process and return its descriptor.

    The lock is ``flock``'s: it ends with the process, however that ends, and so can never
    be stale.  Raises :class:`DirectoryBusy` with the process number of the one who has it.
    """
    _check_system()
    keep_standard_descriptors()
    with explained("lock", path):
        reach("lock", path)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if not _flock(descriptor):
                holder = os.read(descriptor, 20).decode("ascii", "replace").strip() or "unknown"
                close(descriptor)
                raise DirectoryBusy(
                    f"another master (process {holder}) is running in {path.parent.parent}; wait "
                    "for it, or stop it with ^C: this one would wait for the same jobs"
                )
            if is_at(descriptor, path):
                break
            close(descriptor)  # who had it has removed it: it keeps nobody out any more
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def is_at(descriptor: int, path: Path | str) -> bool:
    """Return whether the open file is the one that lies at *path*, if one does.

    Raises :class:`JobDirectoryError` if that can not be seen.
    """
    try:
        with explained("look at", path):
            return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except JobDirectoryError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return False
        raise


def _check_system() -> None:
    if sys.platform == "win32":
        raise ConfigurationError(
            "PyBOINC does not run a master on Windows yet: it needs flock and fork; "
            "use Linux, macOS or the Windows Subsystem for Linux"
        )


def share(path: Path) -> int | None:
    """Lock the file *path* together with whoever shares it; None if somebody has it alone."""
    return _try(path, shared=True)


def alone(path: Path) -> int | None:
    """Lock the file *path* for this process alone, and say so in it; None if anybody has it."""
    descriptor = _try(path, shared=False)
    if descriptor is not None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
    return descriptor


def _try(path: Path, shared: bool) -> int | None:
    with explained("lock", path):
        reach("lock", path)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            if not _flock(descriptor, shared):
                close(descriptor)
                return None
            if is_at(descriptor, path):
                return descriptor
            close(descriptor)


def _flock(descriptor: int, shared: bool = False) -> bool:
    """Return whether the lock was got, if need be after what :func:`lock_holder` takes to look."""
    import fcntl

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    for pause in (0.0, 0.01, 0.05):
        time.sleep(pause)
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            pass
    return False


def lock_holder(path: Path) -> int | None:
    """Return the process number of who holds the lock *path* (0: not known), or None."""
    import fcntl

    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        text = os.read(descriptor, 20).strip()
        return int(text) if text.isdigit() else 0
    finally:
        close(descriptor)
