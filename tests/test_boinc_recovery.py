"""A master on a BOINC project is killed before every step that it takes there.

The steps are the rows of "A real project" in docs/protocol.md.  For each row a real process is
killed just before it reaches the step; then the program is run again and must end as if nothing
had happened: the same answer, one job for each call.  In an ordinary run each row is tried once,
at an occurrence drawn from the seed; with PYBOINC_TEST_EVERY_STEP=1 at each, and every other
step of the master too.
"""

from __future__ import annotations

import os
import random
import re
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from boinc_project import mariadb
from boinc_project.masters import BoincPlace
from boinc_project.place import StandIn
from boinc_project.recovery import EXPECTED, FILES, check_recovery
from boinc_project.world import World
from masters import crash
from source import ROOT

EVERY_STEP = os.environ.get("PYBOINC_TEST_EVERY_STEP", "") not in ("", "0")


@dataclass(frozen=True)
class Row:
    """A row of the table: before which step the master is killed."""

    step: str
    about: str

    def __str__(self) -> str:
        return f"{self.step} {self.about}".rstrip()


def rows() -> Iterator[Row]:
    """The rows of the table: one for each step named in the second cell of a line."""
    for line in (ROOT / "docs/protocol.md").read_text().splitlines():
        if re.match(r"\| B[0-9]", line):
            *steps, about = re.findall("`([^`]*)`", line.split("|")[2])
            for step in steps:
                yield Row(step, about)


ROWS = list(dict.fromkeys(rows()))


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """A project for all tests of this module: each has a batch of its own."""
    mariadb.require()
    made = StandIn(tmp_path_factory.mktemp("project") / "project")
    yield made
    made.close()


@pytest.fixture(scope="module")
def world(project: StandIn) -> Iterator[World]:
    """Daemons and volunteers, who wait to be let work."""
    made = World(project)
    yield made
    made.close()


@pytest.fixture(scope="module")
def reached(
    project: StandIn, world: World, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, str]]:
    """The steps of a run that nobody kills, in their order."""
    path = tmp_path_factory.mktemp("reference")
    forget_templates(project)
    place = BoincPlace(path / "job", project, FILES)
    with world.at_work():
        run = place.run(environ={"PYBOINC_TEST_STEPS": str(path / "steps")})
    place.check(run, EXPECTED)
    lines = [line.split("\t") for line in (path / "steps").read_text().splitlines()]
    return [(step, about) for _, step, about in lines]


def forget_templates(project: StandIn) -> None:
    """Let the next batch be the first of its limits, that makes a template for them."""
    for template in (project.root / "templates").glob("*_in"):
        template.unlink()


def occurrences(row: Row, reached: list[tuple[str, str]]) -> int:
    """How often a run reaches the step of a row."""
    return sum(step == row.step and fnmatchcase(about, row.about) for step, about in reached)


# ---------------------------------------------------------------- what happens before


def kept(place: BoincPlace, world: World) -> None:
    """A run was killed, and an output could not be put into new/ when it came."""
    begun(place, world)
    world.settle()
    (outcome,) = (place / "new").glob("*_0.out")
    batch = outcome.name.partition("_")[0]
    (place.project.ours / "kept" / batch).mkdir()
    outcome.rename(place.project.ours / "kept" / batch / outcome.name)


def begun(place: BoincPlace, world: World) -> None:
    """A run was killed when its jobs had been made; nobody has begun to work."""
    killed = place.run(environ=crash("publish", "pyboinc_checkpoint"))
    assert killed.killed and place.crashed(), killed


BEFORE = {"take kept": kept, "cancel": begun}
FLAGS = {"cancel": ["--fresh"]}
"""For the steps that an ordinary run does not reach: what was before, and how it is run."""


# ---------------------------------------------------------------- every step


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_killed_before_a_step_at_a_project(
    row: Row,
    project: StandIn,
    world: World,
    reached: list[tuple[str, str]],
    tmp_path: Path,
    seed: int,
) -> None:
    """Recovery on a project: the same answer, one job a call, every outcome handled in order."""
    number = occurrences(row, reached)
    if row.step in BEFORE:
        chosen = [1]
    else:
        assert number, f"{row} is never reached"
        every = range(1, number + 1)
        chosen = list(every) if EVERY_STEP else [random.Random(seed).choice(every)]
    for one in chosen:
        place = BoincPlace(tmp_path / f"job{one}", project, FILES)
        forget_templates(project)
        before = BEFORE.get(row.step)
        if before is not None:
            before(place, world)
        with nullcontext() if row.step == "cancel" else world.at_work():
            run = place.run(*FLAGS.get(row.step, []), environ=crash(row.step, row.about, one))
        check_recovery(place, world, run.killed)


def test_the_table_of_a_real_project_is_complete(
    reached: list[tuple[str, str]], project: StandIn
) -> None:
    """Protocol: every step that is taken at a project is in the table, or in those of all runs."""
    text = (ROOT / "docs/protocol.md").read_text()
    every = [row for row in text.splitlines() if re.match(r"\| [MB][0-9]", row)]
    known = []
    for line in every:
        names = re.findall("`([^`]*)`", line.split("|")[2])
        known += [(name, names[-1]) for name in names]
    missing = {
        f"{step} {about}"
        for step, about in reached
        if not any(
            # A failure is loaded, handled and retired as an output is.
            (
                step == one
                and (pattern == one or fnmatchcase(about.replace(".error", ".out"), pattern))
            )
            or (step == one and fnmatchcase(about, pattern))
            for one, pattern in known
        )
    }
    assert missing == set()


def test_killed_again_and_again_at_a_project(
    project: StandIn, world: World, tmp_path: Path, seed: int
) -> None:
    """Recovery on a project: crashes in the recovery from crashes, at any steps, change nothing."""
    place = BoincPlace(tmp_path / "job", project, FILES)
    draw = random.Random(seed)
    with world.at_work():
        for _ in range(5):
            step = draw.randint(1, 70)
            print("killed before step", step)
            place.run(environ=crash("*", "*", step))
            place.crashed()
            place.wait_for_processes()
        place.check(place.run(), EXPECTED)
        place.check_again(EXPECTED)
