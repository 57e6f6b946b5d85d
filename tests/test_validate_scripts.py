"""bin/pyboinc_validate and bin/pyboinc_compare: what the daemon is told, whatever happens here."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pyboinc.administration import scripts

SHELLS = [name for name in ("sh", "dash", "bash") if shutil.which(name)]


def install(project: Path, python: str) -> Path:
    """Put both scripts into a project; return the directory that its daemons work in."""
    for name in ("bin", "tmp_host"):
        (project / name).mkdir(parents=True)
    for name in (scripts.VALIDATE, scripts.COMPARE):
        (project / "bin" / name).write_text(scripts.text(name, python))
        (project / "bin" / name).chmod(0o755)
    return project / "tmp_host"


def interpreter(place: Path, end: str) -> str:
    """An interpreter that tells how it was called and ends in a certain way."""
    program = place / "my python"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$BOINC_PROJECT_DIR" "$@"\n{end}\n')
    program.chmod(0o755)
    return str(program)


def call(name: str, *words: str, cwd: Path, shell: str = "sh") -> subprocess.CompletedProcess[str]:
    command = [shell, f"../bin/{name}", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_judge_is_asked(tmp_path: Path, shell: str) -> None:
    """Validation: the scripts hand on all paths, and say which project they are of."""
    project = tmp_path / "my project"
    daemon = install(project, interpreter(tmp_path, "exit 0"))
    start = f"{project}|-P|-m|pyboinc.administration.validate|"
    done = call(scripts.VALIDATE, "../upload/a b", "*", cwd=daemon, shell=shell)
    assert (done.returncode, done.stdout) == (0, f"{start}../upload/a b|*|")
    done = call(scripts.COMPARE, "one", "two", cwd=daemon, shell=shell)
    assert (done.returncode, done.stdout) == (0, f"{start}--compare|one|two|")


@pytest.mark.parametrize("name", [scripts.VALIDATE, scripts.COMPARE])
@pytest.mark.parametrize(
    ("end", "status"),
    [
        ("exit 0", 0),
        ("exit 20", 1),
        ("exit 3", 3),
        ("exit 1", 3),
        ("exit 2", 3),
        ("exit 127", 3),
        ("kill -9 $$", 3),
    ],
)
def test_only_a_judgement_makes_a_result_invalid(
    tmp_path: Path, name: str, end: str, status: int
) -> None:
    """Validation: an interpreter that is broken or killed is no fault of a volunteer's."""
    done = call(name, "x", cwd=install(tmp_path / "project", interpreter(tmp_path, end)))
    assert done.returncode == status
    assert ("tried again later" in done.stderr) == (status == 3)


def test_an_interpreter_that_is_gone(tmp_path: Path) -> None:
    """Validation: somebody removed the environment that PyBOINC was installed in."""
    daemon = install(tmp_path / "project", str(tmp_path / "gone" / "python"))
    assert call(scripts.VALIDATE, "x", cwd=daemon).returncode == 3
