"""How the benchmarks measure: the same programs, in fresh directories, taking turns.

Other work on a computer comes and goes.  So the contestants take turns, round after
round, each beginning a round once; what is quoted is the median of the rounds.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAMS = Path(__file__).with_name("programs")
_ROOT = PROGRAMS.parents[1]


class NoAnswer(Exception):
    """A program failed, or did not end in its time and was ended."""


def cores() -> int:
    """Return how many cores this program may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment() -> dict[str, str]:
    """Return an environment in which programs find this PyBOINC and no settings for it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYBOINC")}
    own.pop("BOINC_PROJECT_DIR", None)
    own.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    path = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**own, "PYTHONPATH": os.pathsep.join(path)}


def run(arguments: Sequence[str], time_limit: float, python: str = sys.executable) -> Any:
    """Run one of the programs in a fresh copy of their directory; return what it answers.

    That is the JSON in its last line, None if it prints nothing.  *time_limit* is in seconds:
    raises :class:`NoAnswer`.
    """
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory, "programs")
        shutil.copytree(PROGRAMS, place, ignore=shutil.ignore_patterns("__pycache__"))
        try:
            done = subprocess.run(
                [python, *arguments],
                cwd=place,
                env=environment(),
                stdout=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                timeout=time_limit,
                check=True,
            )
        except subprocess.TimeoutExpired:
            raise NoAnswer(f"{' '.join(arguments)}: not done in {time_limit:.0f} s") from None
        except subprocess.CalledProcessError as error:
            raise NoAnswer(f"{' '.join(arguments)}: exit status {error.returncode}") from error
        lines = done.stdout.splitlines()
        return json.loads(lines[-1]) if lines else None


def in_turns(
    contestants: Mapping[str, Callable[[], float]], rounds: int
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Let each contestant measure once a round, another one first each time.

    Returns the measurements of each, and for those that gave no answer why.
    """
    found: dict[str, list[float]] = {name: [] for name in contestants}
    gone: dict[str, str] = {}
    names = list(contestants)
    for number in range(rounds):
        shift = number % len(names)
        for name in [*names[shift:], *names[:shift]]:
            if name in gone:
                continue
            try:
                found[name].append(contestants[name]())
            except NoAnswer as error:
                gone[name] = str(error)
            print(f"round {number + 1} of {rounds}: {name}", file=sys.stderr, flush=True)
    return found, gone


def median(numbers: Sequence[float]) -> float:
    """Return the median."""
    return statistics.median(numbers)


def verdict(what: str, value: float, unit: str, bar: float, at_least: bool) -> str:
    """Return a line that says whether *value* meets the *bar*."""
    met = value >= bar if at_least else value <= bar
    bound = "at least" if at_least else "at most"
    mark = "met   " if met else "MISSED"
    return f"{mark}  {what}: {value:.4g} {unit} (bar: {bound} {bar:g})"
