"""A backend whose volunteers are a function, for tests of the master without processes.

:class:`Project` is the project: it outlives the masters that talk to it, as a real one
does, keeps what they asked for (``log``) and answers when a master waits.  The fixture
``project`` of a test module makes it the backend "scripted"; :func:`run` is a master's run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pyboinc import backends, codec, endings, master
from pyboinc.backends import Attempt, Counts, Failure, failure_to_bytes
from pyboinc.config import Settings
from pyboinc.jobdir import JobDirectory


class Project:
    """A project that gives *answer(sequence, input)* as output of a job, in its own *order*.

    An answer that is a :class:`Failure` is delivered as one, bytes as they are.  A master
    gets ``at_once`` outcomes each time it waits.
    """

    def __init__(self, answer: Callable[[int, Any], Any] = lambda sequence, value: value) -> None:
        self.answer = answer
        self.order: Callable[[Sequence[int]], Sequence[int]] = sorted
        self.at_once = 1000
        self.log: list[tuple[Any, ...]] = []
        self.batches: dict[str, str] = {}
        self.undone: dict[str, set[int]] = {}
        self.done: dict[str, set[int]] = {}

    def open(self, directory: JobDirectory, settings: Settings) -> Backend:
        """Return the master's end of it."""
        assert isinstance(settings, Settings), "a backend is told the settings"
        return Backend(self, directory)


class Backend:
    """A master's end of a :class:`Project`."""

    def __init__(self, project: Project, directory: JobDirectory) -> None:
        self.project = project
        self.directory = directory
        self.first_errors: list[str] = []
        self.started = False

    def begin_batch(self, token: str) -> str:
        assert token == self.directory.record.token, "the batch is named by its token"
        self.project.log.append(("begin batch",))
        number = str(1 + len(self.project.batches))
        return self.project.batches.setdefault(token, number)

    def _batch(self) -> str:
        assert self.directory.record is not None and self.directory.record.batch is not None
        return self.directory.record.batch

    def _jobs(self) -> tuple[set[int], set[int]]:
        batch = self._batch()
        return self.project.undone.setdefault(batch, set()), self.project.done.setdefault(
            batch, set()
        )

    def submit(self, first: int, last: int) -> None:
        self.project.log.append(("submit", first, last))
        undone, done = self._jobs()
        undone |= set(range(first, last)) - done

    def start(self) -> None:
        self.started = True

    def wait(self, timeout: float) -> None:
        assert self.started, "the master waits and has not started anything"
        assert 0 < timeout <= 1, "the master looks around at least once in a second"
        undone, done = self._jobs()
        for sequence in self.project.order(list(undone))[: self.project.at_once]:
            undone.remove(sequence)
            done.add(sequence)
            self._deliver(sequence)

    def _deliver(self, sequence: int) -> None:
        spool = self.directory.spool
        value = codec.decode(spool.data(spool.call(sequence)), codec.Registry({}))
        answer = self.project.answer(sequence, value)
        failed = isinstance(answer, Failure)
        name = f"{self._batch()}_{sequence}.{'error' if failed else 'out'}"
        if failed:
            data = failure_to_bytes(answer)
        else:
            data = answer if isinstance(answer, bytes) else codec.encode(answer)
        (self.directory.new / name).write_bytes(data)

    def counts(self) -> Counts:
        undone, done = self._jobs()
        return Counts(len(undone | done), queued=len(undone), done=len(done))

    def describe(self, name: str) -> tuple[Attempt, ...]:
        return (
            Attempt(0, "host-1", "client error", 1, sent=1.0, received=2.0),
            Attempt(1, "host-2", "success", sent=3.0, received=4.0),
        )

    def retried(self) -> Iterator[tuple[str, tuple[Attempt, ...]]]:
        yield from ()

    def reissue(self, sequences: Sequence[int], unless_there: bool = False) -> None:
        assert unless_there, "an outcome that came meanwhile is good enough"
        self.project.log.append(("reissue", *sequences))
        undone, done = self._jobs()
        done -= set(sequences)
        undone |= set(sequences)

    def use_program(self, slave: str, digest: str) -> None:
        assert self.directory.bundle_path(digest).exists(), "the archive is there before its use"
        self.project.log.append(("use program", slave))

    def cancel(self) -> int:
        self.project.log.append(("cancel",))
        undone, _ = self._jobs()
        return len(undone)

    def close(self) -> None:
        self.started = False


def install(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Make *project* the backend "scripted", and this process one that runs masters."""
    monkeypatch.setitem(backends._BUILT_IN, "scripted", project.open)
    monkeypatch.setattr(sys, "argv", ["app_master.py"])
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(endings, "_hooked", [])
    monkeypatch.setattr(master, "_masters", {})
    return project


def forget() -> None:
    """End the masters of this process, as the end of the process would."""
    while master._masters:
        master._masters.popitem()[1].directory.close()


def place(path: Path, slaves: Sequence[str] = ("app_slave.py",)) -> Path:
    """Make a job directory with slave programs, which nobody will run."""
    path.mkdir(exist_ok=True)
    for slave in slaves:
        (path / slave).write_text("import pyboinc\n")
    return path


def run(
    directory: Path,
    make_calls: Callable[[], object],
    handle_result: Callable[..., object],
    handle_error: Callable[[Failure], object] | None = None,
    **settings: Any,
) -> None:
    """One run of a master program that has one phase, from its start to its end."""
    try:
        master.pyboinc_master(
            make_calls,
            handle_result,
            handle_error,
            directory=directory,
            **{"backend": "scripted", "no_progress": True, **settings},
        )
    finally:
        forget()


def names(directory: Path) -> list[str]:
    """The names in a directory, sorted."""
    return sorted(os.listdir(directory))
