"""What the server and a host hold in their hands: a workunit, and one instance of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from simulator.policies import Limits

if TYPE_CHECKING:
    from simulator.lives import State

NOBODY: Final = -1
"""The host of an instance that has not been sent."""

SILENT: Final = -1
"""Of a fate: its host never says anything about the instance."""


class Job:
    """One workunit: where it is, and which host has which of its instances."""

    __slots__ = (
        "created",
        "flops",
        "hosts",
        "limits",
        "name",
        "priority",
        "queued",
        "sequence",
        "state",
    )

    def __init__(
        self,
        name: str,
        sequence: int,
        flops: float,
        limits: Limits,
        priority: int,
        created: float,
        state: State,
    ) -> None:
        self.name = name
        self.sequence = sequence
        self.flops = flops
        self.limits = limits
        self.priority = priority
        self.created = created
        self.state = state
        self.queued = 0
        """The daemons before which it is (bits, as in State.work)."""
        self.hosts: list[int] = []
        """The host of each instance, by its number."""


class Fate(NamedTuple):
    """How an instance ends that is sent to a host, if somebody else than the host decides.

    ``ends`` is what its host will say of it (a value of Happens), or SILENT;
    ``seconds`` of a processor pass until then; it is not reported before ``hold`` seconds
    after it was sent; ``twice`` says that the same report comes twice.
    """

    ends: int
    seconds: float
    hold: float = 0.0
    twice: bool = False


class Task:
    """One instance on its host, and how it will end there."""

    __slots__ = (
        "after",
        "before",
        "deadline",
        "ends",
        "finish",
        "instance",
        "job",
        "open",
        "ready",
        "seconds",
    )

    ready: float
    """When its input has been downloaded; later, when its output has been uploaded."""
    finish: float
    """The uptime of its host at which it will have been done, from its start on."""
    hold = 0.0
    """Seconds before which it is not reported."""
    twice = False
    """Whether its report comes twice."""

    def __init__(self, job: Job, instance: int, ends: int, seconds: float, deadline: float) -> None:
        self.job = job
        self.instance = instance
        self.ends = ends
        self.seconds = seconds
        self.deadline = deadline
        self.open = True
        """Whether it has neither been reported nor missed its deadline."""
        self.before: Task | None = None
        self.after: Task | None = None
        """Its neighbours among the open ones (see simulator.deadlines)."""


class FatedTask(Task):
    """A task with a :class:`Fate`."""

    __slots__ = ("hold", "twice")

    def __init__(self, job: Job, instance: int, fate: Fate, sent: float, deadline: float) -> None:
        super().__init__(job, instance, fate.ends, fate.seconds, deadline)
        self.hold = sent + fate.hold
        self.twice = fate.twice
