"""What the server and a host hold in their hands: a workunit, and one instance of it."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, NamedTuple

from simulator.policies import Limits

if TYPE_CHECKING:
    from simulator.host import Host
    from simulator.lives import State


class Job:
    """One workunit: where it is, and which host has which of its instances."""

    __slots__ = (
        "created",
        "flops",
        "hosts",
        "id",
        "limits",
        "name",
        "priority",
        "queued",
        "sequence",
        "state",
    )

    def __init__(
        self, number: int, name: str, sequence: int, flops: float, limits: Limits, priority: int
    ) -> None:
        self.id = number
        self.name = name
        self.sequence = sequence
        self.flops = flops
        self.limits = limits
        self.priority = priority
        self.queued = 0
        self.hosts: list[Host | None] = []
        self.created = 0.0
        self.state: State


class Fate(NamedTuple):
    """How an instance ends that is sent to a host.

    ``ends`` is what its host will say of it (a value of Happens), or SILENT;
    ``seconds`` of a processor pass until then; it is not reported before ``hold`` seconds
    after it was sent; ``twice`` says that the same report comes twice.
    """

    ends: int
    seconds: float
    hold: float = 0.0
    twice: bool = False


SILENT = -1
"""Of a fate: the host never says anything about it."""


class Task:
    """One instance on its host, with its fate."""

    __slots__ = (
        "deadline",
        "ends",
        "finish",
        "hold",
        "instance",
        "job",
        "open",
        "ready",
        "seconds",
        "sent",
        "twice",
    )

    def __init__(self, job: Job, instance: int, fate: Fate, sent: float, deadline: float) -> None:
        self.job = job
        self.instance = instance
        self.ends, self.seconds, self.hold, self.twice = fate
        self.sent = sent
        self.deadline = deadline
        self.ready = sent
        """When its input has been downloaded; later, when its output has been uploaded."""
        self.finish = inf
        """The uptime of its host at which it will have been done."""
        self.open = True
        """Whether it has neither been reported nor missed its deadline."""
