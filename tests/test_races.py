"""Masters, verbs, writers and the clock: everything that may happen at the same moment."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from backups import Mixture, Moments, scratch, some, try_one
from cli_apps import verb
from crowds import MASTER, Member, crowd
from masters import MASTER as SUM
from masters import Place, crash, finish
from sweep.races import GATED, VERBS, wrong

from pyboinc import disk, locks
from pyboinc.errors import JobDirectoryError
from pyboinc.jobdir import JobDirectory

BUSY = re.compile(r"pyboinc: another master \(process (\d+|unknown)\) is running in .*\n")
"""All that a master says which is not the first."""


# ---------------------------------------------------------------- many at once


@pytest.mark.parametrize("number", [2, 10, 100])
def test_of_many_masters_at_once_one_goes_on(tmp_path: Path, number: int) -> None:
    """Lock: of 2, 10, 100 masters started together one does the batch; the rest say one line."""
    place = Place(tmp_path / "job", {"app_master.py": GATED})
    place.mkfifo("gate")
    members = crowd(place, [MASTER] * number, held=True)
    first = [one for one in members if one.code == 0]
    assert [one.stdout for one in first] == ["The answer is 14\n"], members
    for one in members:
        if one.code:
            assert (one.code, one.stdout) == (3, ""), one
            assert BUSY.fullmatch(one.stderr), one
    place.check()


def test_masters_at_once_in_a_directory_that_is_half_done(tmp_path: Path) -> None:
    """Lock: also when there is a batch to go on with, and leftovers of a killed master."""
    place = Place(tmp_path / "job", {"app_master.py": GATED.replace("open('gate').read()", "pass")})
    assert place.run(environ=crash("retire", number=2)).killed
    place.wait_for_processes()
    (place / ".pyboinc/.run.json.1.tmp").write_text("torn")
    members = crowd(place, [MASTER] * 5)
    for one in members:
        assert (one.code, one.stdout) in ((0, "The answer is 14\n"), (3, "")), one
    assert 0 in [one.code for one in members]
    place.check()


def rounds(place: Place, seed: int, number: int) -> list[Member]:
    """Let masters and verbs start together, again and again; return all that there were."""
    draw = random.Random(seed)
    members = []
    for _ in range(number):
        commands = [MASTER, MASTER, *draw.sample(VERBS, 5), ["status"]]
        draw.shuffle(commands)
        members += crowd(place, commands)
        place.wait_for_processes()
    return members


def test_verbs_at_the_same_moment_as_masters(tmp_path: Path, seed: int) -> None:
    """Races: whoever comes second says so in a line; a plain run afterwards ends well."""
    place = Place(tmp_path / "job")
    for one in rounds(place, seed, 3):
        assert wrong(one.code, one.stderr) == "", one
    rerun = place.run(command=[sys.executable, "-m", "pyboinc", "rerun", "--failed"])
    assert rerun.code in (0, 2), rerun
    run = place.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    place.check()


def test_a_look_at_what_is_half_removed(tmp_path: Path) -> None:
    """Races: beside --fresh or clean, what looks damaged is said to be in somebody's hands."""
    place = Place(tmp_path / "job")
    assert place.run().code == 0
    (place / ".pyboinc/run.json").unlink()
    words = [sys.executable, "-m", "pyboinc", "status"]
    damaged = place.run(command=words)
    assert (damaged.code, "restore it" in damaged.stderr) == (2, True), damaged
    lock = locks.take_lock(place / ".pyboinc/lock")
    busy = place.run(command=words)
    os.close(lock)
    assert (busy.code, f"process {os.getpid()} is changing" in busy.stderr) == (3, True), busy


@pytest.mark.parametrize("words", [["status"], ["errors"], ["errors", "--all"]])
def test_a_look_where_new_and_old_are_gone(tmp_path: Path, words: list[str]) -> None:
    """Races: --fresh and clean remove new/ and old/ while another looks; then none lies there."""
    place = Place(tmp_path / "job")
    assert place.run().code == 0
    shutil.rmtree(place / "new")
    shutil.rmtree(place / "old")
    looked = place.run(command=[sys.executable, "-m", "pyboinc", *words])
    assert (looked.code, looked.stderr) == (0, ""), looked


