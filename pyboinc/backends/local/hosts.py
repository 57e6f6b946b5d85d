"""The emulated volunteers: which host gets an instance, and what goes wrong with it.

Everything is drawn from the seed, the job's number and the instance's number, never from
timing; what is drawn is planned here, before the instance runs.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable
from dataclasses import dataclass

from pyboinc.errors import ConfigurationError
from pyboinc.faults import FaultPlan, Kind
from pyboinc.faults.draws import uniforms
from pyboinc.faults.latency import Latency

FAULT_DELAY = 0.25
"""Seconds after which an injected missing answer counts as a missed deadline, on average.

A real hang is ended by the job's own delay bound.  That of an injected one is moved, as an
administrator would move it for a host known to be gone: nobody wants to wait a week for a
fault that he asked for.
"""

_IN_THE_SLAVE = {Kind.CRASH, Kind.ERROR, Kind.HANG, Kind.WRONG}

PYTHON = platform.python_version()
PLATFORM = f"{platform.system()} {platform.machine()}"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to happen to one instance.

    ``ending`` is how it ends badly, if it does; ``slave_fault`` what the slave itself does;
    ``latency`` (s) passes between its end and its report; ``fault_delay`` (s) until a missing
    answer is given up; the rest are faults on the way.
    """

    host: str
    ending: Kind | None = None
    slave_fault: str | None = None
    latency: float = 0.0
    fault_delay: float = FAULT_DELAY
    duplicate: bool = False
    restart: bool = False
    suspend: bool = False


def check_quorum(quorum: int, hosts: int) -> None:
    """Raise :class:`ConfigurationError` if a quorum needs more hosts than there are."""
    if quorum > hosts:
        raise ConfigurationError(
            f"a quorum of {quorum} needs as many hosts, and there are {hosts}; "
            f"give --hosts {quorum} or more"
        )


def is_emulated(name: str) -> bool:
    """Whether the host *name* is one of these, and not a real client's computer."""
    return name.startswith("host-")


class Hosts:
    """A population of equal hosts, named host-1, host-2 and so on."""

    def __init__(self, number: int, faults: FaultPlan, latency: Latency) -> None:
        self._number = number
        self._faults = faults
        self._latency = latency
        self._late = str(latency) != str(Latency())

    def check_quorum(self, quorum: int) -> None:
        """Raise :class:`ConfigurationError` if there are not that many hosts."""
        check_quorum(quorum, self._number)

    def plan(self, sequence: int, instance: int, taken: Iterable[str | None]) -> Plan:
        """Draw the host (one that is not among *taken*, if possible) and the faults."""
        u = uniforms(self._faults.seed, "host", sequence, instance)
        host = self._host(int(u[0] * self._number), set(taken))
        latency = self._latency.sample(u[1]) if self._late else 0.0
        kinds = self._faults.draw(sequence, instance)
        if not kinds:
            return Plan(host, latency=latency)
        ending = kinds[0] if kinds[0] not in _ACCOMPANYING else None
        return Plan(
            host,
            ending,
            str(ending) if ending in _IN_THE_SLAVE else None,
            latency,
            FAULT_DELAY * (0.5 + u[2]),
            Kind.DUPLICATE in kinds,
            Kind.RESTART in kinds,
            Kind.SUSPEND in kinds,
        )

    def _host(self, first: int, taken: set[str | None]) -> str:
        for step in range(self._number):
            name = f"host-{1 + (first + step) % self._number}"
            if name not in taken:
                return name
        return f"host-{1 + first}"


_ACCOMPANYING = (Kind.DUPLICATE, Kind.RESTART, Kind.SUSPEND)
