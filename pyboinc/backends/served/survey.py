"""What people ask of a batch, read from the database beside the server that writes it.

Everything here is a plain dictionary that JSON can hold.  The database is opened anew for each
look, to be read only: SQLite lets a reader look while the server writes, so a page that
many people have open costs volunteers nothing.  A look at a large batch takes a while, and is
shared by all who ask meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyboinc.backends import Attempt
from pyboinc.backends.local import trickles
from pyboinc.backends.local.attempts import attempts, failure_of
from pyboinc.backends.local.store import Rows, Store
from pyboinc.backends.local.trickles import Trickle
from pyboinc.backends.served.registry import PREFIX
from pyboinc.pace import time_left
from pyboinc.project import Outcome, ServerState

RECENT = 60.0
"""Seconds of the past that the rate is measured over."""

MOST_JOBS = 200
"""Jobs in one answer."""

_FAILURES = 2000
"""The latest failed instances, whose causes are counted."""

_HOSTS = 200
"""The hosts that are listed: those with the most instances."""

_SHARE = 20
"""A look is shared for so many times as long as it took, a second at least."""

_FAILED = (Outcome.CLIENT_ERROR, Outcome.NO_REPLY, Outcome.VALIDATE_ERROR)

_IS_RUNNING = (
    "exists (select 1 from result r where r.workunit = w.id"
    f" and r.server_state = {int(ServerState.IN_PROGRESS)})"
)
_OPEN = "w.canonical_instance is null and w.error_mask = 0"

STATES = {
    "done": "w.canonical_instance is not null",
    "failed": "w.canonical_instance is null and w.error_mask != 0",
    "running": f"{_OPEN} and {_IS_RUNNING}",
    "queued": f"{_OPEN} and not {_IS_RUNNING}",
}
"""The states of a job, each with the condition in SQL that says which jobs are in it."""


class Survey:
    """Looks at one batch in the project's database *path*."""

    def __init__(self, path: Path, batch: int) -> None:
        self._path = path
        self._batch = batch
        self._last: dict[str, Any] = {}
        self._fresh_until = 0.0

    def batch(self) -> dict[str, Any]:
        """Return how far the batch is, its hosts, and what went wrong, by cause."""
        began = time.monotonic()
        if began >= self._fresh_until:
            self._last = self._look(self._overview)
            ended = time.monotonic()
            self._fresh_until = ended + max(0.9, _SHARE * (ended - began))
        return self._last

    def jobs(self, state: str | None, first: int, most: int) -> dict[str, Any]:
        """Return up to *most* jobs from number *first* on, those in *state* if one is given."""
        condition = STATES[state] if state else "1"
        most = max(1, min(most, MOST_JOBS))

        def look(store: Store) -> dict[str, Any]:
            found = store.ask(
                "select w.id from workunit w where w.batch = ? and w.sequence >= ? "
                f"and {condition} order by w.id limit ?",
                (self._batch, first, most + 1),
            )
            rows = store.load([one[0] for one in found])
            following = rows[most].details.sequence if len(rows) > most else None
            return {"jobs": [_brief(one) for one in rows[:most]], "next": following}

        found: dict[str, Any] = self._look(look)
        return found

    def job(self, sequence: int) -> dict[str, Any] | None:
        """Return all about one job: its instances, what each said and wrote to stderr."""

        def look(store: Store) -> tuple[Rows | None, list[Trickle]]:
            rows = store.named(f"{self._batch}_{sequence}")
            return rows, trickles.of_workunit(store, rows.workunit.id) if rows else []

        rows, said = self._look(look)
        if rows is None:
            return None
        instances = [_instance(one, said) for one in attempts(rows)]
        return {
            **_brief(rows),
            "quorum": rows.workunit.min_quorum,
            "delay_bound": rows.workunit.delay_bound,
            "input_bytes": rows.details.size,
            "instances": instances,
        }

    def _look(self, question: Callable[[Store], Any]) -> Any:
        store = Store(self._path, read_only=True)
        try:
            return question(store)
        finally:
            store.close()

    def _overview(self, store: Store) -> dict[str, Any]:
        total, done, failed, retries = store.totals(self._batch)
        running = min(store.running(self._batch), total - done - failed)
        queued = total - done - failed - running
        now = time.time()
        rate = self._rate(store, now)
        return {
            "batch": self._batch,
            "time": now,
            "jobs": {
                "total": total,
                "done": done,
                "failed": failed,
                "running": running,
                "queued": queued,
            },
            "retries": retries,
            "rate": rate,
            "time_left": time_left(total - done - failed, rate),
            "hosts": self._hosts(store),
            "errors": self._errors(store),
        }

    def _rate(self, store: Store, now: float) -> float | None:
        """Jobs per second over the last minute, or since the first instance was sent."""
        ((first, recent),) = store.ask(
            "select min(r.sent_time), sum(r.instance = w.canonical_instance"
            " and r.received_time > ?) from result r join workunit w on w.id = r.workunit"
            " where w.batch = ?",
            (now - RECENT, self._batch),
        )
        window = min(RECENT, now - first) if first is not None else 0.0
        return recent / window if window >= 1.0 and (recent or 0) >= 3 else None

    def _hosts(self, store: Store) -> list[dict[str, Any]]:
        failed = ", ".join(str(int(one)) for one in _FAILED)
        found = store.ask(
            "select r.host, count(*), sum(r.outcome = ?), "
            f"sum(r.outcome in ({failed})), sum(r.server_state = ?), max(r.received_time) "
            "from result r join workunit w on w.id = r.workunit "
            "where w.batch = ? and r.host is not null group by r.host "
            "order by count(*) desc, r.host limit ?",
            (int(Outcome.SUCCESS), int(ServerState.IN_PROGRESS), self._batch, _HOSTS),
        )
        names = ("name", "instances", "successes", "errors", "running", "last_report")
        hosts = [dict(zip(names, row, strict=True)) for row in found]
        known = _real_hosts(store)
        return [{**one, **known.get(one["name"], _EMULATED)} for one in hosts]

    def _errors(self, store: Store) -> list[dict[str, Any]]:
        """Return the causes of the latest failed instances, the most frequent first."""
        marks = ", ".join(str(int(one)) for one in _FAILED)
        found = store.ask(
            "select r.workunit, w.sequence, r.instance, r.outcome, r.exit_status, r.stderr "
            "from result r join workunit w on w.id = r.workunit "
            f"where w.batch = ? and r.outcome in ({marks}) "
            "order by r.received_time desc limit ?",
            (self._batch, _FAILURES),
        )
        causes: dict[str, dict[str, Any]] = {}
        for _, sequence, _, outcome, status, stderr in found:
            cause = _cause(outcome, status, stderr or "")
            entry = causes.setdefault(cause, {"cause": cause, "instances": 0, "job": sequence})
            entry["instances"] += 1
        return sorted(causes.values(), key=lambda one: (-one["instances"], one["job"]))