def test_a_directory_is_cleaned_just_before_it_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Races: what a master has made for its lock may be removed by `pyboinc clean` once more."""
    removed = []

    def clean(step: str, about: str) -> None:
        if step == "lock" and not removed:
            removed.append(about)
            os.rmdir(os.path.dirname(about))

    monkeypatch.setattr(disk, "before_step", clean)
    directory = JobDirectory(tmp_path)
    directory.lock()
    assert len(removed) == 1
    directory.check_place()
    directory.close()
    shutil.rmtree(tmp_path)
    with pytest.raises(JobDirectoryError, match="is not a directory"):
        directory.lock()


def test_a_master_that_comes_while_a_batch_is_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Races: clean removes the lock last; who then gets one finds nothing, and keeps it."""
    place = Place(tmp_path / "job")
    assert place.run().code == 0
    came = []

    def come(step: str, about: str) -> None:
        if step == "remove" and about == str(place / ".pyboinc") and not came:
            came.append(JobDirectory(tmp_path / "job"))
            came[0].lock()
            came[0].load()

    monkeypatch.setattr(disk, "before_step", come)
    cleaned = verb("clean", "--yes", str(tmp_path / "job"))
    assert cleaned.exit_code == 0, cleaned.output
    (master,) = came
    assert master.record is None
    assert sorted(os.listdir(master.state)) == ["lock"]
    master.check_place()
    master.close()


# ---------------------------------------------------------------- results on their way

WRITER = """
import os, random, sys, time
place, seed = sys.argv[1:]
draw = random.Random(int(seed))
new, old = place + "/new", place + "/old"

def outcome():
    for directory in (old, new):
        for name in os.listdir(directory):
            if name.endswith(".out"):
                try:
                    with open(f"{directory}/{name}", "rb") as file:
                        return name, file.read()
                except FileNotFoundError:
                    pass
    return "1_0.out", b"nonsense"

def badly(name, data):
    with open(f"{new}/{name}", "wb") as file:
        file.write(data[:5])
        file.flush()
        time.sleep(draw.random() / 200)
        file.write(data[5:])

def properly(name, data):
    with open(f"{new}/.{name}.writer", "wb") as file:
        file.write(data)
    os.rename(f"{new}/.{name}.writer", f"{new}/{name}")

def linked(name, data):
    with open(f"{place}/linked", "wb") as file:
        file.write(data)
    try:
        os.link(f"{place}/linked", f"{new}/{name}")
    except FileExistsError:
        pass
    os.unlink(f"{place}/linked")

hurt = set()
while True:
    try:
        name, data = outcome()
        if draw.random() < 0.3:
            name = draw.choice(["1_99.out", "2_0.out", "junk", "1_7.out", "1_8.error"])
        how, what = draw.choice([badly, properly, linked]), draw.choice([data, data[:-2], b""])
        if name in hurt:  # what is refused three times has failed, and rightly so
            how, what, name = linked, data, name.replace("error", "out")
        if how is badly or what is not data or name[2:4] in ("7.", "8."):
            hurt.add(name)
        how(name, what)
    except OSError:
        pass
    time.sleep(draw.random() / 100)
"""
"""Publishes outcomes by rename and by link, and writes others in place: cut, doubled, foreign."""

CAREFUL = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

seen = []

def make_calls():
    for number in range(CALLS):
        pyboinc_call("app_slave.py", Input(number))

def handle_result(output, job):
    seen.append(job.index)

