"""Real masters in job directories of their own: started, crashed, and looked at afterwards.

A :class:`Place` is a job directory with a program in it; :meth:`Place.run` runs the program
as a user would.  :func:`crash` makes it fail at one step of the protocol (see
``crash_hook/sitecustomize.py``).  :meth:`Place.check` is what must hold after any run that
ended well, whatever happened before it (the invariants, see ``invariants.py``).
"""

from __future__ import annotations

import errno
import json
import os
import re
import select
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import invariants
import starter
from forks import HOOKS

from pyboinc.jobdir import JobDirectory

PATIENCE = 120.0
"""Seconds after which a run counts as hanging; nothing is asserted about shorter times."""

PROGRAM = (sys.executable, "app_master.py", "--workers=1")
"""What a user types to run a master; the tests have one worker, to share the machine."""

TYPES = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Input:
    number: int

@dataclass(frozen=True)
class Output:
    value: int
"""

SLAVE = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

pyboinc_return_output(Output(pyboinc_get_input().number ** 2))
"""

MASTER = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total = 0

def make_calls():
    for number in range({calls}):
        pyboinc_call("app_slave.py", Input(number))

def handle_result(output):
    global total
    total += output.value

pyboinc_master(make_calls, handle_result)
print("The answer is", total)
"""
"""The simplest program: the sum of the squares of some numbers."""


def crash(
    step: str,
    about: str = "*",
    number: int = 1,
    *,
    who: str = "master",
    what: str = "kill",
    together: bool = False,
) -> Mapping[str, str]:
    """The environment in which a process fails before the *number*-th such step.

    It is the *number*-th of that process, or of all that were such ones so far, *together*.
    """
    chosen = {"who": who, "step": step, "about": about, "number": number, "what": what}
    return {"PYBOINC_TEST_CRASH": json.dumps({**chosen, "together": together})}


@dataclass(frozen=True)
class Run:
    """How a run of a program ended; *code* is minus the signal's number if one killed it."""

    stdout: str
    stderr: str
    code: int

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


