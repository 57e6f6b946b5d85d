"""Files in the project's download hierarchy: each appears whole, and never changes.

Clients know a file by its name for ever, so a name stands for one content.  Modes are set
whatever the umask: the web server reads what is staged, and the project's file deleter
removes it, under other users than ours.  Beside each file lies ``NAME.md5``, written after it
so that create_work, which compares their times, need not read the file again.

Nothing is synced file by file, which would take milliseconds each: :meth:`Staging.sync` makes all
durable before jobs are made of them.
"""

from __future__ import annotations

import os
import stat
import threading
from hashlib import md5
from pathlib import Path

from pyboinc import disk
from pyboinc.backends.boinc.project import Project, missing
from pyboinc.errors import BackendError

_FILE = 0o664
_DIRECTORY = 0o775
_FLAGS = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW


class Staging:
    """The download hierarchy of *project*, to be written to."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._made: set[str] = set()

    def stage(self, name: str, data: bytes) -> None:
        """Put *data* there as the file *name*; durable after :meth:`sync`."""
        disk.reach("stage", name)
        path = self._project.in_hierarchy(self._project.download, name)
        try:
            self._make_directory(os.path.dirname(path))
            write(path, data)
            cksum = md5(data, usedforsecurity=False).hexdigest()
            _write_now(f"{path}.md5", b"%s %d\n" % (cksum.encode(), len(data)))
        except OSError as error:
            raise self._explained(path, error) from error

    def holds(self, name: str, size: int) -> bool:
        """Whether the file *name* is there, with *size* bytes and its checksum beside it."""
        path = self._project.in_hierarchy(self._project.download, name)
        try:
            return os.stat(path).st_size == size and os.stat(f"{path}.md5").st_size > 0
        except FileNotFoundError:
            return False

    def remove(self, name: str) -> None:
        """Remove the file *name*, if it is there."""
        path = self._project.in_hierarchy(self._project.download, name)
        for one in (path, f"{path}.md5"):
            disk.remove(Path(one))

    def sync(self) -> None:
        """Make durable what was staged."""
        disk.sync_file_system(self._project.download)

    def syncing(self) -> Syncing:
        """Begin to make durable what was staged; more may be staged meanwhile."""
        return Syncing(self._project.download)

    def _make_directory(self, path: str) -> None:
        """Make a directory of the hierarchy that the project's owner, too, can write to."""
        if path in self._made:
            return
        try:
            os.mkdir(path)
            above = os.stat(os.path.dirname(path))
            if os.stat(path).st_gid != above.st_gid:
                os.chown(path, -1, above.st_gid)
            os.chmod(path, _DIRECTORY | (above.st_mode & stat.S_ISGID))
        except FileExistsError:
            pass
        self._made.add(path)

    def _explained(self, path: str, error: OSError) -> BackendError:
        if isinstance(error, PermissionError):
            directory = Path(path).parent
            return BackendError(
                f"{directory} can not be written to: {missing(directory, self._project.root)}"
            )
        return BackendError(
            f"{path} can not be staged: {error.strerror}; mend that and run the same command"
        )


class Syncing:
    """Makes a file system durable in the background: the disk is at work while we are."""

    def __init__(self, path: Path) -> None:
        self._error: BaseException | None = None
        disk.reach("sync", path)
        self._thread = threading.Thread(target=self._run, args=[path])
        self._thread.start()

    def _run(self, path: Path) -> None:
        try:
            disk.sync_now(path)
        except BaseException as error:  # noqa: BLE001  # raised by wait(), where it is expected
            self._error = error

    def wait(self) -> None:
        """Return when all is durable that was staged before this began; raises why it is not."""
        self._thread.join()
        if self._error is not None:
            raise self._error


def write(path: str, data: bytes, mode: int = _FILE) -> None:
    """Write *data* to *path*, whole or not at all, with this *mode* whatever the umask."""
    directory, _, name = path.rpartition("/")
    temporary = f"{directory}/.{name}.tmp"
    _write_now(temporary, data, mode)
    os.rename(temporary, path)


def _write_now(path: str, data: bytes, mode: int = _FILE) -> None:
    descriptor = os.open(path, _FLAGS, mode)
    try:
        os.fchmod(descriptor, mode)
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)
