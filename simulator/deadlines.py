"""Deadlines that pass: one event for all instances that were sent with the same delay bound."""

from __future__ import annotations

from collections.abc import Callable

from simulator.clock import Alarm, Clock
from simulator.jobs import Task


class Deadlines(Alarm):
    """The deadlines of all instances with one delay bound: they pass in the order of sending.

    Each instance knows the one before and the one after it, so that it can be taken out when it
    is reported: what is done with is not kept.
    """

    __slots__ = ("_clock", "_first", "_is_set", "_last", "_missed")

    def __init__(self, clock: Clock, missed: Callable[[Task], None]) -> None:
        self._clock = clock
        self._missed = missed
        self._first: Task | None = None
        self._last: Task | None = None
        self._is_set = False

    def add(self, task: Task) -> None:
        """Watch the deadline of *task*, which is no earlier than those before."""
        last = self._last
        self._last = task
        if last is None:
            self._first = task
        else:
            last.after = task
            task.before = last
        if not self._is_set:
            self._is_set = True
            self._clock.set(self, task.deadline)

    def remove(self, task: Task) -> None:
        """Watch the deadline of *task* no longer."""
        before, after = task.before, task.after
        task.before = task.after = None
        if before is None:
            self._first = after
        else:
            before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before

    def ring(self) -> None:
        """Tell of those that have passed."""
        now = self._clock.now
        first = self._first
        while first is not None and first.deadline <= now:
            self.remove(first)
            self._missed(first)
            first = self._first
        if first is None:
            self._is_set = False
        else:
            self._clock.set(self, first.deadline)
