"""The benchmarks run, at a tiny size, and print what they are there for.

No figure is tested: what a computer that runs tests can do says nothing.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from boinc_project import mariadb
from measuring import unmeasured

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def run(*arguments: str) -> str:
    """Return what a benchmark prints."""
    program, *others = arguments
    command = [sys.executable, str(BENCHMARKS / program), *others]
    environ = {**unmeasured(), mariadb.RUN: str(mariadb.run_of_tests())}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def throughput() -> str:
    sizes = ["--jobs", "30", "--rounds", "1", "--workers", "1"]
    return run("local_throughput.py", *sizes, "--busy-jobs", "2", "--busy", "0.1", "--breakdown")


@pytest.mark.parametrize(
    "name", ["pyboinc, fork server", "pyboinc, spawn", "plain loop", "process pool"]
)
def test_the_throughput_benchmark_compares_the_emulator_with_others(
    throughput: str, name: str
) -> None:
    """Each contestant has a line: its jobs, its rate, and how much faster the emulator is."""
    row = re.search(rf"^{name} +(\d+) +(\d+) +\d+\.\.\d+ +([0-9.]+) x", throughput, re.MULTILINE)
    assert row, throughput
    assert all(float(number) > 0 for number in row.groups())


def test_the_throughput_benchmark_says_what_became_of_parsl(throughput: str) -> None:
    """Parsl is no dependency: there is a line for it, with a rate or how to get it."""
    assert re.search(r"^Parsl HTEX .*( x |pip install parsl)", throughput, re.MULTILINE)


def test_the_throughput_benchmark_holds_the_figures_against_the_bars(throughput: str) -> None:
    """Jobs a second, the ratio to the plain loop, and the slaves' part of the cores' time."""
    bars = re.findall(r"^(?:met   |MISSED)  (.*?): [0-9.e+]+ ", throughput, re.MULTILINE)
    wanted = {
        "jobs a second",
        "beside the plain loop",
        "part of the cores' time that slaves had",
    }
    assert wanted <= set(bars)


def test_the_breakdown_accounts_for_every_kind_of_process(throughput: str) -> None:
    """--breakdown: master, server, keepers, fork servers and slaves add up to all."""
    found = re.findall(r"^  ([a-z ]+?) +([0-9.]+) s +\d+ us a job$", throughput, re.MULTILINE)
    costs = {name: float(seconds) for name, seconds in found}
    total = costs.pop("all")
    assert set(costs) == {"master", "server", "keepers", "fork servers", "slaves"}
    # Each figure is rounded to a hundredth.
    assert abs(sum(costs.values()) - total) < 0.05


def test_a_contestant_that_can_not_run_does_not_stop_the_others() -> None:
    """A Parsl that does not start gets a line that says so, and the rest is compared."""
    sizes = ["--jobs", "4", "--rounds", "1", "--workers", "1", "--busy-jobs", "0"]
    printed = run("local_throughput.py", *sizes, "--parsl-python", "/bin/false")
    assert re.search(r"^Parsl HTEX +parsl_executor.py .*exit status 1$", printed, re.MULTILINE)
    assert re.search(r"^plain loop .* x ", printed, re.MULTILINE)


def test_the_volunteers_benchmark_compares_with_a_bare_interpreter() -> None:
    """What a job costs before it begins: in ms and as a multiple of python -c pass."""
    printed = run("volunteer_start.py", "--rounds", "1", "--python3-only")
    assert re.search(r"^python3 form .* ms of a processor .* x python -I -c pass", printed, re.M)


def test_the_start_benchmark_compares_with_a_bare_interpreter() -> None:
    """import pyboinc and ten jobs: each in ms, and as a multiple of python -c pass."""
    printed = run("startup.py", "--rounds", "1")
    for name in ("python -c pass", "import pyboinc", "ten jobs"):
        assert re.search(
            rf"^{name} +[0-9.]+ ms .* [0-9.]+ x python -c pass$", printed, re.MULTILINE
        )
    assert re.search(r"^(met   |MISSED)  importing pyboinc: -?[0-9.e-]+ ms", printed, re.MULTILINE)
    assert re.search(r"^(met   |MISSED)  ten jobs, start to end: ", printed, re.MULTILINE)


def test_the_memory_benchmark_prints_the_peaks() -> None:
    """The master's peak against its bar, and the server's."""
    printed = run("memory.py", "--jobs", "20")
    peaks = dict(re.findall(r"^peak memory of the (\w+) +([0-9.]+) MB$", printed, re.MULTILINE))
    assert set(peaks) == {"master", "server"}
    assert 1 < float(peaks["master"]) < 10_000
    assert re.search(r"^(met   |MISSED)  peak memory of the master: ", printed, re.MULTILINE)


def test_the_replay_benchmark_compares_a_restart_with_plain_loops() -> None:
    """A rate for each, the order as recorded, the bar, the peak and its growth."""
    printed = run("replay.py", "--results", "40", "--rounds", "1", "--jobs", "4")
    for name in ("restart", "plain loop", "plain loop, moving", "doing the jobs anew"):
        assert re.search(rf"^{name} +\d+ +\d+ +\d+\.\.\d+ +[0-9.]+ x ", printed, re.MULTILINE)
    assert re.search(r"^order: as recorded in all 1 restarts ", printed, re.MULTILINE)
    assert re.search(r"^(met   |MISSED)  replay, the whole process: ", printed, re.MULTILINE)
    assert re.search(r"^peak memory of the master: [0-9.]+ MB; ", printed, re.MULTILINE)
    assert re.search(r"^(met   |MISSED)  growth for each result: ", printed, re.MULTILINE)


def test_the_campaign_benchmark_compares_the_simulator_with_the_emulator() -> None:
    """Seconds of one simulation, of one more, of a long one; each beside an interpreter's start."""
    printed = run("campaign.py", "--rounds", "1", "--jobs", "10", "--seeds", "1")
    for name in ("100 jobs on 50 hosts", "each of many more seeds", "the local emulator"):
        assert re.search(rf"^{name} .*x python -c pass$", printed, re.MULTILINE), printed
    assert "a simulated run, start to end" in printed


