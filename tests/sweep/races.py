"""Races in full: crowds of real masters, verbs among them, and every mixture of two moments."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

from backups import Moments, mixtures, scratch, try_one
from crowds import MASTER, crowd
from masters import MASTER as SUM
from masters import PROGRAM, Place, finish

from sweep import Part

ROUNDS = 60
"""Rounds of masters and verbs that start together."""

VERBS = (
    ["status"],
    ["status", "--json"],
    ["errors"],
    ["errors", "--all"],
    ["cancel"],
    ["rerun", "--failed"],
    ["rerun", "--job", "1"],
    ["clean", "--yes"],
    ["run", "--workers=1", "--fresh", "app_master.py"],
    ["run", "--workers=1", "app_master.py"],
)

GATED = SUM.format(calls=4).replace(
    "    global total\n", "    global total\n    if output.value == 1: open('gate').read()\n"
)
"""The simplest program; the result of job 1 is handled when the gate is opened."""


def sweep(seed: int, only: str) -> Part:
    """Try everything; with *only* what has that in its name: masters, verbs or mixtures."""
    part = Part()
    with tempfile.TemporaryDirectory(prefix="pyboinc-races-") as name:
        for what in (_masters, _verbs, _mixtures):
            if only in what.__name__:
                what(part, seed, Path(name))
    return part


def _masters(part: Part, seed: int, path: Path) -> None:
    """A hundred interpreters start; one gets the directory and waits until all others ended."""
    place = Place(path / "masters", {"app_master.py": GATED})
    place.mkfifo("gate")
    masters = [place.start() for _ in range(100)]
    waiting = list(masters)
    while len(waiting) > 1:
        waiting = [one for one in waiting if not _ended(one)]
    (place / "gate").write_text("")
    runs = [finish(one) for one in masters]
    part.count("masters at once", len(runs))
    good = [run for run in runs if (run.code, run.stdout) == (0, "The answer is 14\n")]
    busy = [run for run in runs if run.code == 3 and run.stderr.count("\n") == 1]
    if (len(good), len(busy)) != (1, len(runs) - 1):
        part.failures.append(f"masters: {len(good)} did the batch, {len(busy)} were kept out")
    _check(part, place, "masters")


def _ended(master: subprocess.Popen[str]) -> bool:
    try:
        master.wait(0.05)
        return True
    except subprocess.TimeoutExpired:
        return False


def _verbs(part: Part, seed: int, path: Path) -> None:
    draw = random.Random(seed)
    place = Place(path / "verbs")
    for number in range(ROUNDS):
        commands = [MASTER, *(draw.choice(VERBS) for _ in range(draw.randint(1, 8)))]
        part.count("commands at the same moment", len(commands))
        for one in crowd(place, commands):
            if said := wrong(one.code, one.stderr):
                part.failures.append(f"verbs, round {number}: {said}: {one}")
        place.wait_for_processes()
    rerun = place.run(command=[sys.executable, "-m", "pyboinc", "rerun", "--failed"])
    run = place.run(command=PROGRAM)
    if run.stdout != "The answer is 14\n":
        part.failures.append(f"verbs: in the end {rerun} {run}")
    _check(part, place, "verbs")


def wrong(code: int, stderr: str) -> str:
    """What is wrong with how a command of a crowd ended, if anything."""
    if code not in (0, 1, 2, 3):
        return f"exit code {code}"
    words = ("Traceback", "damaged", "is gone", "No such file")
    lines = [line for line in stderr.splitlines() if "is changing what is in" not in line]
    return next((word for word in words if word in "\n".join(lines)), "")


def _mixtures(part: Part, seed: int, path: Path) -> None:
    moments = Moments(path)
    places = path / "mixtures"
    places.mkdir()
    for mixture in mixtures():
        found = try_one(moments, mixture, scratch(places))
        part.count(f"mixtures of two moments: {found.partition(':')[0]}")
        if found.startswith("wrong"):
            part.failures.append(f"{mixture}: {found}")


def _check(part: Part, place: Place, what: str) -> None:
    try:
        place.check()
    except AssertionError as error:
        part.failures.append(f"{what}: {error}")
