"""The results that wait to be sent, and the feeder that puts a few of them before the scheduler.

BOINC ``sched/feeder.cpp``: a piece of shared memory has room for some hundred results; the
feeder fills it from the database, goes on while it finds something to add, and sleeps for some
seconds when it does not.  Its passes are not events: they are made up for when a host asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from simulator.jobs import NOBODY, Job

_SCAN: Final = 0.05
"""Seconds that one look of the feeder's into the database takes (ours)."""


class Feeder:
    """Unsent results by priority, then in the order of their making; *size* slots of them."""

    def __init__(self, size: int, interval: float) -> None:
        self.slots: deque[tuple[Job, int]] = deque()
        """What the scheduler sees: workunits and the numbers of their instances."""
        self.unsent = 0
        """Unsent results, those in the slots as well."""
        self.source: Callable[[], object] | None = None
        """Makes one more workunit when there is none to send; None when there are no more."""
        self.sleeps_from = self.sleeps_until = 0.0
        """When it sleeps next; at any other time its slots are as full as can be."""
        self._size = size
        self._interval = interval
        self._queues: dict[int, deque[tuple[Job, int]]] = {}

    def add(self, job: Job, made: tuple[int, ...]) -> None:
        """Queue new instances of a workunit."""
        queue = self._queues.get(job.priority)
        if queue is None:
            self._queues[job.priority] = queue = deque()
            self._queues = dict(sorted(self._queues.items(), reverse=True))
        self.unsent += len(made)
        hosts = job.hosts
        for instance in made:
            hosts.append(NOBODY)
            queue.append((job, instance))

    def feed(self, now: float) -> None:
        """Make up for the feeder's passes until now, which is not in its sleep."""
        looked = now
        if now >= self.sleeps_until and self._interval:
            # The last time that it woke it filled the slots; if nothing went soon, it slept again.
            period = self._interval + _SCAN
            woke = self.sleeps_until + int((now - self.sleeps_until) / period) * period
            looked = now if now - woke <= _SCAN else woke
        self.sleeps_from = looked + _SCAN
        self.sleeps_until = self.sleeps_from + self._interval
        slots = self.slots
        missing = self._size - len(slots)
        while missing > 0:
            queue = self._first()
            if queue is None:
                return
            while queue and missing > 0:
                entry = queue.popleft()
                if entry[1] in entry[0].state.unsent:
                    missing -= 1
                    slots.append(entry)
                else:
                    self.unsent -= 1

    def _first(self) -> deque[tuple[Job, int]] | None:
        """The queue of the highest priority that holds anything; None if there is nothing left."""
        while True:
            for queue in self._queues.values():
                if queue:
                    return queue
            if self.source is None or self.source() is None:
                return None
