"""A master, or the project beside it, is killed before every step of the protocol.

The steps are the rows of docs/protocol.md.  For each row a real process is killed just
before it reaches the step; then the program is run again, plainly, and must end as if
nothing had happened.  A row whose step is reached several times in a run is tried at the
first, at the last and at one in between, drawn from the seed; with
PYBOINC_TEST_EVERY_STEP=1 at each of them.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from masters import Place, Run, crash, finish, parent, wait_for_end
from source import ROOT

EVERY_STEP = os.environ.get("PYBOINC_TEST_EVERY_STEP", "") not in ("", "0")

PROGRAM = """
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total = 0
handled = []

def call(number, **limits):
    pyboinc_call("app_slave.py", Input(number), **limits)

def make_calls():
    for number in range(3):
        call(number, priority=-1 if number == 0 else 0)

def handle_result(output, job):
    global total
    total += output.value
    handled.append(job.index)
    with open("handled.log", "a") as log:
        print(os.getpid(), job.index, file=log)
    if job.index == 1:
        call(10)

def make_more_calls():
    call(20)

pyboinc_master(make_calls, handle_result)
if os.environ.get("PHASES") == "2":
    pyboinc_master(make_more_calls, handle_result)
print("handled", sorted(handled), "answer", total)
"""
"""Four jobs, one of them called for by a handler; then, if it is told so, a phase of one more."""


# ---------------------------------------------------------------- the tables


@dataclass(frozen=True)
class Row:
    """A row of a table: before which step of which process it is killed."""

    table: str
    who: str
    step: str
    about: str

    def __str__(self) -> str:
        return f"{self.table}: {self.step} {self.about}".rstrip()


def rows() -> Iterator[Row]:
    """The rows of docs/protocol.md: one for each step named in the second cell of a line."""
    table = ""
    for line in (ROOT / "docs/protocol.md").read_text().splitlines():
        if line.startswith("## "):
            table = line.removeprefix("## ").strip("`")
        elif re.match(r"\| [MFE][0-9]", line):
            names = re.findall("`([^`]*)`", line.split("|")[2])
            steps = [name for name in names if name in STEPS]
            about = "".join(name for name in names if name not in STEPS)
            who = "server" if line.startswith("| E") else "master"
            for step in steps:
                yield Row(table, who, step, about)


STEPS = {
    *("make directory", "lock", "remove", "write", "fsync", "publish", "append", "truncate"),
    *("make calls", "begin batch", "make jobs", "load", "handle", "handled", "retire", "restore"),
    *("quarantine", "set aside", "sync uploads", "write rows", "deliver"),
}
"""Every name that ``disk.reach`` is given."""

ROWS = list(dict.fromkeys(rows()))


# ---------------------------------------------------------------- the runs


def a_new_one(place: Place) -> None:
    """Nothing has happened yet."""


def half_done(place: Place) -> None:
    """A run was killed when it had handled a part; what it was writing lies about, torn."""
    killed = place.run(environ=crash("load", "*_3.out"))
    assert killed.killed and place.crashed(), killed
    (place / ".pyboinc_checkpoint.1.tmp").write_text("torn")
    with open(place / ".pyboinc/spool", "ab") as spool:
        spool.write(b'{"call":4,"bytes":17,"crc')
    with open(place / ".pyboinc/journal", "ab") as journal:
        journal.write(b"handled 3 ou")


def all_done(place: Place) -> None:
    """A run has ended, and everything is in old/."""
    ended = place.run()
    assert ended.code == 0, ended


def with_foreign_files(place: Place) -> None:
    """A run was killed, and then an outcome was cut short and another file put beside it."""
    killed = place.run(environ=crash("load", "*_3.out"))
    assert killed.killed and place.crashed(), killed
    (outcome,) = (place / "new").glob("*_3.out")
    outcome.write_bytes(outcome.read_bytes()[:-2])
    (place / "new/README").write_text("not an outcome")


@dataclass(frozen=True)
class Scenario:
    """What a table is about: how it begins, and how the run is started that is killed."""

    prepare: Callable[[Place], None] = a_new_one
    flags: tuple[str, ...] = ()
    environ: Mapping[str, str] = field(default_factory=dict)


SCENARIOS = {
    "The first run": Scenario(),
    "A run that goes on": Scenario(half_done, environ={"PHASES": "2"}),
    "A run that goes on and finds nothing new": Scenario(all_done),
    "A file that is refused": Scenario(with_foreign_files),
    "--fresh": Scenario(half_done, flags=("--fresh",)),
    "The emulated project": Scenario(),
}


class Stage:
    """A scenario made ready once and copied for each test, and what it does if nobody is killed."""

    def __init__(self, scenario: Scenario, path: Path) -> None:
        self.scenario = scenario
        self._path = path
        self._prepared = Place(path / "prepared", {"app_master.py": PROGRAM})
        self._copies = 0
        scenario.prepare(self._prepared)
        self._prepared.wait_for_processes()
        steps = path / "steps"
        reference = self.copy()
        self.expected = self.run(reference, {"PYBOINC_TEST_STEPS": str(steps)})
        assert self.expected.code == 0, self.expected
        reference.check()
        reached = [line.split("\t") for line in steps.read_text().splitlines()]
        self.reached = [(who, step, about) for who, step, about in reached]

    def copy(self) -> Place:
        """The prepared directory once more, for somebody to break."""
        self._copies += 1
        path = self._path / f"copy{self._copies}"
        shutil.copytree(self._prepared.path, path, symlinks=True)
        return Place(path, {"app_master.py": PROGRAM})

    def run(self, place: Place, environ: Mapping[str, str] | None = None) -> Run:
        """The run that is killed, or that is not."""
        both = {**self.scenario.environ, **(environ or {})}
        return place.run(*self.scenario.flags, environ=both)

    def run_again(self, place: Place) -> Run:
        """The plain run afterwards."""
        return place.run(environ=self.scenario.environ)

    def occurrences(self, row: Row) -> int:
        """How often a run that nobody kills reaches the step of *row*."""
        return sum(
            (who, step) == (row.who, row.step) and fnmatchcase(about, row.about)
            for who, step, about in self.reached
        )


_stages: dict[str, Stage] = {}


@pytest.fixture
def stage(row: Row, tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """The scenario of the row's table; made once in this process."""
    if row.table not in _stages:
        path = tmp_path_factory.mktemp("stage")
        _stages[row.table] = Stage(SCENARIOS[row.table], path)
    return _stages[row.table]


