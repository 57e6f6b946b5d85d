"""Handlers and failures, from a user's program to what stands on the screen; injected mishaps."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
import scripted
from masters import Place
from scripted import Project

from pyboinc import Failure, JobsFailed, disk, mishaps, pyboinc_call
from pyboinc.errors import JobDirectoryError
from pyboinc.faults import FaultPlan, Kind

PROGRAM = """
from app_types import Input
from pyboinc import JobsFailed, pyboinc_call, pyboinc_master

def make_calls():
    for number in range(5):
        pyboinc_call("app_slave.py", Input(number), max_errors=1)

"""

SLAVE = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

def solve(number):
    if number in (1, 3):
        raise ArithmeticError(f"no root of {number}")
    return number ** 2

pyboinc_return_output(Output(solve(pyboinc_get_input().number)))
"""


def place(path: Path, rest: str) -> Place:
    """A program of five calls, two of which fail, that goes on with *rest*."""
    return Place(path / "job", {"app_master.py": PROGRAM + rest, "app_slave.py": SLAVE})


def test_a_handler_is_told_of_its_job(tmp_path: Path) -> None:
    """Handlers: handle_result(output, job) has index, input, attempts, host and times."""
    there = place(
        tmp_path,
        """
def handle_result(output, job):
    assert job.input == Input(job.index)
    assert job.name.endswith(f"_{job.index}")
    assert job.host.startswith("host-")
    assert 0 < job.sent <= job.received
    good = job.attempts[-1]
    assert (good.outcome, good.host) == ("success", job.host)
    assert good.python and good.platform and good.elapsed >= 0
    print(job.index, output.value)

pyboinc_master(make_calls, handle_result, lambda failure: None)
""",
    )
    # With this seed an instance fails, but none of these jobs, which bear one error each.
    for flags in ([], ["--failure-rate=0.3", "--seed=267", "--fresh"]):
        run = there.run(*flags)
        assert run.code == 0, run
        lines = [line for line in run.stdout.splitlines() if line[0] in "024"]
        assert {"0 0", "2 4", "4 16"} == set(lines)


def test_a_handler_of_failures(tmp_path: Path) -> None:
    """Handlers: with handle_error(failure) the program ends well, and knows what went wrong."""
    there = place(
        tmp_path,
        """
def handle_error(failure):
    print(failure.index, failure.reason, len(failure.attempts), failure.cause, failure.replay)
    assert failure.host == failure.attempts[-1].host
    assert "app_slave.py" in failure.stderr

results = []
pyboinc_master(make_calls, results.append, handle_error)
print(sorted(output.value for output in results))
""",
    )
    for _ in range(2):
        run = there.run()
        assert run.code == 0, run
        assert sorted(run.stdout.splitlines()) == [
            "1 too many errors 2 ArithmeticError: no root of 1 pyboinc replay 1",
            "3 too many errors 2 ArithmeticError: no root of 3 pyboinc replay 3",
            "[0, 4, 16]",
        ]
    there.check()


def test_what_jobs_failed_says(tmp_path: Path) -> None:
    """Failures: each distinct cause once, the slave's own frames first, hosts, and what to type."""
    there = place(tmp_path, "pyboinc_master(make_calls, lambda output: None)\n")
    run = there.run()
    assert (run.code, run.stdout) == (1, ""), run
    text = run.stderr[run.stderr.index("pyboinc: 2 of 5 jobs") :]
    assert text.startswith("pyboinc: 2 of 5 jobs can not be done; the other results were handled.")
    assert text.count("ArithmeticError: no root of") == 2, "the cause, and its traceback"
    assert re.search(r"2 x ArithmeticError: no root of \d", text)
    assert 'File "app_slave.py", line 7, in solve' in text
    assert "slave_runner" not in text
    assert re.search(r"jobs: +1, 3", text)
    assert "host-" in text and "Python 3." in text
    assert "pyboinc replay 1" in text
    assert "Mend the cause, then: pyboinc rerun --failed" in text


def test_jobs_failed_can_be_caught(tmp_path: Path) -> None:
    """Failures: a program that catches JobsFailed has them all, and may go on as it likes."""
    there = place(
        tmp_path,
        """
try:
    pyboinc_master(make_calls, lambda output: None)
except JobsFailed as failed:
    print(sorted(failure.index for failure in failed.failures))
pyboinc_master(lambda: pyboinc_call("app_slave.py", Input(6)), print)
""",
    )
    run = there.run()
    assert (run.stdout, run.code) == ("[1, 3]\nOutput(value=36)\n", 0), run
    there.check()


