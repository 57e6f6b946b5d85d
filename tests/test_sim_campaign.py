"""A campaign: masters that come and go, and a project that outlives them, in virtual time."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_apps import verb
from masters import MASTER, Place
from source import ROOT

from pyboinc import bundle
from pyboinc.backends.simulated.link import Link
from pyboinc.backends.simulated.masters import LARGE, Program, copy, link_if_large
from pyboinc.backends.simulated.slaves import Slaves, Work
from pyboinc.backends.simulated.starters import Starter
from pyboinc.differences import difference
from pyboinc.errors import BackendError, ConfigurationError
from simulator.campaign import crashes
from simulator.campaign.processes import each

Simulate = Callable[..., Any]
EXAMPLES = ROOT / "examples"

# ---------------------------------------------------------------- the examples


@pytest.mark.unmeasured
@pytest.mark.parametrize("name", ["sum_of_squares", "evolution", "hyper_parameters"])
def test_an_example_stands_it(pyboinc_simulate: Simulate, name: str, seed: int) -> None:
    """Examples: three in ten instances fail, the master is killed, and the answer is the same."""
    program = EXAMPLES / name / "app_master.py"
    simulated = pyboinc_simulate(program, seed=seed, failure_rate=0.3, master_crashes=2)
    assert simulated.stdout == (EXAMPLES / name / "expected_output.txt").read_text()
    assert len(simulated.killed_before) == 2
    if name != "hyper_parameters":  # each of its masters takes seconds
        point = seed % 400 + 1
        killed = pyboinc_simulate(program, seed=seed, failure_rate=0.3, crash_at=[point])
        assert killed.stdout == simulated.stdout


# ---------------------------------------------------------------- what a master may ask


@pytest.fixture
def simulated(tmp_path: Path, pyboinc_simulate: Simulate) -> Simulate:
    """Simulates a master of six calls in whose handler something else stands, too."""

    def simulate(handler: str, arguments: str = "", **flags: Any) -> Any:
        text = MASTER.format(calls=6).replace("def handle_result(output)", handler)
        text = text.replace("handle_result)", f"handle_result{arguments})")
        place = Place(tmp_path / "app", {"app_master.py": text})
        return pyboinc_simulate(place / "app_master.py", hosts=20, **flags)

    return simulate


def test_handlers_are_given_the_job(simulated: Simulate) -> None:
    """Jobs: host, times and attempts of virtual time, and the input."""
    handler = """def handle_result(output, job):
    assert job.host.startswith("host-") and 0 <= job.sent < job.received
    assert job.input.number ** 2 == output.value
    assert [one.outcome for one in job.attempts][-1] == "success"
    add(output)

def add(output)"""
    assert simulated(handler, failure_rate=0.4, seed=1).stdout == "The answer is 55\n"


def test_an_outcome_that_is_lost_is_had_again(simulated: Simulate) -> None:
    """Reissue: somebody removes an outcome from new/, and its job is done again."""
    handler = """def handle_result(output):
    import os
    for name in sorted(os.listdir("new"))[1:2]:
        if not os.path.exists("removed"):
            open("removed", "w").close()
            os.remove("new/" + name)
    add(output)

