"""``pyboinc simulate app_master.py``: the user's own program in virtual time."""

from __future__ import annotations

import gc
import json
import os
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from cli_apps import verb
from click.testing import Result
from masters import MASTER, SLAVE, Place
from source import ROOT

from pyboinc.backends.simulated.masters import Program
from pyboinc.backends.simulated.slaves import Slaves
from simulator.campaign import Campaign

SUM_OF_SQUARES = ROOT / "examples" / "sum_of_squares" / "app_master.py"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A program of six calls, in a directory of its own."""
    return Place(tmp_path / "app", calls=6)


def simulate(place: Place, *flags: str, hosts: int | str = 20, processes: int = 1) -> Result:
    own = (f"--hosts={hosts}", f"--processes={processes}")
    return verb("simulate", str(place / "app_master.py"), *own, *flags)


def report(place: Place, *flags: str, hosts: int | str = 20) -> dict[str, Any]:
    """What ``--json`` prints."""
    result = simulate(place, *flags, "--json", hosts=hosts)
    found: dict[str, Any] = json.loads(result.stdout)
    assert result.exit_code == (0 if found["same"] else 1)
    return found


def program(place: Place, before: str = "", handler: str = "", call: str = "number") -> None:
    """Write a master with something else in it."""
    text = MASTER.format(calls=6).replace("Input(number)", f"Input({call})")
    text = text.replace("    total += output.value\n", f"    total += output.value\n{handler}")
    (place / "app_master.py").write_text(before + text)


# ---------------------------------------------------------------- the same answer


def test_a_program_that_stands_it(place: Place) -> None:
    """Simulate: with faults the same answer as without; the user's own directory is left alone."""
    (place / "new").mkdir()
    (place / "new" / "1_0.out").write_text("of a real run")
    before = {path: path.stat().st_mtime_ns for path in place.path.rglob("*")}
    result = simulate(place, "--failure-rate=0.4", "--seed=7")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("without faults: exit code 0, 6 jobs, 0 retries")
    assert result.stdout.endswith("1 run with faults: the same answer as without\n")
    assert {path: path.stat().st_mtime_ns for path in place.path.rglob("*")} == before


def test_many_seeds_and_kills(place: Place) -> None:
    """Kills: as many as asked for, at points of the seed's, in each of many runs, side by side."""
    flags = ("--failure-rate=0.3", "--seed=3", "--seeds=4", "--master-crashes=3", "--json")
    result = simulate(place, *flags, processes=2)
    assert result.exit_code == 0, result.output
    runs = json.loads(result.stdout)["runs"]
    assert [run["seed"] for run in runs] == [3, 4, 5, 6]
    points = [run["killed_before"] for run in runs]
    assert [len(one) for one in points] == [3, 3, 3, 3]
    assert len({tuple(one) for one in points}) == 4


def test_every_crash_point(tmp_path: Path) -> None:
    """Kills: at each step in turn, the end of the process included; the same answer from each."""
    place = Place(tmp_path / "app", calls=2)
    found = report(place, "--every-crash-point", "--seed=5")
    assert found["same"], found
    points = [point for run in found["runs"] for point in run["killed_before"]]
    assert len(points) == len(found["runs"]) > 40
    for wanted in ("lock .pyboinc/lock", "call 1", "fsync .pyboinc/journal", "handled 1_0.out"):
        assert wanted in points
    assert points[-1] == "end"


@pytest.mark.parametrize("fault", ["restart", "suspend", "server_outage"])
def test_what_costs_time_alone(place: Place, fault: str) -> None:
    """Faults: a reboot, a suspension, an outage; nothing fails, and all takes longer."""
    # Four and a half hours each; so the second request comes soon after a report.
    flags = ("--seed=1", "--fpops=80e12", "--fault")
    usual = report(place, *flags, "", hosts="reference:1")
    struck = report(place, *flags, f"{fault}=1", hosts="reference:1")
    assert struck["same"]
    (one,), (other,) = usual["runs"], struck["runs"]
    assert (one["retries"], other["retries"]) == (0, 0)
    assert other["days"] > one["days"]


def test_the_master_kills_itself(place: Place) -> None:
    """Faults: one that is killed by its own faults is started again, as often as it takes."""
    found = report(place, "--fault=master_killed=0.05", "--seed=1", "--seeds=2")
    assert found["same"]
    assert all(run["killed_before"] for run in found["runs"])


def test_the_same_seed_gives_the_same_trace(place: Place, tmp_path: Path) -> None:
    """Traces: byte for byte, also with kills; another seed gives another one."""
    traces = []
    for name in ("one", "two"):
        flags = ("--failure-rate=0.5", "--master-crashes=2", "--seed=1", "--seeds=2")
        result = simulate(place, *flags, f"--trace={tmp_path / name}")
        assert result.exit_code == 0, result.output
        traces.append((tmp_path / name).read_bytes())
    assert traces[0] == traces[1]
    first, second = re.split(rb"(?<=master ended: 0)\n(?=.)", traces[0])
    assert first != second.rstrip()
    assert b"master killed before" in traces[0]


