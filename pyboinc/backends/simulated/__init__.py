"""The master's end of ``pyboinc simulate``: a project in virtual time, in another process.

The command starts the master as a child (:mod:`~pyboinc.backends.simulated.masters`) and
keeps the project's whole state (:mod:`~pyboinc.backends.simulated.project`), so that a
master that is killed finds its project again.  This end asks, over a socket that the
environment names, and waits for the answer (:mod:`~pyboinc.backends.simulated.link`).
Waiting is virtual: the command lets time pass until an outcome has come into new/.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from pyboinc import errors
from pyboinc.backends import Attempt, Counts
from pyboinc.backends.simulated.link import SOCKET, Link
from pyboinc.config import Settings
from pyboinc.errors import BackendError, ConfigurationError
from pyboinc.jobdir import JobDirectory


class SimulatedBackend:
    """A project in virtual time, asked over the socket that :data:`SOCKET` names."""

    judged = True

    def __init__(self, directory: JobDirectory, settings: Settings) -> None:
        self._directory = directory
        self._counts = Counts()
        self.first_errors: list[str] = []
        self._link: Link | None = None
        self._open()

    def _open(self) -> Link:
        """Take up the socket: at the start, and when a next phase goes on after :meth:`close`."""
        if self._link is None:
            self._link = _link()
            self._ask("directory", str(self._directory.path))
        return self._link

    def begin_batch(self, token: str) -> str:
        """Return the ID of the batch of *token*; begin it if there is none."""
        return str(self._ask("batch", token))

    def submit(self, first: int, last: int) -> None:
        """Make jobs of the calls first <= sequence < last that have none."""
        record = self._directory.record
        assert record is not None
        position = self._directory.spool.start_of(first)
        programs = [record.slaves, record.modules]
        self._ask("submit", first, last, position, record.limits, *programs)

    def start(self) -> None:
        """Do nothing: the hosts are there, and wait for the master to wait."""

    def wait(self, timeout: float) -> None:
        """Let virtual time pass until something has come into new/, however long that takes."""
        self._ask("wait")

    def counts(self) -> Counts:
        """Say how far the batch is."""
        return self._counts

    def describe(self, name: str) -> tuple[Attempt, ...]:
        """Return the instances of job *name* that were sent, in order."""
        return tuple(Attempt(**one) for one in self._ask("describe", name))

    def retried(self) -> Iterator[tuple[str, tuple[Attempt, ...]]]:
        """Yield name and instances of each job that is not given up and had an instance fail."""
        for name, attempts in self._ask("retried"):
            yield name, tuple(Attempt(**one) for one in attempts)

    def reissue(self, sequences: Sequence[int], unless_there: bool = False) -> None:
        """Do these jobs again; with *unless_there* only those whose outcome is gone."""
        self._ask("reissue", list(sequences), unless_there)

    def use_program(self, slave: str, digest: str) -> None:
        """Let jobs of *slave* that are not done run the archive *digest* from now on."""
        self._ask("program", slave, digest)

    def cancel(self) -> int:
        """Cancel every unfinished job; return how many that were."""
        return int(self._ask("cancel"))

    def close(self) -> None:
        """Leave the project, which goes on without a master."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _ask(self, what: str, *details: object) -> Any:
        """Ask the command's process for something, and return its answer."""
        link = self._open()
        link.say([what, *details])
        answer = link.hear()
        if answer is None:
            raise BackendError("pyboinc simulate has ended; nothing is lost: run it again")
        if "refused" in answer:
            raise getattr(errors, answer["kind"])(answer["refused"])
        self._counts = Counts(*answer["counts"])
        self.first_errors += answer["errors"]
        return answer["answer"]


def _link() -> Link:
    number = os.environ.get(SOCKET, "")
    if not number.isdecimal():
        raise ConfigurationError(
            "the backend simulated is there within pyboinc simulate only; run: "
            "pyboinc simulate app_master.py"
        )
    try:
        return Link(os.dup(int(number)))
    except OSError as error:
        raise BackendError(
            f"the socket to pyboinc simulate is closed ({error.strerror}): a master that runs in a "
            "process which the program starts does not get it; call pyboinc_master in the program"
        ) from None
