"""Injected faults, from the flag to the answer: what is drawn happens, and costs only time."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from masters import MASTER, Place, Run

from pyboinc.faults import FaultPlan, Kind
from pyboinc.project import ClientState, Outcome, ValidateState

JOBS = 8
ANSWER = f"The answer is {sum(number**2 for number in range(JOBS))}\n"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A program with eight jobs."""
    return Place(tmp_path / "job", calls=JOBS)


def ends_well(place: Place, *flags: str) -> Run:
    """Run the program; whatever strikes, the answer is right and nothing is left over."""
    run = place.run(*flags)
    assert (run.stdout, run.code) == (ANSWER, 0), run
    place.check()
    return run


def results(place: Place, columns: str = "outcome") -> dict[tuple[int, int], tuple[object, ...]]:
    """The instances that were sent: columns of their rows, by job and instance."""
    rows = place.select(
        f"select w.sequence, r.instance, {columns} from result r "
        "join workunit w on w.id = r.workunit where r.host is not null"
    )
    return {(int(str(row[0])), int(str(row[1]))): row[2:] for row in rows}


# What the project's rows say of an instance that was struck: (outcome, client state, verdict).
SEEN = {
    Kind.CRASH: {(Outcome.CLIENT_ERROR, ClientState.COMPUTE_ERROR, ValidateState.INVALID)},
    Kind.ERROR: {(Outcome.CLIENT_ERROR, ClientState.COMPUTE_ERROR, ValidateState.INVALID)},
    Kind.HANG: {(Outcome.NO_REPLY, ClientState.NEW, ValidateState.INIT)},
    Kind.VANISH: {(Outcome.NO_REPLY, ClientState.NEW, ValidateState.INIT)},
    Kind.GARBAGE: {
        (Outcome.VALIDATE_ERROR, ClientState.FILES_UPLOADED, ValidateState.INVALID),
        (Outcome.CLIENT_ERROR, ClientState.UPLOAD_FAILED, ValidateState.INVALID),
    },
    Kind.LOST_UPLOAD: {(Outcome.VALIDATE_ERROR, ClientState.FILES_UPLOADED, ValidateState.INVALID)},
}
GOOD = (Outcome.SUCCESS, ClientState.FILES_UPLOADED, ValidateState.VALID)


@pytest.mark.parametrize("kind", SEEN)
def test_an_instance_is_struck_as_drawn(place: Place, kind: Kind, seed: int) -> None:
    """Faults: what the seed draws is what happens, to each instance, and the answer is right."""
    ends_well(place, f"--fault={kind}=0.4", f"--seed={seed}", "--max-output=100000")
    plan = FaultPlan(0.0, {kind: 0.4}, seed)
    seen = results(place, "outcome, client_state, validate_state")
    for (job, instance), row in seen.items():
        expected = SEEN[kind] if plan.draw(job, instance) else {GOOD}
        assert row in {tuple(map(int, one)) for one in expected}, (job, instance)
    assert len(seen) >= JOBS


@pytest.mark.parametrize("kind", [Kind.LATE, Kind.DUPLICATE, Kind.SUSPEND, Kind.SERVER_OUTAGE])
def test_a_fault_that_only_takes_time(place: Place, kind: Kind, seed: int) -> None:
    """Faults: a late answer, a second report, a busy host or server cost nothing but time."""
    ends_well(place, f"--fault={kind}=0.5", f"--seed={seed}")
    plan = FaultPlan(0.0, {kind: 0.5}, seed)
    for (job, instance), (outcome,) in results(place).items():
        if outcome != Outcome.SUCCESS:  # late itself, or at work when an earlier one's answer came
            struck = [plan.draw(job, one) for one in range(instance + 1)]
            assert kind is Kind.LATE and (Kind.LATE,) in struck


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
def test_all_faults_together(place: Place, seed: int, isolation: str) -> None:
    """Faults: the mix, and every fault on the way, with both ways to start a slave."""
    ends_well(
        place,
        "--failure-rate=0.3",
        "--fault=duplicate=0.2,restart=0.2,suspend=0.2,server_outage=0.1",
        f"--seed={seed}",
        f"--isolation={isolation}",
    )


