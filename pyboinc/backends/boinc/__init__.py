"""A real BOINC project, seen from its server: jobs are made there, and outcomes waited for.

The master runs on the project's server, as the project's owner or a member of its group.  It needs
no process of its own: a batch is rows in the project's database and files in its download
directory, and goes on while no master runs.  What is where:

* :mod:`~pyboinc.backends.boinc.project`: ``config.xml``, and who may do what;
* :mod:`~pyboinc.backends.boinc.database`, :mod:`~pyboinc.backends.boinc.rows`: what is asked there;
* :mod:`~pyboinc.backends.boinc.staging`, :mod:`~pyboinc.backends.boinc.archives`: for clients;
* :mod:`~pyboinc.backends.boinc.creation`, :mod:`~pyboinc.backends.boinc.templates`: making jobs;
* :mod:`~pyboinc.backends.boinc.watch`, :mod:`~pyboinc.backends.boinc.failures`: what comes back.

What belongs to PyBOINC at the project lies in ``<project>/pyboinc/`` (``pyboinc setup`` makes it):
``batches/<batch>`` tells the assimilator where the batch's new/ is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from pyboinc import disk
from pyboinc.backends import Attempt, Counts
from pyboinc.backends.boinc import rows
from pyboinc.backends.boinc.archives import Archives
from pyboinc.backends.boinc.database import Database
from pyboinc.backends.boinc.failures import attempt_of
from pyboinc.backends.boinc.making import Making, runs
from pyboinc.backends.boinc.project import find_project
from pyboinc.backends.boinc.rows import Batches, Workunits
from pyboinc.backends.boinc.staging import Staging, write
from pyboinc.backends.boinc.watch import Watch
from pyboinc.config import Settings
from pyboinc.errors import BackendError, CheckpointMismatch, JobDirectoryError
from pyboinc.jobdir import ERROR, JobDirectory

_LOOK = 0.05
"""Seconds between two looks at new/ while waiting."""

_RUNS = 64
"""Runs of adjacent workunits that the project's own program cancels, a process for each."""


