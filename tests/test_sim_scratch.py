"""What a simulation writes goes with it, or at the next one's start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pyboinc.backends.simulated import scratch
from pyboinc.backends.simulated.scratch import Scratch

KILLED = """
import os, signal
from pyboinc.backends.simulated.scratch import Scratch

path = Scratch(0).path
(path / "deep" / "deeper").mkdir(parents=True)
(path / "deep" / "deeper" / "file").write_text("something")
(path / "deep").chmod(0)
print(path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where simulations write."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path.resolve()


def test_what_a_killed_command_left_is_removed(place: Path) -> None:
    """A SIGKILL of the command leaves its directory, whose lock is free: the next removes it."""
    done = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    left = Path(done.stdout.strip())
    assert left.parent == place and left.is_dir()
    ours = Scratch(0)
    assert not left.exists()
    assert ours.path.parent == place and ours.path.is_dir()
    ours.close()
    assert list(place.iterdir()) == []


def test_what_others_have_is_left_alone(place: Path) -> None:
    """A directory in use is not touched, nor what no simulation has made."""
    other = Scratch(0)
    (other.path / "file").write_text("in use")
    (place / "elsewhere").mkdir()
    (place / "elsewhere" / "lock").touch()
    (place / "pyboinc-simulate-link").symlink_to(place / "elsewhere")
    (place / "pyboinc-simulate-file").touch()
    (place / "pyboinc-simulate-unlocked").mkdir()
    before = sorted(place.rglob("*"))
    ours = Scratch(0)
    assert sorted(set(place.rglob("*")) - {ours.path, ours.path / "lock"}) == before
    ours.close()
    other.close()
    assert not other.path.exists()


def test_it_is_in_memory_if_that_has_room(
    place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without TMPDIR it is in memory, unless the program is too large for that."""
    memory = tmp_path / "memory"
    memory.mkdir()
    monkeypatch.setattr(scratch, "MEMORY", memory)
    monkeypatch.setattr(scratch, "ROOM", 0)
    status = os.statvfs(memory)
    free = status.f_bavail * status.f_frsize
    for variable, size, expected in (("", 0, memory), ("", free, place), ("set", 0, place)):
        if variable:
            monkeypatch.setenv("TMPDIR", str(place))
        else:
            monkeypatch.delenv("TMPDIR")
            monkeypatch.setattr(tempfile, "tempdir", str(place))
        ours = Scratch(size)
        assert ours.path.parent == expected.resolve()
        ours.close()
        monkeypatch.setenv("TMPDIR", str(place))
