"""Whole programs, held against all backends: the same three files, the same answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from boinc_project import mariadb
from boinc_project.masters import BoincPlace
from boinc_project.place import PASSWORD, StandIn
from boinc_project.world import World
from masters import Place, Run, crash

SLAVE = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

number = pyboinc_get_input().number
if number == 13:
    raise ValueError("unlucky")
pyboinc_return_output(Output(number ** 2))
"""

SEARCH = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

squares, failed = [], []

def make_calls():
    for number in (2, 13, 3):
        pyboinc_call("app_slave.py", Input(number), max_errors=1)

def handle_result(output, job):
    squares.append(output.value)
    assert job.input.number ** 2 == output.value
    assert job.host and job.attempts[-1].outcome == "success"
    if output.value < 100:
        pyboinc_call("app_slave.py", Input(output.value), max_errors=1)

def handle_error(failure):
    failed.append((failure.index, failure.cause, len(failure.attempts)))

def make_more_calls():
    pyboinc_call("app_slave.py", Input(5))

pyboinc_master(make_calls, handle_result, handle_error)
print(sorted(squares), failed)
pyboinc_master(make_more_calls, handle_result, handle_error)
print(sorted(squares), failed)
"""
"""A search: results call for more, one job fails and is handled; then a second phase."""

FOUND = (
    "[4, 9, 16, 81, 256, 6561] [(1, 'ValueError: unlucky', 2)]\n"
    "[4, 9, 16, 25, 81, 256, 625, 6561] [(1, 'ValueError: unlucky', 2)]\n"
)

FAILING = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total = 0

def make_calls():
    for number in (2, 13, 3):
        pyboinc_call("app_slave.py", Input(number), max_errors=1)

def handle_result(output):
    global total
    total += output.value

pyboinc_master(make_calls, handle_result)
print("The answer is", total)
"""


class Program:
    """A program on one backend, with whatever does its jobs."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.world: World | None = None
        files = {"app_slave.py": SLAVE}
        if name == "boinc":
            mariadb.require()
            project = StandIn(path / "project")
            self.world = World(project)
            self.world.start()
            self.place: Place = BoincPlace(path / "job", project, files)
        else:
            self.place = Place(path / "job", files)

    def run(self, text: str, *flags: str) -> Run:
        """Run the master *text*."""
        (self.place / "app_master.py").write_text(text)
        if self.name == "simulated":
            return self.verb("simulate", "app_master.py", "--hosts=20", "--seed=3", *flags)
        return self.place.run(*flags)

    def verb(self, *words: str) -> Run:
        """Run a verb of the command line in the program's directory."""
        return self.place.run(command=[sys.executable, "-m", "pyboinc", *words])

    def close(self) -> None:
        if self.world is not None:
            self.world.close()
            self.world.project.close()


@pytest.fixture(params=["local", "simulated", "boinc"])
def program(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Program]:
    made = Program(request.param, tmp_path)
    yield made
    made.close()


def test_a_search_with_failures_and_phases(program: Program) -> None:
    """Contract: calls of handlers, failures that are handled, two phases, and a replay."""
    run = program.run(SEARCH)
    if program.name == "simulated":
        assert run.code == 0 and "the same answer as without" in run.stdout, run
        return
    assert (run.stdout, run.code) == (FOUND, 0), run
    again = program.run(SEARCH)
    assert (again.stdout, again.code) == (FOUND, 0), again
    assert "resume: 9 of 9 handled" in again.stderr


def test_failures_that_nobody_handles(program: Program) -> None:
    """Contract: the rest is finished, then the cause is shown once; a rerun mends it."""
    run = program.run(FAILING)
    if program.name == "simulated":
        assert run.code == 1 and "1 x ValueError: unlucky" in run.stderr, run
        return
    assert run.code == 1
    assert "1 of 3 jobs can not be done" in run.stderr
    assert "1 x ValueError: unlucky" in run.stderr
    assert "too many errors" in run.stderr
    status = program.verb("status")
    assert status.code == 1 and "2 done" in status.stdout, status
    mended = SLAVE.replace("number == 13", "number == 14")
    (program.place / "app_slave.py").write_text(mended)
    rerun = program.verb("rerun", "--failed")
    assert rerun.code == 0 and "1 job will be done again" in rerun.stdout, rerun
    run = program.run(FAILING, "--accept-changes")
    assert (run.stdout, run.code) == ("The answer is 182\n", 0), run
    assert program.verb("status").code == 0


# A simulation has no batch that outlives it.
@pytest.mark.parametrize("program", ["local", "boinc"], indirect=True)
def test_a_batch_is_cancelled_and_removed(program: Program) -> None:
    """Contract: cancelled jobs are failures of that name; clean leaves nothing at work."""
    if program.world is not None:
        program.world.stop()
    (program.place / "app_master.py").write_text(FAILING)
    step = ("load", "*") if program.world is None else ("publish", "pyboinc_checkpoint")
    killed = program.place.run(environ=crash(*step))
    assert killed.killed
    program.place.crashed()
    again = program.verb("cancel")
    assert again.code == 0, again
    if program.world is not None:
        program.world.start()
    removed = program.verb("clean", "--yes")
    assert removed.code == 0 and removed.stdout.endswith("Removed.\n"), removed
    assert not (program.place / ".pyboinc").exists()
    if program.world is not None:
        open_ones = "select count(*) from workunit where canonical_resultid=0 and error_mask=0"
        assert program.world.project.select(open_ones) == [(0,)]
        assert list((program.world.project.ours / "batches").iterdir()) == []
    run = program.run(FAILING.replace("13", "4"))
    assert (run.stdout, run.code) == ("The answer is 29\n", 0), run


def test_the_password_is_written_nowhere(tmp_path: Path) -> None:
    """Secrets: the database's password stands in config.xml, and in nothing else."""
    program = Program("boinc", tmp_path)
    try:
        run = program.run(FAILING)
        assert run.code == 1
        for text in (run.stdout, run.stderr, program.verb("config").stdout):
            assert PASSWORD not in text
        for root in (program.place.path, tmp_path / "project"):
            for path in root.rglob("*"):
                if path.is_file() and path.name != "config.xml":
                    assert PASSWORD.encode() not in path.read_bytes(), path
    finally:
        program.close()