@pytest.mark.parametrize("quorum", [2, 3])
def test_wrong_values_are_outvoted(place: Place, quorum: int) -> None:
    """Faults: with a quorum, a wrong value is found out; the rows say which host sent it."""
    for seed in range(100):  # one that has something to outvote, and more than one instance of it
        plan = FaultPlan(0.0, {Kind.WRONG: 0.25}, seed)
        wrong = [n for n in range(JOBS) for i in range(quorum) if plan.draw(n, i)]
        if len(wrong) >= 3:
            break
    ends_well(place, "--fault=wrong=0.25", f"--quorum={quorum}", f"--seed={seed}")
    verdicts = results(place, "validate_state, host")
    for (job, instance), (verdict, _) in verdicts.items():
        if plan.draw(job, instance):
            assert verdict != ValidateState.VALID
    assert (ValidateState.INVALID,) in {(verdict,) for verdict, _ in verdicts.values()}
    for job in range(JOBS):
        hosts = [host for (one, _), (_, host) in verdicts.items() if one == job]
        assert len(hosts) == len(set(hosts)) >= quorum


def test_a_wrong_value_is_delivered_without_a_quorum(place: Place) -> None:
    """Faults: at quorum 1 nobody can tell; this is why a failure rate never draws it."""
    run = place.run("--fault=wrong=1", "--seed=1")
    assert run.code == 0
    assert run.stdout.startswith("The answer is ")
    assert run.stdout != ANSWER


STEPS = 12

STEPPING = """
import time
from pathlib import Path
from app_types import Output
from pyboinc import (
    pyboinc_fraction_done, pyboinc_get_input, pyboinc_load_checkpoint, pyboinc_return_output,
    pyboinc_save_checkpoint,
)

number = pyboinc_get_input().number
first, total = pyboinc_load_checkpoint() or (0, 0)
with open("PLACE/log", "a", buffering=1) as log:
    print(number, "begins at", first, file=log)
    for step in range(first, STEPS):
        time.sleep(0.01)  # the work that a real slave would do
        print(number, step, file=log)
        total += number
        pyboinc_save_checkpoint((step + 1, total))
        pyboinc_fraction_done((step + 1) / STEPS)
pyboinc_return_output(Output(total))
"""


def test_a_restarted_host_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    """Faults: a restart loses no more than the step at hand, and the job is not sent again."""
    place = Place(tmp_path / "job", calls=3)
    slave = STEPPING.replace("PLACE", str(place.path)).replace("STEPS", str(STEPS))
    (place / "app_slave.py").write_text(slave)
    run = place.run("--fault=restart=1")
    assert (run.stdout, run.code) == (f"The answer is {STEPS * 3}\n", 0), run
    place.check()
    assert set(results(place)) == {(job, 0) for job in range(3)}
    lines = (place / "log").read_text().splitlines()
    for job in range(3):
        begun = [line for line in lines if line.startswith(f"{job} begins")]
        steps = Counter(line.split()[1] for line in lines if line.startswith(f"{job} "))
        del steps["begins"]
        assert len(begun) == 2, begun
        assert not begun[1].endswith(" at 0"), begun
        assert set(steps) == set(map(str, range(STEPS)))
        assert steps.total() <= STEPS + 1


