"""The volunteer's program: what is signed runs, nothing else does, and a server gives no orders."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

import pyboinc
from pyboinc import boinc_api, codec, signing, slave_volunteer, slave_watcher
from pyboinc.bundle import stored_zip
from pyboinc.errors import ConfigurationError, SlaveError

PROGRAM = """
import json
from app_types import double
from pyboinc import pyboinc_get_input, pyboinc_return_output
pyboinc_return_output(double(pyboinc_get_input()))
"""
TYPES = "def double(x):\n    return 2 * x\n"
ZIPPED = stored_zip({"app_slave.py": PROGRAM.encode(), "app_types.py": TYPES.encode()})


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return signing.generate()


@pytest.fixture
def slot(tmp_path: Path, key: rsa.RSAPrivateKey) -> Path:
    """A directory with a signed archive and an input; the public key beside it."""
    (tmp_path / "key").write_text(signing.public_key(key))
    slot = tmp_path / "data" / "slots" / "0"
    slot.mkdir(parents=True)
    (slot / "slave.zip").write_bytes(signing.sign_archive(ZIPPED, "app_slave.py", key))
    (slot / "in").write_bytes(codec.encode(7))
    return slot


def volunteer(slot: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the volunteer's program in *slot*, with *arguments* besides its key."""
    command = [sys.executable, "-m", "pyboinc.slave_volunteer", "--public-key", "../../../key"]
    return subprocess.run(
        [*command, *arguments], cwd=slot, capture_output=True, text=True, check=False
    )


def under_client(slot: Path) -> Path:
    """Make of *slot* what a BOINC client makes; return the project's directory."""
    project = slot.parent.parent / "projects" / "127.0.0.1_test"
    project.mkdir(parents=True)
    for name, there in (("slave.zip", "pyb_slave_1.zip"), ("in", "pyb_1_0.in")):
        (slot / name).rename(project / there)
        (slot / name).write_text(f"<soft_link>../../projects/127.0.0.1_test/{there}</soft_link>\n")
    link = "<soft_link>../../projects/127.0.0.1_test/pyb_1_0_0_r1_0</soft_link>\n"
    (slot / "out").write_text(link)
    (slot / "init_data.xml").write_text("<app_init_data>\n</app_init_data>\n")
    return project


def output(path: Path) -> object:
    return codec.decode(path.read_bytes(), codec.Registry({}))


def test_by_hand_a_job_runs_in_any_directory(slot: Path) -> None:
    """Stand-alone: with slave.zip and in, out is made; again, it is made again."""
    for _ in range(2):
        ended = volunteer(slot)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
        assert output(slot / "out") == 14


def test_under_a_client_a_job_runs_through_soft_links(slot: Path) -> None:
    """Volunteers: archive, input and output are where the client's soft links say."""
    project = under_client(slot)
    ended = volunteer(slot)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert output(project / "pyb_1_0_0_r1_0") == 14
    assert (slot / "boinc_finish_called").read_text() == "0\n"


def test_what_nobody_signed_does_not_run(slot: Path, key: rsa.RSAPrivateKey) -> None:
    """Signatures: a changed archive, one of another key and a bare zip are refused by name."""
    whole = (slot / "slave.zip").read_bytes()
    changed = whole.replace(b"2 * x", b"3 * x")
    for data, why in (
        (changed, "was changed or damaged"),
        (signing.sign_archive(ZIPPED, "app_slave.py", signing.generate()), "signed by the key"),
        (ZIPPED, "no signed archive"),
    ):
        (slot / "slave.zip").write_bytes(data)
        ended = volunteer(slot)
        assert ended.returncode == 2
        assert ended.stderr.startswith("pyboinc: ") and ended.stderr.count("\n") == 1
        assert why in ended.stderr
        assert sorted(os.listdir(slot)) == ["in", "slave.zip"]


def test_a_missing_and_an_endless_archive_are_named(slot: Path) -> None:
    """Signatures: without an archive, or with one that never ends, a line says so."""
    (slot / "slave.zip").unlink()
    ended = volunteer(slot)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "no signed archive to be run here" in ended.stderr
    with open(slot / "slave.zip", "wb") as file:
        file.truncate(100_000_001)
    ended = volunteer(slot)
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "larger than 100,000,000 bytes" in ended.stderr


@pytest.mark.parametrize("place", ["json.py", "numpy/__init__.py", "__pycache__/x.pyc"])
def test_a_server_can_not_put_code_beside_the_program(slot: Path, place: str) -> None:
    """A stolen server: files that it has copied to where the code is unpacked are never run."""
    put = slot / "program" / place
    put.parent.mkdir(parents=True)
    put.write_text("raise SystemExit('theirs')")
    ended = volunteer(slot)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert output(slot / "out") == 14
    assert not put.exists()