def chosen(occurrences: int, seed: int) -> list[int]:
    """At which of its occurrences a step is tried."""
    every = list(range(1, occurrences + 1))
    if EVERY_STEP or occurrences <= 2:
        return every
    return [1, random.Random(seed).choice(every[1:-1]), occurrences]


# ---------------------------------------------------------------- every step


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_killed_before_a_step_the_next_run_ends_as_if_nothing_had_happened(
    row: Row, stage: Stage, seed: int
) -> None:
    """Recovery: same answer to the byte, one job a call, every result handled once and in order."""
    for number in chosen(stage.occurrences(row), seed):
        place = stage.copy()
        what = crash(row.step, row.about, number, who=row.who)
        run = stage.run(place, what)
        if not place.crashed():
            # How many outcomes are handled together is a matter of timing.
            assert number > 1, f"{row} is never reached"
        elif row.who == "master":
            assert run.killed, run
            place.check_at_rest()
            recorded = place.recorded()
            run = stage.run_again(place)
            assert place.logged()[-1][: len(recorded)] == recorded
        place.check(run, stage.expected.stdout)
        shutil.rmtree(place.path)


@pytest.mark.parametrize("row", [Row(table, "", "", "") for table in SCENARIOS], ids=str)
def test_the_tables_of_the_protocol_are_complete(row: Row, stage: Stage) -> None:
    """Protocol: every step that a run reaches is in a table, and every row is reached by a run."""
    who = "server" if row.table == "The emulated project" else "master"
    known = {(one.step, one.about) for one in ROWS if one.who == who}
    missing = {
        f"{step} {about}"
        for process, step, about in stage.reached
        if process == who
        and not any(step == one and fnmatchcase(about, pattern) for one, pattern in known)
    }
    stale = {str(one) for one in ROWS if one.table == row.table and not stage.occurrences(one)}
    assert (missing, stale) == (set(), set())


def test_killed_again_and_again_it_ends_well(on_disk: Path, seed: int) -> None:
    """Recovery: crashes in the recovery from crashes, at any steps, change nothing."""
    place = Place(on_disk / "job", {"app_master.py": PROGRAM})
    draw = random.Random(seed)
    for _ in range(6):
        step = draw.randint(1, 60)
        print("killed before step", step)
        recorded = place.recorded()
        place.run(environ=crash("*", "*", step))
        place.crashed()
        if len(place.logged()) and recorded:
            handled = place.logged()[-1]
            assert handled[: len(recorded)] == recorded[: len(handled)]
        place.wait_for_processes()
    place.check(place.run(), "handled [0, 1, 2, 3] answer 105\n")
    place.check_again("handled [0, 1, 2, 3] answer 105\n")


