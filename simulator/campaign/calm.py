"""A world without volunteers: every instance is sent at once, and takes one second.

The fault-free run of a program lives here: what comes of it is what must come of every
other.  Faults are possible all the same; the project's rules are those of everywhere.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from pyboinc.backends.simulated.project import Decision
from pyboinc.faults import Kind
from pyboinc.project import (
    ClientState,
    Report,
    Results,
    ServerState,
    Workunit,
    cancel,
    create_workunit,
    reissue,
    report,
    send,
    settle,
)

if TYPE_CHECKING:
    from pyboinc.config.limits import Limits

DURATION = 1.0
"""Seconds that an instance takes."""


class Calm:
    """Hosts without number, all alike; *fates* says how each instance ends."""

    def __init__(self, fates: Callable[[int, int, Any], Any]) -> None:
        self.now = 0.0
        self._fates = fates
        self._rows: list[tuple[Workunit, Results]] = []
        self._sequences: list[int] = []
        self._events: list[tuple[float, int, int, Any]] = []
        self._count = 0
        self._decided: list[Decision] = []

    def create(
        self, name: str, sequence: int, *, flops: float, limits: Limits, priority: int = 0
    ) -> int:
        """Make a workunit, and return its number."""
        number = len(self._rows)
        columns = limits.workunit().items()
        rules: dict[str, Any] = {key: n for key, n in columns if not key.startswith("rsc_")}
        workunit = create_workunit(number, name, self.now, **rules)
        self._rows.append((workunit, ()))
        self._sequences.append(sequence)
        self._settle(number)
        return number

    def cancel(self, workunit: int) -> None:
        """Give a workunit up."""
        self._rows[workunit] = cancel(*self._rows[workunit], self.now)
        self._settle(workunit)

    def reissue(self, workunit: int) -> None:
        """Do a finished workunit again."""
        self._rows[workunit] = reissue(*self._rows[workunit], self.now)
        self._settle(workunit)

    def rows(self, workunit: int) -> tuple[Workunit, Results]:
        """Return the rows of a workunit as they are now."""
        return self._rows[workunit]

    def run_until_outcome(self, until: float = math.inf) -> list[Decision]:
        """Let time pass until something was decided, or until *until*."""
        while not self._decided and self._events and self._events[0][0] <= until:
            self.now, _, number, said = heapq.heappop(self._events)
            workunit, results = self._rows[number]
            if said is not None:
                workunit, results, _ = report(workunit, results, said, self.now)
                self._rows[number] = workunit, results
            self._settle(number)
        if not self._decided and until < math.inf:
            self.now = until
        decided, self._decided = self._decided, []
        return decided

    def _settle(self, number: int) -> None:
        workunit, results = self._rows[number]
        settled = settle(workunit, results, self.now, valid=_is_valid)
        self._rows[number] = settled.workunit, settled.results
        for one in settled.assimilations:
            label = None if one.instance is None else str(results[one.instance].output)
            self._decided.append(Decision(number, one.instance, label))
        for row in settled.results:
            if row.server_state == ServerState.UNSENT:
                self._send(number, row.instance)

    def _send(self, number: int, instance: int) -> None:
        self._rows[number] = send(*self._rows[number], instance, f"host-{1 + instance}", self.now)
        kinds, status, label, failed = self._fates(self._sequences[number], instance, instance)
        deadline = self.now + self._rows[number][0].delay_bound
        said = Report.success(instance, label)
        if status or failed:
            state = ClientState.UPLOAD_FAILED if failed else ClientState.COMPUTE_ERROR
            said = Report.error(instance, status, state)
        if Kind.HANG in kinds or Kind.VANISH in kinds:
            self._at(deadline + 1, number, None)
        elif Kind.LATE in kinds:
            self._at(deadline + 1, number, None)
            self._at(deadline + 60, number, said)
        else:
            self._at(self.now + DURATION, number, said)
            if Kind.DUPLICATE in kinds:
                self._at(self.now + DURATION, number, said)

    def _at(self, time: float, number: int, said: Report | None) -> None:
        self._count += 1
        heapq.heappush(self._events, (time, self._count, number, said))


def _is_valid(output: Any) -> bool:
    return output is not None
