"""Removing a tree that somebody has made hard to remove: very deep, or without permissions.

Used by keepers, which start in no time: the standard library alone, and little of it.
"""

from __future__ import annotations

import os
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def remove(path: str) -> None:
    """Remove the file, link or directory *path* with all that is in it.

    However deep a tree is, no path gets long and nothing recurses: what is in a directory
    is moved up to *path* before the directory is removed.
    """
    try:
        os.unlink(path)
        return
    except OSError:
        if os.path.islink(path) or not os.path.isdir(path):
            raise
    free = _free_names(path)
    os.chmod(path, 0o700)  # whoever made it may have taken the permission away
    while names := os.listdir(path):
        for name in names:
            _remove_or_empty(f"{path}/{name}", free)
    os.rmdir(path)


def _free_names(directory: str) -> Iterator[str]:
    """Give paths in *directory* at which nothing lies."""
    paths = (f"{directory}/.{number}" for number in count())
    return (path for path in paths if not os.path.lexists(path))


def _remove_or_empty(path: str, free: Iterator[str]) -> None:
    """Remove a file, or a directory after what is in it was moved to *free* names."""
    try:
        os.unlink(path)
        return
    except OSError:
        if os.path.islink(path) or not os.path.isdir(path):
            raise
    os.chmod(path, 0o700)
    for name in os.listdir(path):
        inner = f"{path}/{name}"
        if not os.path.islink(inner) and os.path.isdir(inner):
            os.chmod(inner, 0o700)  # one may not be moved that may not be written to
            os.rename(inner, next(free))
        else:
            os.unlink(inner)
    os.rmdir(path)
