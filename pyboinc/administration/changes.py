"""The steps of a change of a project: shown first, then done, each of them whole or not at all."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pyboinc import disk
from pyboinc.errors import BackendError

DIRECTORY, FILE, PROGRAM = 0o2775, 0o664, 0o775
"""Modes: the project's group may change what is ours, and the web server's user is in it."""

_PASSWORD = re.compile(r"(<db_passwd>).*")
"""What stands near a change is shown with it, but not this."""

_TIME_LIMIT = 1800
_LAST_WORDS = 12


class Step(Protocol):
    """Something that is to be done at a project."""

    def show(self) -> str:
        """Say what it does, in one line or as a diff."""
        ...

    def do(self) -> None:
        """Do it; doing it again does no harm."""
        ...


@dataclass
class MakeDirectory:
    """Makes a directory that the project's group may write into."""

    path: Path
    root: Path

    def show(self) -> str:
        """Name it."""
        return f"make   {self.path.relative_to(self.root)}/"

    def do(self) -> None:
        """Make it, and set mode and group, which a umask may have changed."""
        disk.make_directory(self.path)
        with disk.explained("open to the project's group", self.path):
            give(self.path, self.root, DIRECTORY)


@dataclass
class Write:
    """Writes a file anew: the old one, or the new one, is there at any moment."""

    path: Path
    root: Path
    data: bytes
    mode: int = FILE
    before: bytes | None = None
    kind: str = "text"
    backup: Path | None = None

    @property
    def name(self) -> str:
        """Its path in the project."""
        return str(self.path.relative_to(self.root))

    def show(self) -> str:
        """Show the diff of a text; of other files how long they are."""
        if self.kind != "text":
            return f"{self.kind:6} {self.name} ({len(self.data):,} bytes)"
        saved = f"keep   {self.backup.name}, as it is now\n" if self.backup else ""
        return saved + difference(self.name, self.before, self.data)

    def do(self) -> None:
        """Keep what is there if that is wished, then write."""
        if self.backup is not None and self.before is not None:
            replace(self.backup, self.before, self.path, self.root, self.mode)
        replace(self.path, self.data, self.path, self.root, self.mode)


@dataclass
class Delete:
    """Deletes a file, or a directory that nobody has put anything into."""

    path: Path
    root: Path

    def show(self) -> str:
        """Name it."""
        return f"remove {self.path.relative_to(self.root)}"

    def do(self) -> None:
        """Delete it if it is there."""
        if self.path.is_dir() and not self.path.is_symlink():
            disk.remove_empty(self.path)
        else:
            disk.remove(self.path)


@dataclass
class Run:
    """Runs one of the project's own programs, in the project's directory."""

    words: list[str]
    root: Path
    why: str
    answer: str = ""
    done: Callable[[str], None] = field(default=lambda said: None)

    def show(self) -> str:
        """Show it as it would be typed."""
        piped = "yes y | " if self.answer else ""
        return f"run    {piped}{shlex.join(self.words)}  ({self.why})"

    def do(self) -> None:
        """Run it, and let *done* look at what it said: their exit codes tell little."""
        disk.reach("run", self.words[0])
        try:
            run = subprocess.run(
                self.words,
                cwd=self.root,
                input=self.answer,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=_TIME_LIMIT,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise self.failed(str(error)) from None
        if run.returncode:
            raise self.failed(run.stdout or f"exit code {run.returncode}")
        self.done(run.stdout)

    def failed(self, said: str) -> BackendError:
        """Return the error for a program that did not do what it is for."""
        last = "\n".join(f"    {line}" for line in said.strip().splitlines()[-_LAST_WORDS:])
        return BackendError(
            f"{self.words[0]} did not do what it is for ({self.why}); it said:\n{last}\n"
            "Mend that, and run the same command again: it goes on from here"
        )


def difference(name: str, before: bytes | None, after: bytes) -> str:
    """Return a unified diff."""
    old, new = (
        [line.rstrip("\r") for line in (text or b"").decode("utf-8", "replace").split("\n")]
        for text in (before, after)
    )
    source = "/dev/null" if before is None else f"a/{name}"
    if before is None:
        old = []
    lines = difflib.unified_diff(old, new, source, f"b/{name}", lineterm="")
    return "\n".join(_PASSWORD.sub(r"\1...", line) for line in lines)


def replace(path: Path, data: bytes, like: Path, root: Path, mode: int) -> None:
    """Write *data* to *path*: mode and group as *like* has them, else *mode* and the project's."""
    path, like = (Path(os.path.realpath(one)) for one in (path, like))
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk.explained("write", path):
        disk.reach("write", path)
        flags = os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        # What it holds may be a password: nobody sees more of the copy than of the original.
        descriptor = os.open(temporary, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if like.exists() and mode != PROGRAM:
                give(temporary, like, like.stat().st_mode & 0o7777)
            else:
                give(temporary, root, mode)
            disk.reach("publish", path)
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        disk.sync_directory(path.parent)


def give(path: Path, like: Path, mode: int) -> None:
    """Give *path* the group of *like*, where this user may, and this *mode*."""
    if path.stat().st_gid != like.stat().st_gid:
        try:
            os.chown(path, -1, like.stat().st_gid)
        except PermissionError:
            pass
    path.chmod(mode)
