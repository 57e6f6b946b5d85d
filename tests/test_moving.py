"""Files that go from one directory into another: one by one, or all by one rename."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from pyboinc import disk, moving
from pyboinc.errors import JobDirectoryError


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """What is tried here is tried on a disk."""
    return on_disk


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A directory with two files in it, beside an empty one."""
    directory = tmp_path / "old"
    directory.mkdir()
    for name in ("a", "b"):
        (directory / name).write_text(name)
    (tmp_path / "new").mkdir()
    return directory


@pytest.fixture
def new(tmp_path: Path, old: Path) -> Path:
    """The empty one."""
    return tmp_path / "new"


def test_all_are_moved_but_what_is_missing(old: Path, new: Path) -> None:
    """Moving: each that is there, and it is said whether any was."""
    assert moving.move_all("retire", ["a", "none", "b"], old, new)
    assert (sorted(os.listdir(new)), os.listdir(old)) == (["a", "b"], [])
    assert not moving.move_all("retire", ["a"], old, new)


def test_a_directory_takes_the_place_of_an_empty_one(old: Path, new: Path) -> None:
    """Moving: all files by one rename, and an empty directory of the same mode is left."""
    for directory in (old, new):
        directory.chmod(0o750)
    inode = old.stat().st_ino
    assert moving.take_place("restore", old, new)
    assert (sorted(os.listdir(new)), os.listdir(old)) == (["a", "b"], [])
    assert new.stat().st_ino == inode
    assert [stat.S_IMODE(one.stat().st_mode) for one in (old, new)] == [0o750, 0o750]


def not_empty(old: Path, new: Path) -> None:
    (new / "c").touch()


def of_another_mode(old: Path, new: Path) -> None:
    new.chmod(0o770)


def a_link(old: Path, new: Path) -> None:
    elsewhere = new.with_name("elsewhere")
    new.rename(elsewhere)
    new.symlink_to(elsewhere)


def linked(old: Path, new: Path) -> None:
    a_link(new, old)


@pytest.mark.parametrize("prepare", [not_empty, of_another_mode, a_link, linked])
def test_a_directory_that_is_to_stay_stays(
    old: Path, new: Path, prepare: Callable[[Path, Path], None]
) -> None:
    """Moving: what is not empty, is a link, or may be written by others keeps its place."""
    prepare(old, new)
    before = [(one.lstat().st_ino, sorted(os.listdir(one))) for one in (old, new)]
    assert not moving.take_place("restore", old, new)
    assert [(one.lstat().st_ino, sorted(os.listdir(one))) for one in (old, new)] == before


@pytest.mark.parametrize("who", ["geteuid", "getegid"])
def test_a_directory_of_somebody_else_stays(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch, who: str
) -> None:
    """Moving: an owner or a group that was chosen for a directory is not lost with it."""
    monkeypatch.setattr(os, who, lambda: old.stat().st_uid + 1)
    assert not moving.take_place("restore", old, new)
    assert sorted(os.listdir(old)) == ["a", "b"]


def test_a_directory_with_a_list_of_who_may_write_stays(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving: access control lists are the directory's; another one would not have them."""
    lists = {old: [], new: ["system.posix_acl_access"]}
    monkeypatch.setattr(os, "listxattr", lists.__getitem__, raising=False)
    assert not moving.take_place("restore", old, new)


def test_a_file_that_comes_in_the_last_moment_is_not_lost(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving: the system itself refuses to replace a directory that has got a file."""

    def deliver(step: str, about: str) -> None:
        (new / "late").touch()

    monkeypatch.setattr(disk, "before_step", deliver)
    assert not moving.take_place("restore", old, new)
    assert os.listdir(new) == ["late"]


def test_any_other_error_is_explained(
    old: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moving: a disk that can not be written to is named, with the next step."""

    def fail(step: str, about: str) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(disk, "before_step", fail)
    with pytest.raises(JobDirectoryError, match="cannot move .*/old: Read-only file system"):
        moving.take_place("restore", old, new)
