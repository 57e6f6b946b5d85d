"""How quickly a restarted master handles again what was handled before, and in how much memory.

    python benchmarks/replay.py [--results 100000] [--rounds 3] [--seed 1]

The results come from a first run of the whole master and the whole emulated project but for
the slaves: their outputs are written in their place (programs/first_run.py), in an order drawn
from the seed.  Then the same program is started again, round after round: a process from its
start to its end, which takes the lock, reads spool and journal, moves everything from old/ back
to new/, loads, handles and moves each result in the recorded order, and ends.

In the same rounds: plain loops over the same files, and as many jobs as are quickly done anew.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from measuring import PROGRAMS, NoAnswer, environment, in_turns, median, run, verdict

RESTART = "restart"
LOOP, MOVING, ANEW = "plain loop", "plain loop, moving", "doing the jobs anew"

PROMISES = {
    RESTART: "recorded order; checked, bounded, nothing of a file is run; durable",
    LOOP: "open, read, pickle.loads: no order, runs what a file says, moves nothing",
    MOVING: "the same, and each file to new/ and back",
    ANEW: "the local emulator, a process for each job",
}

_BAR = 10_000
_GROWTH = 100


class Place:
    """A job directory in which *results* results were handled, in an order drawn from *seed*."""

    def __init__(self, path: Path, results: int, seed: int, time_limit: float) -> None:
        self.path = path
        self.results = results
        self.time_limit = time_limit
        self.last: dict[str, Any] = {}
        shutil.copytree(PROGRAMS, path, ignore=shutil.ignore_patterns("__pycache__"))
        first = ["first_run.py", str(seed), str(results), "--quiet", "--backend", "local"]
        self.order = self.answer(*first)["order"]

    def answer(self, *command: str) -> dict[str, Any]:
        """Run one of the programs here; return what its last line says."""
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=self.path,
                env=environment(),
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                timeout=self.time_limit,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"{command[0]}: not done in {self.time_limit:.0f} s") from None
        except subprocess.CalledProcessError as error:
            raise NoAnswer(f"{command[0]}: exit status {error.returncode}") from error
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def rate(self, *command: str) -> float:
        """Return how many results a second a program handles, from its start to its end."""
        began = time.perf_counter()
        self.last = self.answer(*command)
        seconds = time.perf_counter() - began
        assert self.last["jobs"] == self.results, self.last
        return self.results / seconds

    def restart(self) -> float:
        """Return how many results a second a restarted master handles again."""
        rate = self.rate("replay_master.py", str(self.results), "--quiet", "--backend", "local")
        if self.last["order"] != self.order:
            raise NoAnswer("replay_master.py: the order is not the recorded one")
        if len(os.listdir(self.path / "old")) != self.results or os.listdir(self.path / "new"):
            raise NoAnswer("replay_master.py: not all results are in old/")
        return rate


def anew(jobs: int, time_limit: float) -> float:
    """Return how many jobs a second are done anew, from the first call to the last result."""
    answer = run(["app_master.py", str(jobs), "--quiet", "--backend", "local"], time_limit)
    return float(answer["jobs"] / answer["seconds"])


def table(place: Place, rates: dict[str, list[float]], jobs: int) -> list[str]:
    """Return the lines of the comparison."""
    ours = median(rates[RESTART])
    lines = [f"{'':20} {'results':>8} {'results/s':>10} {'least..most':>15}  restart is"]
    for name, found in rates.items():
        if not found:
            continue
        spread = f"{min(found):.0f}..{max(found):.0f}"
        size = jobs if name == ANEW else place.results
        row = f"{name:20} {size:8} {median(found):10.0f} {spread:>15}"
        lines.append(f"{row} {ours / median(found):8.2f} x  {PROMISES[name]}")
    return lines


def memory(place: Place, peaks: list[float], smaller: Place) -> list[str]:
    """Return what the master's memory is, and how it grows with the results."""
    smaller.restart()
    most, less = median(peaks), smaller.last["peak"]
    growth = (most - less) / (place.results - smaller.results)
    less_text = f"{less / 1e6:.1f} MB with {smaller.results} results"
    return [
        f"peak memory of the master: {most / 1e6:.1f} MB; {less_text}",
        verdict("growth for each result", growth, "bytes", _GROWTH, False),
    ]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=int, default=100_000, help="handled before (100000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns for each (3)")
    parser.add_argument("--seed", type=int, default=1, help="of the order of the results (1)")
    parser.add_argument("--jobs", type=int, default=500, help="jobs done anew (500)")
    parser.add_argument("--time-limit", type=float, default=3600.0, help="s for a turn (3600)")
    parser.add_argument("--directory", help="where the job directories are made (default: TMPDIR)")
    return parser.parse_args()


def measure(options: argparse.Namespace, directory: Path) -> int:
    """Make the job directories in *directory*, measure, and print what was found."""
    place = Place(directory / "all", options.results, options.seed, options.time_limit)
    smaller = Place(
        directory / "tenth", max(1, options.results // 10), options.seed, options.time_limit
    )
    inside: list[float] = []
    peaks: list[float] = []

    def restart() -> float:
        rate = place.restart()
        inside.append(place.results / place.last["seconds"] if place.last["seconds"] else 0.0)
        peaks.append(place.last["peak"])
        return rate

    contestants: dict[str, Callable[[], float]] = {
        RESTART: restart,
        LOOP: partial(place.rate, "plain_replay.py"),
        MOVING: partial(place.rate, "plain_replay.py", "moving"),
        ANEW: partial(anew, options.jobs, options.time_limit),
    }
    rates, gone = in_turns(contestants, options.rounds)
    print("\n".join(gone.values()))
    if RESTART in gone:
        return 1
    print("\n".join(table(place, rates, options.jobs)))
    print(f"between the first and the last result of a restart: {median(inside):.0f} results/s")
    print(f"order: as recorded in all {options.rounds} restarts (sha256 {place.order[:16]}...)\n")
    print(verdict("replay, the whole process", median(rates[RESTART]), "results/s", _BAR, True))
    print("\n".join(memory(place, peaks, smaller)))
    return 0


def main() -> int:
    """Make the results, let all take turns, and clean up."""
    options = arguments()
    print(
        f"{options.results} handled results, seed {options.seed}, Python "
        f"{sys.version.split()[0]}; medians of {options.rounds} interleaved rounds",
        flush=True,
    )
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        try:
            return measure(options, Path(directory))
        except NoAnswer as error:
            print(error)
            return 1


if __name__ == "__main__":
    sys.exit(main())
