"""The runner's last steps, in this process: what it prints, waits for and returns."""

from __future__ import annotations

import builtins
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyboinc import boinc_api, codec, slave, slave_runner
from pyboinc.slave_program import Program

RETURN = "from pyboinc import pyboinc_return_output\npyboinc_return_output(1)\n"


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with an input; what a program changes in this process is put back."""
    monkeypatch.chdir(tmp_path)
    quiet = functools.partial(slave_runner.run, at_exit=lambda: None)
    monkeypatch.setattr(slave_runner, "run", quiet)  # pytest's own handlers are not for now
    # It would be the end of all thread pools in this process.
    monkeypatch.setattr(slave_runner, "_join_threads", lambda: None)
    monkeypatch.setattr(slave, "_instance", None)
    monkeypatch.setattr(builtins, "__import__", builtins.__import__)
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    (tmp_path / "in").write_bytes(codec.encode(7))
    yield tmp_path
    sys.modules.pop("own_helper", None)


def run(slot: Path, text: str, helper: str = "", prepared: bool = True) -> int:
    directory = slot / "program"
    directory.mkdir(exist_ok=True)
    (directory / "app_slave.py").write_text(text)
    (directory / "own_helper.py").write_text(helper)
    program = Program(str(directory), "app_slave.py")
    if prepared:
        program.prepare()
    program.install()
    slave.begin(slave.Instance(str(slot), program.classes))
    try:
        return slave_runner.run(program)
    finally:
        program.uninstall()


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [
        (RETURN, 0, ""),
        (RETURN + "raise SystemExit", 0, ""),
        (RETURN + "raise SystemExit(2)", 2, ""),
        (RETURN + "raise SystemExit('no')", 1, "no\n"),
        ("raise SystemExit(0)", 1, "called sys.exit(0) without an output"),
        ("pass", 1, "ended without an output"),
        ("1 / 0", 1, "ZeroDivisionError"),
        ("import own_helper", 1, "NameError"),
    ],
)
@pytest.mark.parametrize("prepared", [True, False])
def test_the_exit_status(
    slot: Path,
    capsys: pytest.CaptureFixture[str],
    text: str,
    status: int,
    message: str,
    prepared: bool,
) -> None:
    """Runner: the status tells how a program ended, and stderr why."""
    assert run(slot, text, helper="undefined", prepared=prepared) == status
    assert message in capsys.readouterr().err
    assert "own_helper" not in sys.modules


def test_a_hook_of_the_programs_own_is_called(
    slot: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runner: sys.excepthook decides how an error is shown."""
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: print(kind.__name__))
    assert run(slot, "1 / 0") == 1
    assert capsys.readouterr().out == "ZeroDivisionError\n"


def test_streams_that_can_not_be_flushed(slot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runner: a program that has lost its stderr may still succeed."""
    monkeypatch.setattr(sys, "stderr", None)
    assert run(slot, RETURN) == 0


def test_a_client_is_told_last(slot: Path) -> None:
    """Runner: under a client the finish file is written when all else is done."""
    (slot / "init_data.xml").write_text("<app_init_data></app_init_data>")

    def install(text: str) -> int:
        directory = slot / "program"
        directory.mkdir(exist_ok=True)
        (directory / "app_slave.py").write_text(text)
        program = Program(str(directory), "app_slave.py")
        program.install()
        task = boinc_api.Task(str(slot))
        slave.begin(slave.Instance(str(slot), program.classes, task))
        return slave_runner.run(program)

    assert install("1 / 0") == 1
    assert not (slot / "boinc_finish_called").exists()
    assert install(RETURN) == 0
    assert (slot / "boinc_finish_called").exists()


def test_the_archive_of_a_command_line_is_run(slot: Path) -> None:
    """Runner: ARCHIVE SLAVE unpacks into the slot and runs there."""
    from computers import pack

    pack(slot / "archive.zip", {"app_slave.py": RETURN})
    assert slave_runner.main(["archive.zip", "app_slave.py"]) == 0
    assert codec.decode((slot / "out").read_bytes(), codec.Registry({})) == 1
    assert (slot / "program" / "app_slave.py").exists()
