"""Masters, as processes, on a stand-in project: their job directories, and how they are run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import starter
from masters import PROGRAM, Place

from boinc_project.place import StandIn


class BoincPlace(Place):
    """A job directory whose batch is at the stand-in *project*."""

    def __init__(
        self, path: Path, project: StandIn, files: Mapping[str, str] | None = None, calls: int = 4
    ) -> None:
        super().__init__(path, files, calls)
        self.project = project

    @property
    def environ(self) -> dict[str, str]:
        """What a user has in the environment, who runs masters on this project."""
        return {
            "PYBOINC_BACKEND": "boinc",
            "PYBOINC_DIR": str(self.project.root),
            "PYBOINC_SIGNING_KEY": str(self.project.key),
        }

    def start(
        self,
        *flags: str,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = PROGRAM,
    ) -> starter.Process:
        """Start the program, or another command, with the project in its environment."""
        return super().start(*flags, environ={**self.environ, **(environ or {})}, command=command)

    def select(self, query: str) -> list[tuple[object, ...]]:
        """Ask the project's database."""
        return list(self.project.select(query))

    def workunits(self, batch: str) -> list[str]:
        """The jobs of *batch*, as the emulator would name them, in the order of their making."""
        query = "select name from workunit where batch=%s order by id"
        return [str(name).removeprefix("pyb_") for (name,) in self.project.select(query, batch)]

    def uploads(self) -> set[str]:
        """None: what is uploaded is the project's."""
        return set()
