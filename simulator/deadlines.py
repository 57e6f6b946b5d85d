"""Deadlines that pass: one event for all instances that were sent with the same delay bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from simulator.clock import Alarm, Clock, Event
from simulator.jobs import Task

_FEW: Final = 200
"""Deadlines that are kept whether or not they still matter."""


class Deadlines:
    """The deadlines of all instances with one delay bound: they pass in the order of sending."""

    def __init__(self, clock: Clock, missed: Callable[[Task], None]) -> None:
        self._tasks: deque[Task] = deque()
        self._alarm = Alarm(self._ring)
        self._clock = clock
        self._missed = missed
        self._limit = _FEW

    def add(self, task: Task) -> None:
        """Watch the deadline of *task*, which is no earlier than those before."""
        tasks = self._tasks
        if not tasks:
            self._clock.set(self._alarm, task.deadline)
        tasks.append(task)
        if len(tasks) > self._limit:
            # The first one stays: the alarm is set for it.
            first = tasks[0]
            kept = [one for one in tasks if one.open or one is first]
            self._tasks = deque(kept)
            self._limit = 2 * len(kept) + _FEW

    def _ring(self, _: Event) -> None:
        now, tasks = self._clock.now, self._tasks
        while tasks and (not tasks[0].open or tasks[0].deadline <= now):
            task = tasks.popleft()
            if task.open:
                self._missed(task)
        if tasks:
            self._clock.set(self._alarm, tasks[0].deadline)
