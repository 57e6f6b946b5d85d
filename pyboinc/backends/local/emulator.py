"""The emulated project: its rows, what happens to them, and what is durable when.

The rules are those of :mod:`pyboinc.project`; here are the database, the files, the queue
of unsent results and the counts.  Everything that changes is gathered, and one
:meth:`Emulator.commit` makes it durable: first the uploaded files, then the rows that tell
of them, and only then are outcomes moved into new/.  A kill in between leaves either rows
that do not know of a file yet, or files that :meth:`Emulator.recover` delivers.
"""

from __future__ import annotations

import heapq
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pyboinc.backends import failure_to_bytes
from pyboinc.backends.local.attempts import failure_of
from pyboinc.backends.local.hosts import is_emulated
from pyboinc.backends.local.store import Details, Made, Rows, Store, Tally, Turn, workunit_id
from pyboinc.backends.local.uploads import Uploads, digest
from pyboinc.config.limits import Limits
from pyboinc.disk import reach
from pyboinc.errors import CheckpointMismatch
from pyboinc.project import (
    Output,
    Report,
    Result,
    ServerState,
    cancel,
    create_workunit,
    detach,
    expire,
    reissue,
    report,
    send,
    settle,
)
from pyboinc.records import SpooledCall
from pyboinc.validation import Judgement

_KEPT_ROWS = 4096
"""Workunits held in memory beside the running ones; the others are read when needed."""


