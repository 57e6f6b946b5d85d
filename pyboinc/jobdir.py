"""The job directory on disk: every file of the protocol, and where it lies.

    pyboinc_checkpoint     text: the batch ID, then `key: value` lines
    new/                   outcomes not yet handled: <batch>_<sequence>.out or .error
    old/                   outcomes already handled
    .pyboinc/lock          held by the one master that runs here
    .pyboinc/run.json      what this batch was begun with: seed, program, limits
    .pyboinc/spool         the calls, with their inputs
    .pyboinc/journal       what is committed, and the order in which results were handled
    .pyboinc/bundles/      the slave's files, one archive for each digest
    .pyboinc/quarantine/   files that were refused, each with its reason
    .pyboinc/previous/     what --fresh and rerun set aside
    .pyboinc/<backend>/    belongs to the backend

What each step may leave behind when it is cut short, and how the next run mends it, is
told in docs/protocol.md.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from pyboinc import disk, locks, moving
from pyboinc.compact import KINDS
from pyboinc.compressed import expanded
from pyboinc.errors import (
    DirectoryDamaged,
    JobDirectoryError,
    RejectedResult,
)
from pyboinc.quarantine import OUTCOME, Quarantine
from pyboinc.records import Journal, Spool
from pyboinc.run_record import FORMAT, RunRecord, check_format, parse_record

OUTPUT, ERROR = KINDS
_ERROR_LIMIT = 4 << 20
_ARCHIVE_LIMIT = 128_000_000


class Arrival(NamedTuple):
    """An outcome lying in new/: its file name, the job's number, and ``out`` or ``error``."""

    file: str
    sequence: int
    kind: str


