"""How far the batch is, on stderr: live on a terminal, elsewhere a line now and then.

The master calls :meth:`Display.show` after each group of results, so it must cost next to
nothing when it is not time to draw: it keeps what it is given and looks at the clock.
What is drawn is chosen when it is first time to: a run of less than a second on a terminal
never imports :mod:`rich`.

Nothing runs in the background.  A display that can not be written to (its terminal is
gone) falls silent; it never stops the master.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable
from typing import Protocol, TextIO

from pyboinc.backends import Counts
from pyboinc.config import Settings
from pyboinc.pace import Rate, State, counts_text, rate_text, replay_text, span_text
from pyboinc.report import printable_line, without_numbers
from pyboinc.stderr import fall_silent

PATIENCE = 1.0
"""Seconds of a run before anything is drawn on a terminal."""

LINE_PERIOD = 5.0
"""Seconds between two lines, at least, where stderr is no terminal..."""

LINE_STEP = 0.05
"""...and the fraction of all jobs between them, at least, unless..."""

LONGEST_SILENCE = 300.0
"""...so many seconds have passed without a line."""

SHOWN_CAUSES = 5
"""Causes of errors that are told of while the batch goes on; ``pyboinc errors`` has all."""


class Face(Protocol):
    """A way to show progress."""

    def draw(self, state: State) -> float:
        """Show *state*; return after how many seconds to look again."""

    def replaying(self, done: int, total: int) -> float:
        """Show how far the replay is; return after how many seconds to look again."""

    def say(self, text: str) -> None:
        """Write one line that stays."""

    def close(self) -> None:
        """Take away what moves."""


class Lines:
    """Progress where there is no terminal: one line now and then."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._at = 0.0
        self._fraction = 0.0

    def draw(self, state: State) -> float:
        """Write a line if enough time has passed, and enough was done in it."""
        fraction = state.handled / max(1, state.counts.total)
        silent = state.elapsed - self._at
        moved = fraction - self._fraction >= LINE_STEP - 1e-9
        if (silent >= LINE_PERIOD and moved) or silent >= LONGEST_SILENCE:
            pace = f"{rate_text(state.rate)}, {span_text(state.time_left)} left"
            self.say(f"{counts_text(state.counts, state.handled)}, {pace}")
            self._at, self._fraction = state.elapsed, fraction
        return 0.5

    def replaying(self, done: int, total: int) -> float:
        """Write a line: the display asks for one each LINE_PERIOD only."""
        self.say(replay_text(done, total))
        return LINE_PERIOD

    def say(self, text: str) -> None:
        """Write one line."""
        self._stream.write(f"pyboinc: {text}\n")
        self._stream.flush()

    def close(self) -> None:
        """There is nothing to take away."""


class Display:
    """Shows how far a batch is, in the way that suits *stream* (stderr) and *settings*."""

    def __init__(
        self,
        settings: Settings,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._color = settings.color
        self._quiet = settings.quiet or self._stream is None
        self._shows = settings.progress and not self._quiet
        self._live = self._shows and settings.live and _can_move(self._stream)
        self._face: Face | None = None
        self._causes: set[str] = set()
        self._renew()

    def _renew(self) -> None:
        """Begin to measure: a run, or its next phase."""
        self._begun = self._clock()
        self._plain = Lines(self._stream)
        self._rate = Rate()
        self._latest: tuple[Counts, int] | None = None
        wait = PATIENCE if self._live else LINE_PERIOD
        self._replay_next = self._begun + wait if self._shows else math.inf
        self._next = self._begun if self._shows else math.inf

    def show(self, counts: Counts, handled: int) -> None:
        """Show how far the batch is, if it is time to; about 0.3 us if it is not."""
        self._latest = (counts, handled)
        now = self._clock()
        if now >= self._next:
            self._draw(now, counts, handled)

    def _draw(self, now: float, counts: Counts, handled: int) -> None:
        self._rate.observe(now, handled)
        elapsed = now - self._begun
        if self._live and elapsed < PATIENCE:
            self._next = self._begun + PATIENCE
            return
        state = State(counts, handled, self._rate.value, elapsed)
        self._next = now + self._attempt(lambda face: face.draw(state))

    def replaying(self, done: int, total: int) -> None:
        """Show how many of the results handled before have been handled again."""
        now = self._clock()
        if now >= self._replay_next:
            self._replay_next = now + self._attempt(lambda face: face.replaying(done, total))

    def note(self, text: str) -> None:
        """Say one thing, now, unless the master is to be quiet."""
        if not self._quiet:
            self._attempt(lambda face: face.say(text))

    def first_errors(self, news: list[str]) -> None:
        """Tell of errors, each ``"<result>: <its last word>"``, once for each distinct cause.

        The list is emptied; if it is empty, as nearly always, this costs nothing.
        """
        for text in news:
            name, _, cause = text.partition(": ")
            if len(self._causes) < SHOWN_CAUSES and without_numbers(cause) not in self._causes:
                self._causes.add(without_numbers(cause))
                self.note(f"first error: {printable_line(cause)} ({name}; it is tried again)")
        news.clear()

    def close(self) -> None:
        """Take the display away; if all is handled, say so in a line that stays."""
        counts, handled = self._latest or (Counts(), 0)
        if self._face is not None:
            self._attempt(lambda face: face.close())
            self._face = self._plain
        if self._shows and counts.total and handled >= counts.total:
            text = counts_text(counts, handled)
            self.note(f"{text}, in {span_text(self._clock() - self._begun)}")
        self._face = None
        self._renew()

    def _attempt(self, action: Callable[[Face], float | None]) -> float:
        """Do *action* with the face; if it can not be written to, never again."""
        try:
            if self._live and self._face is None and self._clock() - self._begun >= PATIENCE:
                self._face = _moving(self._stream, self._color) or self._plain
            return action(self._face or self._plain) or 0.0
        except (OSError, ValueError):  # its terminal or file is gone, or closed
            self._fall_silent()
            return math.inf

    def _fall_silent(self) -> None:
        self._quiet, self._shows, self._live = True, False, False
        face, self._face = self._face, None
        if face is not None:
            try:
                face.close()  # it gives sys.stdout back
            except (OSError, ValueError):
                pass
        if self._stream is sys.stderr:
            fall_silent()


def _can_move(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM") != "dumb"
    except ValueError:  # closed
        return False


def _moving(stream: TextIO, color: bool) -> Face | None:
    """Return the live display, or None if rich is not installed."""
    try:
        from pyboinc.live import Live
    except ImportError:
        return None
    return Live(stream, color)
