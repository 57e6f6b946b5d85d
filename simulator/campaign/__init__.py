"""A user's master program in virtual time: once without faults, and then with all of them.

A :class:`Campaign` is one program.  :meth:`Campaign.calm` runs it without faults, crashes and
volunteers; :meth:`Campaign.run` against volunteers, with faults drawn from a seed and a master
that is killed where it is told, and started again.  What both print must be the same.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from pyboinc.backends.local.workers import Isolation
from pyboinc.backends.simulated.fates import Fate, Job
from pyboinc.backends.simulated.masters import Masters, Point, Program, copy, link_if_large
from pyboinc.backends.simulated.project import Project, World
from pyboinc.backends.simulated.scratch import Scratch
from pyboinc.backends.simulated.slaves import Slaves
from pyboinc.errors import ConfigurationError
from pyboinc.faults import FaultPlan, Kind, format_faults
from pyboinc.faults.draws import uniforms
from simulator.campaign.calm import Calm
from simulator.campaign.crashes import Step, down

MOST_KILLS = 1_000
"""How often a master may be killed by its own faults."""

KILLED = -9
"""The exit code of a process that SIGKILL ended."""

LONGEST_PAUSE = 3600.0
"""Seconds between an outcome and the master's next look, at most."""

Fates = Callable[[int, int, Any], Fate]


@dataclass(frozen=True)
class Call:
    """One call of the program: the slave, the limits given with it, and the encoded input."""

    slave: str
    limits: Mapping[str, Any]
    input: bytes


@dataclass(frozen=True)
class Life:
    """One process of the master: its exit code, or minus a signal's number, and what it said.

    ``point`` says before which step it was killed; ``steps`` which ones it took, if it was not.
    """

    code: int
    stdout: str
    stderr: str
    point: str = ""
    steps: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Run:
    """A program's whole life: its processes, of which the last came to an end of its own.

    ``time`` is in seconds of virtual time; ``calls`` has each job's slave, limits and input, and
    ``changed_call`` tells of the first that is another than in the fault-free run; ``asked``
    says whether the master ever spoke to the project.
    """

    seed: int
    lives: tuple[Life, ...]
    time: float
    calls: tuple[Call, ...]
    retries: int
    failed: int
    asked: bool = True
    changed_call: str = ""
    trace: tuple[str, ...] = ()

    @property
    def last(self) -> Life:
        """The process that was not killed."""
        return self.lives[-1]


class Population(Protocol):
    """Those who do the jobs: how many there are, and the world that they live in."""

    @property
    def number(self) -> int:
        """How many hosts there are."""

    def world(self, faults: FaultPlan, fates: Fates) -> World:
        """Return the world that the seed of *faults* makes of them, in which these strike."""


class Nobody:
    """No volunteers: the fault-free run needs none."""

    number = 1_000
    """No quorum is larger."""

    def world(self, faults: FaultPlan, fates: Fates) -> World:
        """Return a world in which every instance is sent at once."""
        return Calm(fates)


