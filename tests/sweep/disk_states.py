"""Every state of the disk that a power cut may leave, recovered one by one.

Real runs are recorded (:mod:`sweep.trace`), every legal state of the disk at each moment of
them is made (:mod:`sweep.power_cut`), and the program is run again in each: it must end as if
the power had never been cut.  Then recoveries are recorded themselves, and the power is cut in
them, too.

In the first series the project is on another computer (:mod:`sweep.distant`); in the second
one it is the emulated one, with its database and its uploads on the disk that loses its power.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from masters import Place, Run, crash

from sweep import Part, warm
from sweep.distant import TRUTH, DistantPlace
from sweep.power_cut import Recording, State, states
from sweep.recorded import Task, play, record
from sweep.shared import add, attempt, is_meant, main, memory, share

PROGRAM = """
import os
from pyboinc import pyboinc_call, pyboinc_master

handled = {{}}

def call(number):
    pyboinc_call("app_slave.py", {input})

def make_calls():
    for number in {numbers}:
        call(number)

def handle_result(output, job):
    handled[job.index] = {output}
    if "HANDLED_LOG" in os.environ:
        with open(os.environ["HANDLED_LOG"], "a") as log:
            print(os.getpid(), job.index, file=log)
    if job.index == 1:
        call(10)

def make_more_calls():
    call(20)

pyboinc_master(make_calls, handle_result)
pyboinc_master(make_more_calls, handle_result)
print("handled", sorted(handled.items()))
"""
"""Some jobs, then one that a handler calls for, and one of a second phase."""


@dataclass(frozen=True)
class Series:
    """A kind of project, and the program that is run with it."""

    name: str
    numbers: tuple[int, ...]
    flags: tuple[str, ...]
    exhaustive: int
    distant: bool

    @property
    def program(self) -> str:
        """The text of the program."""
        names = ("number", "output") if self.distant else ("Input(number)", "output.value")
        text = PROGRAM.format(input=names[0], output=names[1], numbers=list(self.numbers))
        return text if self.distant else "from app_types import Input\n" + text

    @property
    def answer(self) -> str:
        """What the program prints at its end."""
        squares = [number**2 for number in (*self.numbers, 10, 20)]
        return f"handled {list(enumerate(squares))}\n"

    def place(self, path: Path) -> Place:
        """A job directory with the program."""
        files = {"app_master.py": self.program}
        if self.distant:
            return DistantPlace(path / "job", path / "elsewhere", files)
        return Place(path / "job", files)

    def environ(self, path: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a run."""
        return {TRUTH: str(path / "elsewhere"), **(more or {})}


DISTANT = Series(
    "project elsewhere",
    (2, 3, 4, 5, 6),
    ("--backend=distant", "--no-progress", "--quiet"),
    12,
    True,
)
LOCAL = Series("emulated project", (2, 3), ("--workers=1", "--no-progress", "--quiet"), 5, False)


@dataclass(frozen=True)
class Scenario:
    """A run in which the power is cut: what came before it, and how it is started."""

    name: str
    before: Sequence[Mapping[str, str]] = ()
    flags: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    verb: Sequence[str] = ()
    prepare: Callable[[Place], None] = lambda place: None


def foreign_files(place: Place) -> None:
    """Files that are no outcomes lie about."""
    (place / "new/README").write_text("not an outcome")
    (place / "new/1_0.out.part").write_text("of another program")


SCENARIOS = (
    Scenario("the first run"),
    Scenario("one outcome at a time", environ={"AT_ONCE": "1"}),
    Scenario("a run that goes on", before=[crash("handled", "*_3.out")]),
    Scenario("a run that goes on twice", before=[crash("retire", "*_1.out"), crash("restore")]),
    Scenario("files that are refused", before=[crash("handle", "*_2.out")], prepare=foreign_files),
    Scenario("a finished run", before=[{}]),
    Scenario("--fresh", before=[crash("handle", "*_3.out")], flags=["--fresh"]),
    Scenario("--fresh of a finished run", before=[{}], flags=["--fresh"]),
    Scenario("pyboinc rerun", before=[{}], verb=["rerun", "--job", "2", "--job", "4"]),
    Scenario(
        "pyboinc rerun half-way", before=[crash("load", "*_6.out")], verb=["rerun", "--job", "3"]
    ),
)
"""Runs with a project elsewhere."""

