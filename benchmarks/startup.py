"""How long it takes to begin: importing the library, and ten jobs from nothing to the answer.

    python benchmarks/startup.py [--rounds 15]

``python -c pass`` takes its turn in the same rounds: what an interpreter takes on this
computer, now, and so the measure of the other two.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial

from measuring import environment, in_turns, median, run, verdict

NOTHING, IMPORT, TEN = "python -c pass", "import pyboinc", "ten jobs"
_TIME_LIMIT = 60.0


def interpreter(program: str) -> float:
    """Return the seconds that an interpreter takes for *program*."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        command = [sys.executable, "-c", program]
        subprocess.run(command, check=True, cwd=directory, env=environment(), timeout=_TIME_LIMIT)
        return time.perf_counter() - began


def ten_jobs() -> float:
    """Return the seconds of ``python app_master.py`` with ten jobs in a fresh directory."""
    began = time.perf_counter()
    answer = run(["app_master.py", "10", "--quiet", "--backend", "local"], _TIME_LIMIT)
    assert answer["jobs"] == 10
    return time.perf_counter() - began


def main() -> int:
    """Measure in turns; print medians and ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="turns for each (15)")
    rounds = parser.parse_args().rounds
    contestants: dict[str, Callable[[], float]] = {
        NOTHING: partial(interpreter, "pass"),
        IMPORT: partial(interpreter, "import pyboinc"),
        TEN: ten_jobs,
    }
    found, gone = in_turns(contestants, rounds)
    print(f"medians of {rounds} interleaved rounds, Python {sys.version.split()[0]}")
    if gone:
        print("\n".join(gone.values()))
        return 1
    middle = {name: median(seconds) for name, seconds in found.items()}
    for name, seconds in middle.items():
        spread = f"({min(found[name]) * 1000:.1f}..{max(found[name]) * 1000:.1f})"
        ratio = f"{seconds / middle[NOTHING]:.2f} x {NOTHING}"
        print(f"{name:16} {seconds * 1000:7.1f} ms {spread:>18}  {ratio}")
    # Neighbours in a round are alike: the median of differences, not the difference of medians.
    pairs = zip(found[IMPORT], found[NOTHING], strict=True)
    importing = median([after - before for after, before in pairs])
    print()
    print(verdict("importing pyboinc", importing * 1000, "ms", 60, False))
    print(verdict("ten jobs, start to end", middle[TEN], "s", 1, False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
