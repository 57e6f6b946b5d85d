"""The daemons of a server: each wakes every few seconds and takes what waits for it.

Nobody wakes for nothing: a daemon's next pass is an event only when something waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

from simulator.clock import Alarm, Clock
from simulator.jobs import Job
from simulator.lives import DAEMONS, PASS, Lives, Step

_BITS = [
    tuple((number, 1 << number) for number in range(len(DAEMONS)) if work >> number & 1)
    for work in range(1 << len(DAEMONS))
]
"""The daemons of each set of them, as numbers and bits."""


class Daemons:
    """Transitioner, validator, assimilator and file deleter, with these *intervals* (s).

    What a pass makes of a workunit is told to *take*.  An interval of 0 is a daemon that never
    sleeps.
    """

    def __init__(
        self,
        clock: Clock,
        intervals: Sequence[float],
        lives: Lives,
        take: Callable[[Job, Step], None],
    ) -> None:
        self._clock = clock
        self._intervals = tuple(intervals)
        self._lives = lives
        self._take = take
        self._due: list[list[Job]] = [[] for _ in DAEMONS]
        self._next = [-1.0] * len(DAEMONS)
        """When each wakes next; if that is past, it was not called since."""
        self._alarms = [_Pass(self, number) for number in range(len(DAEMONS))]

    def call(self, job: Job, work: int) -> None:
        """Put *job* before the daemons of *work* that it is not before already."""
        queued = job.queued
        for number, bit in _BITS[work & ~queued]:
            queued |= bit
            due = self._due[number]
            if not due:
                self._wake(number)
            due.append(job)
        job.queued = queued

    def _wake(self, number: int) -> None:
        """Let a daemon wake at its next pass: each has its own place in the interval."""
        now = self._clock.now
        time = self._next[number]
        if time < now:
            time, interval = now, self._intervals[number]
            if interval:
                place = interval * number / len(DAEMONS)
                time = ceil((now - place) / interval) * interval + place
            self._next[number] = time
        self._clock.set(self._alarms[number], time)

    def pass_over(self, number: int) -> None:
        """One pass of a daemon over all that waits for it."""
        bit, code = 1 << number, PASS[DAEMONS[number]]
        due, self._due[number] = self._due[number], []
        step_of, take = self._lives.step, self._take
        for job in due:
            job.queued &= ~bit
            state = job.state
            if state.work & bit:
                take(job, state.steps.get(code) or step_of(state, code))


class _Pass(Alarm):
    """A daemon wakes."""

    __slots__ = ("_daemons", "_number")

    def __init__(self, daemons: Daemons, number: int) -> None:
        self._daemons = daemons
        self._number = number

    def ring(self) -> None:
        """Let it look at what waits for it."""
        self._daemons.pass_over(self._number)
