"""SimPy's environment, with events at exact times."""

from __future__ import annotations

from collections.abc import Callable, Sized
from heapq import heappush
from math import inf

import simpy
from simpy.events import NORMAL, Event

__all__ = ["Alarm", "Clock", "Event"]


class Clock(simpy.Environment):
    """Virtual time in seconds from 0 on.

    SimPy schedules by delays: ``now + (time - now)`` is not *time* to the last bit, and then a
    task has not quite finished when its event comes.  :meth:`at` puts the time itself into
    SimPy's queue.
    """

    def at(self, time: float, event: Event) -> None:
        """Let *event* happen at *time*, not before now."""
        now = self._now
        heappush(self._queue, (time if time > now else now, NORMAL, next(self._eid), event))

    def run_on(self, time: float, enough: Sized = ()) -> None:
        """Let everything happen that is due until *time*, or until *enough* is not empty."""
        queue, step = self._queue, self.step
        while queue and queue[0][0] <= time and not enough:
            step()

    def rest(self, time: float) -> None:
        """Let the time pass until *time*, when nothing is due before it."""
        if self._now < time < inf:
            self._now = time

    @property
    def idle(self) -> bool:
        """Whether nothing will ever happen any more."""
        return self.peek() == inf


class Alarm(Event):
    """An event that is used again and again, with one callback; it costs no new object.

    It is SimPy's bare event: no process, no generator.
    """

    def __init__(self, clock: Clock, callback: Callable[[Event], None]) -> None:
        super().__init__(clock)
        self.callback = callback
        self._ok = True
        self._value = None
        self._clock = clock

    def set(self, time: float) -> None:
        """Ring at *time*; not to be called while it is set."""
        self.callbacks = [self.callback]
        self._clock.at(time, self)
