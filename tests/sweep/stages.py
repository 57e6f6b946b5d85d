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

from sweep import warm
from sweep.tracing import ROLES, Call, Fault, Tracer, general

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


COPIED = {"PYBOINC_ACCEPT_COPY": "1"}
"""What a fork is told of its directory; others are told by :meth:`Place.start`."""


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
    outcome = min((place / "new").glob("*.out"))
    outcome.write_bytes(outcome.read_bytes()[:-2])
    (place / "new/README").write_text("not an outcome")


@dataclass(frozen=True)
class Scenario:
    """How it begins, the flags of the run that is disturbed, and whose calls are of interest."""

    prepare: Callable[[Place], None]
    flags: tuple[str, ...] = ()
    roles: tuple[str, ...] = ROLES
    whole: tuple[str, ...] = ()
    """Roles of which all calls are tried; of the others those that no scenario before made."""


SCENARIOS = {
    "first": Scenario(nothing, whole=ROLES),
    "half done": Scenario(half_done, (), ("master", "server", "keeper"), whole=("master",)),
    "fresh": Scenario(half_done, ("--fresh",), ("master", "server")),
    "finished": Scenario(finished, (), ("master",)),
    "refused": Scenario(refused, (), ("master", "server")),
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
    def call(self) -> str:
        """The call alone, whichever of its like it is."""
        return self.what.partition(" #")[0]

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
        self._points: dict[str, list[Point]] = {}
        self.scenario.prepare(self._prepared)
        self._prepared.wait_for_processes()

    def copy(self) -> Place:
        """The prepared directory once more, for somebody to break."""
        path = self._path / f"copy{os.getpid()}-{next(self._copies)}"
        shutil.copytree(self._prepared.path, path, symlinks=True)
        place = Place(path, {"app_master.py": PROGRAM})
        place.measured = False  # a fault that strikes coverage's own files is of no interest
        return place

    def run(self, place: Place, tracer: Tracer) -> Run:
        """The run that is disturbed: by a fork, too, where this process is one for that."""
        with tracer:
            if not warm.ready:
                return place.run(*self.scenario.flags, environ=tracer.environ)
            environ = {**tracer.environ, **COPIED}
            return warm.run(place.path, "--workers=1", *self.scenario.flags, environ=environ)

    def run_plainly(self, place: Place) -> Run:
        """The run after it, which nobody disturbs, by a fork where this process is one for that."""
        if not warm.ready:
            return place.run()
        return warm.run(place.path, "--workers=1", environ=COPIED)

    def points(self, known: set[tuple[str, str]]) -> Iterator[Point]:
        """The calls of each process, with each fault that they can have.

        *known* are roles and calls that were met in other scenarios; those met here are added,
        and left out where the scenario is there for something else.
        """
        for role in self.scenario.roles:
            points = list(self.points_of(role))
            for point in points:
                if EVERY or role in self.scenario.whole or (role, point.call) not in known:
                    yield point
            known |= {(role, point.call) for point in points}

    def points_of(self, role: str) -> list[Point]:
        """The calls that a process of *role* makes in an undisturbed run, and what they can have.

        That run is made, and watched, once.
        """
        if role not in self._points:
            place, tracer = self.copy(), Tracer(role)
            run = self.run(place, tracer)
            assert run.code == 0, run
            calls = tracer.traced[0].calls
            self._points[role] = list(self._points_of(role, calls, str(place.path)))
            shutil.rmtree(place.path)
        return self._points[role]

    def _points_of(self, role: str, calls: list[Call], root: str) -> Iterator[Point]:
        numbers: dict[str, int] = {}
        same: dict[str, int] = {}
        for call in of_interest(calls, role, root, numbers):
            about = call.about(root)
            same[about] = same.get(about, 0) + 1
            what = f"{about} #{same[about]}"
            for error, times in faults(call, same[about]):
                fault = Fault(role, call.name, numbers[call.name], error, times)
                yield Point(self.name, fault, what)
            if role in ("master", "server") and same[about] == 1 and call.name in CHANGES:
                fault = Fault(role, call.name, numbers[call.name], "STOP")
                for victims in VICTIMS:
                    yield Point(self.name, fault, what, victims)


EVERY = os.environ.get("PYBOINC_TEST_EVERY_STEP", "") not in ("", "0")
"""Try also what is much like something that is tried; it takes several times as long."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


VICTIMS = ("the process group", "every process", "server", "keeper", "fork server", "slave")
"""Who is killed while a process is stopped at a call."""

CHANGES = _words(
    "write pwrite64 fsync fdatasync rename unlink rmdir mkdir ftruncate vfork clone sendto pselect6"
)
"""Calls that make a moment: between two of them nothing that others see has changed."""

ROOM = _words(
    "open openat write pwrite64 writev fsync fdatasync syncfs rename mkdir link ftruncate "
    "fallocate close fork vfork clone clone3 pipe2 socketpair flock"
)
"""Calls that can fail for want of room (or, with the same consequence, of processes or locks)."""

INSTANT = _words(
    "lseek fstat newfstatat stat lstat getcwd dup dup2 dup3 setsid setpgid prctl prlimit64 "
    "sched_setaffinity sched_getaffinity pipe2 socketpair chdir readlink kill"
)
"""Calls that no signal interrupts, on any file system."""

WAITING = _words("read write pwrite64 pread64 poll pselect6 wait4 fsync openat close")
"""Calls that are interrupted ten times in a row."""


def faults(call: Call, number: int) -> Iterator[tuple[str, int]]:
    """The faults that *call* can have, the *number*-th of its like: what, and how often.

    Each call that changes something has each of them.  One that only looks does it again
    and again, with the same consequence; of its like the first ones do.
    """
    changes = call.name in CHANGES or "O_CREAT" in call.text
    if call.name == "close" and re.match(r"\d+<(pipe|socket):", call.text):
        yield "KILL", 1  # a pipe is closed whatever close says, but not if strace prevents it
        return
    if "rehearsal" in call.text and number > 2 and not EVERY:
        return  # a rehearsal is a dozen times the same
    if changes or number == 1 or EVERY:
        yield "KILL", 1
    if changes or number <= 2 or EVERY:
        yield "EIO", 1
        if call.name in ROOM:
            yield "ENOSPC", 1
        if call.name not in INSTANT:
            yield "EINTR", 1
    if number == 1 or EVERY:
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
        begun = begun or (role == "master" and "pyboinc.toml" in about)
        if begun and not call.standard and not _is_an_import(about):
            yield call
        # A master begins by reading its settings, the others when they have been let go on.
        begun = begun or (role != "master" and call.name == "close")


@cache
def _roots() -> re.Pattern[str]:
    places = [sys.prefix, sys.base_prefix, str(ROOT)]
    places += [os.path.realpath(place) for place in places]
    places = [general(place) for place in places]  # as they stand in what a call is about
    return re.compile("|".join(rf"{re.escape(place)}(/|$)" for place in set(places)))


def _is_an_import(about: str) -> bool:
    return any(_roots().match(path) for path in about.split(" "))
