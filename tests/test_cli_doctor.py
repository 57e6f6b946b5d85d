"""``pyboinc doctor``: OK or what to do, a line a check."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from cli_apps import TYPES, make_app, python, verb

from pyboinc import locks
from pyboinc.cli import findings
from pyboinc.cli.findings import Finding
from pyboinc.cli.init import template
from pyboinc.config.settings import cores


def bad(found: Iterable[Finding]) -> list[Finding]:
    return [one for one in found if one.good is False]


def notes(found: Iterable[Finding]) -> list[Finding]:
    return [one for one in found if one.good is None]


def test_doctor_finds_this_computer_and_a_new_app_well(tmp_path: Path) -> None:
    """doctor: exit code 0, every line OK or a note, a real trial run among them."""
    assert verb("init", tmp_path / "app").exit_code == 0
    result = verb("doctor", tmp_path / "app")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.stdout
    assert lines[-1] == "All is well."
    assert all(line.startswith(("OK    ", "note  ", "        ")) for line in lines[:-1])
    assert "OK    a trial on the emulator: 100 jobs in real processes" in lines
    assert any(line.startswith("OK    app_slave.py: 2 files") for line in lines)
    assert sorted(path.name for path in (tmp_path / "app").iterdir()) == [
        "app_master.py",
        "app_slave.py",
        "app_types.py",
        "pyboinc.toml",
    ]


def test_doctor_says_what_to_mend(tmp_path: Path) -> None:
    """doctor: exit code 2, MEND and the remedy below, and how many there are."""
    make_app(tmp_path, slave="import no_such_package, app_types\n")
    (tmp_path / "pyboinc.toml").write_text("quorum = 0\n")
    result = verb("doctor", "--no-trial", tmp_path)
    assert result.exit_code == 2
    assert "MEND  the settings can not be\n        quorum in" in result.stdout
    assert "1 to mend." in result.stdout or "2 to mend." in result.stdout
    assert "trial" not in result.stdout


@pytest.mark.parametrize(
    ("patch", "check", "text"),
    [
        (("sys", "version_info", (3, 10, 1)), findings.python, "Python 3.10.1"),
        (("sqlite3", "sqlite_version_info", (3, 7, 0)), findings.python, "SQLite"),
        (("sys", "platform", "win32"), findings.system, "win32: no master runs here yet"),
    ],
)
def test_a_computer_that_is_not_fit_is_named(
    patch: tuple[str, str, object],
    check: Callable[[], Iterable[Finding]],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """doctor: what can not work here is a fault, with what is needed."""
    module, name, value = patch
    monkeypatch.setattr(getattr(findings, module), name, value)
    (finding,) = bad(check())
    assert text in finding.text
    assert finding.remedy


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_the_two_systems_it_is_made_for(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """doctor: Linux is well, macOS has a note that short jobs are slower."""
    monkeypatch.setattr(sys, "platform", platform)
    (finding,) = findings.system()
    assert finding.good is (True if platform == "linux" else None)


def test_limits_that_are_too_low_are_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """doctor: ulimit -n and -u, with the number to give; no limit is well."""
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10, 4096))
    files, processes = bad(findings.limits())
    assert files.text == f"10 open files, {cores()} cores"
    assert "ulimit -n 256 (you may set up to 4096)" in files.remedy
    assert f"ulimit -u {64 + 8 * cores()}" in processes.remedy
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda which: unlimited)
    assert [one.text.partition(",")[0] for one in findings.limits()] == [
        "no limit on open files",
        "no limit on processes",
    ]


def test_a_package_that_is_missing_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """doctor: nothing that is optional is a fault; how to install it is said."""
    monkeypatch.setattr(findings, "find_spec", lambda name: None)
    found = list(findings.packages())
    assert notes(found) == found
    assert "rich is not installed: the live display" in found[0].text
    assert "pip install rich" in found[0].remedy


def test_a_trial_that_fails_says_with_what_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """doctor: the last words of the trial are the start of the search; scratch is removed."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(findings.tempfile, "tempdir", None)
    monkeypatch.setattr(findings, "template", lambda name: "raise OSError('no forks left')")
    (finding,) = findings.trial()
    assert finding.good is False
    assert "OSError: no forks left" in finding.remedy
    monkeypatch.setattr(findings, "template", lambda name: "")
    (finding,) = findings.trial()
    assert "exit code 0" in finding.remedy
    assert list(tmp_path.iterdir()) == []


# The disk


def test_the_disk_of_the_directory_is_tried(tmp_path: Path) -> None:
    """doctor: writing, flock, fsync and the disk's clock; nothing is left there."""
    found = list(findings.storage(tmp_path))
    assert bad(found) == []
    assert any(one.text == "locks hold (flock)" for one in found)
    assert any(one.text.startswith("fsync takes") for one in found)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_a_slow_one_and_one_with_another_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """doctor: too little room is a fault; a slow disk and a wrong clock are worth a note."""
    usage = type(findings.shutil.disk_usage(tmp_path))(100, 99, 1)
    monkeypatch.setattr(findings.shutil, "disk_usage", lambda path: usage)
    monkeypatch.setattr(findings, "SLOW_FSYNC", 0.0)
    monkeypatch.setattr(findings.time, "time", lambda: 0.0)
    monkeypatch.setattr(findings, "filesystem", lambda path: "nfs4")
    found = list(findings.storage(tmp_path))
    assert [one.text for one in bad(found)] == ["0.0 GB free"]
    remarks = " ".join(one.text for one in notes(found))
    assert "a network file system (nfs4)" in remarks
    assert "fsync takes" in remarks
    assert "s off" in remarks


