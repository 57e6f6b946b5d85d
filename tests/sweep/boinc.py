"""A master on a BOINC project, killed before each of its steps, and once more in the recovery.

python -m sweep boinc --only 17    the 17th step alone

The project is a stand-in with a real database (``boinc_project``).
"""

from __future__ import annotations

import random
import shutil
import tempfile
from pathlib import Path

import starter
from boinc_project.masters import BoincPlace
from boinc_project.place import StandIn
from boinc_project.recovery import EXPECTED, FILES, check_recovery
from boinc_project.world import World
from masters import crash

from sweep import Part
from sweep.shared import memory

LONGEST = 90
"""Steps of a recovery among which one is drawn."""


def sweep(seed: int, only: str) -> Part:
    """Kill at every step (or at the one whose number is *only*)."""
    part = Part()
    path = Path(tempfile.mkdtemp(prefix="pyboinc-sweep-", dir=memory()))
    project = StandIn(path / "project")
    world = World(project)
    try:
        steps = _steps(path, project, world)
        for number in [int(only)] if only else range(1, len(steps) + 1):
            # The later steps depend on timing: who comes first, and how many come together.
            place = BoincPlace(path / f"job{number}", project, FILES)
            draw = random.Random(seed * 1000 + number)
            try:
                _try(part, place, world, number, draw)
            except AssertionError as error:
                part.failures.append(f"killed before step {number} ({steps[number - 1]}): {error}")
            shutil.rmtree(place.path, ignore_errors=True)
    finally:
        world.close()
        project.close()
        starter.close()
        shutil.rmtree(path, ignore_errors=True)
    return part


def _steps(path: Path, project: StandIn, world: World) -> list[str]:
    """The steps of a run that nobody kills."""
    place = BoincPlace(path / "reference", project, FILES)
    with world.at_work():
        run = place.run(environ={"PYBOINC_TEST_STEPS": str(path / "steps")})
    place.check(run, EXPECTED)
    return (path / "steps").read_text().splitlines()


def _try(part: Part, place: BoincPlace, world: World, number: int, draw: random.Random) -> None:
    for template in (place.project.root / "templates").glob("*_in"):
        template.unlink()
    with world.at_work():
        killed = place.run(environ=crash("*", "*", number)).killed
    part.count("masters on a project killed before a step", killed)
    if draw.random() < 0.5:
        check_recovery(place, world, killed)
        return
    place.crashed()
    with world.at_work():
        again = place.run(environ=crash("*", "*", draw.randint(1, LONGEST))).killed
    part.count("recoveries on a project killed before a step", again)
    if again:
        check_recovery(place, world, again)
    else:
        place.crashed()
        place.check(expected=EXPECTED)
