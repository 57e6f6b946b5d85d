"""``make flakes``: the tests of recovery, a hundred times, each time with another seed, under load.

    python tests/flakes.py [--runs N] [--seed N] [--load N] [TEST ...]

A test that fails once in a hundred runs is a race, in the code or in the test; here it is
found before it is found by somebody else.  Each run has a seed of its own, which orders the
tests and draws their crashes, and *load* processes beside it that compute for nothing, so
that the steps of different processes meet in ever new ways.  What failed is printed with the
command that repeats it, and in the end the counts; the exit code is 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from source import ROOT

TESTS = ("tests/test_recovery.py", "tests/test_races.py", "tests/test_sweep.py")
"""What is run if nothing is named: real masters, killed and started again."""


@contextmanager
def load(processes: int) -> Iterator[None]:
    """Let so many processes compute for nothing, until this is left or dies."""
    # Its standard input is a pipe from here: it ends when we do, however that comes about.
    compute = "import select, sys\nwhile not select.select([0], [], [], 0)[0]: sum(range(10**5))"
    command = [sys.executable, "-c", compute]
    busy = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(processes)]
    try:
        yield
    finally:
        for process in busy:
            process.communicate()


def run(tests: Sequence[str], seed: int) -> tuple[list[str], str]:
    """Run *tests* once; return those that failed, by name, and what pytest printed."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *tests]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYBOINC_TEST_SEED": str(seed)},
        capture_output=True,
        text=True,
        check=False,
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+\.py(?:::.*?)?)(?: - .*)?$", done.stdout, re.M)
    if done.returncode and not failed:
        failed = [f"pytest ended with {done.returncode}"]
    return failed, done.stdout + done.stderr


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for as often as that; 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python tests/flakes.py", description=__doc__)
    parser.add_argument("tests", nargs="*", metavar="TEST", help=" ".join(TESTS))
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="of the first")
    parser.add_argument("--load", type=int, default=os.cpu_count() or 1, help="busy processes")
    options = parser.parse_args(arguments)
    tests = options.tests or [one for one in TESTS if (ROOT / one).exists()]
    flakes: Counter[str] = Counter()
    bad = 0
    with load(options.load):
        for number in range(options.runs):
            seed, started = options.seed + number, time.monotonic()
            failed, printed = run(tests, seed)
            seconds = time.monotonic() - started
            said = f"seed {seed}, {seconds:.0f} s, {len(failed)} failed"
            print(f"run {number + 1}: {said}", flush=True)
            flakes.update(failed)
            if failed:
                bad += 1
                again = f"PYBOINC_TEST_SEED={seed} python -m pytest -n 2 {' '.join(tests)}"
                print(f"{printed}\nagain: {again}", flush=True)
    for test, times in flakes.most_common():
        print(f"{times} times: {test}")
    print(f"{bad} of {options.runs} runs failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
