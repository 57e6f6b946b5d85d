"""``make sweep``: run the parts of the full sweep, print their counts, fail if one fails.

    python -m sweep [--seed N] [--only PATTERN] [--record] [PART ...]

With --record the counts are written into docs/guarantees.md, beside the promises they stand for:
a row for each count, with the commit it was made of.  Rows of parts that were not run stay.
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
    "races": "masters and verbs at the same moment, and pieces of two moments put together",
    "boinc": "a master on a BOINC project killed before each of its steps",
    "served": "the process of a served project killed before each of its steps",
    "soak": "many jobs, with kills all the while",
}
"""The parts, in their order, and what each tries."""

BEGINS, ENDS = "<!-- the last full sweep begins -->\n", "<!-- the last full sweep ends -->\n"
HEAD = ("| part | tried | number | failures | commit |", "| --- | --- | ---: | ---: | --- |")
GUARANTEES = ROOT / "docs/guarantees.md"


def run(name: str, seed: int, only: str) -> tuple[Part, float]:
    """Run one part; return what it tried and how long it took (s)."""
    started = time.monotonic()
    print(f"{name}: {PARTS[name]} ...", flush=True)
    part = importlib.import_module(f"sweep.{name}").sweep(seed, only)
    return part, time.monotonic() - started


def rows(name: str, part: Part, made_of: str) -> list[str]:
    """The rows of one part in the table of docs/guarantees.md."""
    return [
        f"| `{name}` | {count} | {number:,} | {len(part.failures)} | {made_of} |"
        for count, number in part.counts.items()
    ]


def record(name: str, part: Part, seed: int, path: Path = GUARANTEES) -> None:
    """Write the counts of one part into docs/guarantees.md, in the place of its earlier ones."""
    head = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True)
    made_of = f"{commit.stdout.strip()}, {datetime.date.today()}, seed {seed}"
    before, _, rest = path.read_text().partition(BEGINS)
    earlier, _, after = rest.partition(ENDS)
    table: dict[str, list[str]] = {each: [] for each in PARTS}
    for line in earlier.splitlines()[len(HEAD) :]:
        table[line.split("`")[1]].append(line)
    table[name] = rows(name, part, made_of)
    lines = [*HEAD, *(line for kept in table.values() for line in kept)]
    path.write_text(before + BEGINS + "\n".join(lines) + "\n" + ENDS + after)


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
    results: dict[str, Part] = {}
    for name in options.parts or PARTS:
        part, seconds = run(name, options.seed, options.only)
        results[name] = part
        counted = ", ".join(f"{number:,} {what}" for what, number in part.counts.items())
        print(f"{name}: {counted}: {len(part.failures)} failures, {seconds:.0f} s", flush=True)
        for failure in part.failures:
            print(f"  {failure}")
        if options.record:
            record(name, part, options.seed)
    lines = [line for name, part in results.items() for line in rows(name, part, "now")]
    print("", *HEAD, *lines, sep="\n")
    failures = sum(len(part.failures) for part in results.values())
    print(f"\n{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
