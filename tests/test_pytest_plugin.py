"""The pytest plugin: what it gives the tests of somebody's own program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest
from source import ROOT

EXAMPLE = ROOT / "examples" / "sum_of_squares"

FAILING = """
import pytest

def test_the_order(pyboinc_simulate):
    pyboinc_simulate("app_master.py", hosts=20, failure_rate=0.5)

@pytest.mark.pyboinc_seeds(2)
def test_of_its_own(pyboinc_simulate):
    simulated = pyboinc_simulate("app_master.py", hosts=20)
    assert simulated.days < 0

def test_a_mistake(pyboinc_simulate):
    pyboinc_simulate("app_master.py", failure_rat=0.5)

def test_a_seed(pyboinc_seed):
    assert pyboinc_seed == 1
"""


def suite(path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run pytest in a directory of somebody's own, where no other plugin is installed."""
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    ours = {"PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pyboinc", "-p", "no:cacheprovider", "-q", *flags],
        cwd=path,
        env=environment | ours,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A copy of the first example, without its expected output."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "app"))


def test_pytest_finds_it() -> None:
    """Plugin: it is there wherever PyBOINC is installed."""
    (entry,) = entry_points(group="pytest11", name="pyboinc")
    assert entry.value == "pyboinc.pytest_plugin"


def test_the_example_of_the_document(app: Path) -> None:
    """docs/simulate.md: the example can be pasted, and every test in it passes."""
    text = (ROOT / "docs" / "simulate.md").read_text("utf-8")
    (example,) = re.findall(r"```python\n(# test_app.py\n.*?)```", text, re.DOTALL)
    (app / "test_app.py").write_text(example)
    before = sorted(os.listdir(app))
    run = suite(app, "-W", "error")
    assert run.returncode == 0, run.stdout + run.stderr
    assert "6 passed" in run.stdout
    assert sorted(os.listdir(app)) == before


def test_a_failing_test_says_how_to_repeat_it(app: Path) -> None:
    """Plugin: the seed, the test's own command, and that of the simulation; a seed of one's own."""
    text = (app / "app_master.py").read_text().replace("range(100)", "range(6)")
    (app / "app_master.py").write_text(text.replace("squares.append(", "print("))
    (app / "test_app.py").write_text(FAILING)
    run = suite(app, "--pyboinc-seed=11")
    assert run.returncode == 1
    for told in (
        "it printed something else (- without faults, + with them)",
        "--failure-rate=0.5 --seed 11",
        "seed 11\nrepeat:  pytest 'test_app.py::test_the_order' --pyboinc-seed 11",
        "repeat:  pytest 'test_app.py::test_of_its_own[seed12]' --pyboinc-seed 11",
        "simulated:  pyboinc simulate",
        "there is no 'failure_rat' to simulate; did you mean failure_rate?",
        "5 failed",
    ):
        assert told in run.stdout, run.stdout


def test_a_marker_that_means_nothing(app: Path) -> None:
    """Plugin: seeds of a test that uses none, or no number of seeds, are refused."""
    (app / "test_one.py").write_text(
        "import pytest\n@pytest.mark.pyboinc_seeds(2)\ndef test_it(): pass\n"
    )
    (app / "test_two.py").write_text(
        "import pytest\n@pytest.mark.pyboinc_seeds('2')\ndef test_it(pyboinc_seed): pass\n"
    )
    told = suite(app, "--continue-on-collection-errors").stdout
    assert "pyboinc_seeds needs a test that uses pyboinc_simulate" in told
    assert "write pyboinc_seeds(20)" in told
