"""Waiting for outcomes: what is looked at, how often, and what it costs the project.

Good outputs are put into new/ by the project's assimilator.  For failures it writes a line into
``<project>/pyboinc/failed/<batch>`` (on old servers ``failed/0``, which names no batch); what a
volunteer's computer said stands in the database.  So:

* several times a second: the time of new/, and the length of the file of failures;
* once a second: one row of the database by its number, which tells if the batch was aborted;
* now and then: all rows of the batch are counted.  That takes longer the more there are, and
  is done so rarely that it takes a fiftieth of the time at most.  It finds what was lost on
  the way, for what is counted is compared with what has arrived.

The order matters.  A master that sees all jobs counted and misses an outcome takes it for lost.  So
rows are counted first, and their outcomes brought into new/ before the counts are told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pyboinc.backends import failure_to_bytes
from pyboinc.backends.boinc.failures import attempt_of, failure
from pyboinc.backends.boinc.kept import Kept
from pyboinc.backends.boinc.names import workunit_name
from pyboinc.backends.boinc.project import Project
from pyboinc.backends.boinc.rows import ABORTED, Batches, Census, Made, Workunits
from pyboinc.jobdir import ERROR, OUTPUT, JobDirectory

PERIOD = 1.0
"""Seconds between two queries."""

COUNT_PERIOD = 1.0
"""Seconds between two counts of all rows, at least, and..."""

COUNT_SHARE = 0.02
"""...the part of the time that counting takes, at most."""

_AT_A_TIME = 50
"""Failures looked up at a time: each may have a dozen instances with 64 KB of stderr."""

_SHOWN = 20
"""Distinct last words of slaves that are told of."""

_CHUNK = 1 << 20
_LARGEST = 1 << 32


class Watch:
    """Watches over one batch; ``issues`` says how often a job was made again, if it was."""

    def __init__(
        self,
        directory: JobDirectory,
        project: Project,
        batches: Batches,
        workunits: Workunits,
        say: Callable[[str], object],
    ) -> None:
        self._directory = directory
        self._batches = batches
        self._workunits = workunits
        self._batch = workunits.batch
        self._failed = Tail(project.ours / "failed" / str(self._batch))
        self._nameless = Tail(project.ours / "failed" / "0", at_end=True)
        self._kept = Kept(directory, project.ours / "kept" / str(self._batch))
        self._say = say
        self._causes: set[str] = set()
        self._next_glance = 0.0
        self._next_count = 0.0
        self._next_look_at_work = 0.0
        self._aborted = False
        self.issues: dict[int, int] = {}
        self.lost: list[Made] = []
        self.census = Census()
        self.running = 0
        self.retries = 0

    def look(self) -> bool:
        """Look at what it is time to look at; return whether failures were put into new/."""
        now = time.monotonic()
        if now >= self._next_glance:
            self._next_glance = now + PERIOD
            self._glance()
            self._kept.take()
        delivered = self._read_failed()
        if now >= self._next_count:
            delivered += self.count()
        return delivered > 0

    def _glance(self) -> None:
        state = self._batches.glance(self._batch)
        if state is None or (state == ABORTED) == self._aborted:
            return
        self._aborted = state == ABORTED
        self._next_count = 0.0
        if self._aborted:
            self._workunits.wake()

    # Failures.

    def _read_failed(self) -> int:
        """Deliver the failures that the assimilator has told of since this was asked last."""
        delivered = 0
        if self._nameless.lines():
            self._next_count = 0.0  # some batch has a failure; ours, if the count says so
        while lines := self._failed.lines():
            told = [_parsed(line) for line in lines]
            numbers = [number for number, _ in told if number]
            outputs_lost = {number for number, mask in told if not mask}
            for start in range(0, len(numbers), _AT_A_TIME):
                made = self._workunits.numbered(numbers[start : start + _AT_A_TIME])
                delivered += self._deliver(made)
                lost = [one for one in made if one.id in outputs_lost and self._is_lost(one)]
                delivered += self.give_up([one for one in lost if one.error_mask])
                self.lost += [one for one in lost if not one.error_mask]
        return delivered

    def _deliver(self, made: Sequence[Made]) -> int:
        """Put failures into new/, unless the job has an outcome by now, or was made again."""
        return self.give_up([one for one in made if self._is_due(one)])

    def give_up(self, due: Sequence[Made]) -> int:
        """Put failures into new/ for jobs that the project has given up.

        One of them may have succeeded all the same, later; but if that output is nowhere, the file
        deleter was there first: it takes outputs of jobs that are given up at once.
        """
        rows = self._workunits.instances([one.id for one in due])
        for one in due:
            attempts = [attempt_of(row) for row in rows if row[0] == one.id]
            name = f"{self._batch}_{one.sequence}"
            found = failure(one.sequence, name, one.error_mask, attempts)
            self._directory.deliver(one.sequence, failure_to_bytes(found))
            for attempt in attempts:
                self._tell(f"{name}_{attempt.instance}", attempt.stderr)
        return len(due)

    def _is_due(self, made: Made) -> bool:
        """Whether it is given up, and its master has not heard of that."""
        return not made.succeeded and made.error_mask != 0 and self._is_missing(made)

    def _is_lost(self, made: Made) -> bool:
        """Whether it succeeded, and its output is nowhere: so the assimilator says."""
        return made.succeeded and self._is_missing(made)

    def _is_missing(self, made: Made) -> bool:
        latest = made.issue == self.issues.get(made.sequence, 0)
        called = made.sequence < len(self._directory.spool)
        return latest and called and not self.is_there(made.sequence)

    def is_there(self, sequence: int) -> bool:
        """Whether an outcome of the job lies in new/ or old/."""
        return any(
            os.path.lexists(place / self._directory.outcome(sequence, kind).file)
            for place in (self._directory.new, self._directory.old)
            for kind in (OUTPUT, ERROR)
        )

    def _tell(self, instance: str, stderr: str) -> None:
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        if lines and lines[-1] not in self._causes and len(self._causes) < _SHOWN:
            self._causes.add(lines[-1])
            self._say(f"{instance}: {lines[-1]}")

    # Counting.

    def count(self) -> int:
        """Count all rows of the batch, and bring in what was lost; return how many failures."""
        before = self.census.failed
        census = self._count_rows()
        if census is None:
            return 0
        self._kept.take()
        delivered = self._read_failed()
        if census.failed > before:
            delivered += self._deliver_all_failed()
        self.census = census
        return delivered

    def measure(self) -> None:
        """Count all rows of the batch, and change nothing."""
        self.census = self._count_rows() or self.census

    def _count_rows(self) -> Census | None:
        began = time.monotonic()
        census = self._workunits.census(list(self._superseded()), self._aborted)
        self._count_at_work()
        took = time.monotonic() - began
        self._next_count = time.monotonic() + max(COUNT_PERIOD, took / COUNT_SHARE)
        return census

    def _superseded(self) -> Iterator[str]:
        """Yield the names of the workunits in whose place there is another one."""
        for sequence, issue in self.issues.items():
            for earlier in range(issue):
                yield workunit_name(self._batch, sequence, earlier)

    def _deliver_all_failed(self) -> int:
        delivered = 0
        for page in self._workunits.failed():
            for start in range(0, len(page), _AT_A_TIME):
                delivered += self._deliver(page[start : start + _AT_A_TIME])
        return delivered

    def _count_at_work(self) -> None:
        """Count instances, which is dearer than all else and for the display alone."""
        began = time.monotonic()
        if began < self._next_look_at_work:
            return
        found = self._workunits.at_work()
        if found is not None:
            self.running, self.retries = found
        took = time.monotonic() - began
        self._next_look_at_work = time.monotonic() + max(COUNT_PERIOD, took / COUNT_SHARE)


class Tail:
    """The lines that are appended to a file, each read once."""

    def __init__(self, path: Path, at_end: bool = False) -> None:
        self._path = path
        self._position = 0
        if at_end:
            with suppress(OSError):
                self._position = os.stat(path).st_size

    def lines(self) -> list[bytes]:
        """Return some of the whole lines that were not read yet."""
        try:
            size = os.stat(self._path).st_size
            if size < self._position:  # removed when the batch was retired, and made anew
                self._position = 0
            if size <= self._position:
                return []
            with open(self._path, "rb") as file:
                file.seek(self._position)
                whole, end, _ = file.read(_CHUNK).rpartition(b"\n")
        except FileNotFoundError:
            return []
        self._position += len(whole) + len(end)
        return whole.split(b"\n") if end else []


def _parsed(line: bytes) -> tuple[int, int]:
    """Return the workunit that a line tells of, and its mask; zeros if it can not be read."""
    words = line.split()
    if len(words) == 3 and words[1].isdigit() and words[2].isdigit():
        return int(words[1]), int(words[2])
    return 0, -1
