"""The directory of a BOINC project as `make_project` leaves it, for tests without a server.

What is not looked at by anybody is left out: daemons, web pages, the scheduler.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

SCRIPTS = Path(__file__).parents[1] / "pyboinc" / "administration" / "bin"


class Assimilator:
    """A project with the assimilator's script, called as the daemon does: by a shell."""

    def __init__(self, project: Path, job_directory: Path) -> None:
        self.project = project
        self.ours = project / "pyboinc"
        self.new = job_directory / "new"
        self.upload = project / "upload" / "1a"
        self.daemon = project / "tmp_host"
        for path in (project / "bin", self.upload, self.daemon, self.new, job_directory / "old"):
            path.mkdir(parents=True)
        for name in ("batches", "failed", "kept"):
            (self.ours / name).mkdir(parents=True)
        shutil.copy(SCRIPTS / "pyboinc_assimilate", project / "bin")
        self.register(7)

    def register(self, batch: int) -> None:
        """Do what a master does before it makes the jobs of a batch."""
        (self.ours / "batches" / str(batch)).write_text(f"{self.new}\n")

    def uploaded(self, name: str = "pyb_7_3_0_r123456_0", data: bytes = b"output") -> str:
        """Let a volunteer upload an output; return its path as the daemon gives it."""
        (self.upload / name).write_bytes(data)
        return f"../upload/1a/{name}"

    def call(
        self, *words: object, shell: str = "sh", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the script under *shell*."""
        script = "../bin/pyboinc_assimilate"
        return subprocess.run(
            [shell, script, *map(str, words)],
            cwd=self.daemon,
            env={"PATH": "/usr/bin:/bin", **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def delivered(self) -> dict[str, bytes]:
        """What is in new/."""
        return {path.name: path.read_bytes() for path in self.new.iterdir()}

    def kept(self) -> dict[str, bytes]:
        """What is in kept/."""
        place = self.ours / "kept"
        files = [path for path in place.rglob("*") if path.is_file()]
        return {str(path.relative_to(place)): path.read_bytes() for path in files}

    def failed(self) -> dict[str, str]:
        """What is in failed/."""
        return {path.name: path.read_text() for path in (self.ours / "failed").iterdir()}
