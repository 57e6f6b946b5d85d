"""ops/py_boinc.php: finds the project it is run in, and hands everything to ``pyboinc setup``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from project_directory import contents, make_project, put_program
from source import ROOT

PHP = shutil.which("php")
SCRIPT = ROOT / "ops" / "py_boinc.php"
SAYS_ITS_WORDS = '#!/bin/sh\nprintf "%s|" "$@"\ncat\nexit 42\n'


@pytest.fixture
def pyboinc(tmp_path: Path) -> Path:
    """A directory with a command `pyboinc` that says what it was called with."""
    place = tmp_path / "some where"
    place.mkdir()
    put_program(place / "pyboinc", SAYS_ITS_WORDS)
    return place


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "my project")


def php(
    *words: str, cwd: Path, flags: tuple[str, ...] = (), stdin: str = "", **environ: object
) -> subprocess.CompletedProcess[str]:
    """Run the script."""
    if PHP is None:
        pytest.skip("PHP's command line is missing: apt-get install php-cli")
    return subprocess.run(
        [PHP, *flags, str(SCRIPT), *words],
        cwd=cwd,
        env={"PATH": "/usr/bin:/bin", **{name: str(value) for name, value in environ.items()}},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_it_hands_everything_on(project: Path, pyboinc: Path) -> None:
    """py_boinc.php: the project, every argument as it is, stdin, output and exit code."""
    words = ("--dry-run", "a b", "$(touch owned)", "'", "*", "")
    path = f"{pyboinc}:/usr/bin:/bin"
    done = php(*words, cwd=project / "html" / "ops", stdin="typed", PATH=path)
    assert done.stderr == ""
    assert (done.returncode, done.stdout) == (42, f"setup|{project}|{'|'.join(words)}|typed")
    assert not list(project.rglob("owned"))


def test_the_project_can_be_named(project: Path, pyboinc: Path, tmp_path: Path) -> None:
    """py_boinc.php: BOINC_PROJECT_DIR and PYBOINC win over what is found."""
    command = pyboinc / "pyboinc"
    done = php(cwd=tmp_path, BOINC_PROJECT_DIR=project, PYBOINC=command)
    assert (done.returncode, done.stdout) == (42, f"setup|{project}|")
    done = php(cwd=project, BOINC_PROJECT_DIR=tmp_path, PYBOINC=command)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no config.xml is there" in done.stderr


def test_it_says_what_is_missing(project: Path, pyboinc: Path, tmp_path: Path) -> None:
    """py_boinc.php: no project, no pyboinc, or no leave to start it: the next step in words."""
    done = php(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "go to the directory of your project" in done.stderr
    done = php(cwd=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'pyboinc[boinc]'" in done.stderr
    done = php(cwd=project, PYBOINC=tmp_path / "none")
    assert done.returncode == 2
    assert "can not be run" in done.stderr
    flags = ("-d", "disable_functions=proc_open")
    done = php(cwd=project, flags=flags, PYBOINC=pyboinc / "pyboinc")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{pyboinc}/pyboinc' setup '{project}'" in done.stderr


def test_it_prepares_a_project(project: Path, tmp_path: Path) -> None:
    """py_boinc.php: the real command behind it, first shown, then done, and its refusals."""
    command = tmp_path / "real"
    put_program(
        command, f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m pyboinc "$@"\n'
    )
    before = contents(project)
    done = php("--dry-run", cwd=project, PYBOINC=command)
    assert done.returncode == 0, done.stderr
    assert "+++ b/config.xml" in done.stdout
    assert contents(project) == before
    done = php("--yes", cwd=project, PYBOINC=command)
    assert done.returncode == 0, done.stderr
    assert os.access(project / "bin/pyboinc_assimilate", os.X_OK)
    assert php("--app", "a b", cwd=project, PYBOINC=command).returncode == 2
