"""A kill in the recovery from a kill: all pairs for a small run, and longer rows by lot.

The first run is killed before its step i, the run after it before its step j; then a run
that nobody disturbs must end as if nothing had happened.  Steps are those of
docs/protocol.md, of the master and of the emulated project's server.  In one series the
master is killed (and, at a step of the server's, the server with it), in another one every
process of the batch at the same instant.
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from masters import Place, Run, crash

from sweep import Part, warm
from sweep.shared import add, attempt, is_meant, main, memory, share

PROGRAM = """
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

handled = {}

def make_calls():
    pyboinc_call("app_slave.py", Input(3))

def handle_result(output, job):
    handled[job.index] = output.value
    with open("handled.log", "a") as log:
        print(os.getpid(), job.index, file=log)
    if job.index == 0:
        pyboinc_call("app_slave.py", Input(output.value))

pyboinc_master(make_calls, handle_result)
print("handled", sorted(handled.items()))
"""
"""Two jobs, the second called for by the handler of the first."""

ANSWER = "handled [(0, 9), (1, 81)]\n"
FLAGS = ("--workers=1", "--no-progress")
LONGEST = 5
"""Kills in a row, at most, where they are drawn by lot."""


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill before the *number*-th step of the master or the server; *what* is killed."""

    who: str
    number: int
    what: str

    def __str__(self) -> str:
        return f"{self.what} at {self.who} {self.number}"

    def later(self) -> Kill:
        """The kill before the step after this one's."""
        return replace(self, number=self.number + 1)


class Workshop:
    """A place that is broken again and again, in a directory of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self, template: Path | None = None) -> Place:
        """The place, new or as it was kept in *template*."""
        shutil.rmtree(self.path / "job", ignore_errors=True)
        if template is not None:
            shutil.copytree(template, self.path / "job", symlinks=True)
        return Place(self.path / "job", {"app_master.py": PROGRAM})

    def keep(self, place: Place) -> Path:
        """Keep a place as it is now, and return what it can be had from again."""
        place.wait_for_processes()
        return Path(shutil.copytree(place.path, self.path / "kept", symlinks=True))

    def run(self, place: Place, kill: Kill | None = None) -> Run:
        """Run the program in *place*, killed as it is said."""
        environ = crash("*", "*", kill.number, who=kill.who, what=kill.what) if kill else {}
        return warm.run(place.path, *FLAGS, environ=environ)


def where(place: Place) -> str | None:
    """The step before which the last kill struck; None if it did not."""
    crashed = place / "crashed"
    if not crashed.exists():
        return None
    step = crashed.read_text()
    crashed.unlink()
    return step


def killed(shop: Workshop, place: Place, kill: Kill) -> str | None:
    """Run and kill; return the step, or None if the run had ended before it reached that."""
    run = shop.run(place, kill)
    step = where(place)
    if step is None:
        assert (run.stdout, run.code) == (ANSWER, 0), run
        return None
    # The server's steps are reached while the master goes on, if need be with another server.
    assert run.killed, run
    return step


def recorded_order(place: Place) -> list[int]:
    """The order that the next run must repeat."""
    logs = (place / ".pyboinc/run.json", place / ".pyboinc/journal")
    return place.handled() if all(log.exists() for log in logs) else []


def recover(shop: Workshop, place: Place, kills: Sequence[Kill]) -> list[str | None]:
    """Kill run after run, then let one end, and check it; return the steps that were hit."""
    steps = [killed(shop, place, kill) for kill in kills]
    recorded = recorded_order(place)
    run = shop.run(place)
    place.check(run, ANSWER)
    assert place.handled()[: len(recorded)] == recorded, f"I3: {recorded} was recorded"
    return steps


def try_kills(shop: Workshop, place: Place, kills: Sequence[Kill], name: str, part: Part) -> bool:
    """Do :func:`recover`, and tell *part* how it went; False if the last kill hit nothing."""
    steps: list[str | None] = []
    attempt(part, name, lambda: steps.extend(recover(shop, place, kills)))
    return steps[-1:] != [None]


def kinds(what: str) -> tuple[tuple[str, str], ...]:
    """Who is killed, and how, in one series."""
    return ("master", what), ("server", "kill all")


def pairs_after(shop: Workshop, first: Kill, what: str, only: str, part: Part) -> None:
    """Try every second kill after *first*."""
    place = shop.place()
    step = killed(shop, place, first)
    if step is None:
        return  # its run is shorter
    template = shop.keep(place)
    for who, how in kinds(what):
        second = Kill(who, 1, how)
        while second.number <= STEPS[who]:
            name = f"{first}, {second} (the first one before {step!r})"
            if is_meant(f"{first}, {second}", only):
                if not try_kills(shop, shop.place(template), [second], name, part):
                    break
                part.count("pairs of kills" if what == "kill" else "pairs of kills of everything")
            second = second.later()
    shutil.rmtree(template)


def draw_kill(draw: random.Random) -> Kill:
    """A kill by lot, before a step that most runs reach."""
    who = draw.choice(["master", "master", "master", "server"])
    what = "kill all" if who == "server" else draw.choice(["kill", "kill all"])
    return Kill(who, draw.randint(1, 50 if who == "master" else 10), what)


def row(shop: Workshop, draw: random.Random, length: int, part: Part) -> None:
    """Kill so many runs one after the other, at steps drawn by lot."""
    kills = [draw_kill(draw) for _ in range(length)]
    try_kills(shop, shop.place(), kills, ", ".join(map(str, kills)), part)
    part.count(f"rows of {length} kills by lot")


STEPS = {"master": 90, "server": 30}
"""More steps than a run of the small program has."""

ROWS = 300
"""Rows of more than two kills in a full sweep."""


def sweep(seed: int, only: str) -> Part:
    """All pairs in both series, and rows by lot."""
    warm.make_ready()
    firsts = [
        (Kill(who, number, how), what)
        for what in ("kill", "kill all")
        for who, how in kinds(what)
        for number in range(1, STEPS[who] + 1)
        if is_meant(str(Kill(who, number, how)), only.partition(", ")[0])
    ]
    with tempfile.TemporaryDirectory(dir=memory()) as directory:

        def try_pairs(first: tuple[Kill, str], part: Part) -> None:
            shop = Workshop(Path(directory, f"{first[1]}, {first[0]}"))
            attempt(part, str(first[0]), lambda: pairs_after(shop, *first, only, part))

        total = share(firsts, try_pairs)
        if not only:
            add(total, rows(Path(directory), seed, ROWS, 3, LONGEST))
    return total


def rows(directory: Path, seed: int, number: int, shortest: int, longest: int) -> Part:
    """Kills by lot, in so many rows of these lengths."""

    def do(one: int, part: Part) -> None:
        draw = random.Random(f"{seed} {one}")
        row(Workshop(directory / f"row {one}"), draw, draw.randint(shortest, longest), part)

    return share(range(number), do)


def quick(seed: int, number: int = 16) -> Part:
    """A slice of it: so many pairs by lot, and half as many rows of three."""
    warm.make_ready()
    with tempfile.TemporaryDirectory(dir=memory()) as directory:
        total = rows(Path(directory, "pairs"), seed, number, 2, 2)
        add(total, rows(Path(directory, "rows"), seed, number // 2, 3, 3))
    return total


if __name__ == "__main__":
    sys.exit(main(quick, sys.argv[1]))
