"""SimPy's environment, with events at exact times."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sized
from heapq import heappop, heappush
from math import inf
from typing import Any

import simpy
from simpy.events import NORMAL, Event

__all__ = ["Alarm", "Clock", "Event"]


class Alarm(Event):
    """An event that happens again and again, and calls the same function each time.

    It is SimPy's bare event, of which no new one is made for each occasion: no process, no
    generator, no timeout.
    """

    __slots__ = ("callback", "callbacks")

    _ok = True
    _value: Any = None

    def __init__(self, callback: Callable[[Event], object]) -> None:
        self.callback = callback


class Clock:
    """Virtual time in seconds from 0 on: SimPy's environment and its queue.

    SimPy schedules by delays: ``now + (time - now)`` is not *time* to the last bit, and then a
    task has not quite finished when its event comes.  :meth:`set` puts the time itself into
    SimPy's queue.
    """

    __slots__ = ("_looked", "_numbers", "_queue", "environment", "now")

    def __init__(self) -> None:
        self.environment = simpy.Environment()
        self.now = 0.0
        self._queue = self.environment._queue
        self._numbers = self.environment._eid
        self._looked = 0

    def set(self, alarm: Alarm, time: float) -> None:
        """Let *alarm* ring at *time*, or now if that is past; not to be called while it is set."""
        now = self.now
        heappush(self._queue, (time if time > now else now, NORMAL, next(self._numbers), alarm))

    def run_on(self, time: float, enough: Sized = ()) -> None:
        """Let everything happen that is due until *time*, or until *enough* is not empty.

        As SimPy's ``step()``, without the callbacks of alarms being taken off and put on again.
        While time passes no circles of objects are made, so nobody looks for them.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            self._run_on(time, enough)
        finally:
            self.environment._now = self.now
            if collects:
                gc.enable()

    def _run_on(self, time: float, enough: Sized) -> None:
        queue = self._queue
        while queue and queue[0][0] <= time and not enough:
            self.now, _, _, event = heappop(queue)
            if isinstance(event, Alarm):
                event.callback(event)
            else:
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
        return not self._queue

    @property
    def events(self) -> int:
        """How many events there have been, and are to come."""
        self._looked += 1  # a number that no event has
        return next(self._numbers) - self._looked + 1
