"""The live display of a master's progress on a terminal, drawn with rich.

Imported by :mod:`pyboinc.progress` when a run has lasted a second on a terminal.  What the
master's handlers print meanwhile appears above it.
"""

from __future__ import annotations

import sys
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.file_proxy import FileProxy
from rich.live import Live as RichLive
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pyboinc.pace import State, rate_text, replay_text, span_text

PERIOD = 0.25
"""Seconds between two drawings."""

BAR_WIDTH = 30


class Live:
    """A bar and a line of numbers at the bottom of the terminal *stream*."""

    def __init__(self, stream: TextIO, color: bool) -> None:
        self._console = _Console(
            file=stream, force_terminal=True, no_color=not color, highlight=False, markup=False
        )
        # Only what goes to this terminal may pass through rich: `app_master.py > answer` keeps
        # its standard output to itself.
        self._live = RichLive(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout is not None and sys.stdout.isatty(),
            redirect_stderr=stream is sys.stderr,
        )
        try:
            self._live.start()
            # rich hides the cursor; a master that is killed could not bring it back.
            self._console.show_cursor(True)
        except (OSError, ValueError):
            self.close()  # sys.stdout is our own again, also if this fails
            raise

    def draw(self, state: State) -> float:
        """Draw *state*; return after how many seconds to draw again."""
        self._live.update(_picture(state), refresh=True)
        return PERIOD

    def replaying(self, done: int, total: int) -> float:
        """Draw how far the replay is; return after how many seconds to draw again."""
        self._live.update(_with_bar(done, total, replay_text(done, total)), refresh=True)
        return PERIOD

    def say(self, text: str) -> None:
        """Write one line above the display."""
        self._console.print(Text(f"pyboinc: {text}"), soft_wrap=True)

    def close(self) -> None:
        """Take the display away; nothing of what handlers printed is lost."""
        try:
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, FileProxy):
                    stream.flush()  # a last line without its end
        finally:
            self._live.stop()


class _Console(Console):
    """A console that does not end the program when the other end of its stream is gone."""

    def on_broken_pipe(self) -> None:
        """Let the display fall silent (called within the handling of the error)."""
        raise  # noqa: PLE0704  # the BrokenPipeError that is being handled


def _picture(state: State) -> RenderableType:
    counts = state.counts
    numbers = Text(no_wrap=True, overflow="ellipsis")
    for name, number, style in (
        ("done", counts.done, "green"),
        ("failed", counts.failed, "bold red" if counts.failed else ""),
        ("running", counts.running, "cyan"),
        ("queued", counts.queued, ""),
        ("retries", counts.retries, "yellow" if counts.retries else ""),
    ):
        numbers.append(str(number), style).append(f" {name}  ")
    numbers.append(f" {rate_text(state.rate)}  {span_text(state.time_left)} left")
    head = f"{state.handled} of {counts.total} handled"
    return Group(_with_bar(state.handled, counts.total, head), numbers)


def _with_bar(done: int, total: int, text: str) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_row(
        ProgressBar(total=max(1, total), completed=done, width=BAR_WIDTH),
        Text(text, no_wrap=True, overflow="ellipsis"),
    )
    return grid