class Emulator:
    """One batch of the emulated project."""

    def __init__(
        self, batch: int, store: Store, uploads: Uploads, judgement: Judgement, max_output: int
    ) -> None:
        self.batch = batch
        self.store = store
        self.uploads = uploads
        self.tally = Tally(*store.totals(batch))
        self._judgement = judgement
        self._max_output = max_output
        self._clock_start = max(store.clock(), time.time()) - time.monotonic()
        self._rows: dict[int, Rows] = {}
        self._queue = store.unsent(batch)
        heapq.heapify(self._queue)
        self._changed: dict[int, Rows] = {}
        self._changed_results: dict[tuple[int, int], Rows] = {}
        self._deliveries: list[tuple[str, str]] = []
        self._obsolete: list[str] = []
        self._refusals: dict[Output, str] = {}
        self._others: dict[object, tuple[str, tuple[object, ...]]] = {}

    def now(self) -> float:
        """Return the project's time (s): that of day when it started, monotonic since."""
        return self._clock_start + time.monotonic()

    # Rows: read when needed, kept while something is going on with them.

    def rows(self, identifier: int) -> Rows:
        """Return a workunit with its results."""
        found = self._rows.get(identifier)
        if found is None:
            # The next ones in the queue will be wanted soon: one query for all of them.
            near = [one[3] for one in self._queue[:64] if one[3] not in self._rows]
            for one in self.store.load(list(dict.fromkeys([identifier, *near]))):
                self._rows[one.workunit.id] = one
            found = self._rows[identifier]
        return found

    def forget(self, identifier: int) -> None:
        """Let go of a workunit with which nothing is going on, once it is written."""
        rows = self._rows.get(identifier)
        if rows is None or identifier in self._changed:
            return
        if not any(one.server_state in _OPEN for one in rows.results):
            del self._rows[identifier]
            for one in rows.results:
                self._refusals.pop(one.output, None)

    def _update(self, rows: Rows, workunit: Any, results: Iterable[Result]) -> None:
        """Take new rows, and note which of them have to be written."""
        old = {id(one) for one in rows.results}
        rows.results = tuple(results)
        rows.workunit = workunit
        self._changed[workunit.id] = rows
        for one in rows.results:
            if id(one) not in old:
                self._changed_results[workunit.id, one.instance] = rows

    def note_turn(self, rows: Rows, instance: int, turn: Turn) -> None:
        """Keep what is known of how an instance ran."""
        rows.turns[instance] = turn
        self._changed_results[rows.workunit.id, instance] = rows

    def write_too(self, key: object, statement: str, values: tuple[object, ...]) -> None:
        """Let *statement* be the last of the next commit, instead of an earlier one of *key*."""
        self._others.pop(key, None)
        self._others[key] = statement, values

    def settle(self, rows: Rows) -> None:
        """Run the daemons on a workunit, and note what is to be delivered."""

        def valid(output: Output) -> bool:
            return output is not None and not self._refusal(rows, output)

        def same(one: Output, other: Output) -> bool:
            return one == other or self._agree(rows, one, other)

        before = len(rows.results)
        failed_before = rows.workunit.delivered and not rows.workunit.succeeded
        settled = settle(rows.workunit, rows.results, self.now(), valid=valid, same=same)
        uploaded = [one for one in rows.results if one.output is not None]
        self._update(rows, settled.workunit, settled.results)
        for assimilation in settled.assimilations:
            self.tally.failed -= failed_before
            failed_before = assimilation.instance is None
            self._assimilated(rows, assimilation.instance)
        for one in settled.results[before:]:
            self._made(rows, one, retry=one.instance >= rows.workunit.min_quorum)
        for one in uploaded:
            # The file deleter has been there; what is delivered is moved away before.
            if rows.workunit.delivered and rows.workunit.canonical_instance != one.instance:
                self._obsolete.append(one.name)

    def _made(self, rows: Rows, result: Result, retry: bool) -> None:
        self.put_back(rows, result)
        self.tally.retries += retry

    def _refusal(self, rows: Rows, output: Output) -> str:
        """Return why an output is not valid; nothing if it is.

        It was looked at when it came, but perhaps by a server that was killed since.
        """
        found = self._refusals.get(output)
        if found is None:
            data = self._content(rows, output)
            found = "its file is gone" if data is None else self._judgement.refusal(data)
            self._refusals[output] = found
        return found

    def _agree(self, rows: Rows, one: Output, other: Output) -> bool:
        """Compare what differs in bytes: a set has no order, for example."""
        a, b = self._content(rows, one), self._content(rows, other)
        return a is not None and b is not None and self._judgement.same(a, b)

    def _content(self, rows: Rows, output: Output) -> bytes | None:
        for one in rows.results:
            if one.output == output:
                delivered = f"{rows.workunit.name}.out"
                data = self.uploads.read(one.name, delivered, self._max_output)
                if data is not None:
                    return data
        return None

    def _assimilated(self, rows: Rows, instance: int | None) -> None:
        """Note what the owner of a workunit is to be given, and count it."""
        name = rows.workunit.name
        if instance is not None:
            self.tally.done += 1
            self._deliveries.append((f"{name}_{instance}", f"{name}.out"))
            return
        self.tally.failed += 1
        self.uploads.put(f"{name}.error", failure_to_bytes(failure_of(rows)))
        self._deliveries.append((f"{name}.error", f"{name}.error"))

    # What happens to workunits.

    def create(self, calls: Iterable[SpooledCall], limits: Limits) -> None:
        """Make workunits of calls; those that exist already are left as they are."""
        now = self.now()
        for call in calls:
            own = limits.replace(**call.limits) if call.limits else limits
            identifier = workunit_id(self.batch, call.sequence)
            columns = own.workunit()
            workunit = create_workunit(
                identifier,
                f"{self.batch}_{call.sequence}",
                now,
                batch=self.batch,
                **_rules(columns),
            )
            what = call.sequence, call.slave, call.bundle, call.offset, call.size, call.crc32
            rows = Rows(workunit, (), Details(*what, own.memory, own.disk, own.fpops), {})
            if len(self._rows) < _KEPT_ROWS:
                self._rows[identifier] = rows
            self.tally.total += 1
            self.settle(rows)

    def recognise(self, call: SpooledCall, made: Made) -> None:
        """Check that the workunit of *call* was made for that call, and not for another one.

        The logs may have been restored from a backup: then the project knows more calls, and
        those that come now under the same numbers need not be the same.
        """
        if (call.slave, call.size, call.crc32) != made[:3]:
            raise CheckpointMismatch(
                f"job {self.batch}_{call.sequence} was made before, with another input or slave "
                "than is called for now: this job directory, or a part of it, is older than the "
                "project's state. Restore all of it from one backup, or start anew with --fresh"
            )
        if call.offset != made.offset:
            rows = self.rows(workunit_id(self.batch, call.sequence))
            rows.details.offset = call.offset
            self._changed[rows.workunit.id] = rows

    def take_unsent(self) -> tuple[Rows, Result] | None:
        """Return the next unsent result of the queue, or None if there is none."""
        while self._queue:
            entry = heapq.heappop(self._queue)
            rows = self.rows(entry[3])
            for one in rows.results:
                if one.instance == entry[2] and one.server_state == ServerState.UNSENT:
                    return rows, one
        return None

    def put_back(self, rows: Rows, result: Result) -> None:
        """Put an unsent result that was taken back to its place in the queue."""
        entry = (-rows.workunit.priority, rows.details.sequence, result.instance, rows.workunit.id)
        heapq.heappush(self._queue, entry)

    def send(self, rows: Rows, instance: int, host: str, turn: Turn) -> None:
        """Note that an instance went to *host*."""
        rows.turns[instance] = turn
        self._update(rows, *send(rows.workunit, rows.results, instance, host, self.now()))

    def begin_turn_again(self, rows: Rows, result: Result) -> None:
        """Give an instance whose host restarted with the emulator a new deadline."""
        now = self.now()
        again = result.copy()
        again.report_deadline = now + rows.workunit.delay_bound
        workunit = rows.workunit.copy()
        workunit.transition_time = min(workunit.transition_time, again.report_deadline)
        results = [again if one is result else one for one in rows.results]
        self._update(rows, workunit, results)

    def upload(self, slot: str, result: str) -> bytes | None:
        """Take the output of a slot; return its digest, or None if there is none.

        What is not valid will be refused by the validator; :meth:`refusal` says why.
        """
        try:
            self.uploads.take(slot, result)
        except FileNotFoundError:
            return None
        return self.look_at(result)

    def take_upload(self, path: str, result: str) -> bytes | None:
        """Take the file *path* as the output of *result*; as :meth:`upload`."""
        self.uploads.take_file(path, result)
        return self.look_at(result)

    def look_at(self, result: str) -> bytes | None:
        """Return the digest of an uploaded file, and remember whether it is valid."""
        data = self.uploads.read(result, "", self._max_output)
        if data is None:
            return None
        output = digest(data)
        if output not in self._refusals:
            self._refusals[output] = self._judgement.refusal(data)
        return output

    def refusal(self, output: Output) -> str:
        """Return why an output that was just looked at is not valid; nothing if it is."""
        return self._refusals.get(output, "")

    def report(self, identifier: int, said: Report, same_user: bool = False) -> bool:
        """Take a host's report about a workunit; return whether it counted.

        With *same_user* also that of another host than the result was sent to.
        """
        rows = self.rows(identifier)
        workunit, results, ignored = report(
            rows.workunit, rows.results, said, self.now(), same_user=same_user
        )
        self._update(rows, workunit, results)
        self.settle(rows)
        return not ignored

    def expire(self, identifier: int, instance: int) -> None:
        """Let the deadline of an instance of a workunit pass now."""
        rows = self.rows(identifier)
        now = self.now()
        workunit, results = expire(rows.workunit, rows.results, [instance], now - 1.0)
        workunit = workunit.copy()
        workunit.transition_time = now
        self._update(rows, workunit, results)
        self.settle(rows)

    def detach(self, identifier: int, host: str) -> None:
        """Take from *host* what it has of a workunit: it is gone, or has forgotten it."""
        rows = self.rows(identifier)
        self._update(rows, *detach(rows.workunit, rows.results, host, self.now()))
        self.settle(rows)

    def cancel(self) -> int:
        """Cancel every unfinished workunit; return how many.

        Emulated hosts hear of it at once, and report what they have as aborted.
        """
        identifiers = self.store.unfinished(self.batch)
        for identifier in identifiers:
            rows = self.rows(identifier)
            self._update(rows, *cancel(rows.workunit, rows.results, self.now()))
            self.settle(rows)
            for one in rows.results:
                if one.server_state == ServerState.IN_PROGRESS and is_emulated(one.host or ""):
                    self.report(identifier, Report.aborted_by_project(one.instance))
        return len(identifiers)

    def reissue(self, sequences: Sequence[int], unless_there: bool = False) -> None:
        """Do finished workunits again; with *unless_there* only those whose outcome is gone."""
        for sequence in sequences:
            rows = self.rows(workunit_id(self.batch, sequence))
            if not rows.workunit.finished or (unless_there and self._is_there(rows)):
                continue
            if rows.workunit.succeeded:
                self.tally.done -= 1
            else:
                self.tally.failed -= 1
            self._update(rows, *reissue(rows.workunit, rows.results, self.now()))
            self.settle(rows)

    def _is_there(self, rows: Rows) -> bool:
        """Whether the outcome of a finished workunit has been delivered, or is about to be."""
        name = f"{rows.workunit.name}.{'out' if rows.workunit.succeeded else 'error'}"
        return any(there == name for _, there in self._deliveries) or self.uploads.is_there(name)

    # What is durable.

    @property
    def dirty(self) -> bool:
        """Whether anything has happened since the last commit."""
        return bool(self._changed or self._changed_results or self._others)

    def commit(self) -> bool:
        """Make everything that happened durable and deliver outcomes; False if nothing had."""
        if not self.dirty:
            return False
        self.uploads.sync()
        reach("write rows", self.store.path)
        self.store.write(
            self._changed.values(), self._results_to_write(), self.now(), self._others.values()
        )
        changed, self._changed = self._changed, {}
        self._changed_results, self._others = {}, {}
        self.uploads.deliver(self._deliveries)
        self._deliveries = []
        for name in self._obsolete:
            self.uploads.delete(name)
        self._obsolete = []
        for identifier in changed:
            self.forget(identifier)
        return True

    def _results_to_write(self) -> Iterator[tuple[Rows, Result]]:
        for (_, instance), rows in self._changed_results.items():
            yield rows, next(one for one in rows.results if one.instance == instance)

    def recover(self) -> list[tuple[Rows, Result]]:
        """Deliver what a killed server left; return the instances that it left running."""
        self.tidy()
        self.reissue(self._lost())
        running = [self.rows(one) for one in self.store.in_progress(self.batch)]
        return [(rows, one) for rows in running for one in rows.results if _runs(one)]

    def tidy(self) -> None:
        """Deliver what was uploaded and is wanted, and remove what came too late to be."""
        left = []
        for name in self.uploads.names():
            workunit, _, rest = name.rpartition("." if name.endswith(".error") else "_")
            rows = self._named(workunit)
            if rows is None:
                self.uploads.delete(name)  # no host had that to report, or one of a batch given up
                continue
            if not rows.workunit.delivered:
                continue
            if rest == "error" or rest == str(rows.workunit.canonical_instance):
                there = f"{workunit}.error" if rest == "error" else f"{workunit}.out"
                left.append((name, there))
            else:
                self.uploads.delete(name)
        self.uploads.deliver(left)

    def _lost(self) -> list[int]:
        """Return the numbers of the jobs whose outcome was delivered and is nowhere now.

        A power cut may undo the last deliveries; people and other programs remove files.
        """
        there = self.uploads.delivered()
        decided = self.store.decided(self.batch)
        return [
            sequence
            for sequence, good in decided
            if f"{self.batch}_{sequence}.{'out' if good else 'error'}" not in there
        ]

    def _named(self, workunit: str) -> Rows | None:
        batch, _, sequence = workunit.partition("_")
        if batch != str(self.batch) or not re.fullmatch("[0-9]{1,12}", sequence):
            return None
        return self.store.named(workunit)


_OPEN = (ServerState.UNSENT, ServerState.IN_PROGRESS)


def _runs(result: Result) -> bool:
    return result.server_state == ServerState.IN_PROGRESS


def _rules(columns: dict[str, float | int]) -> dict[str, Any]:
    """Return what of a workunit's limits the project's rules look at."""
    return {name: value for name, value in columns.items() if not name.startswith("rsc_")}