def add(output)"""
    assert simulated(handler, seed=2).jobs == 6


def test_a_batch_that_is_given_up(simulated: Simulate) -> None:
    """Cancel: a master that begins afresh each time cancels what the killed one has left."""
    handler = "def handle_result(output)"
    run = simulated(handler, ", fresh=True", crash_at=[60], seed=1)
    assert run.stdout == "The answer is 55\n"
    assert run.jobs == 12


def test_processes_that_can_not_be_forked(simulated: Simulate) -> None:
    """Isolation: with spawn every master and every slave is a fresh interpreter."""
    run = simulated("def handle_result(output)", isolation="spawn", master_crashes=1, seed=1)
    assert run.stdout == "The answer is 55\n"


LEAVING = """
[[hosts]]
count = 3
speed_gflops = 5
lifetime_days = 0.1
availability = "always"
"""


def test_a_batch_that_can_never_be_done(tmp_path: Path) -> None:
    """Bad input: hosts that leave before all is done: said, and not waited for for ever."""
    place = Place(tmp_path / "app", calls=9)
    (tmp_path / "hosts.toml").write_text(LEAVING)
    words = ("--hosts", str(tmp_path / "hosts.toml"), "--fpops=36e12")
    result = verb("simulate", str(place / "app_master.py"), "--seed=1", *words)
    assert result.exit_code == 3, result.output
    assert "nothing happens any more" in result.output
    assert "or a longer --delay-bound" in result.output


# ---------------------------------------------------------------- processes


def test_a_starter_that_has_died() -> None:
    """Masters: a process that dies before it has become one is an error with a next step."""
    starter = Starter(0, ())
    assert os.getsid(starter._process.pid) == starter._process.pid  # ^C does not reach it
    os.kill(starter._process.pid, signal.SIGKILL)
    starter._process.wait()
    with pytest.raises(BackendError, match="was to become the master has died"):
        starter.start({}, [0, 1, 2])
    starter.close()


def test_a_module_that_starts_threads_is_not_imported_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masters: a process with threads can not be forked, so another one takes its place."""
    (tmp_path / "with_threads.py").write_text(
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    starter = Starter(1, ["with_threads"])
    first = starter._process.pid
    place = Place(tmp_path / "app", {"app_master.py": "print('here', flush=True)"})
    options = {
        "program": "app_master.py",
        "arguments": [],
        "flags": [],
        "point": None,
        "directory": str(place.path),
    }
    with open(tmp_path / "stdout", "w+b") as stdout, open(os.devnull, "w+b") as null:
        ours, theirs = os.pipe()
        link = os.dup(null.fileno())
        starter.start(options, [stdout.fileno(), null.fileno(), link])
        assert starter.wait() != 0  # nobody is at the other end of its link
        os.close(ours)
        os.close(theirs)
        os.close(link)
    assert starter._process.pid != first
    starter.close()


def test_a_slave_that_kills_its_worker(tmp_path: Path) -> None:
    """Slaves: one under which workers die has failed, and the next one runs."""
    place = Place(tmp_path / "app")
    slave = (
        "import os, signal\nfor one in (os.getppid(), os.getpid()): os.kill(one, signal.SIGKILL)"
    )
    (place / "app_killer.py").write_text(slave)
    slaves = Slaves(tmp_path / "slaves", 1, "fork", 1_000)
    archives = {}
    for name in ("app_slave.py", "app_killer.py"):
        packed = bundle.pack(place.path, name)
        path = tmp_path / f"{packed.digest}.zip"
        path.write_bytes(packed.data)
        archives[name] = slaves.archive(path)
    limits = (60.0, 5e8, 1e9)
    failed = slaves.ending(Work(archives["app_slave.py"], "app_slave.py", b"no pickle", *limits))
    assert failed.exit_status == 1
    killed = slaves.ending(Work(archives["app_killer.py"], "app_killer.py", b"", *limits))
    assert (killed.output, killed.exit_status) == (None, 1)
    assert "worker died" in killed.stderr
    assert slaves.runs == 2
    slaves.close()


def test_forks_tell_of_everything() -> None:
    """Processes: results come back with their numbers, and an error of one is raised here."""
    begun: list[int] = []
    tasks = [lambda n=n: "x" * 100_000 * n for n in range(5)]
    found = dict(each(tasks, 2, lambda: begun.append(1), lambda: None))
    assert found == {n: "x" * 100_000 * n for n in range(5)}
    assert begun == []
    with pytest.raises(BackendError, match="ZeroDivisionError"):
        list(each([lambda: 1, lambda: 1 // 0], 2, lambda: None, lambda: None))


@pytest.fixture
def links() -> Iterator[tuple[Link, Link]]:
    """The two ends of a socket."""
    import socket

    pair = [Link(one.detach()) for one in socket.socketpair()]
    yield pair[0], pair[1]
    for one in pair:
        one.close()


def test_messages_arrive_whole(links: tuple[Link, Link]) -> None:
    """Links: messages longer than a packet, two at once, and the end of the other end."""
    one, other = links
    one.say("a" * 30_000)
    one.say([1])
    assert [other.hear(), other.hear()] == ["a" * 30_000, [1]]
    one.close()
    assert other.hear() is None
    other.say("nobody hears it")
    assert other.hear_with(3) == (None, [])


# ---------------------------------------------------------------- pure parts


STEPS = [("lock", "", 1), ("call", "*", 9), ("fsync", ".pyboinc/spool", 1), ("make jobs", "", 1)]
STEPS += [("handle", "*.out", 9), ("handled", "*.out", 9), ("end", "", 1)]


def test_points_are_of_the_seed(seed: int) -> None:
    """Kills: the same seed chooses the same points, each further on than the one before."""
    points = crashes.chosen(seed, 5, STEPS)
    assert points == crashes.chosen(seed, 5, STEPS) != crashes.chosen(seed + 1, 5, STEPS)
    assert all(1 <= point["number"] <= 9 for point in points)
    latest = [point["latest"] for point in points]
    assert latest == sorted(latest)
    # What handlers of this program never do, no later life is killed at.
    later = {point["step"] for n in range(99) for point in crashes.chosen(n, 5, STEPS)[1:]}
    assert later == {"lock", "make jobs", "handle", "handled", "restore"}
    assert [point["number"] for point in crashes.every(STEPS)] == list(range(1, 32))


class Plain:
    def __init__(self, **fields: Any) -> None:
        vars(self).update(fields)


CYCLE: list[Any] = [1]
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    ("then", "now", "told"),
    [
        (1, 2, "input was 1 then, and is 2 now"),
        (1, 1.0, "input was 1 then, and is 1.0 now"),
        ([1, [2]], [1, [3]], "input[1][0] was 2 then, and is 3 now"),
        ((1, 2), (1,), "input had 2 items then, and has 1 now"),
        ({"a": {1}}, {"a": {2}}, "input['a'] was {1} then, and is {2} now"),
        ({"a": 1}, {}, "input['a'] was there then, and is not now"),
        ({}, {"a": 1}, "input['a'] was not there then, and is now"),
        (Plain(x=1, y=Plain(z="a")), Plain(x=1, y=Plain(z="b")), "input.y.z was 'a' then, and is"),
        (crashes.LONGEST_DOWN, crashes.LONGEST_DOWN, None),
        (float("nan"), float("nan"), None),
        (CYCLE, CYCLE, None),
        (True, 1, "input was True then, and is 1 now"),
    ],
)
def test_where_two_values_differ(then: Any, now: Any, told: str | None) -> None:
    """Differences: the path to the first part that is another, and both values."""
    found = difference(then, now, "input")
    assert found is None if told is None else found is not None and found.startswith(told)


def test_where_two_arrays_differ() -> None:
    """Differences: of arrays the shape or type, or the first number."""
    numpy = pytest.importorskip("numpy")
    zeros, other = numpy.zeros((2, 3)), numpy.zeros((2, 3))
    other[1, 1] = 5
    assert difference(zeros, zeros.copy()) is None
    assert difference(zeros, other, "a") == "a.flat[4] was 0.0 then, and is 5.0 now"
    wider = difference(zeros, numpy.zeros(4), "a")
    assert wider == "a was an array float64[2, 3] then, and is float64[4] now"


def test_a_program_that_can_not_be_read_is_no_obstacle(tmp_path: Path) -> None:
    """Programs: what would be imported ahead of one that is no Python is nothing."""
    (tmp_path / "app_master.py").write_text("def (")
    program = Program(tmp_path / "app_master.py")
    assert program.preload() == []
    assert program.preload_of_slaves() == []


def test_large_data_is_not_copied_for_each_run(tmp_path: Path) -> None:
    """Copies: a job directory's own files are left out, and large data has one more name."""
    program = tmp_path / "app" / "app_master.py"
    (tmp_path / "app" / "new").mkdir(parents=True)
    program.write_text("pass\n")
    (tmp_path / "app" / "new" / "1_0.out").write_text("of a real run")
    (tmp_path / "app" / "data").write_bytes(bytes(LARGE + 1))
    assert Program(program).size() == LARGE + 1 + len("pass\n")
    first = Program(program).copy_to(tmp_path / "first")
    second = copy(first, tmp_path / "second", link_if_large)
    assert sorted(os.listdir(second)) == ["app_master.py", "data"]
    same = [os.path.samefile(first / name, second / name) for name in ("app_master.py", "data")]
    assert same == [False, True]
    with pytest.raises(ConfigurationError, match="set TMPDIR to a place with more room"):
        Program(program).copy_to(first)
