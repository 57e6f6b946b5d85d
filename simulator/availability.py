"""When a host computes: its times up and down, walked only as far as somebody looks.

A host's life is a row of cycles: up from ``start`` to ``end``, then down until ``resume``,
where the next cycle begins.  A model (:class:`Renewal`, :class:`Daily`, :class:`Trace`) says
how the n-th cycle goes on from its start; it draws by number, so that walking the same
cycle again, or later, gives the same times.  Nothing is an event: a task that ends in the
present cycle costs a subtraction and a comparison.

A host is up when it joins and begins a new up-time then, unless the model says otherwise.
With long-tailed down-times that matters: see :func:`simulator.presets.seti_all_iid`.

All times of cycles are multiples of 2**-20 s (about a microsecond), so that sums of them are
exact and the last bit of a machine's logarithm makes no difference.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from pyboinc.errors import ConfigurationError
from simulator.distributions import Distribution
from simulator.draws import uniform

DAY = 86_400.0
HOUR = 3_600.0

FOREVER = 2.0**30
"""Seconds (34 years) after which nobody looks any more: what would be later is never."""

_TICKS = 2.0**20
_TICKS_PER_HOUR = HOUR * _TICKS
_LONGEST = FOREVER / HOUR


class Model(Protocol):
    """How cycles follow one another; shared by many hosts."""

    def cycle(self, stream: int, n: int, start: float) -> tuple[float, float]:
        """The end of the up-time that begins the *n*-th cycle at *start*, and its resume."""
        ...

    def of(self, number: int) -> Model:
        """The model of the *number*-th host of a group."""
        ...

    @property
    def share(self) -> float:
        """The share of time up, in the long run."""
        ...


class Availability:
    """The times up and down of one host, from its joining on; made when first needed.

    It is moved on with :meth:`advance`, never back; *uptime*, *is_up* and *next_up* are of
    the time it was moved to.  After *leaves* the host is down for ever.  Until ``end`` it is up,
    with an uptime of the time plus ``offset``: who is in a hurry need not ask for it.
    *drawn* are the first numbers of *stream*, an even number, if they are at hand.
    """

    __slots__ = ("_drawn", "_leaves", "_model", "_n", "_now", "_stream", "end", "offset", "resume")

    def __init__(
        self,
        model: Model,
        stream: int,
        joins: float = 0.0,
        leaves: float = math.inf,
        drawn: Sequence[float] = (),
    ) -> None:
        self._model, self._stream, self._leaves = model, stream, leaves
        self._drawn = drawn
        self._n = 0
        joins = _ticked(joins)
        self._now = joins
        self.offset = -joins  # what added to a time of the present up-time makes the uptime
        self.end, self.resume = self._cycle(0, joins)

    def _cycle(self, n: int, start: float) -> tuple[float, float]:
        drawn, model = self._drawn, self._model
        if 2 * n < len(drawn) and isinstance(model, Renewal):
            end, resume = model.lasting(start, drawn[2 * n], drawn[2 * n + 1])
        else:
            end, resume = model.cycle(self._stream, n, start)
        leaves = self._leaves
        if resume >= leaves:
            return (end if end < leaves else max(leaves, start)), math.inf
        return end, (resume if resume < FOREVER else math.inf)

    def advance(self, time: float) -> None:
        """Move to *time*, which is never before the one moved to last."""
        self._now = time
        while time >= self.resume:
            start = self.resume
            self.offset += self.end - start
            self._n += 1
            self.end, self.resume = self._cycle(self._n, start)

    @property
    def uptime(self) -> float:
        """Seconds that the host was up, from its joining to now."""
        return (self._now if self._now < self.end else self.end) + self.offset

    @property
    def is_up(self) -> bool:
        """Whether the host is up now."""
        return self._now < self.end

    def next_up(self) -> float:
        """The earliest time from now on at which the host is up; inf: never again."""
        if self._now < self.end:
            return self._now
        n, resume = self._n, self.resume
        while resume < math.inf:
            n += 1
            end, following = self._cycle(n, resume)
            if resume < end:
                return resume
            resume = following
        return math.inf

    def when(self, uptime: float, until: float = FOREVER) -> float:
        """The time, not before now, at which *uptime* will be reached; inf: never.

        Nothing is moved.  What would be after *until* may be told as never: a task that
        takes far longer than anybody waits for it need not be followed to its end.
        """
        time = uptime - self.offset
        if time <= self.end:
            return time if time > self._now else self._now
        return self._later(uptime, until)

    def _later(self, uptime: float, until: float) -> float:
        n, offset, end, resume = self._n, self.offset, self.end, self.resume
        while resume <= until and resume < math.inf:
            start = resume
            offset += end - start
            n += 1
            end, resume = self._cycle(n, start)
            if uptime - offset <= end:
                return max(uptime - offset, self._now)
        return math.inf


# ---------------------------------------------------------------- models


@dataclass(frozen=True)
class Always:
    """Up from joining to leaving."""

    def cycle(self, stream: int, n: int, start: float) -> tuple[float, float]:
        """One up-time without an end."""
        return math.inf, math.inf

    def of(self, number: int) -> Always:
        """The same for every host."""
        return self

    @property
    def share(self) -> float:
        """All of the time."""
        return 1.0


@dataclass(frozen=True)
class Renewal:
    """Up- and down-times drawn one after the other, each independent of all others (hours)."""

    up: Distribution
    down: Distribution

    def cycle(self, stream: int, n: int, start: float) -> tuple[float, float]:
        """Two draws; each is at least one tick, so that time goes on."""
        return self.lasting(start, uniform(stream, 2 * n), uniform(stream, 2 * n + 1))

    def lasting(self, start: float, first: float, second: float) -> tuple[float, float]:
        """The cycle of these two numbers that were drawn."""
        up, down = self.up.quantile(first), self.down.quantile(second)
        end = start + (int((up if up < _LONGEST else _LONGEST) * _TICKS_PER_HOUR) + 1) / _TICKS
        down = down if down < _LONGEST else _LONGEST
        return end, end + (int(down * _TICKS_PER_HOUR) + 1) / _TICKS

    def of(self, number: int) -> Renewal:
        """The same for every host: what differs is its stream."""
        return self

    @property
    def share(self) -> float:
        """mean up / (mean up + mean down)."""
        return self.up.mean / (self.up.mean + self.down.mean)


@dataclass(frozen=True)
class Daily:
    """Up in a window of each day (or of some days of the week), at the host's own time of day.

    A host that joins outside its window is down until the next one.  *spread* hours are
    what its window's beginning may differ from one day to the next.
    """

    hours: float
    days: int = 7
    spread: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.hours < 24 or not 1 <= self.days <= 7:
            raise ConfigurationError(
                f"a daily window of {self.hours:g} hours on {self.days} days can not be;"
                " give hours above 0 and below 24, and 1 to 7 days"
            )

    def cycle(self, stream: int, n: int, start: float) -> tuple[float, float]:
        """The window that *start* lies in (or none: then up for no time), and the next one."""
        phase = uniform(stream, 0) * 7 * DAY  # so that its days off differ as well
        # A window may begin up to `spread` hours late: look at the day before, too.
        day = math.floor((start - phase) / DAY) - 1
        while True:
            begins, ends = self._window(stream, phase, day)
            if begins > start:
                return start, begins
            if start < ends:
                return ends, self._next(stream, phase, day)
            day += 1

    def _window(self, stream: int, phase: float, day: int) -> tuple[float, float]:
        if day % 7 >= self.days:
            return -math.inf, -math.inf
        late = min(self.spread, 24 - self.hours) * HOUR * uniform(stream, day + 1_000_000)
        begins = _ticked(phase + day * DAY + late)
        return begins, begins + _ticked(self.hours * HOUR)

    def _next(self, stream: int, phase: float, day: int) -> float:
        while True:
            day += 1
            begins, _ = self._window(stream, phase, day)
            if begins > -math.inf:
                return begins

    def of(self, number: int) -> Daily:
        """The same for every host: what differs is its phase."""
        return self

    @property
    def share(self) -> float:
        """The window's share of the week."""
        return self.hours * self.days / (24 * 7)


