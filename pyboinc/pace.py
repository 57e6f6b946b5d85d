"""How fast a batch goes and how long it will take, in numbers and in words.

Shared by the progress display and ``pyboinc status``.  What is not known is None, and "-"
in words: a guess that looks like a measurement is worse than none.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from pyboinc.backends import Counts

MEMORY = 30.0
"""Seconds over which the rate is averaged, at least; and..."""

MEMORY_JOBS = 20
"""...the jobs over which it is averaged, at least."""


class Rate:
    """Jobs per second: an average over the recent past, or None while too little is known.

    The weight of the past falls exponentially with its age.  What counts as recent grows
    with the time between two jobs: of jobs that take an hour, half a minute knows nothing.
    """

    def __init__(self) -> None:
        self._first = self._last = (0.0, -1)
        self._jobs = self._seconds = 0.0

    def observe(self, now: float, handled: int) -> None:
        """Take note that *handled* jobs were handled at the time *now* (seconds)."""
        if self._last[1] < 0:
            self._first = self._last = (now, handled)
            return
        seconds, jobs = now - self._last[0], handled - self._last[1]
        spacing = (now - self._first[0]) / max(1, handled - self._first[1])
        kept = math.exp(-seconds / max(MEMORY, MEMORY_JOBS * spacing))
        self._jobs = self._jobs * kept + jobs
        self._seconds = self._seconds * kept + seconds
        self._last = (now, handled)

    @property
    def value(self) -> float | None:
        """Jobs per second; None before a second and three jobs were seen."""
        if self._last[0] - self._first[0] < 1.0 or self._last[1] - self._first[1] < 3:
            return None
        return self._jobs / self._seconds


class State(NamedTuple):
    """What there is to draw; ``elapsed`` in seconds, ``rate`` in jobs per second."""

    counts: Counts
    handled: int
    rate: float | None
    elapsed: float

    @property
    def time_left(self) -> float | None:
        """Seconds until all is handled at this rate; None if that is not known."""
        return time_left(self.counts.total - self.handled, self.rate)


def time_left(jobs: int, rate: float | None) -> float | None:
    """Return the seconds that *jobs* take at *rate* (jobs per second), None if unknown."""
    if jobs <= 0:
        return 0.0
    return jobs / rate if rate else None


def counts_text(counts: Counts, handled: int) -> str:
    """Return how far a batch is in one line."""
    parts = [f"{counts.done} done", f"{counts.failed} failed"]
    if counts.running or counts.queued:
        parts += [f"{counts.running} running", f"{counts.queued} queued"]
    retries = f"{counts.retries} {'retry' if counts.retries == 1 else 'retries'}"
    return f"{handled} of {counts.total} handled: {', '.join([*parts, retries])}"


def replay_text(done: int, total: int) -> str:
    """Return how far a replay is in one line."""
    return f"{done} of {total} earlier results handled again"


def rate_text(rate: float | None) -> str:
    """Return jobs per second, minute or hour, whichever reads best; ``-`` if not known."""
    if rate is None:
        return "- jobs/s"
    units = (("s", 1), ("min", 60), ("h", 3600))
    unit, seconds = next((one for one in units if rate * one[1] >= 1), units[-1])
    return f"{rate * seconds:.{0 if rate * seconds >= 100 else 1}f} jobs/{unit}"


def span_text(seconds: float | None) -> str:
    """Return a length of time for people: 0.4 s, 0:42, 3:05:07, 2 d 5 h; ``-`` if not known."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
