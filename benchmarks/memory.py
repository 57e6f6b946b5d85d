"""The most memory that a master has, in a batch of many jobs.

    python benchmarks/memory.py [--jobs 100000]

The jobs really run, all of them: it takes minutes.  The emulated project's server is a
process of its own, and has its own line.
"""

from __future__ import annotations

import argparse
import sys

from measuring import NoAnswer, run, verdict


def main() -> int:
    """Run one master; print the peaks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000, help="no-op jobs (100000)")
    parser.add_argument("--time-limit", type=float, default=1200.0, help="seconds (1200)")
    options = parser.parse_args()
    command = ["app_master.py", str(options.jobs), "--quiet", "--backend", "local"]
    try:
        answer = run(command, options.time_limit)
    except NoAnswer as error:
        print(error)
        return 1
    print(f"{options.jobs} jobs in {answer['seconds']:.1f} s")
    peaks = {name: size / 1e6 for name, size in answer["costs"]["peak"].items()}
    for name, size in peaks.items():
        print(f"peak memory of the {name:6} {size:7.1f} MB")
    print()
    print(verdict("peak memory of the master", peaks["master"], "MB", 300, False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
