"""What it costs to simulate one's own program: once from nothing, and again and again.

    python benchmarks/campaign.py [--rounds 7] [--jobs 2000] [--seeds 50]

The program has a hundred jobs; three in ten instances fail.  ``python -c pass`` and the local
emulator take their turns in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import NoAnswer, environment, in_turns, median, verdict

EXAMPLE = Path(__file__).parents[1] / "examples" / "sum_of_squares" / "app_master.py"

NOTHING, ONCE, MONTH = "python -c pass", "100 jobs on 50 hosts", "2000 jobs on 200 hosts"
EACH, EMULATED = "each of many more seeds", "the local emulator"

_TIME_LIMIT = 600.0
_FAULTS = ("--failure-rate=0.3", "--seed=1")


def interpreter() -> float:
    """Return the seconds that an interpreter takes to start and end."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", "pass"], check=True, timeout=_TIME_LIMIT)
    return time.perf_counter() - began


def simulated(program: Path, *flags: str) -> float:
    """Return the seconds that ``pyboinc simulate`` takes, from its start to its end."""
    command = [sys.executable, "-m", "pyboinc", "simulate", str(program), *_FAULTS, *flags]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=_TIME_LIMIT,
        check=False,
    )
    seconds = time.perf_counter() - began
    if done.returncode or not json.loads(done.stdout)["same"]:
        raise NoAnswer(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return seconds


def each(seeds: int) -> float:
    """Return the seconds of one more simulation in a process that has done one."""
    hosts = ("--hosts=50", "--processes=1")
    first = simulated(EXAMPLE, *hosts)
    return (simulated(EXAMPLE, *hosts, f"--seeds={seeds + 1}") - first) / seeds


def month(jobs: int) -> float:
    """Return the seconds of a batch that keeps two hundred volunteers at work for weeks."""
    with tempfile.TemporaryDirectory() as directory:
        for path in EXAMPLE.parent.glob("*.py"):
            text = path.read_text().replace("range(100)", f"range({jobs})")
            (Path(directory) / path.name).write_text(text)
        program = Path(directory) / EXAMPLE.name
        return simulated(program, "--hosts=200", "--fpops=400e12", "--delay-bound=2592000")


def emulated() -> float:
    """Return the seconds of the same program on the local emulator."""
    with tempfile.TemporaryDirectory() as directory:
        for path in EXAMPLE.parent.glob("*.py"):
            (Path(directory) / path.name).write_bytes(path.read_bytes())
        began = time.perf_counter()
        subprocess.run(
            [sys.executable, EXAMPLE.name, *_FAULTS, "--quiet"],
            cwd=directory,
            env=environment(),
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=_TIME_LIMIT,
        )
        return time.perf_counter() - began


def main() -> int:
    """Measure in turns; print medians, and what they are beside the bars."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7, help="turns for each (7)")
    parser.add_argument("--jobs", type=int, default=2_000, help="jobs of the long batch (2000)")
    parser.add_argument("--seeds", type=int, default=50, help="of the many more seeds (50)")
    options = parser.parse_args()
    contestants: dict[str, Callable[[], float]] = {
        NOTHING: interpreter,
        ONCE: partial(simulated, EXAMPLE, "--hosts=50"),
        EACH: partial(each, options.seeds),
        MONTH: partial(month, options.jobs),
        EMULATED: emulated,
    }
    found, gone = in_turns(contestants, options.rounds)
    print(f"medians of {options.rounds} interleaved rounds, Python {sys.version.split()[0]}")
    if gone:
        print("\n".join(gone.values()))
        return 1
    middle = {name: median(seconds) for name, seconds in found.items()}
    for name, seconds in middle.items():
        spread = f"({min(found[name]):.3f}..{max(found[name]):.3f})"
        print(
            f"{name:24} {seconds:7.3f} s {spread:>18}  {seconds / middle[NOTHING]:.1f} x {NOTHING}"
        )
    print()
    print(verdict("a simulated run, start to end", middle[ONCE], "s", 1, False))
    print(verdict("a batch of weeks", middle[MONTH], "s", 10, False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