@dataclass(frozen=True)
class Trace:
    """Recorded up-times of one host (s), repeated after *period* seconds.

    *shifted*: begin at a time of the record that the host draws, so that hosts that share a
    record are not up and down together.
    """

    starts: tuple[float, ...]
    stops: tuple[float, ...]
    period: float
    shifted: bool = False

    def __post_init__(self) -> None:
        # In ticks, or a cycle could begin a rounding error before its up-time.
        for name in ("starts", "stops"):
            object.__setattr__(self, name, tuple(map(_ticked, getattr(self, name))))
        object.__setattr__(self, "period", _ticked(self.period))

    def cycle(self, stream: int, n: int, start: float) -> tuple[float, float]:
        """The recorded up-time that *start* lies in (or none), and the next one."""
        shift = _ticked(uniform(stream, 0) * self.period) if self.shifted else 0.0
        rounds, place = divmod(start + shift, self.period)
        turn = rounds * self.period - shift
        i = bisect_right(self.starts, place) - 1
        end = turn + self.stops[i] if i >= 0 and place < self.stops[i] else start
        if i + 1 < len(self.starts):
            return end, turn + self.starts[i + 1]
        return end, turn + self.period + self.starts[0]

    def of(self, number: int) -> Trace:
        """The same record for every host that has it."""
        return self

    @property
    def share(self) -> float:
        """The share of the record up."""
        return (math.fsum(self.stops) - math.fsum(self.starts)) / self.period


@dataclass(frozen=True)
class Traces:
    """Many hosts' records; the hosts of a group get them one after the other."""

    records: tuple[Trace, ...] = field(repr=False)

    @cached_property
    def _shifted(self) -> tuple[Trace, ...]:
        return tuple(Trace(one.starts, one.stops, one.period, True) for one in self.records)

    def cycle(self, stream: int, n: int, start: float) -> tuple[float, float]:
        """Never asked: each host has a record of its own."""
        raise AssertionError("a host has one record: use of(number)")

    def of(self, number: int) -> Trace:
        """The record of the *number*-th host; from the second turn on at a shifted time."""
        turn, i = divmod(number, len(self.records))
        return self._shifted[i] if turn else self.records[i]

    @property
    def share(self) -> float:
        """The mean of the records' shares."""
        return math.fsum(one.share for one in self.records) / len(self.records)


def _ticked(time: float) -> float:
    """*time* as a multiple of the tick."""
    return math.floor(time * _TICKS) / _TICKS