def test_a_directory_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """doctor: says why, and what helps."""

    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(findings.tempfile, "mkstemp", refuse)
    (finding,) = bad(findings.storage(tmp_path))
    assert finding.text == "nothing can be written here"
    assert "the file system is read-only" in finding.remedy


def test_locks_that_do_not_hold_are_a_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """doctor: a file system without flock would let two masters in."""
    monkeypatch.setattr(locks, "lock_holder", lambda path: None)
    (finding,) = bad(findings.storage(tmp_path))
    assert finding.text == "locks hold (flock)"
    assert "local disk" in finding.remedy


MOUNTS = """\
rootfs / ext4 rw 0 0
server:/home /home nfs4 rw 0 0
server:/big /home/ann/my\\040data cifs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/ann/x", "nfs4"), ("/etc", "ext4"), ("/home/ann/my data/x", "cifs"), ("/", "ext4")],
)
def test_the_kind_of_a_file_system(path: str, kind: str, tmp_path: Path) -> None:
    """doctor: the innermost mount point counts, also with a blank in its name."""
    (tmp_path / "mounts").write_text(MOUNTS)
    assert findings.filesystem(Path(path), tmp_path / "mounts") == kind
    assert findings.filesystem(Path(path), tmp_path / "none") == "unknown"
    (tmp_path / "mounts").write_text("")
    assert findings.filesystem(Path(path), tmp_path / "mounts") == "unknown"


# The programs


def test_programs_are_read_and_not_run(tmp_path: Path) -> None:
    """doctor: master, slaves and what each imports, found in their text."""
    make_app(
        tmp_path,
        master="import pyboinc, missing_one\nraise SystemExit('run')\n"
        "def make_calls():\n    pyboinc.pyboinc_call('app_slave.py', 1)\n"
        "    pyboinc.pyboinc_call(name, 1)\n    print(1)\n",
        slave="import app_types, missing_two, missing_three\nraise SystemExit('run')\n",
    )
    found = list(findings.programs(tmp_path))
    assert [one.text for one in found] == [
        "app_master.py: 1 files",
        "app_master.py imports missing_one, not installed here",
        found[2].text,
        "app_slave.py imports missing_two, missing_three, not installed here",
    ]
    assert found[2].text.startswith("app_slave.py: 2 files, ")
    assert "pip install missing_two missing_three" in found[3].remedy


def test_programs_that_are_not_there_or_no_python(tmp_path: Path) -> None:
    """doctor: an empty directory is no fault; a slave that is missing or broken is one."""
    (finding,) = findings.programs(tmp_path)
    assert (finding.good, finding.text) == (None, "no app_master.py here")
    assert "pyboinc init" in finding.remedy
    make_app(tmp_path, slave="print(")
    (finding,) = bad(findings.programs(tmp_path))
    assert "app_slave.py" in finding.remedy
    (tmp_path / "app_slave.py").unlink()
    (finding,) = bad(findings.programs(tmp_path))
    assert "app_slave.py" in finding.remedy


# What earlier runs have left


def test_the_state_of_a_batch(tmp_path: Path) -> None:
    """doctor: how far it is; a master at work, changes and a move are notes, never faults."""
    (one,) = findings.state(tmp_path)
    assert (one.good, one.text) == (True, "no batch has been begun here")
    app = tmp_path / "app"
    app.mkdir()
    for name in ("app_types.py", "app_master.py", "app_slave.py"):
        (app / name).write_text(template(name))
    assert python("app_master.py", "--seed", "1", cwd=app).returncode == 0
    (one,) = findings.state(app)
    assert (one.good, one.text) == (True, "batch 1: 100 of 100 handled")
    assert findings._program(app) == "app_master.py"

    moved = app.rename(tmp_path / "moved")
    (moved / "app_types.py").write_text(TYPES)
    lock = locks.take_lock(moved / ".pyboinc" / "lock")
    found = list(findings.state(moved))
    os.close(lock)
    assert bad(found) == []
    assert [one.text for one in notes(found)] == [
        f"a master is at work (process {os.getpid()})",
        f"this directory was {app}",
        "since the batch was begun: app_types.py changed",
    ]
    assert "--accept-changes" in found[-1].remedy

    (moved / "app_slave.py").write_text("print(")
    (broken,) = bad(findings.state(moved))
    assert "app_slave.py" in broken.remedy
    (moved / ".pyboinc" / "run.json").write_text(json.dumps({"format": 1}))
    (damaged,) = bad(findings.state(moved))
    assert damaged.text == "the batch here can not be read"


def test_a_batch_whose_calls_were_never_made(tmp_path: Path) -> None:
    """doctor: a master killed in make_calls has left nothing that matters."""
    app = make_app(tmp_path / "app", master="import os\n" + KILLED_IN_MAKE_CALLS)
    assert python("app_master.py", cwd=app).returncode == -9
    (note,) = notes(findings.state(app))
    assert note.text == "make_calls did not return"


KILLED_IN_MAKE_CALLS = """\
from pyboinc import pyboinc_master
pyboinc_master(lambda: os.kill(os.getpid(), 9), print)
"""


def test_the_clock_that_deadlines_are_measured_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """doctor: a monotonic clock in fine steps is well, any other is a fault."""
    assert bad(findings.clocks()) == []
    coarse = type("Info", (), {"monotonic": True, "resolution": 1.0})()
    monkeypatch.setattr(time, "get_clock_info", lambda name: coarse)
    assert len(bad(findings.clocks())) == 1