def test_slaves_that_only_handlers_call(tmp_path: Path) -> None:
    """Calls in handlers: a second slave with classes of a module of its own is known in time."""
    there = place(
        tmp_path,
        """
from more_types import Question

def handle_result(output):
    if hasattr(output, "value"):
        pyboinc_call("second_slave.py", Question(output.value))
    else:
        print(output.text)

pyboinc_master(make_calls, handle_result, lambda failure: None)
""",
    )
    (there / "more_types.py").write_text(
        "from dataclasses import dataclass\n"
        "@dataclass\nclass Question:\n    value: int\n"
        "@dataclass\nclass Answer:\n    text: str\n"
    )
    (there / "second_slave.py").write_text(
        "from more_types import Answer\n"
        "from pyboinc import pyboinc_get_input, pyboinc_return_output\n"
        "pyboinc_return_output(Answer(f'is {pyboinc_get_input().value}'))\n"
    )
    for _ in range(2):
        run = there.run()
        assert run.code == 0, run
        assert sorted(run.stdout.splitlines()) == ["is 0", "is 16", "is 4"]
    there.check()
    (there / "more_types.py").write_text((there / "more_types.py").read_text() + "\n")
    assert "more_types.py changed" in there.run().stderr


# ---------------------------------------------------------------- mishaps, as drawn


@pytest.fixture
def seam(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The seam of the disk module with something in it that was there before."""
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(disk, "before_step", lambda step, about: seen.append((step, about)))
    return seen


def test_without_mishaps_the_seam_is_left_alone(seam: list[tuple[str, str]]) -> None:
    """Mishaps: a plan without any costs nothing."""
    before = disk.before_step
    mishaps.install(FaultPlan(0.5, {Kind.CRASH: 0.1}, 1), 0)
    assert disk.before_step is before


def test_a_killed_master(
    seam: list[tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Mishaps: it kills at the steps that the seed draws, another start has other ones."""
    killed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, number: killed.append(step))
    plan = FaultPlan(0.0, {Kind.MASTER_KILLED: 0.2}, 7)
    struck = []
    for start in (3, 3, 4):
        killed.clear()
        mishaps.install(plan, start)
        for step in range(1, 51):  # noqa: B007  # the killer above looks at it
            disk.reach("handle", "1_0.out")
        struck.append(list(killed))
        assert killed == [n for n in range(1, 51) if plan.strikes(Kind.MASTER_KILLED, start, n)]
    assert struck[0] == struck[1] != struck[2]
    assert "pyboinc: killed before step 'handle' (--fault master_killed)" in capsys.readouterr().err
    assert ("handle", "1_0.out") in seam


def test_a_full_disk(
    seam: list[tuple[str, str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mishaps: only steps that write find the disk full; the message is that of a full disk."""
    mishaps.install(FaultPlan(0.0, {Kind.DISK_FULL: 1.0}, 7), 0)
    disk.reach("handle", "1_0.out")
    with pytest.raises(OSError, match="No space left on device") as caught:
        disk.reach("append", "log")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(JobDirectoryError, match="cannot write .*the disk is full; nothing is lost"):
        disk.publish(tmp_path / "file", b"data")
    assert os.listdir(tmp_path) == []
    assert "the disk is full for step 'write' (--fault disk_full)" in capsys.readouterr().err


def test_mishaps_come_from_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seam: list[tuple[str, str]]
) -> None:
    """Mishaps: a master installs those that its settings ask for, once its batch is open."""
    project = scripted.install(Project(), monkeypatch)
    project.answer = lambda sequence, value: Failure(sequence, "1_0", "too many errors")
    directory = scripted.place(tmp_path / "job")
    with pytest.raises(JobDirectoryError, match="the disk is full"):
        scripted.run(directory, lambda: None, print, fault={"disk_full": 1.0})
    assert ("lock", str(directory / ".pyboinc/lock")) in seam
    monkeypatch.setattr(disk, "before_step", lambda step, about: None)
    with pytest.raises(JobsFailed):
        scripted.run(directory, lambda: pyboinc_call("app_slave.py", 1), print)
