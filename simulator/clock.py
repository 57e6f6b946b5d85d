"""SimPy's environment, with events at exact times."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from heapq import heapify, heappop, heappush
from math import inf, log2, nextafter
from typing import Final

import simpy
from simpy.events import NORMAL, Event

__all__ = ["Alarm", "Clock", "nothing_collected"]

_BUSY: Final = 40.0 / 86400.0
"""Events a second of each of a crowd, roughly: nothing but speed depends on it."""

_TOGETHER: Final = 16
"""Events that come into SimPy's queue together, roughly."""

_FEW: Final = 250
"""So many need no slices."""

_LATE: Final = 2.0**40
"""Seconds (35,000 years) after which there is one slice for all that is still to come."""

Entry = tuple[float, int, int, object]
"""What stands in SimPy's queue: time, priority, turn and event."""


@contextmanager
def nothing_collected() -> Iterator[None]:
    """Nobody looks for circles of objects that are not needed any more."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Alarm:
    """What rings at a time that it is set to, again and again.

    It stands in SimPy's queue like an event, but no new one is made for each occasion: no
    process, no generator, no timeout.
    """

    __slots__ = ("rings_at", "turn")

    rings_at: float
    """When it rings, if it is set;"""
    turn: int
    """and its turn among all that ring at the same time."""

    def ring(self) -> None:
        """Do what is due."""
        raise NotImplementedError


class Clock:
    """Virtual time in seconds from 0 on: SimPy's environment and its queue.

    SimPy schedules by delays: ``now + (time - now)`` is not *time* to the last bit, and then a
    task has not quite finished when its event comes.  :meth:`set` puts the time itself into
    SimPy's queue.

    That queue is a heap, and of many thousand events the processor finds hardly any in its
    cache.  So only the next few are in it.  The others wait in slices of time, which are as long
    as a *crowd* needs for a handful of events, and come into the queue slice by slice: the
    order is the same.
    """

    __slots__ = (
        "_ends",
        "_later",
        "_looked",
        "_numbers",
        "_queue",
        "_rate",
        "_slices",
        "environment",
        "now",
    )

    def __init__(self, crowd: int = 1) -> None:
        self.environment = simpy.Environment()
        self.now = 0.0
        self._queue: list[Entry] = self.environment._queue  # type: ignore[assignment] # whose priorities are whole numbers
        self._numbers = self.environment._eid
        self._looked = 0
        self._rate = 2.0 ** round(log2(crowd * _BUSY / _TOGETHER))
        """Slices a second; a power of two, so that no event is rounded into another slice."""
        self._later: dict[int, list[Alarm]] = {}
        """What happens after the present slice, by the number of its own."""
        self._slices: list[int] = []
        """These numbers, a heap."""
        self._ends = -1.0 if crowd > _FEW else inf
        """The last moment of the present slice; all of time, if there are few."""

    def set(self, alarm: Alarm, time: float) -> None:
        """Let *alarm* ring at *time*, or now if that is past; not to be called while it is set."""
        if time < self.now:
            time = self.now
        alarm.rings_at = time
        alarm.turn = next(self._numbers)
        if time <= self._ends:
            heappush(self._queue, (time, NORMAL, alarm.turn, alarm))
            return
        number = int((time if time < _LATE else _LATE) * self._rate)
        waiting = self._later.get(number)
        if waiting is None:
            self._later[number] = [alarm]
            heappush(self._slices, number)
        else:
            waiting.append(alarm)

    def run_on(self, time: float, enough: Sized = ()) -> None:
        """Let everything happen that is due until *time*, or until *enough* is not empty.

        As SimPy's ``step()``, which knows nothing of alarms.  While time passes no circles of
        objects are made, so nobody looks for them.
        """
        try:
            with nothing_collected():
                self._run_slice(time, enough)
                while not enough and self._next_slice(time):
                    self._run_slice(time, enough)
        finally:
            self.environment._now = self.now

    def _next_slice(self, time: float) -> bool:
        """Let the next slice come into the queue, if it begins until *time*."""
        queue = self._queue
        begins = self._slices[0] / self._rate if self._slices else inf
        if queue and queue[0][0] < begins:  # an event of SimPy's own comes before
            self._ends = queue[0][0]
            return self._ends <= time
        if not self._slices or begins > time:
            return False
        number = heappop(self._slices)
        queue += [(one.rings_at, NORMAL, one.turn, one) for one in self._later.pop(number)]
        heapify(queue)
        ends = (number + 1) / self._rate
        self._ends = nextafter(ends, 0.0) if ends <= _LATE else inf
        return True

    def _run_slice(self, time: float, enough: Sized) -> None:
        queue = self._queue
        until = min(time, self._ends)
        while queue and not enough:
            entry = heappop(queue)
            moment, _, _, event = entry
            if moment > until:
                heappush(queue, entry)
                return
            self.now = moment
            if isinstance(event, Alarm):
                event.ring()
            else:
                assert isinstance(event, Event)
                self._happens(event)

    def _happens(self, event: Event) -> None:
        """Something happens that is not ours: as SimPy does it."""
        self.environment._now = self.now
        callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment] # as SimPy does
        for callback in callbacks:
            callback(event)

    def rest(self, time: float) -> None:
        """Let the time pass until *time*, when nothing is due before it."""
        if self.now < time < inf:
            self.now = self.environment._now = time

    @property
    def idle(self) -> bool:
        """Whether nothing will ever happen any more."""
        return not self._queue and not self._slices

    @property
    def events(self) -> int:
        """How many events there have been, and are to come."""
        self._looked += 1  # a number that no event has
        return next(self._numbers) - self._looked + 1
