"""Loading outcomes from new/, and what becomes of those that are refused or lost.

A refused file is set aside with its reason and the job is done again; after three refusals
the job counts as failed.  An outcome that was handled before and is gone is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyboinc import codec
from pyboinc.backends import Backend, Failure, failure_from_bytes, failure_to_bytes
from pyboinc.calls import Calls
from pyboinc.disk import reach
from pyboinc.errors import DirectoryDamaged, RejectedResult
from pyboinc.jobdir import ERROR, Arrival, JobDirectory
from pyboinc.progress import Display
from pyboinc.validation import Own, own_of

REFUSALS = 3
"""How often the output of a job may be refused before the job counts as failed."""


class Outcomes:
    """The outcomes of one run: *max_output* (bytes) is the largest output that is loaded.

    ``jobs_are_made``: the project is known to have a job for each call.
    """

    def __init__(
        self,
        directory: JobDirectory,
        calls: Calls,
        backend: Backend,
        display: Display,
        max_output: int,
    ) -> None:
        self._directory = directory
        self._calls = calls
        self._backend = backend
        self._display = display
        self._max_output = max_output
        self._budget = codec.Budget(bytes=max_output)
        # A project may have another validator than the app's own word.
        self._own = Own() if getattr(backend, "judged", False) else own_of(directory.path)
        self._refusals: dict[int, int] = {}
        self.jobs_are_made = True

    def load(self, arrival: Arrival) -> tuple[Any] | None:
        """Return an outcome in a tuple of one, or None if its file was refused (M9, M10).

        Raises ``FileNotFoundError`` if it is gone.
        """
        reach("load", arrival.file)
        try:
            data = self._directory.read(arrival, self._max_output)
            if arrival.kind == ERROR:
                failure = failure_from_bytes(data)
                name = arrival.file.rpartition(".")[0]
                if (failure.index, failure.name) != (arrival.sequence, name):
                    raise RejectedResult("a failure report of another job")
                return (failure,)
            output = self._calls.decode(data, self._budget)
            if refusal := self._own.refusal(output):
                raise RejectedResult(refusal)
            return (output,)
        except RejectedResult as refusal:
            self._refuse(arrival, str(refusal))
            return None

    def load_recorded(self, arrival: Arrival) -> tuple[Any] | None:
        """Return an outcome that was handled before, or None while its job is done again."""
        try:
            return self.load(arrival)
        except FileNotFoundError:
            self._have_done_again(arrival)
            return None

    def miss(self, sequences: Sequence[int]) -> None:
        """Have jobs done again whose outcome has gone from new/ before it was handled."""
        self._display.note(f"the outcomes of {len(sequences)} jobs are gone; doing them again")
        self._reissue(sequences)

    def _have_done_again(self, arrival: Arrival) -> None:
        if arrival.sequence not in self._refusals:
            self._display.note(f"{arrival.file} was handled before and is gone; doing it again")
            self._refusals[arrival.sequence] = 0
            self._reissue([arrival.sequence])
        elif self._failed_now(arrival):
            raise DirectoryDamaged(
                f"{arrival.file} was handled before and is lost, and doing its job again failed; "
                "restore old/ from a backup, or start anew with --fresh"
            )

    def _failed_now(self, arrival: Arrival) -> bool:
        """Whether a true outcome of the other kind came for what was recorded as *arrival*."""
        others = [one for one in self._directory.arrivals() if one.sequence == arrival.sequence]
        return any(one.kind != arrival.kind and self.load(one) for one in others)

    def _refuse(self, arrival: Arrival, reason: str) -> None:
        self._directory.quarantine(reason, arrival.file)
        refusals = self._refusals[arrival.sequence] = 1 + self._refusals.get(arrival.sequence, 0)
        if refusals < REFUSALS:
            self._reissue([arrival.sequence])
            return
        name = arrival.file.rpartition(".")[0]
        text = f"its output was refused {refusals} times, the last time because: {reason}"
        failure = Failure(arrival.sequence, name, text)
        self._directory.deliver(arrival.sequence, failure_to_bytes(failure))

    def _reissue(self, sequences: Sequence[int]) -> None:
        record = self._directory.record
        assert record is not None
        self._backend.begin_batch(record.token)
        if not self.jobs_are_made:
            # All was handled, so nobody has asked whether the project still has the jobs.
            self._backend.submit(0, len(self._directory.spool))
            self.jobs_are_made = True
        self._backend.reissue(sequences, unless_there=True)
        self._backend.start()