class JobDirectory:
    """The directory of one master program, locked for as long as this object is open.

    With *read_only* it is only looked at, beside the master that may be running there.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self.new = path / "new"
        self.old = path / "old"
        self.state = path / ".pyboinc"
        self.checkpoint = path / "pyboinc_checkpoint"
        self.record: RunRecord | None = None
        self._lock = -1
        self.jobs_made = 0
        self._quarantine = Quarantine(self.state / "quarantine")
        self._opened: tuple[Spool, Journal] | None = None

    @property
    def spool(self) -> Spool:
        """The calls made here."""
        return self._logs()[0]

    @property
    def journal(self) -> Journal:
        """What has happened here."""
        return self._logs()[1]

    def _logs(self) -> tuple[Spool, Journal]:
        if self._opened is None:
            # Who does not have the lock only looks: reading to write cuts torn ends off.
            looking = self.read_only or self._lock < 0
            # The journal first: what it counts is in the spool, also while a master writes both.
            journal = Journal(self.state / "journal", looking)
            self._check_journal(journal)
            spool = Spool(self.state / "spool", looking)
            spool.load(journal.calls)
            self._opened = spool, journal
        return self._opened

    def _check_journal(self, journal: Journal) -> None:
        """Raise if the journal counts fewer calls than are known to have been committed.

        A shorter spool would be taken for what a crash left, and cut off.
        """
        spool = self.state / "spool"
        begun = self.record is not None and self.record.batch is not None
        lost = begun and not journal.phases and spool.exists() and spool.stat().st_size > 0
        if lost or journal.calls < self.jobs_made:
            raise DirectoryDamaged(
                f"{self.state / 'journal'} counts {journal.calls} calls, and more were committed; "
                "restore it from a backup, or start a new batch with --fresh"
            )

    # Opening: M0 and M1 of the protocol.

    def lock(self) -> None:
        """Become the one master here; raises :class:`DirectoryBusy` if there is another."""
        self._lock = locks.enter(self.state)
        for directory in (self.new, self.old):
            disk.make_directory(directory)
        self._remove_temporaries()

    def check_place(self) -> None:
        """Raise if the directory was moved, or its lock removed, while this master was at work.

        What lies at its path now may be another one, with a master of its own.
        """
        if self._lock >= 0 and not locks.is_at(self._lock, self.state / "lock"):
            raise moved(self.path)

    def _remove_temporaries(self) -> None:
        """Remove what killed masters were writing: who has the lock is the only one who writes."""
        disk.remove_temporaries(self.path, self.checkpoint.name)
        for directory in (self.state, self.new, self.state / "bundles", self.state / "quarantine"):
            disk.remove_temporaries(directory)

    def load(self) -> None:
        """Read what an earlier run recorded; :attr:`record` stays None if there was none."""
        batch = self._read_checkpoint()
        try:
            text = _read_own(self.state / "run.json")
        except FileNotFoundError:
            journal = self.state / "journal"
            if batch is not None or (journal.exists() and self.journal.calls):
                raise DirectoryDamaged(
                    f"{self.checkpoint if batch is not None else journal} tells of a batch, but "
                    f"{self.state / 'run.json'} is gone; restore it, or start a new batch with "
                    "--fresh"
                ) from None
            return
        self.record = parse_record(self.state / "run.json", text)

    def _read_checkpoint(self) -> str | None:
        """Return the batch ID of the checkpoint, or None if there is none."""
        try:
            text = _read_own(self.checkpoint).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        lines = text.splitlines()
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        check_format(self.checkpoint, fields.get("format", "damaged"))
        jobs = fields.get("jobs", "0")
        self.jobs_made = int(jobs) if jobs.isdecimal() else 0
        return lines[0]

    def begin(self, record: RunRecord) -> None:
        """Begin a batch: nothing of an earlier run is left, and *record* is durable."""
        for directory in (self.old, self.new):
            names = sorted(filter(OUTCOME.fullmatch, disk.names(directory)))
            if names:
                self.quarantine("left by an earlier batch", *names, where=directory)
        self._close_logs()
        for log in ("spool", "journal"):
            disk.remove(self.state / log)
        self.save(record)

    def save(self, record: RunRecord) -> None:
        """Make *record* durable."""
        self.check_place()
        self.record = record
        text = json.dumps(asdict(record), indent=1, sort_keys=True) + "\n"
        disk.publish(self.state / "run.json", text.encode())

    def write_checkpoint(self) -> None:
        """Write ``pyboinc_checkpoint``: every call made so far has its job."""
        assert self.record is not None and self.record.batch is not None
        self.check_place()
        lines = [
            self.record.batch,
            f"format: {FORMAT}",
            f"backend: {self.record.backend}",
            f"jobs: {len(self.spool)}",
            f"seed: {self.record.seed}",
            f"program: {self.record.program}",
        ]
        disk.publish(self.checkpoint, ("\n".join(lines) + "\n").encode())

    def abandon(self) -> None:
        """Give the batch here up for good, before anything of it is changed (--fresh)."""
        if self.record is not None:
            self.record.abandoned = True
            self.save(self.record)

    def set_aside(self) -> Path | None:
        """Move everything of an earlier batch to ``.pyboinc/previous/N``; safe to repeat."""
        self._close_logs()
        entries = [path for path in self._belongings() if path.exists() or path.is_symlink()]
        if not any(path not in (self.new, self.old) or disk.listing(path) for path in entries):
            return None
        target = self.make(self._previous())
        self._quarantine = Quarantine(self.state / "quarantine")
        *others, last = entries
        for group in (others, [last]):
            for entry in group:
                disk.move("set aside", entry, target / entry.name)
            for directory in (target, self.path, self.state):
                disk.sync_directory(directory)
        for directory in (self.new, self.old):
            disk.make_directory(directory)
        self.record = None
        self.jobs_made = 0
        return target

    def put_by(self, outcomes: Mapping[Arrival, Path]) -> Path:
        """Move outcomes out of their directories to ``.pyboinc/previous/N`` (pyboinc rerun)."""
        target = self.make(self._previous())
        for arrival, place in outcomes.items():
            disk.move("set aside", place / arrival.file, target / arrival.file)
        for place in (target, *set(outcomes.values())):
            disk.sync_directory(place)
        return target

    def _previous(self) -> Path:
        names = disk.listing(self.make(self.state / "previous"))
        last = max((int(name) for name in names if name.isdecimal()), default=0)
        return self.state / "previous" / str(last + 1)

    def _belongings(self) -> list[Path]:
        # That the batch is abandoned is known for as long as run.json is there: it goes last.
        names = ["journal", "spool", "bundles", "quarantine", "run.json"]
        journal, *others = [self.state / name for name in names]
        return [journal, self.checkpoint, self.new, self.old, *others]

    def make(self, path: Path) -> Path:
        """Make a directory, if it is not there, and return it."""
        disk.make_directory(path)
        return path

    # Outcomes: M2 and M8 to M12 of the protocol.

    def restore(self) -> None:
        """Move every handled outcome from old/ back to new/ (M2); safe to repeat.

        If new/ is empty, old/ as a whole takes its place; if not, there may be second outcomes.
        """
        self._refuse_what_is_not_called_for()
        found = Counter(map(bool, map(OUTCOME.fullmatch, disk.names(self.old))))
        if not found[True]:
            return
        if found[False] or not moving.take_place("restore", self.old, self.new):
            # Again until none is found: some file systems pass over files while others are moved.
            while moving.move_all("restore", self._outcomes_in_old(), self.old, self.new):
                pass
        disk.sync_directory(self.new)
        disk.sync_directory(self.old)

    def _outcomes_in_old(self) -> Iterator[str]:
        """Yield the names of the outcomes in old/, each when its place in new/ is free."""
        for name in filter(OUTCOME.fullmatch, disk.names(self.old)):
            there = f"{self.new}/{name}"
            if os.path.lexists(there) and not disk.same_file(f"{self.old}/{name}", there):
                self.quarantine("a second outcome of a job already handled", name)
            yield name

    def _refuse_what_is_not_called_for(self) -> None:
        """Set outcomes aside whose jobs are not called for yet.

        They are of a later time than the logs, which came from a backup; when there are such
        calls, they may be others.
        """
        assert self.record is not None
        for directory in (self.old, self.new):
            names = [
                name
                for name in disk.names(directory)
                if (match := OUTCOME.fullmatch(name))
                and match[1] == self.record.batch
                and int(match[2]) >= len(self.spool)
            ]
            if names:
                self.quarantine(
                    "no job of this batch is called for under this name",
                    *sorted(names),
                    where=directory,
                )

    def arrivals(self) -> list[Arrival]:
        """Return what lies in new/ (M8), ordered by job; what is foreign is quarantined."""
        assert self.record is not None
        self.check_place()
        found, foreign = [], []
        for name in disk.listing(self.new):
            match = OUTCOME.fullmatch(name)
            if match and match[1] == self.record.batch and int(match[2]) < len(self.spool):
                found.append(Arrival(name, int(match[2]), match[3]))
            elif not name.startswith("."):
                foreign.append(name)
        if foreign:
            foreign.sort()
            self.quarantine("no job of this batch has an outcome of this name", *foreign)
        found.sort(key=lambda arrival: (arrival.sequence, arrival.kind))
        return found

    def outcome(self, sequence: int, kind: str) -> Arrival:
        """Return the place of the outcome of job *sequence*, whether it is there or not."""
        assert self.record is not None
        return Arrival(f"{self.record.batch}_{sequence}.{kind}", sequence, kind)

    def outcome_files(self) -> list[Path]:
        """Return every file in new/ and old/ that bears the name of an outcome, of any batch."""
        places = [(place, disk.listing_if_any(place)) for place in (self.new, self.old)]
        return [
            place / name for place, names in places for name in names if OUTCOME.fullmatch(name)
        ]

    def outcomes(self) -> dict[Arrival, Path]:
        """Return every outcome of this batch that lies here and its directory; changes nothing."""
        assert self.record is not None
        found = {}
        # In this order a master that handles one meanwhile can not hide it.  There may be no
        # directory: --fresh or `clean` is at work, or a copy left out what was empty.
        for directory in (self.new, self.old):
            for name in disk.listing_if_any(directory):
                match = OUTCOME.fullmatch(name)
                if match and match[1] == self.record.batch:
                    found[Arrival(name, int(match[2]), match[3])] = directory
        return found

    def read(self, arrival: Arrival, limit: int) -> bytes:
        """Return the bytes of an outcome in new/ (M9); see :func:`disk.read_bounded`."""
        if arrival.kind == ERROR:
            limit = _ERROR_LIMIT
        return expanded(disk.read_bounded(f"{self.new}/{arrival.file}", limit), limit)

    def retire(self, arrivals: Iterable[Arrival], sync: bool = True) -> None:
        """Move handled outcomes from new/ to old/ (M12); what somebody took away is left out.

        Without *sync* a power cut may undo it, until :meth:`sync_retired`.
        """
        self.check_place()
        handled = [one.file for one in arrivals]
        if moving.move_all("retire", handled, self.new, self.old) and sync:
            self.sync_retired()

    def sync_retired(self) -> None:
        """Make durable what was retired so far."""
        disk.sync_directory(self.old)
        disk.sync_directory(self.new)

    def deliver(self, sequence: int, failure: bytes) -> None:
        """Put a failure report of the master's own into new/."""
        disk.publish(self.new / self.outcome(sequence, ERROR).file, failure)

    def quarantine(self, reason: str, *names: str, where: Path | None = None) -> None:
        """Set files of new/ (or *where*) aside, with the reason."""
        self.check_place()
        self._quarantine.take([(where or self.new) / name for name in names], reason)

    # Archives of slave programs.

    def bundle_path(self, digest: str) -> Path:
        """Return where the slave archive of this sha256 lies."""
        return self.state / "bundles" / f"{digest}.zip"

    def keep_bundle(self, digest: str, data: bytes) -> None:
        """Store a slave archive, once for each content."""
        path = self.bundle_path(digest)
        if not _holds(path, data):
            disk.make_directory(path.parent)
            disk.publish(path, data)

    def _close_logs(self) -> None:
        if self._opened is not None:
            for log in self._opened:
                log.close()
            self._opened = None

    def close(self) -> None:
        """Close the files and let another master in."""
        self._close_logs()
        if self._lock >= 0:
            disk.close(self._lock)
            self._lock = -1


