"""``make sweep``: run the parts of the full sweep, print their counts, fail if one fails.

    python -m sweep [--seed N] [--only PATTERN] [--record] [PART ...]

With --record the counts are written into docs/guarantees.md, beside the promises they stand for.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import secrets
import subprocess
import sys
import time
from pathlib import Path

from source import ROOT

from sweep import Part

PARTS = {
    "syscalls": "a fault at each system call of master, emulator and recovery",
    "pairs": "a kill in the recovery from a kill, all pairs",
    "disk_states": "every state of the disk that a power cut may leave",
    "hostile": "hostile results, one for each technique",
    "fuzz": "mutated and grown pickles",
}
"""The parts, in their order, and what each tries."""

BEGINS, ENDS = "<!-- the last full sweep begins -->\n", "<!-- the last full sweep ends -->\n"
GUARANTEES = ROOT / "docs/guarantees.md"


def run(name: str, seed: int, only: str) -> tuple[Part, float]:
    """Run one part; return what it tried and how long it took (s)."""
    started = time.monotonic()
    print(f"{name}: {PARTS[name]} ...", flush=True)
    part = importlib.import_module(f"sweep.{name}").sweep(seed, only)
    return part, time.monotonic() - started


def table(results: dict[str, tuple[Part, float]]) -> str:
    """The counts of all parts as a table of Markdown."""
    lines = ["| part | tried | number | failures |", "| --- | --- | ---: | ---: |"]
    for name, (part, _) in results.items():
        for count, number in part.counts.items():
            lines.append(f"| {PARTS[name]} | {count} | {number:,} | {len(part.failures)} |")
    return "\n".join(lines) + "\n"


def record(results: dict[str, tuple[Part, float]], seed: int, path: Path = GUARANTEES) -> None:
    """Write the counts into docs/guarantees.md, with the commit that they were made of."""
    head = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True)
    text = path.read_text()
    before, _, rest = text.partition(BEGINS)
    _, _, after = rest.partition(ENDS)
    minutes = sum(seconds for _, seconds in results.values()) / 60
    said = (
        f"Commit {commit.stdout.strip()}, {datetime.date.today()}, seed {seed}, "
        f"{minutes:.0f} minutes:\n\n"
    )
    path.write_text(before + BEGINS + said + table(results) + ENDS + after)


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 0 if nothing failed."""
    parser = argparse.ArgumentParser(prog="python -m sweep", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--only", default="", metavar="PATTERN", help="what is tried, by name")
    parser.add_argument("--record", action="store_true", help="write docs/guarantees.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    print(f"seed {options.seed}")
    results = {}
    for name in options.parts or PARTS:
        results[name] = run(name, options.seed, options.only)
        part, seconds = results[name]
        counted = ", ".join(f"{number:,} {what}" for what, number in part.counts.items())
        print(f"{name}: {counted}: {len(part.failures)} failures, {seconds:.0f} s", flush=True)
        for failure in part.failures:
            print(f"  {failure}")
    failures = sum(len(part.failures) for part, _ in results.values())
    print(f"\n{table(results)}\n{failures} failures")
    if options.record:
        record(results, options.seed)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