EMULATED = (
    Scenario("the first run"),
    Scenario("a run that goes on", before=[crash("handled", "*_1.out")]),
    Scenario("--fresh", before=[crash("handle", "*_1.out")], flags=["--fresh"]),
)
"""Runs with the emulated project."""


def task(series: Series, scenario: Scenario, path: Path) -> Task:
    """Prepare a scenario in *path*, up to the run that is recorded."""
    place = series.place(path)
    for environ in scenario.before:
        run = warm.run(place.path, *series.flags, environ=series.environ(path, environ))
        assert run.killed or not environ, run
        assert place.crashed() == bool(environ)
    place.wait_for_processes()
    scenario.prepare(place)
    return Task(
        str(place.path),
        str(path / "elsewhere") if series.distant else None,
        [*series.flags, *scenario.flags],
        series.environ(path, scenario.environ),
        scenario.verb,
    )


def recordings(
    series: Series, scenarios: Iterable[Scenario], path: Path
) -> Iterator[tuple[str, Recording]]:
    """Do and record every scenario, each with its name."""
    tasks, names = [], []
    for number, scenario in enumerate(scenarios):
        names.append(f"{series.name}: {scenario.name}")
        tasks.append(task(series, scenario, path / str(number)))
    for name, (recording, run) in zip(names, record(tasks, path), strict=True):
        assert run.code == 0, (name, run)
        yield name, recording


@dataclass(frozen=True, slots=True)
class Case:
    """A state of the disk that is to be recovered."""

    series: Series
    name: str
    state: State
    home: str

    def make(self, path: Path) -> Place:
        """Make it real, as if it had always been here: copies of a batch are refused."""
        self.state.tree.write(path / "job")
        for file in (path / "job/.pyboinc").glob("*run.json*"):
            text = file.read_text(errors="surrogateescape")
            here = text.replace(json.dumps(self.home), json.dumps(str(path / "job")))
            file.write_text(here, errors="surrogateescape")
        if self.series.distant:
            self.state.elsewhere.write(path / "elsewhere")
        return self.series.place(path)

    def recover(self, path: Path) -> None:
        """Run the program, and check that it ends as if the power had not been cut."""
        place = self.make(path)
        recorded = recorded_order(place)
        log = path / "handled.log"
        environ = self.series.environ(path, {"HANDLED_LOG": str(log)})
        run = self.run(place, environ)
        if place.names("new"):
            # A second outcome of a job, delivered when the master had looked for the last time.
            log.unlink()
            run = self.run(place, environ)
        if not self.series.distant and left_by_the_server(place):
            # No server was started, for nothing was to be done; the next one tidies up.
            again = warm.run(place.path, environ=environ, play=play(["rerun", "--job", "3"]))
            assert again.code == 0, again
            log.unlink()
            run = self.run(place, environ)
        place.check(run, self.series.answer)
        handled = [int(line.split()[1]) for line in log.read_text().splitlines()]
        assert max(Counter(handled).values()) == 1, f"handled twice: {handled}"
        assert handled == in_phases(place, place.handled())
        first = [one for one in handled if one in recorded]
        assert first == in_phases(place, recorded), f"{recorded} was recorded"

    def run(self, place: Place, environ: Mapping[str, str]) -> Run:
        """Run the program to its end."""
        run = warm.run(place.path, *self.series.flags, environ=environ)
        assert (run.stdout, run.code) == (self.series.answer, 0), run
        return run


def left_by_the_server(place: Place) -> bool:
    """Whether something lies in the emulated project's upload and slots, of jobs that are done."""
    local = place / ".pyboinc/local"
    return any(path for name in ("upload", "slots") for path in (local / name).glob("*"))


def recorded_order(place: Place) -> list[int]:
    """The order that the next run must repeat; none if it is to set the batch aside."""
    record, journal = place / ".pyboinc/run.json", place / ".pyboinc/journal"
    if not record.exists() or not journal.exists() or '"abandoned": true' in record.read_text():
        return []
    return place.handled()


def in_phases(place: Place, jobs: Sequence[int]) -> list[int]:
    """Jobs in the order in which a run handles them that were recorded in the order of *jobs*."""
    directory = place.directory()
    try:
        return sorted(jobs, key=directory.spool.phase_of)
    finally:
        directory.close()