def moved(path: Path) -> JobDirectoryError:
    """Return the error of a job directory that is no longer at *path*."""
    return JobDirectoryError(
        f"{path} was moved or replaced while a master was at work in it; nothing is lost: run "
        "the same command where the directory is now"
    )


def check_archive(archive: Path, digest: str) -> None:
    """Raise :class:`DirectoryDamaged` unless *archive* has this sha256: it may be anything."""
    try:
        found = sha256(disk.read_bounded(archive, _ARCHIVE_LIMIT)).hexdigest()
    except (FileNotFoundError, RejectedResult) as error:
        found = str(error)
    if found != digest:
        raise DirectoryDamaged(
            f"{archive} is not the archive of the slave that was called; restore it from a backup, "
            "or start a new batch with --fresh"
        )


def _holds(path: Path, data: bytes) -> bool:
    try:
        return disk.read_bounded(path, len(data)) == data
    except (FileNotFoundError, RejectedResult):
        return False


def _read_own(path: Path) -> bytes:
    """Read a small file that only a master writes; raises ``FileNotFoundError``."""
    try:
        return disk.read_bounded(path, _ERROR_LIMIT)
    except RejectedResult as refusal:
        raise DirectoryDamaged(
            f"{path} is not as PyBOINC left it: {refusal}; restore it, or start a new batch "
            "with --fresh"
        ) from None
