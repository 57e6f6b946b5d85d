"""The examples are real: each prints its expected output, whatever happens to it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from measuring import unmeasured
from source import ROOT

EXAMPLES = ROOT / "examples"

NAMES = ["sum_of_squares", "hyper_parameters", "evolution"]

FAILING = ["--failure-rate", "0.2", "--seed", "7"]
FLAGS = {"hyper_parameters": ["--workers=1", *FAILING]}
"""Each worker imports scikit-learn: two do it once, and what is killed has instances that fail."""

KILLED_AT = """
import functools, os, runpy, signal, sys
import pyboinc

last, real_master = int(sys.argv.pop(1)), pyboinc.pyboinc_master

def master_that_is_killed(make_calls, handle_result):
    handled = []

    @functools.wraps(handle_result)
    def handle(*output_and_job):
        handled.append(None)
        if len(handled) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        handle_result(*output_and_job)

    real_master(make_calls, handle)

pyboinc.pyboinc_master = master_that_is_killed
del sys.argv[0]
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Runs a master that is killed, as by ``kill -9``, when its handler gets its *last* result."""


@pytest.fixture
def example(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the example that the test asks for by name."""
    return Path(shutil.copytree(EXAMPLES / request.param, tmp_path / request.param))


def expected(example: Path) -> str:
    return (example / "expected_output.txt").read_text()


def python(example: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Not measured: to watch the imports of scikit-learn takes longer than to do them.
    environment = {**unmeasured(), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=example,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("example", ["sum_of_squares", "evolution"], indirect=True)
def test_an_example_prints_its_expected_output(example: Path) -> None:
    """Examples: ``python app_master.py`` in a fresh copy prints expected_output.txt.

    The third has long jobs: it prints it below, and was killed before.
    """
    run = python(example, "app_master.py")
    assert (run.stdout, run.returncode) == (expected(example), 0), run.stderr


@pytest.mark.parametrize("example", ["sum_of_squares", "evolution"], indirect=True)
def test_an_example_gives_the_same_answer_when_instances_fail(example: Path) -> None:
    """Faults: with one instance in five failing, the answer is the same."""
    run = python(example, "app_master.py", *FAILING)
    assert (run.stdout, run.returncode) == (expected(example), 0), run.stderr


@pytest.mark.parametrize("example", NAMES, indirect=True)
def test_an_example_can_be_killed_half_way_and_run_again(example: Path) -> None:
    """Recovery: killed in handle_result and started again, the answer is the same."""
    half = {"sum_of_squares": 50, "hyper_parameters": 15, "evolution": 31}[example.name]
    flags = FLAGS.get(example.name, [])
    killed = python(example, "-c", KILLED_AT, str(half), "app_master.py", *flags)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not expected(example).endswith(killed.stdout or "nothing")
    run = python(example, "app_master.py", *flags)
    assert (run.stdout, run.returncode) == (expected(example), 0), run.stderr


@pytest.mark.parametrize("example", ["sum_of_squares"], indirect=True)
def test_a_kill_while_results_are_on_their_way_mixes_nothing_up(example: Path) -> None:
    """Recovery: instances that ended but are not reported yet run again, each in a slot of its own.

    On a slow network many of them once had the same slot; started again side by side there,
    they returned one another's outputs.
    """
    slow = ("--latency", "0.3", "--seed", "3")
    killed = python(example, "-c", KILLED_AT, "20", "app_master.py", *slow)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    run = python(example, "app_master.py", *slow)
    assert (run.stdout, run.returncode) == (expected(example), 0), run.stderr


@pytest.mark.parametrize("example", ["evolution"], indirect=True)
def test_an_example_that_is_finished_replays(example: Path) -> None:
    """Replay: run again when all is done, a master handles all again and makes no job."""
    for _ in range(2):
        run = python(example, "app_master.py")
        assert (run.stdout, run.returncode) == (expected(example), 0), run.stderr


@pytest.mark.parametrize("example", ["design_document"], indirect=True)
def test_the_program_of_the_design_document_runs_as_printed(example: Path) -> None:
    """Design document: its program, with nothing imported but app_types, gives the answer."""
    run = python(example, "-m", "pyboinc", "run", "app_master.py")
    assert (run.stdout, run.returncode) == (expected(example), 0), run.stderr


def test_the_program_of_the_design_document_is_as_printed() -> None:
    """Design document: the program imports none of the names that the page leaves out."""
    for name in ("app_master.py", "app_slave.py"):
        source = (EXAMPLES / "design_document" / name).read_text()
        imports = [line for line in source.splitlines() if "import" in line]
        assert imports == ["import app_types"]


def test_every_example_is_tested() -> None:
    """Examples: each folder has its expected output and is named in this file."""
    folders = {path.name for path in EXAMPLES.iterdir() if path.is_dir()}
    assert folders == {*NAMES, "design_document"}
    for folder in folders:
        assert (EXAMPLES / folder / "expected_output.txt").exists()
