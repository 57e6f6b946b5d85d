"""Which worker gets the next instance: they have some ahead, but none waits behind a long one.

A worker that is given one instance at a time waits for a commit between two of them.  So of short
ones each gets many.  How long one takes is known when it has ended: if a worker is at one for
longer than all that it was given should have taken, and another one has nothing to do, then what
waits there is done elsewhere, and the worker gets no more until that one has ended.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

AHEAD_SECONDS = 0.1
"""Workers have instances for about this long, so that they never wait for a commit..."""

_AHEAD = 64
"""...but not more than so many, and of long ones just the one that runs."""


class Loads:
    """How many instances each worker has, and since when it is at the one that runs."""

    def __init__(self, workers: int) -> None:
        self._has = [0] * workers
        self._since = [0.0] * workers
        self._held_up: set[int] = set()
        self._mean = AHEAD_SECONDS / 4

    def with_room(self) -> int | None:
        """Return the worker that is to have the next instance; None if all have enough."""
        worker = self._least()
        most = min(_AHEAD, max(1, int(AHEAD_SECONDS / max(self._mean, 1e-4))))
        return worker if worker is not None and self._has[worker] < most else None

    def _least(self) -> int | None:
        workers: Sequence[int] = range(len(self._has))
        if self._held_up:
            workers = [one for one in workers if one not in self._held_up]
        return min(workers, key=self._has.__getitem__, default=None)

    def give(self, worker: int) -> None:
        """Be told that *worker* was given an instance."""
        if not self._has[worker]:
            self._since[worker] = time.monotonic()
        self._has[worker] += 1

    def go_on(self, worker: int) -> None:
        """Be told that *worker* begins with another one of those that it has."""
        self._since[worker] = time.monotonic()
        self._held_up.discard(worker)

    def end(self, worker: int, elapsed: float) -> None:
        """Be told that an instance has ended, after *elapsed* seconds."""
        self._has[worker] -= 1
        self._mean += 0.1 * (elapsed - self._mean)
        self.go_on(worker)

    def move(self, worker: int) -> int:
        """Return who is to have an instance that waited at *worker*."""
        self._has[worker] -= 1
        other = self._least()
        assert other is not None, "who was idle when others were asked is not held up"
        self.give(other)
        return other

    def held_up(self) -> list[int]:
        """Return the workers at which something waits that others could do; each is named once."""
        now = time.monotonic()
        found = [worker for worker, due in self._waited_for() if due <= now]
        self._held_up.update(found)
        return found

    def timeout(self, most: float) -> float:
        """Return for how long, *most* at most, :meth:`held_up` has no other answer (s)."""
        due = [due for _, due in self._waited_for()]
        return max(0.0, min(most, min(due) - time.monotonic())) if due else most

    def _waited_for(self) -> list[tuple[int, float]]:
        """Return which workers have more than they are at, and when others may have that."""
        if 0 not in self._has:
            return []
        return [
            (worker, self._since[worker] + AHEAD_SECONDS)
            for worker, number in enumerate(self._has)
            if number > 1 and worker not in self._held_up
        ]