@pytest.mark.parametrize("link", [False, True])
def test_a_server_can_not_block_the_place(slot: Path, tmp_path: Path, link: bool) -> None:
    """A stolen server: a file or a link where the code is unpacked to is only removed."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").touch()
    if link:
        (slot / "program").symlink_to(tmp_path / "precious")
    else:
        (slot / "program").touch()
    assert volunteer(slot).returncode == 0
    assert os.listdir(tmp_path / "precious") == ["file"]


@pytest.mark.parametrize(
    "target",
    [
        "/etc/passwd",
        "../../../precious",
        "../../projects/../../precious",
        "../../projects/127.0.0.1_test/../../../precious",
        "../../projects/127.0.0.1_test/..",
        "../../projects/../precious",
        "../../projects/./precious",
        "../../slots/1/in",
        "precious",
        "",
    ],
)
def test_a_server_can_not_choose_what_is_written(slot: Path, tmp_path: Path, target: str) -> None:
    """A stolen server: its own "soft link" for the output, to any other file, is refused."""
    project = under_client(slot)
    (tmp_path / "precious").write_text("precious")
    (slot / "out").write_text(f"<soft_link>{target}</soft_link>\n")
    ended = volunteer(slot)
    assert ended.returncode == 1
    assert "a soft link that no BOINC client makes" in ended.stderr
    assert (tmp_path / "precious").read_text() == "precious"
    assert sorted(os.listdir(project)) == ["pyb_1_0.in", "pyb_slave_1.zip"]
    with pytest.raises(SlaveError, match="no BOINC client makes"):
        boinc_api.resolve(str(slot / "out"))


def test_hostile_input_is_refused(slot: Path) -> None:
    """A stolen server: an input that would run something is refused by the safe loader."""
    (slot / "in").write_bytes(b"\x80\x04cos\nsystem\n(S'touch theirs'\ntR.")
    ended = volunteer(slot)
    assert ended.returncode == 1
    assert "RejectedResult" in ended.stderr
    assert not (slot / "theirs").exists()


def test_the_usage_is_said(slot: Path) -> None:
    """Volunteers: without a key, with one that is missing or none, the program says so."""
    command = [sys.executable, "-m", "pyboinc.slave_volunteer"]
    for arguments, why in (
        ([], "usage: "),
        (["--public-key", "missing"], "missing"),
        (["--public-key", "in"], "no public key"),
    ):
        ended = subprocess.run(
            [*command, *arguments], cwd=slot, capture_output=True, text=True, check=False
        )
        assert ended.returncode in (1, 2)
        assert why in ended.stderr and ended.stderr.count("\n") == 1


def test_started_as_a_client_does_it_a_slave_that_raises_shows_its_own_frames(
    slot: Path, key: rsa.RSAPrivateKey
) -> None:
    """Volunteers: a client starts ``../../projects/X``; our frames are left out then, too."""
    raises = stored_zip({"app_slave.py": b"def fails():\n    raise ValueError('seven')\nfails()\n"})
    (slot / "slave.zip").write_bytes(signing.sign_archive(raises, "app_slave.py", key))
    app = slot.parent.parent / "app.pyz"
    with ZipFile(app, "w") as archive:
        for file in Path(pyboinc.__file__).parent.glob("**/*.py"):
            archive.write(file, Path("pyboinc") / file.relative_to(Path(pyboinc.__file__).parent))
        start = f"from pyboinc.slave_volunteer import main\nmain({signing.public_key(key)!r})\n"
        archive.writestr("__main__.py", start)
    ended = subprocess.run(
        [sys.executable, "-I", "../../app.pyz"],
        cwd=slot,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith("ValueError: seven\n")
    assert "slave_runner" not in ended.stderr
    assert "slave_program" not in ended.stderr


def test_a_full_disk_is_tried_again_later(slot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Volunteers: where the code can not be unpacked now, the client starts the task later.

    By hand, it is an error.
    """
    public_key = (slot.parent.parent.parent / "key").read_text()
    monkeypatch.chdir(slot)
    # Neither the lock of the slot nor a thread is for this process.
    monkeypatch.setattr(boinc_api.Task, "occupy", lambda self: None)
    monkeypatch.setattr(slave_watcher.Watcher, "start", lambda self: None)
    monkeypatch.setattr(os, "_exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "chmod", full)
    with pytest.raises(ConfigurationError, match="No space left"):
        slave_volunteer.run(public_key)
    with pytest.raises(SystemExit, match="^2$"):
        slave_volunteer.main(public_key)
    under_client(slot)
    with pytest.raises(SystemExit, match="^0$"):
        slave_volunteer.run(public_key)
    seconds, reason, _ = (slot / "boinc_temporary_exit").read_text().split("\n")
    assert seconds == "600"
    assert "No space left" in reason
