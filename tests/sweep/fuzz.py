"""Fuzzing: millions of pickles, each made from its number, in two processes.

python -m sweep.fuzz SEED FIRST LAST      reads these files, prints what it found as JSON
python -m sweep fuzz --seed SEED --only N reads file N alone
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter

from codec_fuzzing import judged
from source import ROOT

from sweep import Part

FILES = 2_200_000
PROCESSES = 2
AT_ONCE = 50_000  # files to a process, so that a crash is told with where it was
SOURCES = ("mutated", "mutated", "mutated", "grown", "arrays")


def read(seed: int, number: int, counts: Counter[str]) -> str:
    """Make and read one file; what was wrong, in words, or nothing."""
    draw = random.Random(seed * 10**9 + number)
    source = SOURCES[number % len(SOURCES)]
    data, wrong, valued = judged(source, draw)
    counts[f"fuzzed files: {source}"] += 1
    counts[f"of the {source}, with a value"] += valued
    return f"file {number} ({source}) {wrong}: {data[:200].hex()}" if wrong else ""


def some(seed: int, first: int, last: int) -> tuple[Counter[str], list[str]]:
    """Read the files from *first* to *last*."""
    counts: Counter[str] = Counter()
    failures = [wrong for n in range(first, last) if (wrong := read(seed, n, counts))]
    return counts, failures[:10]


def sweep(seed: int, only: str) -> Part:
    """All files (or the one whose number is *only*)."""
    part = Part()
    if only:
        counts, part.failures = some(seed, int(only), int(only) + 1)
        part.counts = dict(counts)
        return part
    starts = list(range(0, FILES, AT_ONCE))
    running: list[tuple[int, subprocess.Popen[str]]] = []
    while starts or running:
        while starts and len(running) < PROCESSES:
            first = starts.pop(0)
            running.append((first, _start(seed, first, min(first + AT_ONCE, FILES))))
        _finish(part, *running.pop(0))
    return part


def _start(seed: int, first: int, last: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sweep.fuzz", str(seed), str(first), str(last)]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def _finish(part: Part, first: int, process: subprocess.Popen[str]) -> None:
    output, _ = process.communicate()
    if process.returncode:
        part.failures.append(f"files from {first} on: the process ended with {process.returncode}")
        return
    counts, failures = json.loads(output.splitlines()[-1])
    part.failures += failures
    for name, number in counts.items():
        part.count(name, number)


if __name__ == "__main__":
    print(json.dumps(some(*map(int, sys.argv[1:]))))
