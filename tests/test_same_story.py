"""One story of six jobs, told by real clients, by emulated processes and by the simulator.

One job is done at once; one raises, and one segfaults, wherever it is tried; of one a host gives a
wrong answer, which two others outvote; one is answered when its deadline has passed and another
host has done it; one is cancelled while a host computes it.  Who tells it does not matter:
each leaves the rows that a real server does (``tests/test_project_replay.py``).  A real client can
be late for one more cause, which ends alike: it had done the job in time, and was offline.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from boinc_lab import BOINC, Lab, command, ended
from masters import Place
from test_same_states import simulated

from pyboinc.faults import FaultPlan, Kind

pytestmark = BOINC

TYPES = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Input:
    what: str
    place: str

@dataclass(frozen=True)
class Output:
    value: str
"""

SLAVE = """
import os, signal, time
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

job = pyboinc_get_input()
begun = os.path.join(job.place, job.what)
client = os.path.realpath("../..")  # which may start it anew
with open(begun, "a") as file:
    file.write(client + "\\n")
with open(begun) as file:
    is_first = file.readline() == client + "\\n"

def is_there(name):
    return os.path.exists(os.path.join(job.place, name))

if job.what == "error":
    raise ValueError("this job fails on purpose")
if job.what == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(60)
waits_for = {"late": "go", "offline": "cut off"}.get(job.what)
while job.what == "cancelled" or (waits_for and is_first and not is_there(waits_for)):
    time.sleep(0.1)
is_liar = job.what == "outvoted" and os.path.exists("../../liar")
pyboinc_return_output(Output("a lie" if is_liar else job.what))
"""

MASTER = """
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

SOON = {{"delay_bound": {delay_bound}, "fpops": 1e9}}
LIMITS = {{"error": {{"max_errors": 1}}, "crash": {{"max_errors": 1}}, "outvoted": {{"quorum": 3}},
          "late": SOON, "offline": SOON}}

told = []

def make_calls():
    for what in {story}:
        pyboinc_call("app_slave.py", Input(what, os.getcwd()), **LIMITS.get(what, {{}}))

def handle_result(output):
    told.append(output.value)

def handle_error(failure):
    told.append(failure.reason)
    if failure.reason == "cancelled" and os.path.exists("wait"):
        open("wait").read()

pyboinc_master(make_calls, handle_result, handle_error)
print(sorted(told))
"""

STORY = ("success", "error", "crash", "outvoted", "late", "cancelled")
REAL = (*STORY, "offline")
"""The story, and that of a real client which has no network until its deadline has passed."""

States = Mapping[str, tuple[int, bool, list[tuple[int, ...]]]]
"""By job: its error mask, whether there is a canonical result, and the states of its results.

Of each result: server state, outcome, client state, validate state, exit status; in order.
"""

OVER, UPLOADED, COMPUTE_ERROR, ABORTED = 5, 5, 3, 6
SUCCESS, CLIENT_ERROR, NO_REPLY = 1, 3, 4
VALID, INVALID, TOO_LATE = 1, 2, 5
GOOD = (OVER, SUCCESS, UPLOADED, VALID, 0)

EXPECTED: States = {
    "success": (0, True, [GOOD]),
    "error": (2, False, [(OVER, CLIENT_ERROR, COMPUTE_ERROR, INVALID, 1)] * 2),
    "crash": (2, False, [(OVER, CLIENT_ERROR, COMPUTE_ERROR, INVALID, 11)] * 2),
    "outvoted": (0, True, [GOOD, GOOD, (OVER, SUCCESS, UPLOADED, INVALID, 0)]),
    "late": (0, True, [GOOD, (OVER, SUCCESS, UPLOADED, TOO_LATE, 0)]),
    "cancelled": (16, False, [(OVER, CLIENT_ERROR, ABORTED, INVALID, 202)]),
}
"""What a real server has in the end."""


def place_of(path: Path, delay_bound: float, story: tuple[str, ...] = STORY) -> Place:
    """A job directory with the program that tells *story*."""
    master = MASTER.format(story=story, delay_bound=delay_bound)
    files = {"app_types.py": TYPES, "app_slave.py": SLAVE, "app_master.py": master}
    return Place(path, files)


def states(place: Place) -> States:
    """The rows in the database of *place*."""
    found: dict[str, tuple[int, bool, list[tuple[int, ...]]]] = {}
    rows = place.select(
        "select w.sequence, w.error_mask, w.canonical_instance is not null, r.server_state,"
        " r.outcome, r.client_state, r.validate_state, r.exit_status"
        " from workunit w join result r on r.workunit = w.id order by 1, 4, 5, 6, 7, 8"
    )
    for sequence, mask, canonical, *columns in rows:
        entry = found.setdefault(REAL[int(str(sequence))], (int(str(mask)), bool(canonical), []))
        entry[2].append(tuple(int(str(one)) for one in columns))
    return found


def test_real_clients_processes_and_simulator_tell_the_same_story(
    tmp_path: Path, seed: int
) -> None:
    """Fidelity: success, error, crash, outvoted, late, cancelled: the same rows from all three."""
    place = place_of(tmp_path / "real", delay_bound=25, story=REAL)
    place.mkfifo("wait")
    lab = Lab(place, place.start(command=command(3)))
    _let_a_client_lie(lab)
    offline = _goes_offline(lab)
    emulated = _emulated(tmp_path, seed)
    assert emulated == EXPECTED
    simulated_ = _simulated(tmp_path, seed)
    assert simulated_ == {name: one for name, one in EXPECTED.items() if name != "cancelled"}
    _misses_deadlines(lab, offline)
    _is_cancelled(lab)
    assert states(place) == {**EXPECTED, "offline": EXPECTED["late"]}
    (place / "wait").write_text("all is seen")
    assert ended(lab).stdout == told(REAL)