def _cause(outcome: int, status: int, stderr: str) -> str:
    """Return one line: the last that the slave wrote, or what is known beside it."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    if lines:
        return lines[-1][:500]
    if outcome == Outcome.NO_REPLY:
        return "no reply before the deadline"
    if outcome == Outcome.VALIDATE_ERROR:
        return "its output was refused"
    return f"exit status {status}, without a word"


_EMULATED: dict[str, Any] = {"kind": "emulated"}


def _real_hosts(store: Store) -> dict[str, dict[str, Any]]:
    """Return what the clients' computers have told of themselves, by the host's name."""
    found = store.ask("select id, cpus, domain, system, platform, version, last_rpc from host")
    names = ("cpus", "domain", "system", "platform", "client", "last_rpc")
    return {
        f"{PREFIX}{number}": {"kind": "client", **dict(zip(names, row, strict=True))}
        for number, *row in found
    }


def _brief(rows: Rows) -> dict[str, Any]:
    """Return a line about a job."""
    workunit, sent = rows.workunit, attempts(rows)
    return {
        "index": rows.details.sequence,
        "name": workunit.name,
        "slave": rows.details.slave,
        "state": state_of(rows),
        "reason": failure_of(rows).cause if state_of(rows) == "failed" else "",
        "attempts": len(sent),
        "host": _host_of(sent),
    }


def state_of(rows: Rows) -> str:
    """Return which of :data:`STATES` a job is in."""
    if rows.workunit.succeeded:
        return "done"
    if rows.workunit.error_mask:
        return "failed"
    at_work = any(one.server_state == ServerState.IN_PROGRESS for one in rows.results)
    return "running" if at_work else "queued"


def _instance(one: Attempt, said: list[Trickle]) -> dict[str, Any]:
    """Return all about one instance, and its trickles."""
    fields = {name: getattr(one, name) for name in one.__slots__}
    own = [
        {"time": each.time, "variety": each.variety, "text": each.text}
        for each in said
        if each.instance == one.instance
    ]
    return {**fields, "trickles": own}


def _host_of(sent: Sequence[Any]) -> str:
    good = [one for one in sent if one.outcome == "success"] or list(sent[-1:])
    return str(good[0].host) if good else ""
