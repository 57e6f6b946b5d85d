"""What a server thinks of a host: its quota of jobs, and whether it is trusted to work alone.

Rules as in BOINC: the quota in ``sched/sched_result.cpp`` and ``sched/validator.cpp``
(``DB_HOST_APP_VERSION::max_jobs_per_day``), adaptive replication in ``sched/sched_send.cpp``.
Pure functions of whole numbers: what they return is what the row holds afterwards.
"""

from __future__ import annotations

TRUSTED_FROM = 10
"""Consecutive valid results from which a host may work alone (sched_send.cpp)."""


def after_success(quota: int, daily: int) -> int:
    """The quota after a success was reported: doubled, up to the project's."""
    return quota if quota >= daily else min(2 * quota, daily)


def after_error(quota: int) -> int:
    """The quota after an error was reported, or a deadline passed: one less, 1 at least."""
    return max(quota - 1, 1)


def after_valid(quota: int) -> int:
    """The quota after the validator was content: one more, even above the project's."""
    return quota + 1


def after_invalid(quota: int, daily: int) -> int:
    """The quota after the validator was not: one less if it is above the project's."""
    return quota - 1 if quota > daily else quota


def is_trusted(consecutive_valid: int, drawn: float) -> bool:
    """Whether a host gets a job for itself alone; *drawn* is uniform in [0, 1).

    A host with n valid results in a row is checked once in n times all the same.
    """
    return consecutive_valid >= TRUSTED_FROM and drawn > 1.0 / consecutive_valid