# ---------------------------------------------------------------- processes killed at work

WAITING_SLAVE = """
import os
from pathlib import Path
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

number = pyboinc_get_input().number
place = Path("PLACE")
try:
    (place / "begun").touch(exist_ok=False)
except FileExistsError:
    pass
else:
    (place / "pipe").write_text(str(os.getpid()))
    (place / "never").read_text()
pyboinc_return_output(Output(number ** 2))
"""
"""The first instance of all says its process number through a pipe, and waits for ever."""


@pytest.fixture
def waiting(on_disk: Path) -> Place:
    """A program whose first slave is at work for as long as it is let live."""
    place = Place(on_disk / "job")
    slave = WAITING_SLAVE.replace("PLACE", str(place.path))
    (place / "app_slave.py").write_text(slave)
    os.mkfifo(place / "pipe")
    os.mkfifo(place / "never")
    return place


@pytest.mark.parametrize("ancestor", ["slave", "fork server", "keeper", "server"])
def test_a_process_behind_the_master_is_killed_at_work(waiting: Place, ancestor: str) -> None:
    """Recovery: a slave, fork server, keeper or project server that is killed costs time only."""
    master = waiting.start()
    process = int((waiting / "pipe").read_text())
    for _ in range(["slave", "fork server", "keeper", "server"].index(ancestor)):
        process = parent(process)
    assert process != master.pid
    os.kill(process, signal.SIGKILL)
    run = finish(master)
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    waiting.check()


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_nothing_outlives_a_master_that_is_killed_at_work(waiting: Place, isolation: str) -> None:
    """Recovery: kill -9 of the master ends every process behind it, and the next run goes on."""
    master = waiting.start(f"--isolation={isolation}")
    slave = int((waiting / "pipe").read_text())
    os.kill(master.pid, signal.SIGKILL)
    assert finish(master).killed
    wait_for_end(slave)
    waiting.wait_for_processes()
    run = waiting.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    waiting.check()


def test_all_processes_are_killed_at_once(waiting: Place) -> None:
    """Recovery: with master, server, keeper, fork server and slave gone, the next run goes on."""
    master = waiting.start()
    process = int((waiting / "pipe").read_text())
    family = [process]
    while process != master.pid:
        process = parent(process)
        family.append(process)
    assert len(family) == 5
    # Who stands still does not end because another has; a stopped process dies of SIGKILL, too.
    for which in (signal.SIGSTOP, signal.SIGKILL):
        for one in family:
            os.kill(one, which)
    assert finish(master).killed
    waiting.wait_for_processes()
    run = waiting.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    waiting.check()


def test_the_process_group_is_killed(waiting: Place) -> None:
    """Recovery: what a terminal does when it is closed leaves nothing, and the next run goes on."""
    master = waiting.start()
    (waiting / "pipe").read_text()
    os.killpg(master.pid, signal.SIGKILL)
    assert finish(master).killed
    waiting.wait_for_processes()
    run = waiting.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    waiting.check()


def test_a_server_that_always_dies_is_given_up(tmp_path: Path) -> None:
    """Recovery: a project server that can not live ends the master with one message, no hang."""
    place = Place(tmp_path / "job")
    run = place.run(environ=crash("write rows", who="server", what="always kill"))
    assert (run.code, run.stdout) == (3, "")
    assert "the emulated project's server died" in run.stderr
    assert "run the same command to go on" in run.stderr
    assert "Traceback" not in run.stderr
    run = place.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    place.check()


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    """Recovery: half of an unpacked archive, a rehearsal, a slot go when the batch goes on."""
    place = Place(tmp_path / "job")
    assert place.run(environ=crash("load")).killed
    place.wait_for_processes()
    (place / ".pyboinc/bundles/.unpacked.17.tmp").write_text("ha")
    rehearsal = place / ".pyboinc/local/scratch/pyboinc-rehearsal-17"
    rehearsal.mkdir(parents=True)
    (rehearsal / "in").write_text("ha")
    slot = place / ".pyboinc/local/slots/7"  # a power cut can bring back one that was removed
    slot.mkdir(parents=True)
    (slot / "out.tmp").write_text("ha")
    place.check(place.run(), "The answer is 14\n")
    assert not rehearsal.parent.exists()
    assert not slot.exists()
