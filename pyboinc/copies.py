"""Whether a job directory is a copy, which must leave the batch of its original alone.

A batch belongs to one directory: two masters that go on with it would take each other's
results, or cancel each other's jobs.  ``run.json`` says where that directory was (its path,
and the device and inode of its ``.pyboinc``) when a master last worked in it.  So one

* at that path goes on, also if it was restored from a backup since,
* at another path, but with that inode, was moved, and goes on,
* at another path with another inode is a copy, or came from another file system, which
  nobody can tell apart: whoever made it says what is meant (``--accept-copy`` or ``--fresh``).
  If the original is still to be seen at its path, it is a copy for certain.

What is copied to the same path of another computer is not recognised.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from pyboinc import disk
from pyboinc.errors import CheckpointMismatch, RejectedResult
from pyboinc.jobdir import JobDirectory

_LIMIT = 4 << 20


def place_of(state: Path) -> str:
    """Return what tells the directory *state* (``.pyboinc``) from every copy of it."""
    status = os.stat(state)
    return f"{status.st_dev}:{status.st_ino}"


def original_of(directory: JobDirectory) -> Path | None:
    """Return the directory that *directory* is a copy of, or None if its batch is its own."""
    record = directory.record
    if record is None or record.directory in ("", str(directory.path)):
        return None
    original = Path(record.directory)
    moved = record.place in ("", place_of(directory.state))
    return None if moved and not _is_there(original, directory) else original


def _is_there(original: Path, directory: JobDirectory) -> bool:
    """Whether another directory than this one lies at *original*, with the same batch."""
    assert directory.record is not None
    try:
        if os.path.samefile(original / ".pyboinc", directory.state):
            return False
        found = json.loads(disk.read_bounded(original / ".pyboinc" / "run.json", _LIMIT))
        return bool(found["token"] == directory.record.token)
    except (OSError, RejectedResult, ValueError, KeyError, TypeError):
        return False


def refuse_copy(directory: JobDirectory, command: str) -> None:
    """Raise :class:`CheckpointMismatch` if *directory* is a copy; *command* runs its master."""
    original = original_of(directory)
    if original is None:
        return
    there = "which is still there" if _is_there(original, directory) else "or was moved from there"
    raise CheckpointMismatch(
        f"{directory.path} is a copy of {original}, {there}, and the batch belongs to one of "
        "them only. Choose:\n"
        f"  {command} --accept-copy   go on here: the original is gone, or not used any more\n"
        f"  {command} --fresh         set the batch aside here and begin a new one;\n"
        "      the jobs of the original are left alone\n"
        "  or stop here, and go on in the original"
    )