def test_a_slave_goes_on_from_its_checkpoint_when_the_master_was_killed(tmp_path: Path) -> None:
    """Recovery: kill -9 in the middle of a job loses no more than the step at hand."""
    place = Place(tmp_path / "job", calls=2)
    slave = STEPPING.replace("PLACE", str(place.path)).replace("STEPS", str(STEPS))
    kill = (
        "        if step == 5 and first == 0: Path('PLACE/pipe').write_text('x'); time.sleep(60)\n"
    )
    marker = "        pyboinc_fraction_done"
    slave = slave.replace(marker, kill.replace("PLACE", str(place.path)) + marker)
    (place / "app_slave.py").write_text(slave)
    place.mkfifo("pipe")
    master = place.start()
    (place / "pipe").read_text()
    master.kill()
    master.communicate()
    place.wait_for_processes()
    master = place.start()
    (place / "pipe").read_text()  # the other job's slave
    master.kill()
    master.communicate()
    place.wait_for_processes()
    run = place.run()
    assert (run.stdout, run.code) == (f"The answer is {STEPS}\n", 0), run
    place.check()
    assert set(results(place)) == {(0, 0), (1, 0)}
    steps = Counter((place / "log").read_text().splitlines())
    assert steps["0 begins at 6"] >= 1
    assert steps["1 begins at 6"] >= 1
    assert {steps[f"{job} {step}"] for job in (0, 1) for step in range(STEPS)} == {1}


def test_the_same_seed_strikes_the_same(tmp_path: Path, seed: int) -> None:
    """Faults: two runs with one seed have the same hosts and outcomes, however many workers."""
    rows = []
    for name, of_this, workers in (("a", seed, 1), ("b", seed, 2), ("c", seed + 1, 1)):
        place = Place(tmp_path / name, calls=JOBS)
        flags = "--fault=crash=0.1,error=0.1,vanish=0.1,garbage=0.1,lost_upload=0.1,hang=0.1"
        ends_well(place, flags, f"--seed={of_this}", f"--workers={workers}")
        columns = "host, outcome, client_state, exit_status, signal, validate_state"
        rows.append(results(place, columns))
    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_latency(place: Place) -> None:
    """Faults: an answer takes as long as the distribution says, at least."""
    ends_well(place, "--latency=uniform:0.2,0.4")
    spans = results(place, "received_time - sent_time")
    assert len(spans) == JOBS
    assert all(float(str(span)) >= 0.2 for (span,) in spans.values())


def test_a_job_that_always_fails_is_a_failure(place: Place) -> None:
    """Faults: when every instance fails the retries end, and JobsFailed tells what happened."""
    run = place.run("--fault=error=1", "--max-errors=1", "--seed=3")
    assert run.code == 1
    assert f"{JOBS} of {JOBS} jobs can not be done" in run.stderr
    assert "Traceback (most recent call last)" in run.stderr
    assert "too many errors" in run.stderr
    assert set(results(place)) == {(job, instance) for job in range(JOBS) for instance in (0, 1)}
    place.check()


def test_a_master_that_is_killed_again_and_again(tmp_path: Path, seed: int) -> None:
    """Faults: master_killed strikes at steps as drawn; the same command goes on until the end."""
    place = Place(tmp_path / "job", {"app_master.py": MASTER.format(calls=3)})
    flags = ("--fault=master_killed=0.04", f"--seed={seed}")
    killed = 0
    while (run := place.run(*flags)).killed:
        assert "(--fault master_killed)" in run.stderr
        killed += 1
        place.wait_for_processes()
        assert killed < 60
    assert (run.stdout, run.code) == ("The answer is 5\n", 0), run
    place.check()
    print(f"killed {killed} times")


def test_a_disk_that_is_full_again_and_again(tmp_path: Path, seed: int) -> None:
    """Faults: disk_full gives the message of a full disk each time, and nothing is lost."""
    place = Place(tmp_path / "job", {"app_master.py": MASTER.format(calls=3)})
    draw = random.Random(seed)
    stopped = 0
    for _ in range(60):
        run = place.run("--fault=disk_full=0.1", f"--seed={draw.randrange(10**6)}")
        if run.code == 0:
            break
        assert run.code == 2, run
        assert "(--fault disk_full)" in run.stderr
        assert "the disk is full; nothing is lost: free some space" in run.stderr
        assert "Traceback" not in run.stderr
        stopped += 1
    assert (run.stdout, run.code) == ("The answer is 5\n", 0), run
    place.check()
    print(f"stopped {stopped} times")
