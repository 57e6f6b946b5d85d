"""The results that wait to be sent, and the feeder that puts a few of them before the scheduler.

BOINC ``sched/feeder.cpp``: a piece of shared memory has room for some hundred results; the
feeder fills it from the database, goes on while it finds something to add, and sleeps for some
seconds when it does not.  Its passes are not events: they are made up for when a host asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from pyboinc.project import Daemon
from simulator.jobs import Job
from simulator.lives import PASS

_SCAN = 0.05
"""Seconds that one look of the feeder's into the database takes (ours)."""


class Feeder:
    """Unsent results by priority, then in the order of their making; *size* slots of them."""

    def __init__(self, size: int, interval: float, happens: Callable[[Job, int], object]) -> None:
        self.slots: deque[tuple[Job, int]] = deque()
        """What the scheduler sees: workunits and the numbers of their instances."""
        self.unsent = 0
        """Unsent results, those in the slots as well."""
        self.source: Callable[[], Job | None] | None = None
        """Makes one more workunit when there is none to send; None: there are no more."""
        self._size = size
        self._interval = interval
        self._happens = happens
        self._queues: dict[int, deque[tuple[Job, int]]] = {}
        self._fed_at = 0.0

    def add(self, job: Job, made: tuple[int, ...]) -> None:
        """Queue new instances of a workunit."""
        queue = self._queues.get(job.priority)
        if queue is None:
            self._queues[job.priority] = queue = deque()
            self._queues = dict(sorted(self._queues.items(), reverse=True))
        self.unsent += len(made)
        for instance in made:
            job.hosts.append(None)
            queue.append((job, instance))

    def feed(self, now: float) -> None:
        """Make up for the feeder's passes until now.

        It goes on while it finds something to add, and sleeps when it does not.
        """
        interval, since = self._interval, now - self._fed_at
        if since > _SCAN and interval:
            slept = int((since - _SCAN) / interval)
            if not slept:
                return
            self._fed_at += _SCAN + slept * interval
        else:
            self._fed_at = now
        for entry in self._next(self._size - len(self.slots)):
            self.slots.append(entry)

    def _next(self, number: int) -> Iterator[tuple[Job, int]]:
        while number > 0:
            queue = next(filter(None, self._queues.values()), None)
            if queue is None:
                if self.source is None or (made := self.source()) is None:
                    return
                # It stands for one of a stock that was made some time ago.
                self._happens(made, PASS[Daemon.TRANSITIONER])
                continue
            job, instance = entry = queue.popleft()
            if instance in job.state.unsent:
                number -= 1
                yield entry
            else:
                self.unsent -= 1
