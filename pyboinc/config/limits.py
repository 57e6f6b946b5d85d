"""What one job may take: time, memory, disk, retries, and how often it is done.

The names are BOINC's (``delay_bound``, quorum) with one exception: ``max_errors`` is
``max_error_results``, and the two other maxima follow from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from pyboinc.config.values import Reader, number, whole
from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice

#: What each limit may be.  The upper ends are far beyond any real job; they keep typing
#: errors, and numbers that BOINC's database columns can not hold, from going on.
READERS: dict[str, Reader] = {
    "delay_bound": number(0, 315_360_000, above=True),  # ten years; sent_time + this is an int
    "max_errors": whole(1, 1_000_000),  # BOINC's create_work refuses 0
    "quorum": whole(1, 1_000),
    "priority": whole(-(2**31), 2**31 - 1),
    "memory": number(0, 1e15, above=True),
    "disk": number(0, 1e15, above=True),
    "fpops": number(0, 1e24, above=True),
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one job; ``ConfigurationError`` for one that can not be.

    * ``delay_bound`` (s): how long an instance may take from being sent to its report;
    * ``max_errors``: the job fails when *more* than so many instances ended in an error;
    * ``quorum``: how many instances must agree on the output; so many are made at first;
    * ``priority``: larger goes first;
    * ``memory``, ``disk`` (bytes): what an instance may use at most;
    * ``fpops``: the estimated number of floating-point operations of an instance.

    The defaults are those of BOINC's ``create_work``, but for the retries: it gives none.
    """

    delay_bound: float = 604_800.0
    max_errors: int = 8
    quorum: int = 1
    priority: int = 0
    memory: float = 500e6
    disk: float = 1e9
    fpops: float = 3.6e12

    def __post_init__(self) -> None:
        for name in READERS:
            object.__setattr__(self, name, _checked(name, getattr(self, name)))

    def replace(self, **changes: object) -> Limits:
        """These limits with some changed, as by :func:`checked`."""
        given = checked(changes)
        return replace(self, **given) if given else self  # type: ignore[arg-type]  # int or float

    def asdict(self) -> dict[str, float | int]:
        """Each limit by its name: ``Limits(**limits.asdict())`` is equal to *limits*."""
        return {name: getattr(self, name) for name in READERS}

    def workunit(self) -> dict[str, float | int]:
        """The columns of BOINC's workunit table that these limits set.

        The constraints of create_work hold: target_nresults <= max_success_results <=
        max_total_results, and max_error_results <= max_total_results.
        """
        most = self.quorum + self.max_errors + 10
        return {
            "min_quorum": self.quorum,
            "target_nresults": self.quorum,
            "max_error_results": self.max_errors,
            "max_total_results": most,
            "max_success_results": most,
            "delay_bound": self.delay_bound,
            "priority": self.priority,
            "rsc_memory_bound": self.memory,
            "rsc_disk_bound": self.disk,
            "rsc_fpops_est": self.fpops,
        }


def checked(changes: Mapping[str, object]) -> dict[str, float | int]:
    """The limits given by name in *changes*, as plain numbers; None counts as not given.

    ``ConfigurationError`` for a name that is no limit, or a value that can not be.
    """
    return {name: _checked(name, value) for name, value in changes.items() if value is not None}


def _checked(name: str, value: object) -> float | int:
    if name not in READERS:
        raise ConfigurationError(f"there is no limit {name!r}; {advice(name, READERS)}")
    try:
        limit: float | int = READERS[name](value)
    except ValueError as error:
        raise ConfigurationError(f"{name}: {value!r} {error}") from None
    return limit