class BoincBackend:
    """The batch of one job directory at a real BOINC project."""

    def __init__(self, directory: JobDirectory, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        self._project = find_project(settings)
        self._database = Database(self._project.login)
        self._batches = Batches(self._database)
        self._staging = Staging(self._project)
        self._archives = Archives(directory, self._project, self._staging, settings.signing_key)
        self._programs: dict[str, str] = {}
        self._batch = 0
        self._is_new = False
        self._is_owner = False
        self._made = 0
        self._handled = [0, 0, 0]
        self._opened: tuple[Workunits, Watch, Making] | None = None
        self.first_errors: list[str] = []

    # Beginning a batch and making its jobs.

    def begin_batch(self, token: str) -> str:
        """Return the ID of the batch of *token*; begin it if there is none."""
        if not self._is_owner:
            self._project.check()
            self._project.open_for_assimilator(self._directory.new)
            batch = self._find_or_make(f"pyboinc-{token}")
            if batch != self._batch:
                self._batch, self._opened = batch, None
            self._register()
            self._is_owner = True
        return str(self._batch)

    def _find_or_make(self, name: str) -> int:
        batch = self._batches.find(name)
        known = self._number()
        if batch is None and known:
            raise CheckpointMismatch(
                f"the project {self._project.root} does not know batch {known} of this job "
                "directory: it is another project, or its database is older than the directory. "
                "Name the right one with --project-dir, or start anew with --fresh"
            )
        if batch is None:
            disk.reach("insert batch", name)
            what = f"{self._directory.record.program} in {self._directory.path}"  # type: ignore[union-attr]  # a batch has one
            batch = self._batches.make(name, self._settings.app, self._settings.batch_user, what)
            self._is_new = True
        return batch

    def _register(self) -> None:
        """Tell the project's daemons where the outcomes of this batch go, and whose rules hold."""
        place = self._project.ours / "batches" / str(self._batch)
        target = self._project.place_for_outputs(self._directory.new, self._batch)
        text = f"{target}\n{self._directory.path}\n".encode()
        with disk.explained("write", place):
            if not place.is_file() or place.read_bytes() != text:
                disk.reach("register", self._batch)
                write(str(place), text)
                disk.sync_directory(place.parent)

    def submit(self, first: int, last: int) -> None:
        """Make jobs of the calls first <= sequence < last that have none; durable then."""
        _, watch, making = self._open()
        state = self._batches.state(self._batch)
        missing: Sequence[int] = range(first, last)
        stale: list[rows.Made] = []
        if not self._is_new:
            known = max(self._made, self._directory.jobs_made)
            missing, stale = making.examine(first, last, known, self._programs)
        self._is_new = False
        if missing or stale:
            self._batches.write(self._batch, state=rows.INIT)
            making.make(missing, lambda _: 0, self._programs)
            self._replace(stale)
        self._made = max(self._made, last)
        if missing or stale or state in (rows.INIT, rows.COMPLETE, rows.RETIRED):
            disk.reach("batch row", self._batch)
            self._batches.write(self._batch, state=rows.IN_PROGRESS, njobs=self._made)
        watch.count()

    def _replace(self, stale: Sequence[rows.Made]) -> None:
        """Let jobs that are not done run the program of now: as new workunits."""
        if stale:
            self._issue_again([one.sequence for one in stale])
            self._cancel(sorted(one.id for one in stale))

    def start(self) -> None:
        """Do nothing: the project's daemons and volunteers are at work already."""

    def reissue(self, sequences: Sequence[int], unless_there: bool = False) -> None:
        """Do these jobs again; with *unless_there* only those whose outcome is gone."""
        _, watch, making = self._open()
        due = [one for one in sequences if not (unless_there and watch.is_there(one))]
        finished = making.finished(sorted(due))
        if unless_there:
            finished = [one for one in finished if not making.deliver_again(one)]
            watch.give_up([one for one in finished if one.error_mask])
            finished = [one for one in finished if not one.error_mask]
        if finished:
            self._issue_again([one.sequence for one in finished])
            self._batches.write(self._batch, state=rows.IN_PROGRESS)
        watch.count()

    def _issue_again(self, sequences: Sequence[int]) -> None:
        _, watch, making = self._open()
        issues = {one: watch.issues.get(one, 0) + 1 for one in sequences}
        making.make(sorted(sequences), issues.__getitem__, self._programs)
        watch.issues.update(issues)

    def use_program(self, slave: str, digest: str) -> None:
        """Let jobs of *slave* that are not done run the archive *digest* from now on."""
        self._programs[slave] = digest

    def cancel(self) -> int:
        """Cancel every unfinished job; return how many that were."""
        workunits, watch, _ = self._open()
        numbers = workunits.unfinished()
        self._batches.write(self._batch, state=rows.ABORTED)
        self._cancel(numbers)
        record = self._directory.record
        if record is not None and record.abandoned:
            watch.measure()  # nobody will ask for its outcomes
        else:
            watch.count()
        return len(numbers)

    def _cancel(self, numbers: Sequence[int]) -> None:
        workunits, _, making = self._open()
        if not numbers:
            return
        disk.reach("cancel", self._batch)
        ranges = list(runs(numbers))
        if len(ranges) > _RUNS:
            workunits.cancel(numbers)
        elif left := making.cancel(ranges):
            workunits.cancel(left)

    # Looking.

    def wait(self, timeout: float) -> None:
        """Return when something may have come into new/, or after *timeout* seconds."""
        _, watch, _ = self._open()
        deadline = time.monotonic() + timeout
        while not watch.look():
            self._keep_row_true(watch.census)
            if watch.lost:
                lost, watch.lost = watch.lost, []
                self.reissue([one.sequence for one in lost], unless_there=True)
            now = time.monotonic()
            changed = self._time_of_new()
            if changed != self._new_was or now >= deadline:
                self._new_was = changed
                return
            time.sleep(min(_LOOK, deadline - now))

    _new_was = 0
    _told: rows.Census | None = None

    def _time_of_new(self) -> int:
        with suppress(OSError):
            return os.stat(self._directory.new).st_mtime_ns
        return 0

    def counts(self) -> Counts:
        """Say how far the batch is: as counted last, and what was handled since."""
        if not self._batch and not self._number():
            return Counts()
        _, watch, _ = self._open()
        if not self._is_owner:
            watch.measure()
        done, failed = self._outcomes_handled()
        census = watch.census
        total = max(self._made, self._directory.jobs_made, census.total)
        # Rows that are gone were purged, some days after their outcomes were delivered.
        gone = max(0, total - census.total) if census.total else 0
        # A job that failed may have come back good since: it is one job all the same.
        finished = min(total, max(done + failed, census.done + census.failed + gone))
        if done + failed < total:  # else what was handled is all, and known
            failed = min(finished, max(failed, census.failed))
        done = finished - failed
        running = min(watch.running, total - done - failed)
        queued = total - done - failed - running
        return Counts(total, queued, running, done, failed, watch.retries)

    def _outcomes_handled(self) -> tuple[int, int]:
        """Count what was handled, going on from where this was done last."""
        order = self._directory.journal.handled
        if len(order) < self._handled[0]:
            self._handled = [0, 0, 0]
        for one in order[self._handled[0] :]:
            self._handled[2 if one.kind == ERROR else 1] += 1
        self._handled[0] = len(order)
        return self._handled[1], self._handled[2]

    def describe(self, name: str) -> tuple[Attempt, ...]:
        """Return the instances of job *name* that were sent, in order."""
        workunits, _, _ = self._open()
        batch, _, sequence = name.partition("_")
        if batch != str(workunits.batch) or not sequence.isdecimal():
            return ()
        return self._attempts(workunits, int(sequence))

    def _attempts(self, workunits: Workunits, sequence: int) -> tuple[Attempt, ...]:
        made = workunits.issues_of(sequence)
        return tuple(attempt_of(row) for row in workunits.instances([one.id for one in made]))

    def retried(self) -> Iterator[tuple[str, tuple[Attempt, ...]]]:
        """Yield name and instances of each job that is not given up and had an instance fail."""
        workunits, _, _ = self._open()
        for sequence in workunits.with_failed_instances():
            yield f"{workunits.batch}_{sequence}", self._attempts(workunits, sequence)

    def _number(self) -> int:
        record = self._directory.record
        return int(record.batch) if record is not None and record.batch is not None else 0

    def _open(self) -> tuple[Workunits, Watch, Making]:
        if self._opened is None:
            workunits = Workunits(self._database, self._batch or self._number())
            say = self.first_errors.append
            watch = Watch(self._directory, self._project, self._batches, workunits, say)
            if not self._is_new:
                watch.issues.update(workunits.reissued())
            making = Making(
                self._directory,
                self._project,
                workunits,
                self._staging,
                self._archives,
                watch.issues,
            )
            self._opened = workunits, watch, making
        return self._opened

    # Ending.

    def close(self) -> None:
        """Keep the row of the batch true, and give everything back; it can be continued later."""
        if self._is_owner:
            # What can not be said to the project now, the next run says.
            with suppress(BackendError, JobDirectoryError, OSError):
                self._settle()
        self._is_owner = False
        self._opened = None
        self._database.close()

    def _settle(self) -> None:
        """Write into the row of the batch how far it is; retire it when all is handled."""
        record, watch = self._directory.record, self._open()[1]
        handled, total = len(self._directory.journal.handled), len(self._directory.spool)
        counts = self.counts()
        if total and handled >= total:
            self._retire(rows.RETIRED, counts)
        elif record is not None and record.abandoned:
            self._retire(rows.ABORTED, counts)
        elif total and watch.census.total:
            self._write_progress(counts)

    def _keep_row_true(self, census: rows.Census) -> None:
        """Write into the row of the batch how far it is, if that was counted anew.

        The project's web site shows it, and no daemon does this.
        """
        if census.total and census != self._told and self._write_progress(self.counts()):
            self._told = census

    def _write_progress(self, counts: Counts) -> bool:
        return self._batches.tell(
            self._batch,
            fraction_done=(counts.done + counts.failed) / max(1, counts.total),
            nerror_jobs=counts.failed,
        )

    def _retire(self, state: int, counts: Counts) -> None:
        """Let go of the batch: nothing more is wanted of it."""
        disk.reach("retire batch", self._batch)
        columns = {"completion_time": int(time.time())} if state == rows.RETIRED else {}
        told = self._batches.tell(
            self._batch,
            state=state,
            fraction_done=1.0 if state == rows.RETIRED else counts.done / max(1, counts.total),
            nerror_jobs=counts.failed,
            **columns,
        )
        if not told:
            return  # the next run lets go of it
        for place in ("batches", "failed"):
            disk.remove(self._project.ours / place / str(self._batch))
        disk.remove_tree(self._project.ours / "kept" / str(self._batch))
        self._archives.strike_out(self._batch)
