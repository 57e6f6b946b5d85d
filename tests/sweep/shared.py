"""A long part of the sweep, shared out between the processors of this computer."""

from __future__ import annotations

import json
import os
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from sweep import Part

Task = TypeVar("Task")


def share(tasks: Sequence[Task], do: Callable[[Task, Part], None]) -> Part:
    """Do every task, each in one of as many processes as there are processors; return the sum."""
    number = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as directory:
        results = [Path(directory, str(one)) for one in range(number)]
        helpers = [_fork(tasks[one::number], do, results[one]) for one in range(number)]
        for helper in helpers:
            os.waitpid(helper, 0)
        total = Part()
        for result in results:
            add(total, Part(**json.loads(result.read_text())))
    return total


def _fork(tasks: Sequence[Task], do: Callable[[Task, Part], None], result: Path) -> int:
    helper = os.fork()
    if helper:
        return helper
    part = Part()
    try:
        for task in tasks:
            do(task, part)
    except BaseException:  # noqa: BLE001 # whatever it is, it is told
        part.failures.append(traceback.format_exc())
    finally:
        result.write_text(json.dumps(asdict(part)))
        os._exit(0)


def add(total: Part, part: Part) -> None:
    """Add what *part* has tried to *total*."""
    for name, number in part.counts.items():
        total.count(name, number)
    total.failures += part.failures


def attempt(part: Part, name: str, check: Callable[[], None]) -> None:
    """Do a check; that it failed is a line of *part*, with *name* to see it again."""
    try:
        check()
    except Exception as error:  # noqa: BLE001 # whatever it is, it is told, and the next one tried
        place = traceback.extract_tb(error.__traceback__)[-1]
        said = f"{type(error).__name__}: {error} ({place.name}, line {place.lineno}: {place.line})"
        part.failures.append(f"{name}: {said}"[:2000])


def is_meant(name: str, only: str) -> bool:
    """Whether *name* is to be tried, if only what the pattern *only* names is."""
    return not only or fnmatchcase(name, only)


def memory() -> Path | None:
    """A file system in memory, if there is one: what is killed is not the computer."""
    path = Path("/dev/shm")
    return path if path.is_dir() and os.access(path, os.W_OK) else None


def main(quick: Callable[[int], Part], seed: str) -> int:
    """Run a slice in a process of its own, print what it tried; 0 if nothing failed."""
    part = quick(int(seed))
    print(f"seed {seed}:", ", ".join(f"{number} {what}" for what, number in part.counts.items()))
    for failure in part.failures:
        print(failure)
    return 1 if part.failures else 0