def told(story: tuple[str, ...]) -> str:
    """What the program prints in the end."""
    failed = {"error": "too many errors", "crash": "too many errors"}
    return f"{sorted(failed.get(what, what) for what in story)}\n"


def _let_a_client_lie(lab: Lab) -> None:
    directory = lab.place / ".pyboinc/local/clients/2"
    lab.until("a client has its directory", lambda: (directory / "port").exists())
    (directory / "liar").touch()


OFFLINE = f"1_{REAL.index('offline')}_0"


def _goes_offline(lab: Lab) -> Path:
    """Take a client off the network, and let it do its job there; return which one."""
    lab.until("the task runs whose client will be offline", (lab.place / "offline").exists)
    client = Path(lab.task(OFFLINE)["client"])
    lab.command(client, "--set_network_mode", "never")
    (lab.place / "cut off").touch()
    lab.until("its output waits there", lambda: lab.task(OFFLINE).get("state") == "uploading")
    return client


def _misses_deadlines(lab: Lab, offline: Path) -> None:
    """Suspend a task, too, until both deadlines have passed and another host has done the jobs."""
    name = f"1_{STORY.index('late')}_0"
    lab.until("the task that will be late runs", lambda: (lab.place / "late").exists())
    lab.do(name, "suspend")
    lab.until("their deadlines have passed", lambda: _both_have(lab, NO_REPLY))
    lab.update()
    lab.until("another one has done them", lambda: _both_have(lab, SUCCESS))
    assert lab.task(OFFLINE).get("state") == "uploading"
    (lab.place / "go").touch()
    lab.do(name, "resume")
    lab.command(offline, "--set_network_mode", "auto")
    lab.update()
    for what in ("late", "offline"):
        lab.until(f"{what} is answered late", lambda w=what: not _has(lab.place, w, NO_REPLY))


def _both_have(lab: Lab, outcome: int) -> bool:
    """Whether the two jobs that will be answered late have such a result."""
    return all(_has(lab.place, what, outcome) for what in ("late", "offline"))


def _is_cancelled(lab: Lab) -> None:
    """Cancel what is not done: a task that runs; wait until its client has heard of it."""
    _wait_for_all_but_one(lab, len(REAL))
    cancel(lab)
    lab.until("all instances are over", lambda: _is_over(lab.place))


def _wait_for_all_but_one(lab: Lab, jobs: int) -> None:
    begun = lab.place / "cancelled"
    done = "select count(*) from workunit where assimilate_state = 2"
    lab.until("the job to be cancelled runs", begun.exists)
    lab.until("all others are done", lambda: lab.place.select(done) == [(jobs - 1,)])


def cancel(lab: Lab) -> None:
    """Say to the project what ``pyboinc cancel`` says to it, while a master is at work."""
    server = lab.find(".server\0{")
    with open(f"/proc/{server}/fd/0", "wb") as commands:
        commands.write(b'{"cancel": true}\n')


def _has(place: Place, what: str, outcome: int) -> bool:
    """Whether a result of a job has ended so."""
    return any(one[:2] == (OVER, outcome) for one in states(place)[what][2])


def _is_over(place: Place) -> bool:
    return all(one[0] == OVER for _, _, rows in states(place).values() for one in rows)


# The others.


def seeds(seed: int) -> Iterator[int]:
    """Yield seeds whose faults are those of the story, and no others."""
    wanted = {(3, 0): (Kind.WRONG,), (4, 0): (Kind.LATE,)}
    instances = [(job, n) for job, most in enumerate((1, 2, 2, 3, 2, 1)) for n in range(most)]
    for one in count(seed):
        draw = FaultPlan(0.0, FAULTS, one).draw
        if all(draw(*instance) == wanted.get(instance, ()) for instance in instances):
            yield one


FAULTS = {Kind.WRONG: 0.15, Kind.LATE: 0.15}


def _emulated(path: Path, seed: int) -> States:
    """By processes.  A late answer may still come before the other: then it is another story."""
    for number, one in enumerate(seeds(seed)):
        place = place_of(path / f"emulated-{number}", 3600.0)
        (place / "go").touch()
        # Two are enough: nothing waits behind the one that does not end.
        flags = ("--workers=2", f"--seed={one}", "--fault=wrong=0.15,late=0.15")
        command = (sys.executable, "app_master.py", *flags)
        # Python is started, and not forked: so the server is known by its command.
        lab = Lab(place, place.start(command=command, environ={"PYTHONNODEBUGRANGES": "1"}))
        _wait_for_all_but_one(lab, len(STORY))
        lab.until("the late answer is there", lambda at=place: not _has(at, "late", NO_REPLY))
        cancel(lab)
        assert ended(lab).stdout == told(STORY)
        first = "select instance from result where workunit % 8 = 4 order by received_time limit 1"
        if place.select(first) == [(1,)]:
            return states(place)
    raise AssertionError("seeds never end")


def _simulated(path: Path, seed: int) -> States:
    """In virtual time; there a master can not cancel."""
    story = STORY[:-1]
    place = place_of(path / "simulated", 3600.0, story)
    (place / "go").touch()
    there = simulated(place, (), FaultPlan(0.0, FAULTS, next(seeds(seed))), to_the_end=True)
    return {
        story[int(name.rpartition("_")[2])]: (
            mask,
            canonical is not None,
            sorted(columns[1:] for columns in rows),
        )
        for name, (mask, canonical, rows) in there.items()
    }
