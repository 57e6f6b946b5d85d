"""Job directories put together from pieces of two moments: what careless backups give back.

A program runs to a first moment and is killed; its directory is kept.  It goes on to a
second one.  A :class:`Mixture` takes some pieces from the earlier moment and the others from
the later one.  In a third run the program's handlers may make other calls than in the
second (``TIMELINE``), as one does that reads the clock or asks a person.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from masters import Place, Run, crash

PIECES = {
    "record": (".pyboinc/run.json",),
    "logs": (".pyboinc/spool", ".pyboinc/journal"),
    "project": (".pyboinc/local",),
    "checkpoint": ("pyboinc_checkpoint",),
    "new": ("new",),
    "old": ("old",),
}
"""What is restored together, and what apart."""

TYPES = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Input:
    number: int

@dataclass(frozen=True)
class Output:
    number: int
    value: int
"""

SLAVE = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

number = pyboinc_get_input().number
pyboinc_return_output(Output(number, number ** 2))
"""

MASTER = """
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

timeline = int(os.environ["TIMELINE"])
total = 0

def first():
    for number in range(4):
        pyboinc_call("app_slave.py", Input(number))

def second():
    for number in range(2):
        pyboinc_call("app_slave.py", Input(1000 * timeline + 100 + number))

def handle(output, job):
    global total
    assert output.number == job.input.number, "a foreign outcome was handled"
    total += output.value
    if job.index < 4:
        pyboinc_call("app_slave.py", Input(1000 * timeline + 10 + job.index))

pyboinc_master(first, handle)
pyboinc_master(second, handle)
print("The answer is", total)
"""
"""Four calls, one more for each of them by its handler, and two in a next phase."""

FILES = {"app_types.py": TYPES, "app_slave.py": SLAVE, "app_master.py": MASTER}

EARLIER = (
    crash("handled", number=1),
    crash("handled", number=3),
    crash("handled", "*_5.out"),
    crash("make calls", number=2),
)
"""Where the run of the earlier moment is killed."""


def answer(timeline: int) -> int:
    """The sum of the squares of all inputs, if all calls are of one timeline."""
    later = [1000 * timeline + 10 + number for number in range(4)]
    last = [1000 * timeline + 100 + number for number in range(2)]
    return sum(number**2 for number in [*range(4), *later, *last])


@dataclass(frozen=True)
class Mixture:
    """Which pieces are of the earlier moment, and what time it is in the run afterwards."""

    moment: int
    earlier: Sequence[str]
    timeline: int

    def __str__(self) -> str:
        pieces = "+".join(self.earlier) or "nothing"
        return f"moment {self.moment}, {pieces} restored, timeline {self.timeline}"


def mixtures() -> Iterator[Mixture]:
    """Every mixture of the two moments, for each earlier moment and both timelines."""
    for moment, timeline in itertools.product(range(len(EARLIER)), (1, 2)):
        for number in range(len(PIECES) + 1):
            for earlier in itertools.combinations(PIECES, number):
                yield Mixture(moment, earlier, timeline)


class Moments:
    """The directories of both moments, made once for each earlier one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._made: set[int] = set()

    def make(self, moment: int) -> tuple[Path, Path]:
        """Return the directory as it was at both moments."""
        earlier, later = self._path / f"{moment}.earlier", self._path / f"{moment}.later"
        if moment not in self._made:
            place = Place(self._path / f"{moment}", FILES)
            killed = place.run(environ={"TIMELINE": "1", **EARLIER[moment]})
            assert killed.killed, killed
            place.crashed()
            place.wait_for_processes()
            shutil.copytree(place.path, earlier)
            run = place.run(environ={"TIMELINE": "1"})
            assert run.stdout == f"The answer is {answer(1)}\n", run
            shutil.copytree(place.path, later)
            self._made.add(moment)
        return earlier, later

    def mix(self, mixture: Mixture, path: Path) -> Place:
        """Put a directory together."""
        earlier, later = self.make(mixture.moment)
        shutil.copytree(later, path)
        for piece in mixture.earlier:
            for name in PIECES[piece]:
                _replace(earlier / name, path / name)
        return Place(path, FILES)


def _replace(source: Path, target: Path) -> None:
    if target.is_dir():
        shutil.rmtree(target)
    elif target.exists():
        target.unlink()
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.exists():
        shutil.copy(source, target)


def verdict(place: Place, mixture: Mixture, run: Run) -> str:
    """Say in a word how a run in a mixture ended; "wrong: ..." if it may not end so."""
    if "foreign outcome" in run.stderr or "Traceback" in run.stderr:
        return f"wrong: {run}"
    if run.code in (2, 4) and run.stdout == "" and "--fresh" in run.stderr:
        return "refused"
    if run.code != 0:
        return f"wrong: {run}"
    # A later timeline may go on where its calls were all made before, or all anew.
    if run.stdout not in {f"The answer is {answer(one)}\n" for one in {1, mixture.timeline}}:
        return f"wrong: {run}"
    return "right"


def try_one(moments: Moments, mixture: Mixture, path: Path) -> str:
    """Mix, run, and judge; then begin anew if it was refused, which must work."""
    place = moments.mix(mixture, path)
    environ = {"TIMELINE": str(mixture.timeline)}
    found = verdict(place, mixture, place.run(environ=environ))
    if found == "refused":
        anew = place.run("--fresh", environ=environ)
        if anew.stdout != f"The answer is {answer(mixture.timeline)}\n":
            found = f"wrong: after a refusal, --fresh ends with {anew}"
    place.wait_for_processes()
    shutil.rmtree(path)
    return found


def some(seed: int, number: int, moment: int) -> list[Mixture]:
    """Some mixtures of one earlier moment, drawn from the seed."""
    chosen = [one for one in mixtures() if one.moment == moment]
    return random.Random(seed).sample(chosen, number)


def scratch(path: Path) -> Path:
    """A directory for one mixture."""
    return path / f"mixture{len(os.listdir(path))}"