def test_the_assimilation_benchmark_compares_with_an_interpreter_for_each_result() -> None:
    """Results a second of the script and of Python, the ratio, and the bar."""
    printed = run("boinc_assimilate.py", "--results", "5", "--rounds", "1")
    for name in ("the script alone", "an interpreter each", "a shell alone"):
        assert re.search(rf"^{name} +\d+ results/s", printed, re.MULTILINE), printed
    assert re.search(
        r"^the script alone beside an interpreter each: [0-9.]+ x$", printed, re.MULTILINE
    )
    assert re.search(r"^(met   |MISSED)  results a second: ", printed, re.MULTILINE)


def test_the_benchmark_of_the_served_project_loses_nothing() -> None:
    """Requests a second beside a bare handler and bare commits, and every report is there."""
    printed = run("serve.py", "--hosts", "40", "--connections", "8")

    for what in (
        "scheduler requests, durable",
        "bare handler, same requests",
        "commits of one row",
    ):
        assert re.search(rf"^{what} +[0-9]+ a second$", printed, re.MULTILINE), printed
    assert "40 hosts, 40 jobs, 40 reports in the database" in printed
    assert re.search("^met .*lost hosts", printed, re.MULTILINE), printed


def test_the_submission_benchmark_compares_with_its_parts() -> None:
    """Jobs a second from spool to rows, staging and create_work alone, memory, and polling."""
    mariadb.require()
    printed = run("boinc_submit.py", "--jobs", "30", "--rounds", "1", "--waiting", "0.5")
    for name in ("spool to rows", "staging alone", "create_work alone"):
        assert re.search(rf"^{name} +\d+ jobs/s", printed, re.MULTILINE), printed
    assert re.search(r"^waiting: [0-9.]+ cheap queries a second, each ", printed, re.MULTILINE)
    assert re.search(r"^(met   |MISSED)  staging and creation: ", printed, re.MULTILINE)
    assert re.search(r"^(met   |MISSED)  peak memory of the master: ", printed, re.MULTILINE)
