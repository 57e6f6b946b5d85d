"""Long and large: many jobs on the real emulator, with kills all the while, and nothing may grow.

The program stops inside its handler at chosen counts of handled results and says so through
a pipe; while it waits, its processes are looked at and one kind of them is killed.  So a
moment is a number of results, never a time.  Faults are injected as well.  In the first half
the master itself is killed again and again, and each next run must replay the recorded
order; the second half is one long life, in which descriptors and memory are compared.

PYBOINC_SOAK_JOBS and PYBOINC_SOAK_KILLS make it longer or shorter.
"""

from __future__ import annotations

import os
import random
import select
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from masters import PATIENCE, Place, Run, crash, finish

from sweep import Part

JOBS = int(os.environ.get("PYBOINC_SOAK_JOBS", "100000"))
KILLS = int(os.environ.get("PYBOINC_SOAK_KILLS", "40"))

WORKERS = 2
"""Of the emulator, so that one is at work while the other one is killed."""

LOOKS = 5
"""Looks at a process at one moment: of what comes and goes, the least counts."""

EVERY = 500
"""Results between two looks at the processes, so that a run that hangs is soon noticed."""

RESTS = 6
"""Crashes after which all outcomes are read and compared, which takes a while."""

SLOTS = ".pyboinc/local/slots/"
"""Where slaves are at work; what they leave is looked at in the end (``Place.check``)."""

DESCRIPTORS = 4
"""How many more descriptors than at first a process may have, whatever it has done."""

BYTES_A_JOB = 100
"""How much memory a process may keep for each job that was handled."""

SLACK = 4 << 20
"""How much more memory it may have, whatever it has done (bytes)."""

TYPES = """
class Input:
    def __init__(self, number):
        self.number = number

class Output:
    def __init__(self, value):
        self.value = value
"""

MASTER = """
import hashlib, os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

marks = {{int(mark) for mark in os.environ["SOAK_MARKS"].split(",") if mark}}
order = hashlib.sha256()
handled = total = 0

def make_calls():
    for number in range({calls}):
        pyboinc_call("app_slave.py", Input(number))

def handle_result(output, job):
    global handled, total
    order.update(b"%d\\n" % job.index)
    handled += 1
    total += output.value
    if handled in marks:
        with open("at", "w") as pipe:
            print(handled, order.hexdigest(), file=pipe)
        with open("go", "rb", buffering=0) as pipe:
            pipe.read(1)

pyboinc_master(make_calls, handle_result)
print("The answer is", total)
"""
"""At each mark it says how many results it has handled, in which order, and waits."""

ENDS = ("master", "process group", "everything", "master at a step")
"""What ends a master's life; the other kinds are killed behind it and it goes on."""

BEHIND = ("server", "keeper", "fork server", "slave")
"""The generations behind a master, each the children of the one before."""


@dataclass(frozen=True)
class Moment:
    """What is killed when a run has handled so many results, or whether memory is measured.

    With neither of them its processes are looked at only.
    """

    kill: str = ""
    measured: bool = False


Moments = dict[int, Moment]
"""Moments by the number of results that the run has handled."""


