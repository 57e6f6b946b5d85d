"""What is shipped: the wheel and the sdist hold what they must, and the wheel alone works."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from source import PACKAGE, ROOT


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the sdist, built from a copy of the sources."""
    place = tmp_path_factory.mktemp("built")
    copy = place / "sources"
    made = (".git", ".venv*", ".tox", ".*_cache", ".hypothesis", ".coverage*", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*made))
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(place)]
    subprocess.run(build, cwd=copy, check=True, capture_output=True)
    return place


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    (path,) = built.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    """Packaging: all of pyboinc/ and simulator/, py.typed and data files too, and nothing else."""
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    ours = {
        str(path.relative_to(ROOT))
        for package in (PACKAGE, ROOT / "simulator")
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert shipped == ours
    assert "pyboinc/py.typed" in shipped


def test_the_wheel_says_its_licence_and_its_command(wheel: zipfile.ZipFile) -> None:
    """Packaging: LGPL-3.0-or-later with both texts, the command ``pyboinc``, its plugin."""
    (info,) = {name.split("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    metadata = wheel.read(f"{info}/METADATA").decode()
    assert "License-Expression: LGPL-3.0-or-later" in metadata
    for text in ("LICENSE", "COPYING"):
        assert wheel.read(f"{info}/licenses/{text}") == (ROOT / text).read_bytes()
    commands = configparser.ConfigParser()
    commands.read_string(wheel.read(f"{info}/entry_points.txt").decode())
    assert dict(commands["console_scripts"]) == {"pyboinc": "pyboinc.cli:main"}
    assert dict(commands["pytest11"]) == {"pyboinc": "pyboinc.pytest_plugin"}


def test_the_sdist_holds_what_is_needed_to_work_on_it(built: Path) -> None:
    """Packaging: tests, examples, documents and both licence texts are in the sdist."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    for wanted in (
        "COPYING",
        "LICENSE",
        "Makefile",
        "README.md",
        "examples/sum_of_squares/expected_output.txt",
        "tests/conftest.py",
        "tox.ini",
    ):
        assert wanted in names


def test_the_wheel_alone_runs_an_example(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Packaging: what is in the wheel is enough to get the answer, without the sources."""
    wheel.extractall(tmp_path / "site")
    shutil.copytree(ROOT / "examples" / "sum_of_squares", tmp_path / "job")
    # Coverage is measured in the sources: here it would count every line a second time.
    environment = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    environment["PYTHONPATH"] = str(tmp_path / "site")
    run = subprocess.run(
        [sys.executable, "app_master.py"],
        cwd=tmp_path / "job",
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.returncode) == ("The answer is 328350\n", 0), run.stderr
