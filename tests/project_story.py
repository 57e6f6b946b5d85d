"""A workunit told as a story: the shortest way for a test to say what happens to it.

    job = Story(min_quorum=2, target_nresults=2, max_total_results=4)
    job.sends(0, 1).succeeds(0, "A").fails(1)
    assert job.mask == 0

The daemons have come to rest after every event.  Each event is a second of the clock.
"""

from __future__ import annotations

from pyboinc.project import (
    Assimilation,
    Daemon,
    Report,
    Reported,
    Result,
    Workunit,
    cancel,
    create_workunit,
    detach,
    expire,
    report,
    send,
    settle,
)

DAY = 86400.0


class Story:
    """One workunit, its results and what was assimilated so far."""

    def __init__(self, *, order: str = "transitioner validator assimilator file_deleter", **limits):
        self.order = [Daemon(name) for name in order.split()]
        self.now = 0.0
        self.workunit: Workunit = create_workunit(1, "job", self.now, **limits)
        self.results: tuple[Result, ...] = ()
        self.assimilations: list[Assimilation] = []
        self.ignored: tuple[tuple[int, str], ...] = ()
        self.delete_delay = 0.0
        self.settles()

    def settles(self) -> Story:
        settled = settle(
            self.workunit,
            self.results,
            self.now,
            order=self.order,
            delete_delay=self.delete_delay,
        )
        self.workunit, self.results = settled.workunit, settled.results
        self.assimilations += settled.assimilations
        return self

    def sends(self, *instances: int) -> Story:
        for instance in instances:
            self.now += 1
            host = f"host_{instance}"
            self.workunit, self.results = send(
                self.workunit, self.results, instance, host, self.now
            )
            self.settles()
        return self

    def reports(self, *reports: Report, same_user: bool = False) -> Story:
        """All in one request of a client."""
        self.now += 1
        answer = report(self.workunit, self.results, reports, self.now, same_user=same_user)
        assert isinstance(answer, Reported)
        self.workunit, self.results, self.ignored = answer
        return self.settles()

    def succeeds(self, instance: int, output: str | None = "A") -> Story:
        return self.reports(Report.success(instance, output))

    def fails(self, *instances: int, exit_status: int = 1) -> Story:
        for instance in instances:
            self.reports(Report.error(instance, exit_status))
        return self

    def aborts(self, instance: int) -> Story:
        return self.reports(Report.abort(instance))

    def times_out(self, *instances: int) -> Story:
        self.now += 1
        self.workunit, self.results = expire(self.workunit, self.results, instances, self.now)
        return self.settles()

    def detaches(self, instance: int) -> Story:
        self.now += 1
        host = f"host_{instance}"
        self.workunit, self.results = detach(self.workunit, self.results, host, self.now)
        return self.settles()

    def is_cancelled(self) -> Story:
        self.now += 1
        self.workunit, self.results = cancel(self.workunit, self.results, self.now)
        return self.settles()

    def waits_until(self, now: float) -> Story:
        self.now = now
        return self.settles()

    # What can be asked.

    @property
    def mask(self) -> int:
        return int(self.workunit.error_mask)

    @property
    def canonical(self) -> int | None:
        return self.workunit.canonical_instance

    @property
    def outcomes(self) -> str:
        """One word for each instance: its outcome, or its server state if it has none."""
        return " ".join(
            row.outcome.name if row.outcome else row.server_state.name for row in self.results
        )

    @property
    def verdicts(self) -> str:
        return " ".join(row.validate_state.name for row in self.results)

    @property
    def credited(self) -> list[int]:
        return [row.instance for row in self.results if row.credited]

    @property
    def files(self) -> str:
        """The file_delete_state of each result, then that of the workunit."""
        states = [row.file_delete_state for row in self.results]
        return " ".join(state.name for state in (*states, self.workunit.file_delete_state))
