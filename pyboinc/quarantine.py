"""Files that were refused: set aside with their reason, and never more than a disk can bear.

What lies in new/ and is no outcome goes to ``.pyboinc/quarantine/``, as it came, beside a
file ``NAME.reason``.  A host can send junk for ever, and it comes under the name of a job:
of one name :data:`KEPT` plain files are kept, of all names :data:`BYTES` bytes, and what is
refused beyond that is removed and counted.  Nothing else is ever removed.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pyboinc import disk
from pyboinc.errors import JobDirectoryError
from pyboinc.stderr import say

KEPT = 12
"""Plain files of one outcome's name that are kept."""

BYTES = 1 << 30
"""Bytes of plain files with outcomes' names that are kept in all."""

_SAID = 10
"""Files refused together that are told of by name."""

OUTCOME = re.compile(r"([A-Za-z0-9-]{1,40})_(0|[1-9][0-9]{0,11})\.(out|error)")
"""The name of an outcome: batch, number, and whether it is an output or a failure."""


class Quarantine:
    """The refused files of one job directory; they are looked at when there is one more."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: set[str] = set()
        self._numbers: Counter[str] = Counter()
        self._bytes = -1
        self._removed: Counter[str] = Counter()

    def take(self, files: Sequence[Path], reason: str) -> None:
        """Set *files* aside, all with the same *reason*."""
        disk.make_directory(self._path)
        self._look()
        kept = [path for path in files if not self._is_too_much(path)]
        for path in set(files).difference(kept):
            self._remove(path, reason)
        targets = {path: self._place_for(path.name) for path in kept}
        self._explain(list(targets.values()), reason)
        moved = [path for path, target in targets.items() if self._move(path, target)]
        if moved:
            disk.sync_directory(self._path)
        for path in moved[:_SAID]:
            say(f"pyboinc: set {path.name!a} aside in {self._path}: {reason!a}")
        if len(moved) > _SAID:
            say(f"pyboinc: and {len(moved) - _SAID} more: {reason!a}")

    def _look(self) -> None:
        """Learn what lies here, once."""
        if self._bytes < 0:
            self._names.update(disk.listing(self._path))
            outcomes = [name for name in self._names if OUTCOME.match(name)]
            self._bytes = sum(_size(self._path / name) for name in outcomes)

    def _is_too_much(self, path: Path) -> bool:
        size = _size(path) if OUTCOME.fullmatch(path.name) else 0
        if not size:
            return False
        self._bytes += size
        too_much = self._bytes > BYTES or f"{path.name}.{KEPT}" in self._names
        if too_much:
            self._bytes -= size
        return too_much

    def _remove(self, path: Path, reason: str) -> None:
        disk.remove(path)
        self._removed[path.name] += 1
        times = self._removed[path.name]
        if times == 10 ** (len(str(times)) - 1):  # 1, 10, 100 and so on
            say(
                f"pyboinc: removed {path.name!a}: {reason!a}; enough of it is in {self._path} "
                f"({times} removed so far)"
            )

    def _place_for(self, name: str) -> Path:
        """Return a path that is free, and take it."""
        # Room for a number and ".reason": a name may be as long as the file system allows.
        base = os.fsdecode(os.fsencode(name)[:200])
        kept = base
        while kept in self._names:
            self._numbers[base] = max(1, self._numbers[base]) + 1
            kept = f"{base}.{self._numbers[base]}"
        self._names.add(kept)
        return self._path / kept

    def _explain(self, targets: Sequence[Path], reason: str) -> None:
        """Write the reason beside each place, once, and as a link beside all others."""
        first: Path | None = None
        for target in targets:
            explanation = target.with_name(f"{target.name}.reason")
            if first is None or not _linked(first, explanation):
                disk.publish(explanation, f"{reason!a}\n".encode())
                first = explanation
        if len(targets) > 1:
            disk.sync_directory(self._path)

    def _move(self, path: Path, target: Path) -> bool:
        try:
            disk.move("quarantine", path, target)
            return True
        except FileNotFoundError:  # somebody else has just taken it away
            disk.remove(target.with_name(f"{target.name}.reason"))
            return False
        except JobDirectoryError:
            # A directory that may not be written to does not leave its parent.
            if not path.is_dir() or path.is_symlink():
                raise
        hidden = path.with_name(f".refused-{target.name}")
        disk.move("quarantine", path, hidden)
        say(f"pyboinc: {path.name!a} can not be moved; it stays as {hidden!a}")
        return False


def _size(path: Path) -> int:
    """Return the bytes on disk of a plain file (at least 1), 0 if it is something else."""
    try:
        status = os.lstat(path)
    except OSError:
        return 0
    return status.st_blocks * 512 + 1 if stat.S_ISREG(status.st_mode) else 0


def _linked(first: Path, other: Path) -> bool:
    disk.reach("publish", other)
    try:
        os.link(first, other)
        return True
    except OSError:
        return False  # too many links, or a file system without: a file of its own, then
