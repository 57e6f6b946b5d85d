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


class Clock(simpy.Environment):
    """Virtual time in seconds from 0 on.

    SimPy schedules by delays: ``now + (time - now)`` is not *time* to the last bit, and then a
    task has not quite finished when its event comes.  :meth:`set` puts the time itself into
    SimPy's queue.
    """

    def set(self, alarm: Alarm, time: float) -> None:
        """Let *alarm* ring at *time*, or now if that is past; not to be called while it is set."""
        now = self._now
        heappush(self._queue, (time if time > now else now, NORMAL, next(self._eid), alarm))

    def run_on(self, time: float, enough: Sized = ()) -> None:
        """Let everything happen that is due until *time*, or until *enough* is not empty.

        As ``step()``, without the callbacks of alarms being taken off and put on again.  While
        time passes no circles of objects are made, so nobody looks for them.
        """
        collects = gc.isenabled()
        gc.disable()
        try:
            self._run_on(time, enough)
        finally:
            if collects:
                gc.enable()

    def _run_on(self, time: float, enough: Sized) -> None:
        queue = self._queue
        while queue and queue[0][0] <= time and not enough:
            self._now, _, _, event = heappop(queue)
            if type(event) is Alarm:
                event.callback(event)
                continue
            callbacks, event.callbacks = event.callbacks, None  # type: ignore[assignment] # as SimPy does
            for callback in callbacks:
                callback(event)

    def rest(self, time: float) -> None:
        """Let the time pass until *time*, when nothing is due before it."""
        if self._now < time < inf:
            self._now = time

    @property
    def idle(self) -> bool:
        """Whether nothing will ever happen any more."""
        return not self._queue
