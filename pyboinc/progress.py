"""How far the batch is, on stderr: a line now and then."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from pyboinc.backends import Counts
from pyboinc.config import Settings


class Display:
    """Shows progress; silent if *quiet*."""

    def __init__(self, settings: Settings, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._quiet = bool(settings.quiet)
        self._next = 0.0

    def note(self, text: str) -> None:
        """Say one thing, now."""
        print(f"pyboinc: {text}", file=self._stream)

    def show(self, counts: Counts, handled: int) -> None:
        """Show how far the batch is, if it is time to."""
        if self._quiet or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 5.0

    def replaying(self, done: int, total: int) -> None:
        """Show how many of the results handled before have been handled again."""

    def close(self) -> None:
        """Take the display away."""
