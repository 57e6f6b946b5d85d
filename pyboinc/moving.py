"""Files that go from one directory into another, many at once.

The caller syncs the directories, once for all of them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from pyboinc import disk


def move_all(step: str, names: Iterable[str], source: Path, target: Path) -> bool:
    """Rename these files of the directory *source* into *target*; return whether any was there.

    Like :func:`pyboinc.disk.move` for each of them, but what is missing is left out.
    """
    here, there = os.fspath(source), os.fspath(target)
    moved = False
    for name in names:
        try:
            disk.move(step, f"{here}/{name}", f"{there}/{name}")
        except FileNotFoundError:
            continue
        moved = True
    return moved


def take_place(step: str, source: Path, target: Path) -> bool:
    """Let the directory *source* be *target*, which is empty, and make an empty *source* anew.

    One rename for however many files are in it.  False, and nothing is changed, if *target* is
    not empty, or if one of them is not as this process would make it: it may be somebody's
    link or mount, or have an owner, a mode or a list of who may write that is to stay.
    """
    before = os.lstat(source)
    if next(disk.names(target), None) is not None:
        return False
    if not (_is_ordinary(source, before) and _is_ordinary(target, before)):
        return False
    try:
        disk.reach(step, source)
        os.rename(source, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.EBUSY, errno.EXDEV):
            return False
        raise disk.explain("move", source, error) from error
    disk.make_directory(source)
    os.chmod(source, stat.S_IMODE(before.st_mode))
    return True


def _is_ordinary(path: Path, like: os.stat_result) -> bool:
    """Whether *path* is a directory of this process's own user and group, with a mode as *like*."""
    found = os.lstat(path)
    same = (found.st_mode, found.st_uid, found.st_gid, found.st_dev)
    wanted = (like.st_mode, os.geteuid(), os.getegid(), like.st_dev)
    listed = os.listxattr(path) if hasattr(os, "listxattr") else []
    return same == wanted and stat.S_ISDIR(found.st_mode) and not any("acl" in x for x in listed)
