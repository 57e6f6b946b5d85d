"""Runs that are recorded: strace looks at this program, which forks a master for each.

    python -m sweep.recorded '[{"place": ..., "flags": [...], "environ": {...}, "verb": null}]'

Prints how each of them ended, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from masters import Run
from source import ROOT

from sweep import distant, trace, warm  # noqa: F401 # distant is a backend
from sweep.power_cut import Recording
from sweep.recorder import Place


@dataclass(frozen=True, slots=True)
class Task:
    """A run to be recorded: of the program in *place*, or of a verb of ``pyboinc`` there."""

    place: str
    elsewhere: str | None = None
    flags: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    verb: Sequence[str] = ()


def record(tasks: Sequence[Task], directory: Path) -> list[tuple[Recording, Run]]:
    """Do every run, and return what was recorded of each and how it ended."""
    places = [Place(Path(task.place)) for task in tasks]
    others = [
        Place(Path(task.elsewhere), owner)
        for task, owner in zip(tasks, places, strict=True)
        if task.elsewhere
    ]
    run = trace.record(
        [sys.executable, "-m", "sweep.recorded", json.dumps([asdict(task) for task in tasks])],
        [*places, *others],
        directory,
        {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "PYTHONDONTWRITEBYTECODE": "1"},
        directory / "trace",
    )
    assert run.returncode == 0, run
    # (directory / "trace").unlink()
    for place in (*places, *others):
        place.compare()
    runs = [Run(**one) for one in json.loads(run.stdout)]
    return [(place.recording, one) for place, one in zip(places, runs, strict=True)]


def play(verb: Sequence[str]) -> Callable[[], object] | None:
    """What runs a verb of ``pyboinc``; None if it is the program that is to run."""
    if not verb:
        return None

    def run() -> None:
        from pyboinc.cli import main

        main(list(verb), prog_name="pyboinc")

    return run


def main(text: str) -> None:
    """Do the tasks that *text* has as JSON."""
    warm.make_ready()
    runs = []
    for fields in json.loads(text):
        task = Task(**fields)
        place = Path(task.place)
        runs.append(warm.run(place, *task.flags, environ=task.environ, play=play(task.verb)))
    print(json.dumps([asdict(one) for one in runs]))


if __name__ == "__main__":
    main(sys.argv[1])
