"""What is counted while a simulation runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Measures:
    """Counts since the beginning, and when things happened, in intervals of equal length.

    Work is in FLOP.  A result is *sent*, then it ends as a success, an error, or not at all
    (``no_replies`` counts deadlines that passed); what was too late may still be a success.
    """

    messages: int = 0
    """Requests of clients to the scheduler."""
    sent: int = 0
    successes: int = 0
    errors: int = 0
    no_replies: int = 0
    aborted: int = 0
    """Instances that clients gave up before they started, because they were not needed."""
    ignored: int = 0
    """Reports that were not taken."""
    valid: int = 0
    invalid: int = 0
    workunits: int = 0
    done: int = 0
    failed: int = 0
    wrong: int = 0
    """Workunits done with a wrong output."""
    replicated: int = 0
    """Workunits that were asked for once more because their host was not trusted."""
    flops_valid: float = 0.0
    """Work of results that were found valid: what credit is given for."""
    flops_done: float = 0.0
    """Work of the canonical results, each counted once."""
    flops_errors: float = 0.0
    flops_invalid: float = 0.0
    flops_returned: float = 0.0
    """Work of all results that came back as successes."""
    interval: float = 3600.0
    """Length of the intervals of the series (s)."""
    series: dict[str, list[int]] = field(default_factory=dict)
    """By name: how often something happened in each interval."""

    def note(self, what: str, now: float, number: int = 1) -> None:
        """Count *what* in the interval of *now*."""
        counts = self.series.setdefault(what, [])
        place = int(now / self.interval)
        if place >= len(counts):
            counts.extend([0] * (place + 1 - len(counts)))
        counts[place] += number

    @property
    def waste(self) -> dict[str, float]:
        """Work that was done for nothing, by cause (FLOP)."""
        redundant = self.flops_valid - self.flops_done
        unjudged = self.flops_returned - self.flops_valid - self.flops_invalid
        return {
            "errors": self.flops_errors,
            "invalid": self.flops_invalid,
            "redundancy": max(redundant, 0.0),
            "not judged": max(unjudged, 0.0),
        }
