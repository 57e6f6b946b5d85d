"""Real BOINC clients, as Debian packages them, do the jobs of a real master.

One run holds most of it, because a client takes its time: progress and checkpoints are seen
with ``boinccmd``, tasks are suspended, resumed and aborted, a client and the project's server
are killed, a slave raises and another one segfaults, and the answer is right all the same.
Without the package the tests are skipped; under CI it is installed, and a skip is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from masters import Place, Run, finish
from served_masters import place_of
from starter import Process

pytestmark = [
    pytest.mark.skipif(shutil.which("boinc") is None, reason="needs boinc-client (apt)"),
    pytest.mark.xdist_group("boinc"),
]

TYPES = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Input:
    number: int
    what: str
    place: str

@dataclass(frozen=True)
class Output:
    value: int
"""

SLAVE = """
import os, signal, time
from app_types import Output
from pyboinc import (
    pyboinc_fraction_done, pyboinc_get_input, pyboinc_load_checkpoint, pyboinc_return_output,
    pyboinc_save_checkpoint,
)

job = pyboinc_get_input()
steps = pyboinc_load_checkpoint() or 0
with open(os.path.join(job.place, f"starts-{job.number}"), "a") as file:
    file.write(f"{steps}\\n")
with open(os.path.join(job.place, f"starts-{job.number}")) as file:
    starts = len(file.readlines())
if job.what == "raise":
    raise ValueError("this job fails on purpose: \\u00fc")
if job.what == "segfault":
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)

def goes_on():
    if job.what == "abort":
        return starts == 1
    return job.what == "long" and not os.path.exists(os.path.join(job.place, "go"))

while goes_on():
    steps += 1
    sum(range(200000))
    pyboinc_fraction_done(1 - 0.99 ** steps)
    pyboinc_save_checkpoint(steps)
    time.sleep(0.2)
pyboinc_return_output(Output(job.number ** 2))
"""

MASTER = """
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total = 0
failed = []
WHAT = {0: "long", 1: "abort", 6: "long", 7: "raise", 8: "segfault"}

def make_calls():
    for number in range(10):
        pyboinc_call("app_slave.py", Input(number, WHAT.get(number, "square"), os.getcwd()))

def handle_result(output):
    global total
    total += output.value

def handle_error(failure):
    failed.append((failure.index, failure.attempts[-1].exit_status, failure.attempts[-1].signal))

pyboinc_master(make_calls, handle_result, handle_error)
print("The answer is", total, sorted(failed))
"""


