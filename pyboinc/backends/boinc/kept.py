"""Outputs that the assimilator has put aside, because it could not put them into new/.

They lie in ``<project>/pyboinc/kept/<batch>``, named as in new/.  Where new/ is on another file
system than the project's uploads, all of them go this way: the assimilator gives an output a
second name, which it can within one file system only.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from pyboinc import disk
from pyboinc.errors import RejectedResult
from pyboinc.jobdir import JobDirectory
from pyboinc.quarantine import OUTCOME

_AT_A_TIME = 500
"""Files that are synced together."""

_LARGEST = 1 << 32


class Kept:
    """What is kept for one batch in the directory *place*."""

    def __init__(self, directory: JobDirectory, place: Path) -> None:
        self._new, self._old = directory.new, directory.old
        self._place = place

    def take(self) -> None:
        """Move everything that is kept into new/; of two outputs of a job the first one stays."""
        names = self._names()
        for start in range(0, len(names), _AT_A_TIME):
            self._take(names[start : start + _AT_A_TIME])

    def _names(self) -> list[str]:
        try:
            return sorted(filter(OUTCOME.fullmatch, os.listdir(self._place)))
        except (FileNotFoundError, PermissionError):
            return []

    def _take(self, names: Sequence[str]) -> None:
        copied: list[str] = []
        for name in names:
            disk.reach("take kept", name)
            if any(os.path.lexists(place / name) for place in (self._new, self._old)):
                self._remove(name)
            elif not self._rename(name) and self._copy(name):
                copied.append(name)
        if copied:
            disk.sync_file_system(self._new)
            for name in copied:
                os.rename(self._temporary(name), self._new / name)
        disk.sync_directory(self._new)
        for name in copied:
            self._remove(name)

    def _rename(self, name: str) -> bool:
        """Move a file within a file system; False if it is another one, or may not be moved."""
        try:
            os.rename(self._place / name, self._new / name)
        except FileNotFoundError:
            return True  # somebody has taken it away
        except OSError as error:
            if error.errno in (errno.EXDEV, errno.EPERM, errno.EACCES):
                return False
            raise disk.explain("move", self._place / name, error) from error
        return True

    def _copy(self, name: str) -> bool:
        """Copy a file to its temporary name in new/; False if it is no output, or gone."""
        try:
            data = disk.read_bounded(self._place / name, _LARGEST)
        except (FileNotFoundError, RejectedResult):
            return False  # the count will miss the job, and have it done again
        with disk.explained("write", self._temporary(name)):
            self._temporary(name).write_bytes(data)
        return True

    def _temporary(self, name: str) -> Path:
        return self._new / f".{name}.{os.getpid()}.tmp"

    def _remove(self, name: str) -> None:
        try:
            (self._place / name).unlink()
        except OSError:
            pass  # it is passed over from now on, for it is in new/ or old/
