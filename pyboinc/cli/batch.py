"""A job directory seen by the verbs: looked at beside its master, or held instead of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from shlex import quote

from pyboinc import config, copies, disk, locks
from pyboinc.backends import Backend, Counts, Failure, failure_from_bytes, find_backend
from pyboinc.config import Settings
from pyboinc.errors import ConfigurationError, DirectoryBusy, DirectoryDamaged, RejectedResult
from pyboinc.jobdir import ERROR, Arrival, JobDirectory
from pyboinc.program import wants_names
from pyboinc.records import Journal
from pyboinc.run_record import RunRecord

_ERROR_LIMIT = 4 << 20


class Batch:
    """The batch in the job directory *path*, read and never changed; a master may be at work."""

    def __init__(self, path: Path, directory: JobDirectory | None = None) -> None:
        self.path = path.absolute()
        self.directory = directory or JobDirectory(self.path, read_only=True)
        if not self.directory.state.is_dir():
            raise no_batch(self.path)
        if directory is None:
            self.directory.load()
        if self.directory.record is None:
            raise no_batch(self.path)
        self.record: RunRecord = self.directory.record

    @property
    def command(self) -> str:
        """What goes on with the batch when it is typed in its directory."""
        program = self.record.program or "app_master.py"
        path = self.path / program
        try:
            as_printed = wants_names(path.read_bytes(), path)
        except (OSError, ConfigurationError):
            as_printed = False
        return f"pyboinc run {quote(program)}" if as_printed else f"python {quote(program)}"

    @property
    def directory_given(self) -> str:
        """What is put behind a command of ours so that it means this directory."""
        return "" if self.path == Path.cwd() else f" {quote(os.path.relpath(self.path))}"

    @property
    def holder(self) -> int | None:
        """The process number of the master at work here (0: not known), or None."""
        return locks.lock_holder(self.directory.state / "lock")

    @cached_property
    def settings(self) -> Settings:
        """The settings that hold here, with the backend and the seed of this batch."""
        begun_with = {"backend": self.record.backend, "seed": self.record.seed}
        return config.load(self.path, arguments=begun_with)

    @cached_property
    def backend(self) -> Backend:
        """The backend of this batch, open to be asked; nothing is started."""
        return find_backend(self.record.backend)(self.directory, self.settings)

    @property
    def journal(self) -> Journal:
        """What has happened here, as it is on disk now."""
        journal = Journal(self.directory.state / "journal", read_only=True)
        journal.close()
        return journal

    def counts(self, calls: int) -> Counts:
        """Say how far the batch of so many *calls* is; those that have no job yet are queued."""
        known = Counts() if self.record.batch is None else self.backend.counts()
        queued = max(0, calls - known.done - known.failed - known.running)
        return Counts(calls, queued, known.running, known.done, known.failed, known.retries)

    def failures(self) -> list[Failure]:
        """Return the jobs that can not be done, from the reports that lie here, in order."""
        calls = self.journal.calls
        reports = [one for one in self.directory.outcomes() if one.kind == ERROR]
        found = [self._failure(one) for one in reports if one.sequence < calls]
        return sorted((one for one in found if one), key=lambda failure: failure.index)

    def _failure(self, arrival: Arrival) -> Failure | None:
        # A master at work may move it from new/ to old/ while we look.
        for place in (self.directory.new, self.directory.old):
            try:
                data = disk.read_bounded(place / arrival.file, _ERROR_LIMIT)
                return replace(failure_from_bytes(data), index=arrival.sequence)
            except FileNotFoundError:
                continue
            except RejectedResult:
                return None  # the master that handles it sets it aside, with the reason
        return None

    def job(self, given: str) -> int:
        """Return the index of the job *given*: ``17``, ``1_17``, or the name of its file."""
        name = Path(given).name.removesuffix(".out").removesuffix(".error")
        batch, _, number = name.rpartition("_")
        total = self.journal.calls
        if not number.isascii() or not number.isdigit() or (batch and batch != self.record.batch):
            raise ConfigurationError(
                f"{given!r} names no job of batch {self.record.batch}; give its index, as in 17, "
                f"or its name, as in {self.record.batch or 1}_17"
            )
        if int(number) >= total:
            raise ConfigurationError(
                f"there is no job {number}; the batch in {self.path} has {total}, counted from 0"
            )
        return int(number)

    def close(self) -> None:
        """Close what was opened."""
        if "backend" in self.__dict__:
            self.backend.close()
        self.directory.close()


def no_batch(path: Path) -> ConfigurationError:
    """Return the error for a directory in which no master ever ran."""
    return ConfigurationError(
        f"there is no batch in {path}: no master program has run there. Start one (python "
        "app_master.py), or name its directory"
    )


@contextmanager
def looked_at(path: Path) -> Iterator[Batch]:
    """Give the batch in *path*, to be looked at.

    What looks damaged while somebody is at work (--fresh, clean) may be half removed.
    """
    try:
        batch = Batch(path)
        try:
            yield batch
        finally:
            batch.close()
    except DirectoryDamaged as damage:
        holder = locks.lock_holder(path / ".pyboinc" / "lock")
        if holder is None:
            raise
        raise DirectoryBusy(
            f"process {holder or 'unknown'} is changing what is in {path.absolute()}; look again "
            f"when it has ended (now: {damage})"
        ) from damage


@contextmanager
def held(path: Path) -> Iterator[Batch]:
    """Give the batch in *path*, to be changed: no master can run there meanwhile."""
    directory = JobDirectory(path.absolute())
    if not directory.state.is_dir():
        raise no_batch(path.absolute())
    hold(directory)
    try:
        directory.load()
        batch = Batch(path, directory)
        try:
            if not batch.settings.accept_copy:
                copies.refuse_copy(directory, batch.command)
            yield batch
        finally:
            batch.close()
    finally:
        directory.close()


def hold(directory: JobDirectory) -> None:
    """Lock *directory*; raises :class:`DirectoryBusy` that says who has it and what to do."""
    try:
        directory.lock()
    except DirectoryBusy:
        holder = locks.lock_holder(directory.state / "lock")
        stop = f"^C, or kill -INT {holder}" if holder else "^C"
        raise DirectoryBusy(
            f"process {holder or 'unknown'} is at work in {directory.path}; wait until it has "
            f"ended or stop it ({stop}; nothing is lost), then run this command again"
        ) from None
