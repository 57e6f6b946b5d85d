"""Masters of a simulation: the user's own program, started as a child process, again and again.

Each runs in a copy of the user's directory, with the same environment but for PyBOINC's own
settings, and with a hash seed of its own: a program that depends on the order of a set
gives itself away, and the same seed of the simulation gives the same run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pyboinc
from pyboinc.backends.simulated.link import SOCKET, Link
from pyboinc.config.settings import BY_VARIABLE
from pyboinc.discovery import SKIPPED
from pyboinc.errors import ConfigurationError
from pyboinc.faults.draws import words

Point = Mapping[str, Any]
"""Where a master is to be killed: before the ``number``-th step, of those that are called
``step`` and are about ``about`` if it says so."""


@dataclass(frozen=True)
class Program:
    """What is simulated: a master program, its arguments, and the flags of PyBOINC's for it."""

    path: Path
    arguments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def copy_to(self, place: Path) -> Path:
        """Copy the program's directory to *place*, without what a job directory holds."""
        try:
            shutil.copytree(self.path.parent, place, symlinks=True, ignore=_left_out)
        except (OSError, shutil.Error) as error:
            raise ConfigurationError(
                f"{self.path.parent} can not be copied to {place}, where the program would be run: "
                f"{error}; mend that, or set TMPDIR to a place with more room"
            ) from None
        return place


def _left_out(directory: str, names: Sequence[str]) -> list[str]:
    """Leave out what PyBOINC, Python and git have made, and what nobody could copy."""
    return [
        name
        for name in names
        if name in SKIPPED
        or name in ("pyboinc_checkpoint", ".git", ".tox", "node_modules")
        or not _is_plain(os.path.join(directory, name))
    ]


def _is_plain(path: str) -> bool:
    return os.path.isfile(path) or os.path.isdir(path)


class Master:
    """One process of a master program in *directory*; its output goes to files in *scratch*."""

    def __init__(
        self,
        program: Program,
        directory: Path,
        scratch: Path,
        flags: Sequence[str],
        point: Point | None,
        hash_seed: tuple[int, int],
    ) -> None:
        names = ("stdout", "stderr")
        self._files = [open(scratch / one, "w+b") for one in names]  # noqa: SIM115  # till the end
        options = {
            "program": program.path.name,
            "arguments": program.arguments,
            "flags": [*program.flags, *flags],
            "point": point,
        }
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pyboinc.trial", json.dumps(options)],
                cwd=directory,
                env=_environment(theirs.fileno(), hash_seed),
                stdin=subprocess.DEVNULL,
                stdout=self._files[0],
                stderr=self._files[1],
                pass_fds=[theirs.fileno()],
            )
        self.link = Link(ours.detach())

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, or minus a signal's number, stdout and stderr."""
        code = self._process.wait()
        self.link.close()
        return code, *map(_content, self._files)  # type: ignore[return-value]  # two of them

    def kill(self) -> None:
        """End it now, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self.link.close()
        for file in self._files:
            file.close()


def _content(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")


def _environment(descriptor: int, hash_seed: tuple[int, int]) -> dict[str, str]:
    """Return the user's environment without settings of PyBOINC's, which are given as flags."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(pyboinc.__file__)))
    path = os.environ.get("PYTHONPATH", "")
    drawn = words(hash_seed[0], "hash seed", hash_seed[1])[0] % 2**32
    return {
        "PYTHONHASHSEED": str(drawn),
        **{name: value for name, value in os.environ.items() if name not in BY_VARIABLE},
        "PYTHONPATH": os.pathsep.join(filter(None, [root, path])),
        "PYTHONDONTWRITEBYTECODE": "1",
        SOCKET: str(descriptor),
    }
