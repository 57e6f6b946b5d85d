"""What the server and the clients are told: intervals, limits, buffers, back-offs.

Defaults are those of BOINC at c5c6cb79 (21 Aug 2026), as ``make_project`` writes them or as the
source has them; each attribute names its place.  Times are in seconds, sizes in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from math import inf
from typing import Any, Final

from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice

DAY: Final = 86400.0


@dataclass(frozen=True)
class ServerPolicies:
    """How the project's server works."""

    transitioner_interval: float = 5.0
    """sched/transitioner.cpp, SLEEP_INTERVAL; 0 with the others: nobody ever waits for a daemon."""
    validator_interval: float = 5.0
    """sched/validator.cpp, SLEEP_PERIOD."""
    assimilator_interval: float = 5.0
    """sched/assimilator.cpp, SLEEP_INTERVAL (10 in older versions)."""
    deleter_interval: float = 5.0
    """sched/file_deleter.cpp, DEFAULT_SLEEP_INTERVAL."""
    feeder_interval: float = 5.0
    """sched/feeder.cpp, DEFAULT_SLEEP_INTERVAL: how long it sleeps when it had nothing to add."""
    feeder_slots: int = 100
    """sched/sched_shmem.h, MAX_WU_RESULTS: results ready to be sent."""
    max_wus_to_send: int = 50
    """Jobs in one reply, for each processor (sched/sched_send.cpp; make_project)."""
    daily_result_quota: int = 500
    """Jobs a day for each processor of a host, at first (make_project); 0: no quota."""
    min_sendwork_interval: float = 0.0
    """Seconds between two replies with work to one host (make_project)."""
    one_result_per_host: bool = True
    """Never two instances of a workunit for one host (``one_result_per_host_per_wu``)."""
    deadline_check: bool = True
    """No job that would not be back in time (sched/sched_send.cpp, check_deadline())."""
    adaptive_target: int = 0
    """An application's ``target_nresults`` with adaptive replication; 0: none."""
    request_cost: float = 0.0
    """Seconds of a server that one request of a client takes."""
    dispatch_cost: float = 0.0
    """Seconds of a server that one job that is sent takes."""
    servers: int = 1
    """Schedulers that work side by side."""
    contention: float = 0.0593
    """How much dearer each server makes the work of every other one, all sharing one database.

    From the measured 8.8 million jobs a day on one computer, 23.6 on three (Anderson, Korpela and
    Walton, "High-performance task distribution for volunteer computing", e-Science 2005).
    """
    bandwidth: float = inf
    """Bytes a second of the data server, both ways together."""
    retry_delay: float = 0.0
    """Seconds that a client is told to wait when there is no work (0: its own back-off)."""


@dataclass(frozen=True)
class ClientPolicies:
    """How the clients of all hosts work."""

    buffer_min: float = 0.1 * DAY
    """Work is asked for when there is less than this for each processor (``work_buf_min_days``),"""
    buffer_extra: float = 0.5 * DAY
    """and so much on top (``work_buf_additional_days``)."""
    backoff_min: float = 600.0
    """client/work_fetch.h, WF_MIN_BACKOFF_INTERVAL: after a reply without work, doubling,"""
    backoff_max: float = DAY
    """up to WF_MAX_BACKOFF_INTERVAL, times U(0.5, 1.5)."""
    fetch_period: float = 60.0
    """client/work_fetch.h, WORK_FETCH_PERIOD: between two requests that both brought work."""
    report_delay: float = 3600.0
    """A finished result is reported with the next request, or after this
    (client/cs_scheduler.cpp, MAX_REPORT_DELAY)."""
    deadline_margin: float = DAY
    """or when its deadline is as near as this
    (client/cs_scheduler.cpp, REPORT_DEADLINE_CUSHION)."""
    jobs_at_a_time: int = 0
    """Ask for so many jobs instead of seconds; 0: ask for seconds."""


@dataclass(frozen=True)
class Limits:
    """What one job is allowed, as ``create_work`` takes it; see pyboinc.project.create_workunit."""

    min_quorum: int = 1
    target_nresults: int = 0
    """0: as many as the quorum."""
    max_error_results: int = 8
    max_total_results: int = 0
    """0: quorum + errors + 10, as PyBOINC asks for."""
    max_success_results: int = 0
    """0: quorum + errors + 10."""
    delay_bound: float = 7 * DAY
    input_bytes: float = 0.0
    output_bytes: float = 0.0

    def columns(self) -> dict[str, float | int]:
        """The columns of the workunit."""
        most = self.min_quorum + self.max_error_results + 10
        return {
            "delay_bound": self.delay_bound,
            "min_quorum": self.min_quorum,
            "target_nresults": self.target_nresults or self.min_quorum,
            "max_error_results": self.max_error_results,
            "max_total_results": self.max_total_results or most,
            "max_success_results": self.max_success_results or most,
        }


@dataclass(frozen=True)
class Policies:
    """The rules of a project and of its clients."""

    server: ServerPolicies = field(default_factory=ServerPolicies)
    client: ClientPolicies = field(default_factory=ClientPolicies)

    def __post_init__(self) -> None:
        for part in (self.server, self.client):
            for one in fields(part):
                value = getattr(part, one.name)
                if not value >= 0:  # NaN is not, either
                    raise ConfigurationError(f"{one.name}: {value!r} is below 0; give 0 or more")
        for name in ("feeder_slots", "max_wus_to_send", "servers"):
            if getattr(self.server, name) < 1:
                raise ConfigurationError(
                    f"{name}: it is 0, and no job is ever sent; give 1 or more"
                )
        if not self.server.bandwidth:
            raise ConfigurationError("bandwidth: it is 0, and no file ever arrives; give more")

    def changed(self, **values: float) -> Policies:
        """These policies with other values, by the names of their attributes."""
        made: list[ServerPolicies | ClientPolicies] = []
        known: list[str] = []
        for part in (self.server, self.client):
            names = [one.name for one in fields(part)]
            known += names
            own = {
                name: _alike(name, values.pop(name), getattr(part, name))
                for name in names
                if name in values
            }
            made.append(replace(part, **own))
        if values:
            name = min(values)
            raise ConfigurationError(f"there is no policy {name!r}; {advice(name, known)}")
        server, client = made
        assert isinstance(server, ServerPolicies) and isinstance(client, ClientPolicies)
        return Policies(server, client)


def _alike(name: str, value: float, default: object) -> Any:
    """*value* as what *default* is: a whole number, or yes or no, where that is one."""
    if isinstance(default, bool):
        return bool(value)
    if isinstance(default, int):
        if value != value or value % 1:  # infinity modulo 1 is not a number
            raise ConfigurationError(f"{name}: {value!r} is not a whole number; give one")
        return int(value)
    return value
