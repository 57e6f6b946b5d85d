"""Mutants in a process of their own: what exchanged code can not show, and the slow tests.

How long a mutant may take is told by how long the same tests take without any, on the same
machine in the same run: they are run first, and have to pass.  A mutant that takes longer is
killed by the time only if the tests without it are no slower by then.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from mutants import Target, copies

if TYPE_CHECKING:  # it needs mutmut, which only those who make mutants have
    from mutants.mutating import Mutant

LEAST, TIMES = 60.0, 4.0
"""Seconds that a mutant may take in any case, and how many times as long as the tests alone."""

Run = Callable[[float], "int | None"]
"""Runs the tests: the code they end with, or None if they take more than so many seconds."""


def verdicts(name: str, target: Target, mutants: list[Mutant], jobs: int) -> dict[str, str]:
    """The verdict on each of *mutants*, by its name."""
    parts = [mutants[job::jobs] for job in range(jobs) if mutants[job::jobs]]

    def judge(part: list[Mutant]) -> dict[str, str]:
        return _judge(f"{name}-again-{parts.index(part)}", target, part)

    found: dict[str, str] = {}
    with ThreadPoolExecutor(jobs) as threads:
        for some in threads.map(judge, parts):
            found |= some
    return found


def _judge(name: str, target: Target, mutants: list[Mutant]) -> dict[str, str]:
    copy, found = copies.fresh(name), {}

    def plain(limit: float) -> int | None:
        return _run(copy, target, limit)

    def mutated(limit: float) -> int | None:
        path = copy / mutant.file
        original = path.read_text()
        try:
            _write(path, mutant.text, time.time())
            return _run(copy, target, limit)
        finally:
            _write(path, original, 10**9 - 1)

    limit = fair_limit(plain)
    for mutant in mutants:
        found[mutant.name], limit = verdict(mutated, plain, limit)
    return found


def verdict(mutated: Run, plain: Run, limit: float) -> tuple[str, float]:
    """What becomes of a mutant that may take *limit*, and the limit that is fair by now."""
    while True:
        code = mutated(limit)
        if code is not None:
            return "killed" if code else "survived", limit
        by_now = fair_limit(plain)
        if by_now <= limit:
            return "timeout", limit
        limit = by_now


def fair_limit(plain: Run) -> float:
    """How many seconds a mutant may take, by those of the tests as they are."""
    started = time.monotonic()
    if plain(float("inf")) != 0:
        raise SystemExit("the tests fail in a process of their own, without any mutant")
    return LEAST + TIMES * (time.monotonic() - started)


def _run(copy: Path, target: Target, limit: float) -> int | None:
    process = copies.pytest(copy, "-x", *tests(copy, target.quick + target.slow))
    try:
        process.communicate(timeout=None if limit == float("inf") else limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return None
    return process.returncode


def _write(path: Path, text: str, modified: float) -> None:
    path.write_text(text)
    os.utime(path, (modified, modified))


def tests(copy: Path, patterns: tuple[str, ...]) -> list[str]:
    """The files with tests in *copy* that *patterns* name."""
    return [
        str(path.relative_to(copy)) for pattern in patterns for path in sorted(copy.glob(pattern))
    ]