class Lab:
    """A master at work with real clients, and the hands of a volunteer."""

    def __init__(self, place: Place, process: Process) -> None:
        self.place = place
        self.process = process

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds; fail if the master ends first, or it takes for ever."""
        end = time.monotonic() + self.place.patience
        while not condition():
            assert time.monotonic() < end, f"waits in vain until {what}\n{self.logs()}"
            try:
                self.process.wait(0.25)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"ended before {what}: {self.process.communicate()}")

    def starts(self, number: int) -> list[int]:
        """With how many steps done each process of a job began."""
        try:
            return [int(line) for line in (self.place / f"starts-{number}").read_text().split()]
        except FileNotFoundError:
            return []

    def clients(self) -> list[Path]:
        return sorted((self.place / ".pyboinc/local/clients").iterdir())

    def command(self, directory: Path, *arguments: str) -> str:
        """What ``boinccmd`` says to the client in *directory*."""
        port, key = (directory / "port").read_text(), (directory / "gui_rpc_auth.cfg").read_text()
        command = ["boinccmd", "--host", f"127.0.0.1:{port.strip()}", "--passwd", key.strip()]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=directory, check=False
        ).stdout

    def task(self, name: str) -> dict[str, str]:
        """What a client tells of the task *name*; nothing if none has it."""
        for directory in self.clients():
            for block in re.split(r"\n[0-9]+\) -+\n", self.command(directory, "--get_tasks"))[1:]:
                fields = dict(re.findall(r"^ +(.*?): (.*)$", block, re.MULTILINE))
                if fields["name"] == name:
                    return {**fields, "client": str(directory)}
        return {}

    def do(self, name: str, operation: str) -> None:
        """Suspend, resume or abort a task, as its volunteer would."""
        task = self.task(name)
        self.command(Path(task["client"]), "--task", task["project URL"], name, operation)

    def find(self, word: str) -> int:
        """The process of this place whose command has *word* in it."""
        (found,) = [
            one
            for one in self.place.processes()
            if word.encode() in Path(f"/proc/{one}/cmdline").read_bytes()
        ]
        return found

    def logs(self) -> str:
        return "\n".join(
            (one / "stdoutdae.txt").read_text()[-3000:]
            for one in self.clients()
            if (one / "stdoutdae.txt").exists()
        )


def command(clients: int, *flags: str) -> tuple[str, ...]:
    """The program, with real clients and no emulated worker."""
    return (sys.executable, "app_master.py", f"--boinc-clients={clients}", *flags)


def ended(lab: Lab) -> Run:
    """How the master ended; no process is left behind."""
    run = finish(lab.process, 240)
    assert run.code == 0, f"{run}\n{lab.logs()}"
    lab.place.wait_for_processes()
    return run


def test_twenty_jobs_on_four_clients(tmp_path: Path) -> None:
    """Real clients: all jobs are done, each client does some, and no process is left behind."""
    place = place_of(tmp_path / "job", 20)
    begun = time.monotonic()
    lab = Lab(place, place.start(command=command(4)))
    run = ended(lab)
    print(f"20 jobs on 4 clients in {time.monotonic() - begun:.0f} s")

    place.check(run, "The answer is 2470\n")
    hosts = place.select("select distinct host from result")
    assert len(hosts) == 4
    assert place.select("select count(*) from result") == [(20,)]


def test_a_batch_with_everything_that_happens_to_volunteers(tmp_path: Path) -> None:
    """Real clients: suspended, aborted, killed, failed: the master ends with the right answer."""
    place = Place(
        tmp_path / "job", {"app_types.py": TYPES, "app_slave.py": SLAVE, "app_master.py": MASTER}
    )
    lab = Lab(place, place.start(command=command(2, "--max-errors=1")))
    for number in (0, 1, 6):
        lab.until(f"job {number} runs", lambda n=number: lab.starts(n))
    _sees_progress_and_checkpoints(lab, "1_0_0")
    _suspends_and_resumes(lab)
    lab.do("1_1_0", "abort")
    lab.until("the aborted job is done by another instance", lambda: len(lab.starts(1)) == 2)
    _kills_a_client(lab)
    os.kill(lab.find("pyboinc.backends.served.server"), signal.SIGKILL)
    (place / "go").touch()
    run = ended(lab)

    answer = sum(n**2 for n in range(10) if n not in (7, 8))
    assert run.stdout == f"The answer is {answer} [(7, 1, False), (8, 11, True)]\n"
    states = "select outcome, exit_status from result where workunit = {} order by instance"
    first = int(str(place.select("select min(id) from workunit")[0][0]))
    assert place.select(states.format(first + 1)) == [(3, 203), (1, 0)]
    assert place.select(states.format(first + 7)) == [(3, 1)] * 2
    assert place.select(states.format(first + 8)) == [(3, 11)] * 2
    assert place.select(states.format(first)) == [(1, 0)], "resumed, not repeated"
    stderr = place.select(f"select stderr from result where workunit = {first + 7}")[0][0]
    assert str(stderr).endswith("ValueError: this job fails on purpose: \u00fc\n")


def _sees_progress_and_checkpoints(lab: Lab, name: str) -> None:
    def seen() -> bool:
        task = lab.task(name)
        checkpoint = task.get("CPU time at last checkpoint", 0)
        return float(task.get("fraction done", 0)) > 0 and float(checkpoint) > 0

    lab.until("boinccmd shows progress and a checkpoint", seen)


def _suspends_and_resumes(lab: Lab) -> None:
    lab.do("1_0_0", "suspend")
    lab.until(
        "the task is suspended",
        lambda: "EXECUTING" not in lab.task("1_0_0").get("active_task_state", "EXECUTING"),
    )
    lab.do("1_0_0", "resume")
    lab.until("it goes on from its checkpoint", lambda: len(lab.starts(0)) == 2)
    assert lab.starts(0)[1] > 0


def _fraction(lab: Lab, name: str) -> float:
    return float(lab.task(name).get("fraction done", 0))


def _kills_a_client(lab: Lab) -> None:
    lab.until("it has a checkpoint", lambda: _fraction(lab, "1_6_0") > 0.01)
    number = Path(lab.task("1_6_0")["client"]).name
    os.kill(lab.find(f"--dir\0{lab.place.path}/.pyboinc/local/clients/{number}"), signal.SIGKILL)
    lab.until("the client's task goes on from its checkpoint", lambda: len(lab.starts(6)) == 2)
    assert lab.starts(6)[1] > 0
