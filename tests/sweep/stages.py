"""What the sweep of system calls breaks: four beginnings of one tiny batch, and their calls.

A :class:`Stage` is a job directory made ready once and copied for each point, and, for each
process of its run, the system calls that it makes when nobody disturbs it.  From these
come the :class:`Point` s: each call with each fault that it can have.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from masters import Place, Run, crash
from source import ROOT

from sweep.tracing import ROLES, Call, Fault, Tracer

PROGRAM = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

handled = []
total = 0

def make_calls():
    for number in (3, 4):
        pyboinc_call("app_slave.py", Input(number), priority=number)

def handle_result(output, job):
    global total
    total += output.value
    handled.append(job.index)
    if output.value == 16:
        pyboinc_call("app_slave.py", Input(10))

pyboinc_master(make_calls, handle_result)
print("handled", *handled)
print("The answer is", total)
"""
"""Three jobs, one of them called for by a handler."""

ANSWER = "The answer is 125\n"


def nothing(place: Place) -> None:
    """Nothing has happened yet."""


def half_done(place: Place) -> None:
    """A run was killed when it had handled a part, with another outcome waiting in new/."""
    killed = place.run(environ=crash("load", "*_0.out"))
    assert killed.killed and place.crashed(), killed


def finished(place: Place) -> None:
    """Everything is handled."""
    assert place.run().code == 0


def refused(place: Place) -> None:
    """An outcome that waits in new/ is cut short, and something foreign lies beside it."""
    half_done(place)
    (outcome,) = (place / "new").glob("*.out")
    outcome.write_bytes(outcome.read_bytes()[:-2])
    (place / "new/README").write_text("not an outcome")


@dataclass(frozen=True)
class Scenario:
    """How it begins, the flags of the run that is disturbed, and whose calls are of interest."""

    prepare: Callable[[Place], None]
    flags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ROLES


SCENARIOS = {
    "first": Scenario(nothing),
    "half done": Scenario(half_done, roles=("master", "server", "keeper")),
    "fresh": Scenario(half_done, flags=("--fresh",), roles=("master", "server")),
    "finished": Scenario(finished, roles=("master",)),
    "refused": Scenario(refused, roles=("master", "server")),
}


@dataclass(frozen=True)
class Point:
    """Where a run is disturbed: a fault, or the death of *victims* at a moment.

    ``what`` names the call as in any run: its name, its paths, and which of these it is.
    """

    scenario: str
    fault: Fault
    what: str
    victims: str = ""

    @property
    def kind(self) -> str:
        """What is counted."""
        if self.victims:
            return f"kills of {self.victims} at a moment"
        often = {0: ", ever after", 1: ""}.get(self.fault.times, ", again and again")
        return f"injection points: {'SIG' * (self.fault.what == 'KILL')}{self.fault.what}{often}"

    def __str__(self) -> str:
        killed = f"{self.victims} killed, " if self.victims else ""
        return f"{self.scenario}: {killed}{self.fault} ({self.what})"


class Stage:
    """A scenario made ready, and the calls of each process of its run."""

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.scenario = SCENARIOS[name]
        self._path = path / name.replace(" ", "_")
        self._prepared = Place(self._path / "prepared", {"app_master.py": PROGRAM})
        self._copies = itertools.count()
        self.scenario.prepare(self._prepared)
        self._prepared.wait_for_processes()

    def copy(self) -> Place:
        """The prepared directory once more, for somebody to break."""
        path = self._path / f"copy{next(self._copies)}"
        shutil.copytree(self._prepared.path, path, symlinks=True)
        return Place(path, {"app_master.py": PROGRAM})

    def run(self, place: Place, tracer: Tracer) -> Run:
        """The run that is disturbed."""
        with tracer:
            return place.run(*self.scenario.flags, environ=tracer.environ)

    def points(self) -> Iterator[Point]:
        """Every call of every process, with each fault that it can have."""
        for role in self.scenario.roles:
            place = self.copy()
            tracer = Tracer(role)
            run = self.run(place, tracer)
            assert run.code == 0, run
            for one in tracer.traced[:1]:
                yield from self._points_of(role, one.calls, str(place.path))
            shutil.rmtree(place.path)

    def _points_of(self, role: str, calls: list[Call], root: str) -> Iterator[Point]:
        numbers: dict[str, int] = {}
        same: dict[str, int] = {}
        for call in of_interest(calls, role, root, numbers):
            about = f"{call.name} {call.about(root)}".rstrip()
            same[about] = same.get(about, 0) + 1
            if role == "fork server" and "rehearsal" in about and same[about] > 2:
                continue  # a rehearsal is a dozen times the same
            what = f"{about} #{same[about]}"
            for error, times in faults(call, same[about] == 1):
                fault = Fault(role, call.name, numbers[call.name], error, times)
                yield Point(self.name, fault, what)
            if role in ("master", "server") and same[about] == 1 and call.name in CHANGES:
                fault = Fault(role, call.name, numbers[call.name], "STOP")
                for victims in VICTIMS:
                    yield Point(self.name, fault, what, victims)


