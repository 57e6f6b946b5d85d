"""Slots: whose files a job that goes on finds there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyboinc.backends.local import slots
from pyboinc.backends.local.slots import Slot


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A slot in which a job has begun; a slot is entered, so the test must get back."""
    monkeypatch.chdir(tmp_path)
    slot = tmp_path / "0"
    Slot(str(slot)).prepare(b"input")
    (slot / "checkpoint").write_bytes(b"state")
    return slot


def test_a_job_that_goes_on_finds_its_own_files(path: Path) -> None:
    """Restart: the host's job goes on from its checkpoint."""
    Slot(str(path), keep=True).prepare(b"input")
    assert (path / "checkpoint").read_bytes() == b"state"


def test_a_job_never_goes_on_from_the_checkpoint_of_another(path: Path) -> None:
    """Recovery: a slot that another job has taken since is emptied, for its state is wrong."""
    Slot(str(path), keep=True).prepare(b"INPUT")
    assert not (path / "checkpoint").exists()
    assert (path / "in").read_bytes() == b"INPUT"


def test_a_slot_whose_input_is_gone_is_emptied(path: Path) -> None:
    """Recovery: without the input nobody knows whose files these are."""
    (path / "in").unlink()
    (path / "in").symlink_to("checkpoint")
    Slot(str(path), keep=True).prepare(b"state")
    assert not (path / "checkpoint").exists()


def test_a_slot_that_can_not_be_emptied_is_set_aside(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots: whatever keeps a slot from being emptied, the next job gets an empty one."""

    def fail(name: str) -> None:
        monkeypatch.undo()
        monkeypatch.chdir(path.parent)
        raise OSError("not permitted")

    monkeypatch.setattr(slots, "_remove", fail)
    Slot(str(path)).prepare(b"INPUT")
    assert [one.name for one in path.iterdir()] == ["in"]
    (aside,) = path.parent.glob("0.spoilt-*")
    assert (aside / "checkpoint").read_bytes() == b"state"


def test_two_keepers_begin_in_the_same_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slots: the directory of all slots is made once, whichever keeper is the first."""
    above = tmp_path / "slots"
    make = os.mkdir

    def mkdir(path: str) -> None:
        if path == str(above):
            make(path)  # by the other one
        make(path)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "mkdir", mkdir)
    Slot(str(above / "1")).prepare(b"input")
    assert (above / "1" / "in").read_bytes() == b"input"
