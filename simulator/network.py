"""The data server: files go through one line, one after the other."""

from __future__ import annotations

from math import inf


class DataServer:
    """A server of files with *bandwidth* bytes a second for downloads and uploads together.

    First come, first served: what n hosts share at the same time takes them as long, on
    average, as if each had its turn, and a line that is full is as full.
    """

    __slots__ = ("_bandwidth", "_free_at", "busy")

    def __init__(self, bandwidth: float = inf) -> None:
        self._bandwidth = bandwidth
        self._free_at = 0.0
        self.busy = 0.0
        """Seconds of work that it has been given."""

    def transfer(self, now: float, size: float, host_bandwidth: float = inf) -> float:
        """When a file of *size* bytes that is asked for *now* has come through."""
        taken = size / self._bandwidth
        self.busy += taken
        begins = self._free_at
        self._free_at = through = (begins if begins > now else now) + taken
        if host_bandwidth < inf:
            own = now + size / host_bandwidth
            if own > through:
                return own
        return through

    def load(self, now: float) -> float:
        """The share of the time until *now* in which it was busy."""
        waiting = max(0.0, self._free_at - now)
        return (self.busy - waiting) / now if now else 0.0