VICTIMS = ("the process group", "every process", "server", "keeper", "fork server", "slave")
"""Who is killed while a process is stopped at a call."""

CHANGES = frozenset(
    [
        "write",
        "pwrite64",
        "fsync",
        "fdatasync",
        "rename",
        "unlink",
        "mkdir",
        "ftruncate",
        "vfork",
        "sendto",
        "pselect6",
    ]
)
"""Calls that make a moment: between two of them nothing that others see has changed."""

ROOM = frozenset(
    [
        "open",
        "openat",
        "write",
        "pwrite64",
        "writev",
        "fsync",
        "fdatasync",
        "syncfs",
        "rename",
        "mkdir",
        "link",
        "ftruncate",
        "fallocate",
        "close",
        "fork",
        "vfork",
        "clone",
        "clone3",
        "pipe2",
        "socketpair",
        "flock",
    ]
)
"""Calls that can fail for want of room (or, with the same consequence, of processes or locks)."""

INSTANT = frozenset(
    [
        "lseek",
        "fstat",
        "newfstatat",
        "stat",
        "lstat",
        "getcwd",
        "dup",
        "dup2",
        "dup3",
        "setsid",
        "setpgid",
        "prctl",
        "prlimit64",
        "sched_setaffinity",
        "sched_getaffinity",
        "pipe2",
        "socketpair",
        "chdir",
        "readlink",
        "kill",
    ]
)
"""Calls that no signal interrupts, on any file system."""

WAITING = frozenset(
    [
        "read",
        "write",
        "pwrite64",
        "pread64",
        "poll",
        "pselect6",
        "wait4",
        "fsync",
        "openat",
        "close",
    ]
)
"""Calls that are interrupted ten times in a row."""


def faults(call: Call, first: bool) -> Iterator[tuple[str, int]]:
    """The faults that *call* can have, each once; ever after from the *first* of its like."""
    yield "KILL", 1
    yield "EIO", 1
    if call.name in ROOM:
        yield "ENOSPC", 1
    if call.name not in INSTANT:
        yield "EINTR", 1
    if first:
        yield "EIO", 0
        if call.name in ROOM:
            yield "ENOSPC", 0
        if call.name in WAITING:
            yield "EINTR", 10


def of_interest(calls: list[Call], role: str, root: str, numbers: dict[str, int]) -> Iterator[Call]:
    """The calls that matter, while *numbers* counts all of them by name.

    Not those of Python's start and of its imports, and none about stdin, stdout or stderr:
    these are the user's.
    """
    begun = False
    for call in calls:
        numbers[call.name] = numbers.get(call.name, 0) + 1
        about = call.about(root)
        if begun and not call.standard and not _is_an_import(about):
            yield call
        # A master begins by reading its settings, the others when they have been let go on.
        begun = begun or ("pyboinc.toml" in about if role == "master" else call.name == "close")


@cache
def _roots() -> re.Pattern[str]:
    places = [sys.prefix, sys.base_prefix, str(ROOT / "pyboinc"), str(ROOT / "tests")]
    places += [os.path.realpath(place) for place in places]
    return re.compile("|".join(rf"{re.escape(place)}(/|$)" for place in set(places)))


def _is_an_import(about: str) -> bool:
    return any(_roots().match(path) or path == str(ROOT) for path in about.split(" "))
