"""Masters of a simulation: the user's own program, started as a child process, again and again.

Each runs in a copy of the user's directory, with the same environment but for PyBOINC's own
settings, and with another hash seed than the one before: a program that depends on the order of
a set gives itself away, and the same seed of the simulation gives the same run.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pyboinc import bundle
from pyboinc.backends.simulated.link import Link
from pyboinc.backends.simulated.starters import NUMBER, Starter
from pyboinc.discovery import SKIPPED, Discovery
from pyboinc.errors import BackendError, ConfigurationError, PyboincError

Point = Mapping[str, Any]
"""Where a master is to be killed: before the ``number``-th step, of those that are called
``step`` and are about ``about`` if it says so, or before its step number ``latest``."""

LARGE = 1 << 20
"""Bytes of a file that is not copied for each run: it is data, which a program only reads."""

_NAMED = re.compile(rb"""["']([\w/.-]+\.py)["']""")


@dataclass(frozen=True)
class Program:
    """What is simulated: a master program, its arguments, and the flags of PyBOINC's for it."""

    path: Path
    arguments: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()

    def preload(self) -> list[str]:
        """Return the modules, not the user's own, that the program imports at its start."""
        try:
            return Discovery(self.path.parent, self.path.name).preload
        except PyboincError:
            return []  # it will say itself what is wrong

    def preload_of_slaves(self) -> list[str]:
        """Return what the slaves import, as far as one can guess which ones will be called."""
        names: dict[str, None] = {}
        for slave in dict.fromkeys(_NAMED.findall(self.path.read_bytes())):
            with suppress(PyboincError):
                packed = bundle.pack(self.path.parent, slave.decode())
                names.update(dict.fromkeys(packed.preload))
        return list(names)

    def size(self) -> int:
        """Return the bytes of all that :meth:`copy_to` copies."""
        total = 0
        for place, folders, names in os.walk(self.path.parent):
            left_out = _left_out(place, [*folders, *names])
            folders[:] = [name for name in folders if name not in left_out]
            total += sum(
                os.path.getsize(os.path.join(place, name)) for name in names if name not in left_out
            )
        return total

    def copy_to(self, place: Path) -> Path:
        """Copy the program's directory to *place*, without what a job directory holds."""
        return copy(self.path.parent, place, shutil.copy2)


def copy(directory: Path, place: Path, copy_file: Callable[[str, str], object]) -> Path:
    """Copy what of *directory* a program consists of to *place*, and return that."""
    try:
        shutil.copytree(directory, place, symlinks=True, ignore=_left_out, copy_function=copy_file)
    except (OSError, shutil.Error) as error:
        raise ConfigurationError(
            f"{directory} can not be copied to {place}, where the program would be run: "
            f"{error}; mend that, or set TMPDIR to a place with more room"
        ) from None
    return place


def link_if_large(source: str, target: str) -> None:
    """Copy a file; of a large one make another name."""
    if os.path.getsize(source) > LARGE:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


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


class Masters:
    """Starts masters of one program; *fork* says whether processes may be kept ready for it."""

    def __init__(self, program: Program, fork: bool) -> None:
        self.program = program
        self._fork = fork
        self._preload = program.preload() if fork else ()
        self._starters: dict[int, Starter] = {}

    def boot(self) -> None:
        """Let the processes boot, which takes a while."""
        if self._fork:
            for number in range(NUMBER):
                self._starter(number)

    def _starter(self, number: int) -> Starter:
        if number not in self._starters:
            self._starters[number] = Starter(number, self._preload)
        return self._starters[number]

    def start(
        self, directory: Path, flags: Sequence[str], point: Point | None, number: int
    ) -> Master:
        """Start the program in *directory*; those of even and odd *number* differ in hash seed."""
        return Master(self, self._starter(number % NUMBER), directory, flags, point)

    def ended(self, starter: Starter) -> None:
        """Take note that a master has ended."""
        if not self._fork:
            for number in [one for one in self._starters if self._starters[one] is starter]:
                self._starters.pop(number).close()

    def leave(self) -> None:
        """Be of use in a fork of the process that made this."""
        for starter in self._starters.values():
            starter.leave()
        self._starters.clear()

    def close(self) -> None:
        """End all processes."""
        for starter in self._starters.values():
            starter.close()
        self._starters.clear()


class Master:
    """One process of a master program; its output goes to files beside its *directory*."""

    def __init__(
        self,
        masters: Masters,
        starter: Starter,
        directory: Path,
        flags: Sequence[str],
        point: Point | None,
    ) -> None:
        self._masters, self._starter = masters, starter
        names = ("stdout", "stderr")
        self._files = [open(directory.parent / one, "w+b") for one in names]  # noqa: SIM115  # till the end
        options = {
            "program": masters.program.path.name,
            "arguments": masters.program.arguments,
            "flags": [*masters.program.flags, *flags],
            "point": point,
            "directory": str(directory),
        }
        ours, theirs = socket.socketpair()
        with theirs:
            descriptors = [*(file.fileno() for file in self._files), theirs.fileno()]
            self._process = starter.start(options, descriptors)
        self.link = Link(ours.detach())
        self._over = False

    def end(self) -> tuple[int, str, str]:
        """Wait for the end; return exit code, or minus a signal's number, stdout and stderr."""
        code = self._starter.wait()
        self._over = True
        self.link.close()
        self._masters.ended(self._starter)
        stdout, stderr = map(_content, self._files)
        return code, stdout, stderr

    def kill(self) -> None:
        """End it now, if it has not been waited for: there is one end to be told of."""
        if not self._over:
            with suppress(ProcessLookupError):
                os.kill(self._process, signal.SIGKILL)
            self.link.close()
            with suppress(BackendError):
                self._starter.wait()
        for file in self._files:
            file.close()


def _content(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")
