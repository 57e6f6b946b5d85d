"""Power cuts: the model of what they leave, and a slice of what ``make sweep`` does in full."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from measuring import unmeasured
from source import ROOT
from sweep.power_cut import Recording, Tree, states
from sweep.recorder import Place
from sweep.trace import CALLS, NotUnderstood, Trace, record


def contents(tree: Tree) -> dict[str, bytes | None]:
    """What lies where."""
    return {
        path: None if inode in tree.directories else tree.files.get(inode, b"")
        for path, inode in tree.walk()
    }


def outcomes(recording: Recording, path: str) -> set[bytes | None]:
    """All that a power cut may make of the file *path*."""
    return {contents(one.tree).get(path) for one in states(recording, 1)}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A recorded directory with a file in it."""
    (tmp_path / "job").mkdir()
    (tmp_path / "job/file").write_text("old")
    return Place(tmp_path / "job")


def replace(place: Place, sync_file: bool, sync_directory: bool) -> None:
    """Replace the file by a new one, with or without the two fsyncs."""
    new = place.make(".tmp")
    place.note("make")
    place.write(new, 0, b"new!")
    place.note("write")
    if sync_file:
        place.sync(new, len(place.recording.operations))
    place.rename(".tmp", "file")
    place.note("rename")
    if sync_directory:
        place.sync(0, len(place.recording.operations))
    place.note("end")


def test_a_file_that_is_fsynced_and_renamed_is_the_old_or_the_new_one(place: Place) -> None:
    """Power cuts: with both fsyncs nothing else can be, and at the end only the new one."""
    replace(place, sync_file=True, sync_directory=True)
    assert outcomes(place.recording, "file") == {b"old", b"new!"}
    place.recording.moments = place.recording.moments[-1:]
    assert outcomes(place.recording, "file") == {b"new!"}


def test_a_file_that_is_not_fsynced_may_be_anything(place: Place) -> None:
    """Power cuts: without the fsync of the file it may be empty, torn or zeros."""
    replace(place, sync_file=False, sync_directory=True)
    torn = {b"", b"ne", b"ne\0\0", b"\0\0\0\0", b"new!"}
    assert outcomes(place.recording, "file") == {b"old", *torn}
    place.recording.moments = place.recording.moments[:2]
    assert outcomes(place.recording, ".tmp") == {None, *torn}


def test_a_name_that_is_not_fsynced_may_not_be_there(place: Place) -> None:
    """Power cuts: without the fsync of the directory the old file may be back at the end."""
    replace(place, sync_file=True, sync_directory=False)
    place.recording.moments = place.recording.moments[-1:]
    assert outcomes(place.recording, "file") == {b"old", b"new!"}


def test_a_move_between_directories_loses_no_file(place: Place) -> None:
    """Power cuts: a file on its way is in the old place, in both or in the new one."""
    place.make("new", directory=True)
    place.sync(0, 1)
    place.rename("file", "new/file")
    place.note("rename")
    found = {
        tuple(path for path in ("file", "new/file") if path in contents(one.tree))
        for one in states(place.recording, 1)
    }
    assert found == {("file",), ("file", "new/file"), ("new/file",)}


def test_many_operations_are_tried_by_lot(place: Place) -> None:
    """Power cuts: of more operations than can be tried in all ways, the same ones for a seed."""
    for number in range(20):
        place.make(f"file{number}")
    place.note("make")
    first, again, other = ([one.digest() for one in states(place.recording, n)] for n in (1, 1, 2))
    assert first == again != other
    assert 100 < len(first) == len(set(first)) < 1000


def test_a_state_is_made_real_as_it_is(place: Place, tmp_path: Path) -> None:
    """Power cuts: what is written to be recovered is the state, two names of one file included."""
    place.link("file", "other")
    place.make("directory", directory=True)
    place.now.write(tmp_path / "copy")
    assert Tree.read(tmp_path / "copy").digest() == place.now.digest()
    assert (tmp_path / "copy/other").stat().st_nlink == 2


PROGRAM = """
import os, shutil, subprocess, sys
os.mkdir("directory")
with open("directory/file", "w") as file:
    file.write("0123456789")
    file.flush()
    file.seek(3)
    file.write("x")
    file.flush()
    os.fsync(file.fileno())
os.rename("directory/file", "moved")
descriptor = os.open("moved", os.O_WRONLY | os.O_APPEND)
os.writev(descriptor, [b"ab", b"cd"])
os.ftruncate(descriptor, 13)
os.chdir("directory")
subprocess.run([sys.executable, "-c", "open('child', 'w').write('c'); open('../top', 'w')"])
if os.fork() == 0:
    os.pwrite(descriptor, b"y", 0)
    os.unlink("child")
    os._exit(0)
os.wait()
os.rmdir("../directory")
os.chdir("..")
os.link("top", "other")
"""


def test_a_program_is_recorded_whole(place: Place, tmp_path: Path) -> None:
    """Power cuts: what a program and its children did is known to the byte."""
    run = record(
        [sys.executable, "-c", PROGRAM], [place], tmp_path / "job", os.environ, tmp_path / "trace"
    )
    assert run.returncode == 0, run
    place.compare()
    assert contents(place.now) == {
        "file": b"old",
        "moved": b"012x456789abcy",
        "other": b"",
        "top": b"",
    }


def test_what_is_not_understood_is_refused(place: Place) -> None:
    """Power cuts: a system call that this model knows nothing of is an error, never left out."""
    assert {"write", "fsync", "rename", "mmap", "symlink"} <= set(CALLS)
    name = "".join(f"\\x{byte:02x}" for byte in os.fsencode(f"{place.path}/link"))
    with pytest.raises(NotUnderstood, match="link"):
        Trace([place], "/").read([f'7 symlink("\\x61", "{name}") = 0\n'])


def test_a_program_that_is_run_again_after_a_power_cut_ends_well(seed: int) -> None:
    """Power cuts: whatever one leaves, the next run ends as if it had not been."""
    assert shutil.which("strace"), "install strace, as CI does"
    run = subprocess.run(
        [sys.executable, "-m", "sweep.disk_states", str(seed)],
        env={**unmeasured(), "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout)
    assert "disk states, emulated project" in run.stdout