class Campaign:
    """One program, whose distinct jobs are run once, in however many runs they occur."""

    def __init__(
        self, program: Program, workers: int, isolation: Isolation, max_output: int
    ) -> None:
        self._max_output = max_output
        self._masters = Masters(program, isolation == "fork")
        self._masters.boot()
        self._whole = Scratch(program.size())
        self._scratch = self._whole.path
        self._copy = program.copy_to(self._scratch / "program" / program.path.parent.name)
        self._slaves = Slaves(self._scratch / "slaves", workers, isolation, max_output)
        self._slaves.boot(program.preload_of_slaves())
        self._runs = 0
        self._calm: Run | None = None
        self._first = 1
        """Of a run, the number of its first master: without faults it has another hash seed."""

    def calm(self, seed: int) -> Run:
        """Run the program without faults, crashes and volunteers; once, whatever the seeds."""
        if self._calm is None:
            self._calm = self._run_calm(seed, first=0)
        return self._calm

    def calm_again(self, seed: int) -> Run:
        """Do so once more, with another hash seed."""
        return self._run_calm(seed, first=1)

    def _run_calm(self, seed: int, first: int) -> Run:
        self._first = first
        try:
            return self.run(Nobody(), FaultPlan(seed=seed))
        finally:
            self._first = 1

    def run(
        self,
        volunteers: Population,
        faults: FaultPlan,
        points: Sequence[Point] = (),
        look: Callable[[Project], object] = id,
    ) -> Run:
        """Run the program against *volunteers*, killing the master once at each of *points*.

        *look* may look at the project at the end.
        """
        self._runs += 1
        place = self._scratch / f"run-{os.getpid()}-{self._runs}"
        place.mkdir()
        directory = copy(self._copy, place / self._copy.name, link_if_large)
        project = Project(
            self._slaves,
            faults,
            lambda fates: volunteers.world(faults, fates),
            volunteers.number,
            self._max_output,
            _Pauses(faults.seed),
        )
        try:
            with _without_its_modules(directory):
                lives = self._lives(project, directory, faults, points)
                if project.refusal is not None:
                    raise project.refusal
                look(project)
                calls = tuple(map(_call, project.jobs))
                changed = _changed_call(project, self._calm, calls)
            return Run(
                faults.seed,
                tuple(lives),
                project.world.now,
                calls,
                project.retries,
                project.failed,
                project.heard,
                changed,
                tuple(project.trace),
            )
        finally:
            project.close()
            shutil.rmtree(place, ignore_errors=True)

    def _lives(
        self, project: Project, directory: Path, faults: FaultPlan, points: Sequence[Point]
    ) -> list[Life]:
        """Start the master until it ends by itself; time passes while it is down."""
        lives: list[Life] = []
        while not lives or _is_to_go_on(lives[-1], faults):
            if lives:
                project.pass_time(down(faults.seed, len(lives) - 1))
            if len(lives) > len(points) + MOST_KILLS:
                raise ConfigurationError(
                    f"the master was killed {len(lives)} times and has not come to an end; give "
                    "master_killed a lower probability"
                )
            point = points[len(lives)] if len(lives) < len(points) else None
            lives.append(self._life(project, directory, faults, point, len(lives)))
        return lives

    def _life(
        self, project: Project, directory: Path, faults: FaultPlan, point: Point | None, number: int
    ) -> Life:
        project.note("master started")
        master = self._masters.start(directory, _flags(faults), point, self._first + number)
        try:
            said = project.serve(master.link) or ["", ()]
            code, stdout, stderr = master.end()
        except BaseException:
            master.kill()
            raise
        ending = f"killed before {said[1]}" if said[0] == "killed" else f"ended: {code}"
        project.note(f"master {ending}")
        if said[0] == "killed":
            return Life(code, stdout, stderr, point=said[1])
        steps = tuple((step, about, times) for step, about, times in said[1])
        return Life(code, stdout, stderr, steps=steps)

    def leave(self) -> None:
        """Be of use in a fork of the process that made this; closed there, it leaves no more."""
        self._scratch = self._scratch / str(os.getpid())
        self._scratch.mkdir()
        self._slaves.leave(self._scratch)
        self._masters.leave()

    def close(self) -> None:
        """Stop the slaves and remove all that was written."""
        self._masters.close()
        self._slaves.close()
        if self._scratch == self._whole.path:
            self._whole.close()
        else:
            shutil.rmtree(self._scratch, ignore_errors=True)


class _Pauses:
    """How long the master takes to look again: not at all, or for up to an hour (s)."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._count = 0

    def __call__(self) -> float:
        self._count += 1
        u = uniforms(self._seed, "pause", self._count)
        return 0.0 if u[0] < 0.5 else LONGEST_PAUSE * u[1] ** 3


def _is_to_go_on(life: Life, faults: FaultPlan) -> bool:
    """Whether the master was killed by us, or killed itself as it was asked to."""
    return life.code == KILLED and (bool(life.point) or Kind.MASTER_KILLED in faults.kinds)


def _flags(faults: FaultPlan) -> list[str]:
    """Return what the master is told; what its hosts do is no business of its own."""
    own: dict[Kind, float] = {
        kind: p for kind, p in faults.probabilities.items() if kind is Kind.MASTER_KILLED
    }
    return [
        "--backend=simulated",
        f"--seed={faults.seed}",
        "--failure-rate=0",
        f"--fault={format_faults(own)}",
    ]


def _call(job: Job) -> Call:
    return Call(job.call.slave, job.call.limits, job.work.input)


def _changed_call(project: Project, calm: Run | None, calls: Sequence[Call]) -> str:
    """Tell of the first call that is another than in the fault-free run; nothing if none is."""
    then = () if calm is None else calm.calls
    for number, (one, other) in enumerate(zip(then, calls, strict=False)):
        if (one.slave, one.limits) != (other.slave, other.limits):
            what = f"it called {one.slave} {dict(one.limits) or ''} there"
        elif one.input != other.input and (found := project.difference(one.input, other.input)):
            what = found.replace(" then, and is ", " there, and is ").replace(" now", " here")
        else:
            continue
        why = (
            "make_calls must make the same calls in every run: does it read the clock, random "
            "numbers or the order of a set?"
            if number < project.first_calls
            else "calls that handle_result makes may depend on results, not on their order"
        )
        return f"call {number} is another than without faults: {what}. {why}"
    return ""


@contextmanager
def _without_its_modules(directory: Path) -> Iterator[None]:
    """Let the modules in *directory* be imported, to look at outputs, and be forgotten again.

    Another program, and a test that runs here, may have modules of the same names.
    """
    names = {path.stem for path in directory.iterdir() if path.suffix == ".py" or path.is_dir()}
    names -= {"pyboinc", "simulator", *sys.stdlib_module_names}
    path = list(sys.path)
    hidden = _take_out(names)
    try:
        yield
    finally:
        _take_out(names)
        sys.modules.update(hidden)
        sys.path[:] = path


def _take_out(names: Set[str]) -> dict[str, ModuleType]:
    """Take the modules of these names, with what is in them, out of those that are imported."""
    found = [name for name in sys.modules if name.partition(".")[0] in names]
    installed = [name for name in found if "-packages" in str(sys.modules[name].__spec__)]
    return {name: sys.modules.pop(name) for name in found if name not in installed}