pyboinc_master(make_calls, handle_result)
print("handled", sorted(seen) == list(range(CALLS)))
"""


def test_a_master_started_while_others_write_into_new(tmp_path: Path, seed: int) -> None:
    """Races: results that come well or badly written, twice, or again after they were handled.

    Each job is handled once; what is no outcome, or comes too late to be one, is set aside.
    """
    place = Place(tmp_path / "job", {"app_master.py": CAREFUL.replace("CALLS", "30")})
    assert place.run(environ=crash("handled", number=5)).killed
    place.wait_for_processes()
    command = [sys.executable, "-c", WRITER, str(place.path), str(seed)]
    with subprocess.Popen(command) as writer:
        try:
            runs = [place.run("--latency=uniform:0,0.2") for _ in range(2)]
        finally:
            writer.kill()
    for run in runs:
        assert (run.stdout, run.code) == ("handled True\n", 0), run
        assert "Traceback" not in run.stderr
    for name in place.names("new"):
        if name.startswith("."):
            (place / "new" / name).unlink()  # what the writer was killed at
    assert place.run().stdout == "handled True\n"
    assert sorted(place.handled()) == list(range(30))


def test_pieces_of_two_moments(tmp_path: Path, seed: int) -> None:
    """Backups: restored in part, a directory ends with the right answer or a clear refusal."""
    moments = Moments(tmp_path)
    (tmp_path / "mixtures").mkdir()
    later = Mixture(1, ("logs", "record", "checkpoint"), 2)
    for mixture in [later, *some(seed, 1, later.moment)]:
        print(mixture)
        found = try_one(moments, mixture, scratch(tmp_path / "mixtures"))
        assert not found.startswith("wrong"), found
        assert found == "refused" or mixture is not later


# ---------------------------------------------------------------- the clock

DAY = 86_400

STEPPING = SUM.format(calls=12).replace(
    "    global total\n",
    "    global total\n    open('clock', 'w').write(['0', '86400', '-86400'][output.value % 3])\n",
)
"""The handler sets the clock a day ahead, or back, at each result."""


def test_the_clock_steps_a_day_either_way(tmp_path: Path, seed: int) -> None:
    """Clock: set ahead and back in mid-run and between runs, it costs no job and no time."""
    place = Place(tmp_path / "job", {"app_master.py": STEPPING})
    clock = place / "clock"
    environ = {"PYBOINC_TEST_CLOCK": str(clock)}
    flags = (f"--seed={seed}", "--fault=vanish=0.1,late=0.1,hang=0.1", "--latency=0.01")
    for step, ahead in (("handled", 0), ("retire", DAY), ("load", -DAY), ("handled", 400 * DAY)):
        clock.write_text(str(ahead))
        killed = place.run(*flags, environ={**environ, **crash(step, number=4)})
        assert killed.killed or killed.code == 0, killed
        place.crashed()
        place.wait_for_processes()
    clock.write_text(str(-DAY))
    run = place.run(*flags, environ=environ)
    assert (run.stdout, run.code) == ("The answer is 506\n", 0), run
    assert not re.search(r"-\d", run.stderr.partition("\n")[2]), run
    place.check()


def test_status_when_the_clock_was_set(tmp_path: Path) -> None:
    """Clock: a rate and a time left are never negative; what is not known is not guessed."""
    place = Place(tmp_path / "job", {"app_master.py": GATED})
    place.mkfifo("gate")
    clock = place / "clock"
    clock.write_text("0")
    master = place.start()
    with open(place / "gate", "w"):
        for ahead in (DAY, -DAY, -30, 30, 0):
            clock.write_text(str(ahead))
            words = [sys.executable, "-m", "pyboinc", "status"]
            told = place.run(command=words, environ={"PYBOINC_TEST_CLOCK": str(clock)})
            assert told.code == 3, told
            assert not re.search(r" -\d", told.stdout), told
    assert finish(master).code == 0


PATIENT = """
import os, time
from pathlib import Path
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

(Path("PLACE") / "pipe").write_text(str(os.getpid()))
(Path("PLACE") / "go").read_text()
pyboinc_return_output(Output(pyboinc_get_input().number ** 2))
"""


def test_all_processes_stand_still_for_a_while(tmp_path: Path) -> None:
    """Clock: a batch that is stopped (^Z, a debugger, a full host) and continued misses nothing.

    The slave's time limit passes while it stands still, and is not counted.
    """
    place = Place(tmp_path / "job", calls=1)
    (place / "app_slave.py").write_text(PATIENT.replace("PLACE", str(place.path)))
    place.mkfifo("pipe")
    place.mkfifo("go")
    master = place.start("--delay-bound=5")
    (place / "pipe").read_text()
    family = place.processes()
    assert len(family) >= 4
    for one in family:
        os.kill(one, signal.SIGSTOP)
    time.sleep(7)  # not to wait for something: what passes here is the limit
    for one in family:
        os.kill(one, signal.SIGCONT)
    with open(place / "go", "w"):
        pass
    run = finish(master)
    assert (run.stdout, run.code) == ("The answer is 0\n", 0), run
    assert place.select("select count(*) from result") == [(1,)]
    place.check()