def test_the_names_of_the_design_document_are_there(tmp_path: Path) -> None:
    """Design document: its program, which imports none of our names, can be simulated as it is."""
    master = ROOT / "examples" / "design_document" / "app_master.py"
    result = verb("simulate", str(master), "--hosts=50", "--failure-rate=0.2", "--seed=1")
    assert result.exit_code == 0, result.output


def test_arguments_are_the_programs_own(place: Place) -> None:
    """Arguments: what follows -- reaches the program, and stands in the command that repeats."""
    program(place, before="import sys, time\nprint(sys.argv[1:], time.time_ns())\n")
    result = simulate(place, "--seed=1", "--", "--deep", "a b")
    assert result.exit_code == 1
    assert "['--deep', 'a b']" in result.stdout
    assert "--seed 1 -- --deep 'a b'\n" in result.stdout


# ---------------------------------------------------------------- another answer


def test_an_answer_that_depends_on_the_order(place: Place) -> None:
    """Difference: both answers are shown, exit code 1, and the command printed repeats it."""
    program(place, handler="    print(output.value)\n")
    first = simulate(place, "--failure-rate=0.5", "--seed=11")
    assert first.exit_code == 1, first.output
    assert "it printed something else (- without faults, + with them):" in first.stdout
    assert "the same lines in another order" in first.stdout
    (line,) = [line for line in first.stdout.splitlines() if "repeat:" in line]
    words = shlex.split(line.partition("repeat:")[2])
    assert words[:2] == ["pyboinc", "simulate"]
    again = verb(*words[1:])
    assert (again.exit_code, again.stdout) == (1, first.stdout)


def test_a_clock_read_by_make_calls(place: Place) -> None:
    """Difference: calls that are others in each run are named, with the field that differs."""
    program(place, before="import time\n", call="time.time_ns()")
    result = simulate(place, "--seed=1")
    assert result.exit_code == 1
    assert "call 0 is another than without faults: input.number was" in result.stdout
    assert "make_calls must make the same calls in every run" in result.stdout
    assert "even without faults it does something else each time" in result.stdout


def test_a_clock_read_by_a_handler(place: Place) -> None:
    """Replay: a handler whose call has another input after a kill; the call and field are named."""
    more = "    if output.value == 4: pyboinc_call('app_slave.py', Input(time.time_ns()))\n"
    program(place, before="import time\n", handler=more)
    (place / "app_master.py").write_text(
        (place / "app_master.py").read_text().replace('print("The answer is", total)', "")
    )
    result = simulate(place, "--seed=1", "--crash-at=1000000")
    assert result.exit_code == 1
    assert "ended with exit code 4, without faults with exit code 0" in result.stdout
    assert "call 6 differs from the recorded one" in result.stdout
    assert "input.number was" in result.stdout
    assert "killed before end" in result.stdout
    assert "--crash-at 1000000" in result.stdout


def test_the_order_of_a_set(place: Place) -> None:
    """Replay: each start of a master has another hash seed, so that the order of a set shows."""
    words = "'a bb ccc dddd eeeee ffffff ggggggg'.split()"
    more = (
        "    if output.value == 4:\n"
        f"        for name in set({words}): pyboinc_call('app_slave.py', Input(9 + len(name)))\n"
        "    names.append(output.value)\n"
    )
    program(place, before="names = []\n", handler=more)
    found = report(place, "--seed=1", "--crash-at=1000000")
    assert not found["same"]
    assert "differs from the recorded one: its input" in str(found["runs"][0]["differences"])


def test_wrong_results_without_a_quorum(place: Place) -> None:
    """Wrong values: at quorum 1 they change the answer, at quorum 3 they are outvoted."""
    assert not report(place, "--fault=wrong=0.5", "--seed=2")["same"]
    found = report(place, "--fault=wrong=0.3", "--seed=2", "--quorum=3")
    assert found["same"], found


# ---------------------------------------------------------------- slaves that fail


FEARFUL = SLAVE.replace(
    "pyboinc_return_output(",
    "import json\nif pyboinc_get_input().number == 4: json.loads('no')\npyboinc_return_output(",
)

TOLD = """
def handle_error(failure):
    first = failure.attempts[0]
    print(failure.index, failure.reason, failure.error_mask, failure.cause)
    print(first.outcome, first.exit_status, first.signal, first.stderr)

pyboinc_master(make_calls, handle_result, handle_error)
"""


