"""The tests are measured by a way of their own into coverage: it must see what coverage sees."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import coverage
import measuring
import pytest
from source import ROOT

PROGRAM = """
import os, sys, threading
from pyboinc import codec, faults

def work(value):
    data = codec.encode(value)
    for part in range(len(data)):
        try:
            codec.decode(data[:part], codec.Registry({}))
        except codec.RejectedResult:
            pass

for value in ([1, "two", {3: (4.0, None)}], {5}):
    thread = threading.Thread(target=work, args=[value])
    thread.start()
    thread.join()
child = os.fork()
if not child:
    print(faults.parse_faults("late=0.25"), flush=True)
    os._exit(0)
os.waitpid(child, 0)
try:
    faults.parse_faults("late=much")
except Exception as error:
    print(type(error))
sys.exit(3)
"""
"""Threads, a fork, refusals, an end by ``os._exit`` and one by an exception."""

CONFIGURATION = f"""
[run]
branch = true
source_pkgs = pyboinc
source_dirs = {ROOT / "pyboinc"}
parallel = true
patch = _exit
"""


def run(path: Path, environ: Mapping[str, str]) -> None:
    """Run the program with nothing in its environment that measures it but *environ*."""
    clean = {name: value for name, value in os.environ.items() if "COVERAGE" not in name}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=path, env={**clean, **environ}, check=False)
    assert done.returncode == 3


def test_every_branch_is_seen_that_coverage_sees(tmp_path: Path) -> None:
    """Measuring: the same branches of the same files, in threads and in forked processes, too."""
    (tmp_path / "coveragerc").write_text(CONFIGURATION)
    where = {"COVERAGE_FILE": str(tmp_path / "data")}
    run(tmp_path, {"COVERAGE_PROCESS_START": str(tmp_path / "coveragerc"), **where})
    expected: dict[str, set[tuple[int, int]]] = {}
    for path in tmp_path.glob("data.*"):
        data = coverage.CoverageData(str(path))
        data.read()
        for name in data.measured_files():
            expected.setdefault(name, set()).update(data.arcs(name) or ())
    found = tmp_path / "found"
    found.mkdir()
    measuring.install()
    run(tmp_path, measuring.environment(found))
    actual = measuring.branches(found)
    assert len(actual) > 10
    assert actual == {name: branches for name, branches in expected.items() if branches}


def test_a_process_that_outlives_the_tests_is_quiet(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Measuring: where nobody gathers any more what has run, nothing is said of it."""
    measuring.install()
    run(tmp_path, measuring.environment(tmp_path / "gone"))
    assert capfd.readouterr().err == ""