def lives(jobs: int, kills: int, seed: int) -> list[Moments]:
    """Draw the lives of the masters but the last: every kind of kill, in any order, at any count.

    The last moment of each ends it.
    """
    draw = random.Random(seed)
    kinds = [*ENDS, *BEHIND]
    chosen = [kinds[number % len(kinds)] for number in range(kills)]
    draw.shuffle(chosen)
    # What is killed last ends a life: behind it is the one that is measured.
    chosen.append(chosen.pop(max(at for at, kind in enumerate(chosen) if kind in ENDS)))
    counts = sorted(draw.randint(1, max(1, jobs // 2)) for _ in chosen)
    found: list[Moments] = [{}]
    for count, kind in zip(counts, chosen, strict=True):
        found[-1][count] = Moment(kind)
        if kind in ENDS:
            found.append({})
    return found[:-1]


def last_life(begun: int, jobs: int) -> Moments:
    """The life from *begun* handled results on: slaves are killed, memory is measured twice."""
    found = {}
    for percent in range(10, 100, 10):
        measured = percent in (20, 90)
        count = max(1, begun + (jobs - begun) * percent // 100)
        found[count] = Moment("" if measured else "slave", measured)
    return found


# ---------------------------------------------------------------- looking at processes


@dataclass(frozen=True)
class Look:
    """What a process has: descriptors, and resident memory in bytes."""

    descriptors: int
    memory: int


Looks = dict[int, tuple[str, Look]]
"""What each process is, and what it has."""


def children(process: int) -> list[int]:
    """The children of a process; none if it has ended."""
    try:
        text = Path(f"/proc/{process}/task/{process}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]


def generations(master: int) -> dict[str, list[int]]:
    """The processes behind a master, by what they are."""
    found, parents = {}, [master]
    for name in BEHIND:
        parents = [child for parent in parents for child in children(parent)]
        found[name] = parents
    return found


def look(process: int) -> Look | None:
    """Look at a process, some times; None if it has ended."""
    looks = []
    for _ in range(LOOKS):
        try:
            descriptors = len(os.listdir(f"/proc/{process}/fd"))
            status = Path(f"/proc/{process}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return None
        sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:")]
        if not sizes:
            return None  # ended, and nobody has waited for it yet
        looks.append(Look(descriptors, int(sizes[0]) * 1024))
    return Look(min(one.descriptors for one in looks), min(one.memory for one in looks))


def looks(master: int) -> Looks:
    """Look at the master and all that live as long as it does; slaves do not."""
    long_lived = {"master": [master], **generations(master)}
    del long_lived["slave"]
    found = {}
    for name, processes in long_lived.items():
        for process in processes:
            seen = look(process)
            if seen is not None:
                found[process] = name, seen
    return found


# ---------------------------------------------------------------- the soak


class Soak:
    """A batch of *jobs* jobs in *path*, and what its masters live through."""

    def __init__(self, path: Path, jobs: int, seed: int, part: Part) -> None:
        files = {"app_types.py": TYPES, "app_master.py": MASTER.format(calls=jobs)}
        self.place = Place(path / "job", files)
        self.jobs = jobs
        self.seed = seed
        self.part = part
        self.growth: dict[str, float] = {}
        self.temporary = path / "tmp"
        self.temporary.mkdir()
        self._pipes = {}
        for name in ("at", "go"):
            self.place.mkfifo(name)
            # Open in both directions: a program that dies does not end it.
            self._pipes[name] = os.open(self.place / name, os.O_RDWR | os.O_NONBLOCK)

    def close(self) -> None:
        """Close the pipes."""
        for pipe in self._pipes.values():
            os.close(pipe)

    def live(self, kills: Moments | None = None) -> Run:
        """Start a master, let it live through *kills* or its last life; return how it ended."""
        recorded = self.place.recorded()
        moments = last_life(len(recorded), self.jobs) if kills is None else kills
        moments = {**{count: Moment() for count in range(EVERY, self.jobs, EVERY)}, **moments}
        master = self.place.start(*self._flags(), environ=self._environ(moments))
        first: dict[int, Look] = {}
        measured: dict[int, tuple[int, Look]] = {}
        try:
            for handled, order in self._marks(master.pid):
                if handled <= len(recorded):
                    assert order == digest(recorded[:handled]), f"I3: replayed otherwise: {handled}"
                found = looks(master.pid)
                self._compare(found, first)
                if moments[handled].measured:
                    self._measure(found, handled, measured)
                if self._kill(master.pid, moments[handled].kill):
                    break
                os.write(self._pipes["go"], b"g")
        except BaseException:
            os.killpg(master.pid, signal.SIGKILL)
            finish(master)
            self.place.wait_for_processes()
            raise
        return finish(master)

    def _flags(self) -> Sequence[str]:
        return (
            "--quiet",
            f"--workers={WORKERS}",
            f"--seed={self.seed}",
            "--failure-rate=0.02",
            "--fault=duplicate=0.02",
            "--fault=restart=0.002",
        )

    def _environ(self, moments: Moments) -> Mapping[str, str]:
        environ = {"SOAK_MARKS": ",".join(map(str, moments)), "TMPDIR": str(self.temporary)}
        for count, moment in moments.items():
            if moment.kill == "master at a step":
                # Each result is half a dozen steps; replaying the ones before are some more.
                step = random.Random(self.seed + count).randint(1, 6 * count + 20)
                environ.update(crash("*", "*", step))
        return environ

    def _marks(self, master: int) -> Iterator[tuple[int, str]]:
        """Yield each count of results at which the program waits, with their order."""
        ended = os.pidfd_open(master)
        try:
            while True:
                # Before the first mark all of the jobs are made.
                patience = PATIENCE + self.jobs / 100
                ready, _, _ = select.select([self._pipes["at"], ended], [], [], patience)
                assert ready, "I7: no mark is reached, and the master does not end"
                if self._pipes["at"] not in ready:
                    return
                number, order = os.read(self._pipes["at"], 4096).decode().split()
                yield int(number), order
        finally:
            os.close(ended)

    def _compare(self, found: Looks, first: dict[int, Look]) -> None:
        """Compare the descriptors of each process with those it had when it was seen first."""
        self.part.count("looks at the processes")
        for process, (name, now) in found.items():
            more = now.descriptors - first.setdefault(process, now).descriptors
            assert more <= DESCRIPTORS, f"I10: the {name} has {more} descriptors more than at first"

    def _measure(self, found: Looks, handled: int, before: dict[int, tuple[int, Look]]) -> None:
        """Compare memory, and look for temporary files, which nobody but slaves is writing now."""
        left = [one for one in self.place.temporaries() if not one.startswith(SLOTS)]
        assert left == [], f"I10: temporary files are left: {left}"
        for process, (name, now) in found.items():
            since, then = before.setdefault(process, (handled, now))
            jobs, growth = handled - since, now.memory - then.memory
            if jobs:
                print(f"  {name}: {then} after {since}, {now} after {handled}", flush=True)
                self.growth[name] = max(self.growth.get(name, -1e9), growth / jobs)
                most = BYTES_A_JOB * jobs + SLACK
                assert growth <= most, f"the {name} has grown by {growth} bytes in {jobs} jobs"

    def _kill(self, master: int, kind: str) -> bool:
        """Kill what the moment says; return whether the master is among it."""
        if not kind or kind == "master at a step":
            return False
        behind = generations(master)
        victims = {
            "master": [master],
            "process group": [-master],
            "everything": [one for some in behind.values() for one in some] + [master],
        }
        killed = 0
        for victim in victims.get(kind, behind.get(kind, [])[:1]):
            try:
                os.kill(victim, signal.SIGKILL)
                killed += 1
            except ProcessLookupError:
                pass  # a slave that has just ended
        self.part.count(f"kills of {kind}", bool(killed))
        return kind in ENDS

    def check(self, run: Run) -> None:
        """Check what must hold when all is handled."""
        answer = sum(number * number for number in range(self.jobs))
        self.place.check(run, f"The answer is {answer}\n")
        left = os.listdir(self.temporary)
        assert left == [], f"I10: left in the directory for temporary files: {left}"
        slots = self.place / ".pyboinc/local/slots"
        assert len(os.listdir(slots)) <= WORKERS + 1, "I10: slots are left"


def digest(order: Sequence[int]) -> str:
    """What a program says of the order in which it has handled results."""
    return sha256(b"".join(b"%d\n" % number for number in order)).hexdigest()


def soak(path: Path, jobs: int, kills: int, seed: int, part: Part) -> Soak:
    """Have *jobs* jobs done in *path* through *kills* kills, checking all the while."""
    one = Soak(path, jobs, seed, part)
    try:
        for number, kills_of_one in enumerate(lives(jobs, kills, seed)):
            part.count("lives of masters")
            run = one.live(kills_of_one)
            assert run.killed, f"I7: the master was to be killed: {run}"
            part.count("kills of master at a step", one.place.crashed())
            one.place.wait_for_processes()
            if number < RESTS:
                one.place.check_at_rest()
        part.count("lives of masters")
        one.check(one.live())
    finally:
        one.close()
    part.count("jobs", jobs)
    return one


def sweep(seed: int, only: str) -> Part:
    """Run the soak; *only* is of no meaning here."""
    part = Part()
    with tempfile.TemporaryDirectory(prefix="pyboinc-soak-") as directory:
        try:
            one = soak(Path(directory), JOBS, KILLS, seed, part)
        except AssertionError as error:
            part.failures.append(f"{error} (make sweep PARTS=soak, seed {seed})")
        else:
            for name, growth in one.growth.items():
                print(f"  {name}: {growth:.1f} bytes of memory more for each job")
    return part
