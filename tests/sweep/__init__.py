"""The full sweep: every fault that can be enumerated, one by one, until none is left.

A part of the sweep is a module of this package with one function::

    def sweep(seed: int, only: str) -> Part

It tries everything it can enumerate (or, with *only*, what that pattern names), counts
what it tried, and says in words what failed and how to see it again.  ``make sweep`` runs
all parts; ``make test`` runs a slice of each.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Part:
    """What one part of the sweep has tried: counts by name, and a line for each failure."""

    counts: dict[str, int] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def count(self, name: str, number: int = 1) -> None:
        """Count something that was tried."""
        self.counts[name] = self.counts.get(name, 0) + number
