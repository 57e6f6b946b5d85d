"""Real BOINC clients, as Debian packages them, do the jobs of a real master.

One run holds most of it, because a client takes its time: progress and checkpoints are seen
with ``boinccmd``, tasks are suspended, resumed and aborted, a client and the project's server
are killed, a slave raises and another one segfaults, and the answer is right all the same.
Without the package the tests are skipped; under CI it is installed, and a skip is a failure.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from boinc_lab import BOINC, Lab, command, ended
from masters import Place
from served_masters import place_of

from pyboinc import build, signing
from pyboinc.build import python_form

pytestmark = BOINC

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
    pyboinc_save_checkpoint, pyboinc_send_trickle_up,
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

if job.what == "long":
    pyboinc_send_trickle_up(f"begins with <{steps}> & goes on")

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


def test_twenty_jobs_on_four_clients(tmp_path: Path) -> None:
    """Real clients: all jobs are done, each client does some, and no process is left behind.

    They run what ``pyboinc build`` made, and the slave's archive is signed with its key.
    """
    place = place_of(tmp_path / "job", 20)
    program = _builds(place)
    begun = time.monotonic()
    lab = Lab(place, place.start(command=command(4, "--signing-key=key.pem")))
    run = ended(lab)
    print(f"20 jobs on 4 clients in {time.monotonic() - begun:.0f} s")

    place.check(run, "The answer is 2470\n")
    hosts = place.select("select distinct host from result")
    assert len(hosts) == 4
    assert place.select("select count(*) from result") == [(20,)]
    for client in lab.clients():
        (fetched,) = client.glob(f"projects/*/{program.name}")
        assert fetched.read_bytes() == program.read_bytes()
        assert not list(client.glob("projects/*/pyboinc_????????????????????????????????"))


def _builds(place: Place) -> Path:
    """Build app versions for all platforms, as ``pyboinc build`` does; return the one used here."""
    key = signing.generate()
    signing.save(key, place / "key.pem")
    found = Path()
    for platform in build.PLATFORMS:
        made = build.app_version("pyboinc", "1.0", platform, signing.public_key(key))
        files = python_form.build(made)
        build.place(made, place.path, files)
        if platform == build.platform_here():
            found = made.directory(place.path) / next(iter(files))
    return found


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
    first = int(str(place.select("select min(id) from workunit")[0][0]))
    _hears_what_a_task_says(lab, first)
    (place / "go").touch()
    run = ended(lab)

    answer = sum(n**2 for n in range(10) if n not in (7, 8))
    assert run.stdout == f"The answer is {answer} [(7, 1, False), (8, 11, True)]\n"
    states = "select outcome, exit_status from result where workunit = {} order by instance"
    assert place.select(states.format(first + 1)) == [(3, 203), (1, 0)]
    assert place.select(states.format(first + 7)) == [(3, 1)] * 2
    assert place.select(states.format(first + 8)) == [(3, 11)] * 2
    assert place.select(states.format(first)) == [(1, 0)], "resumed, not repeated"
    stderr = place.select(f"select stderr from result where workunit = {first + 7}")[0][0]
    assert str(stderr).endswith("ValueError: this job fails on purpose: \u00fc\n")


def _hears_what_a_task_says(lab: Lab, first: int) -> None:
    heard = f"select text from trickle where workunit = {first} and instance = 0"
    words = [(f"begins with <{steps}> & goes on",) for steps in lab.starts(0)]
    lab.until("the project has heard what a task says", lambda: lab.place.select(heard) == words)


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