def cases(series: Series, recorded: Iterable[tuple[str, Recording]], seed: int) -> list[Case]:
    """Every state of every recording, each once."""
    seen: set[bytes] = set()
    found = []
    for name, recording in recorded:
        for state in states(recording, seed, series.exhaustive):
            digest = state.digest()
            if digest not in seen:
                seen.add(digest)
                found.append(Case(series, f"{name}: {state.name}", state, recording.path))
    return found


def some_moments(recording: Recording, number: int, draw: random.Random) -> Recording:
    """The same recording, of which so many moments are looked at."""
    moments = recording.moments
    chosen = sorted(draw.sample(range(len(moments)), min(number, len(moments))))
    return replace(recording, moments=[moments[one] for one in chosen])


def try_cases(chosen: Sequence[Case], count: str, path: Path) -> Part:
    """Recover every one of the cases, on all processors."""

    def do(number: int, part: Part) -> None:
        where = path / str(number)
        attempt(part, chosen[number].name, lambda: chosen[number].recover(where))
        shutil.rmtree(where, ignore_errors=True)
        part.count(count)

    return share(range(len(chosen)), do)


def record_recoveries(chosen: Sequence[Case], path: Path) -> list[tuple[str, Recording]]:
    """Record the recoveries from some cases, which all end well."""
    tasks = []
    for number, case in enumerate(chosen):
        where = path / str(number)
        place = case.make(where)
        elsewhere = str(where / "elsewhere") if case.series.distant else None
        environ = case.series.environ(where)
        tasks.append(Task(str(place.path), elsewhere, case.series.flags, environ))
    recorded = record(tasks, path)
    return [
        (f"{case.name}, and in its recovery", recording)
        for case, (recording, run) in zip(chosen, recorded, strict=True)
        if run.code == 0
    ]


@dataclass(frozen=True, slots=True)
class Extent:
    """How much of a series is tried: None for all that there is."""

    scenarios: Sequence[Scenario]
    moments: int | None = None
    cases: int | None = None
    recoveries: int = 0
    again: int = 0


FULL = {
    DISTANT: Extent(SCENARIOS, recoveries=60, again=6000),
    LOCAL: Extent(EMULATED, moments=40, cases=600, recoveries=4, again=200),
}
"""Everything, and the power cut a second time in the recoveries from 60 states."""

QUICK = {
    DISTANT: Extent(SCENARIOS[2:5], cases=70, recoveries=2, again=20),
    LOCAL: Extent(EMULATED[1:2], moments=8, cases=8),
}
"""A slice of it for every day."""


def try_series(series: Series, extent: Extent, seed: int, only: str, path: Path) -> Part:
    """Cut the power in every scenario of a series, and again in recoveries."""
    draw = random.Random(f"{seed} {series.name}")
    recorded = list(recordings(series, extent.scenarios, path / "scenarios"))
    first = some_cases(series, recorded, extent.moments, extent.cases, draw)
    count = f"disk states, {series.name}"
    total = try_cases([one for one in first if is_meant(one.name, only)], count, path / "first")
    if extent.recoveries:
        chosen = draw.sample(first, extent.recoveries)
        recorded = record_recoveries(chosen, path / "recoveries")
        again = some_cases(series, recorded, extent.moments, extent.again, draw)
        meant = [one for one in again if is_meant(one.name, only)]
        add(total, try_cases(meant, f"{count}, cut again in the recovery", path / "again"))
    return total


def some_cases(
    series: Series,
    recorded: Sequence[tuple[str, Recording]],
    moments: int | None,
    number: int | None,
    draw: random.Random,
) -> list[Case]:
    """So many of the states of recordings, at so many moments of each."""
    if moments is not None:
        recorded = [(name, some_moments(one, moments, draw)) for name, one in recorded]
    found = cases(series, recorded, draw.randrange(10**6))
    return found if number is None else draw.sample(found, min(number, len(found)))


def sweep(seed: int, only: str, extents: Mapping[Series, Extent] = FULL) -> Part:
    """Both series, in full if no other extents are given."""
    warm.make_ready()
    total = Part()
    with tempfile.TemporaryDirectory(dir=memory()) as directory:
        for series, extent in extents.items():
            place = Path(directory, series.name)
            add(total, try_series(series, extent, seed, only, place))
    return total


def quick(seed: int) -> Part:
    """A slice of both."""
    return sweep(seed, "", QUICK)


if __name__ == "__main__":
    sys.exit(main(quick, sys.argv[1]))