def test_a_slave_that_raises_fails_as_on_the_emulator(place: Place) -> None:
    """Failures: handle_error is told the same as by the local emulator."""
    (place / "app_slave.py").write_text(FEARFUL)
    text = MASTER.format(calls=6).replace("pyboinc_master(make_calls, handle_result)\n", TOLD)
    (place / "app_master.py").write_text(text)
    result = simulate(place, "--seed=1", "--master-crashes=1")
    assert result.exit_code == 0, result.output
    emulated = place.run("--seed=1").stdout
    assert "too many errors 2 json.decoder.JSONDecodeError" in emulated
    campaign = Campaign(Program(place / "app_master.py"), 1, "fork", 64_000_000)
    try:
        assert campaign.calm(1).last.stdout == emulated
    finally:
        campaign.close()


def test_jobs_that_fail_for_good(place: Place) -> None:
    """Failures: a program that fails without faults fails here; what it said is shown."""
    (place / "app_slave.py").write_text(FEARFUL)
    result = simulate(place, "--seed=1")
    assert result.exit_code == 1
    assert "without faults it ends with exit code 1: mend that first" in result.output
    assert "1 x json.decoder.JSONDecodeError" in result.output


def test_a_program_that_can_not_run(place: Place) -> None:
    """Failures: a mistake that stops the program without faults is no answer that is the same."""
    program(place)
    text = (place / "app_master.py").read_text().replace("app_slave.py", "app_slab.py")
    (place / "app_master.py").write_text(text)
    result = simulate(place, "--seed=1")
    assert result.exit_code == 1
    assert "without faults it ends with exit code 2: mend that first" in result.output
    assert "app_slab.py" in result.output


# ---------------------------------------------------------------- bad input


def stops(result: Result, code: int, *told: str) -> None:
    assert result.exit_code == code, result.output
    assert isinstance(result.exception, SystemExit)
    for text in told:
        assert text in result.output


def test_a_program_that_is_not_there(place: Place) -> None:
    """Bad input: no program of this name, a directory, none at all."""
    stops(verb("simulate", str(place / "app_mister.py")), 2, "did you mean app_master.py?")
    stops(verb("simulate", str(place.path)), 2, "name the program: app/app_master.py")


def test_a_program_that_never_calls_pyboinc_master(place: Place) -> None:
    """Bad input: there is nothing to simulate, and what the program said is shown."""
    (place / "app_master.py").write_text("import nonsense_that_is_not_there\n")
    stops(simulate(place), 2, "never called pyboinc_master", "No module named 'nonsense_that")
    (place / "app_master.py").write_text(MASTER.format(calls=1).partition("pyboinc_master(m")[0])
    stops(simulate(place), 2, "ended with exit code 0 and never called pyboinc_master")


def test_a_program_that_works_elsewhere(place: Place, tmp_path: Path) -> None:
    """Bad input: another job directory is not touched by a simulation."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    text = MASTER.format(calls=2).replace(
        "pyboinc_master(make_calls, handle_result)",
        f"pyboinc_master(make_calls, handle_result, directory={str(elsewhere)!r})",
    )
    (place / "app_master.py").write_text(text)
    stops(simulate(place), 2, "works in another job directory than its own")
    assert os.listdir(elsewhere) == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--fault=disk_full=0.1"], "disk_full has no meaning in virtual time"),
        (["--failure-rate=1.5"], "from 0 to 1"),
        (["--seeds=0"], "0 is not in the range"),
        (
            ["--every-crash-point", "--master-crashes=2"],
            "leave --master-crashes and --crash-at out",
        ),
        (["--quorum=21"], "a quorum of 21 needs as many hosts, and there are 20"),
        (["--trace=/nowhere/at/all"], "--trace /nowhere/at/all can not be written"),
    ],
)
def test_flags_that_can_not_be(place: Place, flags: list[str], told: str) -> None:
    """Bad input: a fault that virtual time does not know, numbers that make no sense."""
    stops(simulate(place, *flags), 2, told)


def test_a_worker_that_was_left_closes_nothing_twice(tmp_path: Path) -> None:
    """Many runs: a fork that forgets its parent's workers keeps what it has opened since."""
    slaves = Slaves(tmp_path / "ours", 1, "fork", 1_000_000)
    slaves.boot([])
    (worker,) = slaves._workers
    number = worker.fileno()

    slaves.leave(tmp_path / "theirs")
    worker._keeper.wait()  # it ends, for here nobody else has the other end
    opened = os.open(os.devnull, os.O_RDONLY)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)
    try:
        del worker
        gc.collect()
        os.fstat(number)  # still open
    finally:
        os.close(number)


def test_a_master_whose_output_can_not_be_read_is_not_waited_for_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a hang: what fails after a master's end is told; nobody waits for its end again."""

    def unreadable(_: object) -> str:
        raise OSError(5, "Input/output error", "stdout")

    monkeypatch.setattr("pyboinc.backends.simulated.masters._content", unreadable)
    result = simulate(place)
    assert result.exit_code == 2
    assert "Input/output error" in result.stderr