class Place:
    """A job directory with a program: *files* by name, as :data:`MASTER` and the like."""

    def __init__(self, path: Path, files: Mapping[str, str] | None = None, calls: int = 4) -> None:
        self.path = path
        self.sighted: dict[str, str] = {}
        """The SHA-256 of each outcome that :meth:`check_at_rest` has seen, by its name."""
        self.measured = True
        """Whether coverage is measured in what is started here, if it is measured at all."""
        self.patience = PATIENCE
        """Seconds after which :meth:`run` takes a run for one that hangs."""
        path.mkdir(parents=True, exist_ok=True)
        standard = {
            "app_types.py": TYPES,
            "app_slave.py": SLAVE,
            "app_master.py": MASTER.format(calls=calls),
        }
        for name, text in {**standard, **(files or {})}.items():
            (path / name).write_text(text)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def mkfifo(self, name: str) -> None:
        """Make a named pipe: opening it waits until the other side opens it, too."""
        os.mkfifo(self / name)

    # Running the program.

    def start(
        self,
        *flags: str,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = PROGRAM,
    ) -> starter.Process:
        """Start the program, or another command, in a process group of its own."""
        path = os.pathsep.join(filter(None, [str(HOOKS), os.environ.get("PYTHONPATH")]))
        ours = {
            name: value
            for name, value in os.environ.items()
            if self.measured or not name.startswith("COVERAGE_")
        }
        environment = {
            **ours,
            "PYTHONPATH": path,
            "PYTHONDONTWRITEBYTECODE": "1",
            # Tests copy what was made ready once; those of copies take this back.
            "PYBOINC_ACCEPT_COPY": "1",
            "PYBOINC_TEST_DIRECTORY": str(self.path),
            **(environ or {}),
        }
        return starter.start([*command, *flags], self.path, environment)

    def run(
        self,
        *flags: str,
        environ: Mapping[str, str] | None = None,
        command: Sequence[str] = PROGRAM,
    ) -> Run:
        """Run the program, or another command, to its end, however that comes about."""
        return finish(self.start(*flags, environ=environ, command=command), self.patience)

    def crashed(self) -> bool:
        """Whether the chosen step was reached and failed, since this was asked last."""
        try:
            (self / "crashed").unlink()
        except FileNotFoundError:
            return False
        return True

    # Looking at what it left.

    def directory(self) -> JobDirectory:
        """The job directory, to be looked at only."""
        directory = JobDirectory(self.path, read_only=True)
        directory.load()
        return directory

    def handled(self) -> list[int]:
        """The jobs in the recorded order of their handling."""
        directory = self.directory()
        order = [one.sequence for one in directory.journal.handled]
        directory.close()
        return order

    def recorded(self) -> list[int]:
        """The order that the next run must repeat; none if it is to set the batch aside."""
        run_json, journal = self / ".pyboinc/run.json", self / ".pyboinc/journal"
        if not run_json.exists() or not journal.exists():
            return []
        return [] if '"abandoned": true' in run_json.read_text() else self.handled()

    def calls(self) -> int:
        """The number of calls that are committed."""
        directory = self.directory()
        number = len(directory.spool)
        directory.close()
        return number

    def select(self, query: str) -> list[tuple[object, ...]]:
        """Ask the emulated project's database."""
        path = self / ".pyboinc/local/project.sqlite"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return database.execute(query).fetchall()
        finally:
            database.close()

    def workunits(self, batch: str) -> list[str]:
        """The names of all jobs that the project ever made for *batch*, in order."""
        query = f"select name from workunit where batch = {batch} order by id"
        return [str(name) for (name,) in self.select(query)]

    def names(self, directory: str) -> set[str]:
        """The names in *directory*."""
        return set(os.listdir(self / directory))

    def uploads(self) -> set[str]:
        """What the emulated hosts have uploaded, and is not delivered."""
        return self.names(".pyboinc/local/upload")

    def quarantined(self) -> dict[str, str]:
        """The refused files, and why each was refused."""
        directory = self / ".pyboinc/quarantine"
        reasons = directory.glob("*.reason") if directory.exists() else ()
        return {path.stem: path.read_text().strip() for path in reasons}

    def temporaries(self) -> list[str]:
        """Temporary files, which a run that ended well leaves nowhere."""
        found = (path for path in self.path.rglob("*") if re.search(r"\.tmp$", path.name))
        return [str(path.relative_to(self.path)) for path in found]

    def processes(self) -> list[int]:
        """The processes that work in this directory or were told of it."""
        return list(processes_of(str(self.path)))

    def wait_for_processes(self) -> None:
        """Wait until no process is left; fails after :data:`PATIENCE`."""
        while found := self.processes():
            for number in found:
                wait_for_end(number)

    def log(self) -> list[tuple[str, int]]:
        """What the program's handler wrote into ``handled.log``: its process, and a job's number.

        Empty if it writes none.
        """
        log = self / "handled.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [(process, int(job)) for process, job in (line.split() for line in lines)]

    def logged(self) -> list[list[int]]:
        """The jobs that each run of the program handled, in their order, run by run."""
        runs: dict[str, list[int]] = {}
        for process, job in self.log():
            runs.setdefault(process, []).append(job)
        return list(runs.values())

    def check(self, run: Run | None = None, expected: str | None = None) -> None:
        """Check the invariants I1 to I11 after a run that ended well and printed *expected*."""
        invariants.check(self, run, expected)

    def check_again(self, expected: str) -> None:
        """Check I12 as well, by running the program twice more; it prints *expected*."""
        invariants.check_again(self, expected)

    def check_at_rest(self) -> None:
        """Check the invariants that hold at any instant, also just after a crash."""
        invariants.check_at_rest(self)


def finish(process: starter.Process, patience: float = PATIENCE) -> Run:
    """Wait for the end of a program; kill its process group and fail if it hangs."""
    try:
        stdout, stderr = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        raise AssertionError(f"hangs; it printed\n{stdout}\n{stderr}") from None
    return Run(stdout, stderr, process.returncode)


def processes_of(path: str) -> Iterator[int]:
    """Yield the processes that work in the directory *path* or were told of it, but this one."""
    named = re.compile(re.escape(path.encode()) + rb"(?![\w-])")
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f"/proc/{entry}/cmdline", "rb") as file:
                told = file.read()
            works_in = os.readlink(f"/proc/{entry}/cwd").encode()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it ended meanwhile, or is no concern of ours
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            works_in = b""  # deeper than any job directory
        if named.search(told) or named.match(works_in):
            yield int(entry)


def wait_for_end(process: int) -> None:
    """Wait until a process has ended, which need not be a child of this one."""
    try:
        descriptor = os.pidfd_open(process)
    except ProcessLookupError:
        return
    try:
        ended, _, _ = select.select([descriptor], [], [], PATIENCE)
    finally:
        os.close(descriptor)
    assert ended, f"process {process} does not end"


def parent(process: int) -> int:
    """The parent of a process."""
    with open(f"/proc/{process}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[1])
