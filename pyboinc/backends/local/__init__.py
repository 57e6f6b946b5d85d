"""The local emulator: a BOINC project on this computer, with real slave processes.

This is the master's end.  The project itself runs in a process of its own
(:mod:`pyboinc.backends.local.server`), keeps its rows in SQLite
(:mod:`~pyboinc.backends.local.store`) by the rules of :mod:`pyboinc.project`
(:mod:`~pyboinc.backends.local.emulator`), has hosts that fail as drawn
(:mod:`~pyboinc.backends.local.hosts`, :mod:`~pyboinc.backends.local.runs`), and workers
that run each instance as a process (:mod:`~pyboinc.backends.local.workers`).  It is started for
this master and ends with it, unless one stands here already
(:mod:`~pyboinc.backends.local.standing`).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pyboinc import copies, disk, errors, locks
from pyboinc.backends import Attempt, Counts
from pyboinc.backends.local import conversation, standing
from pyboinc.backends.local.conversation import Conversation
from pyboinc.config import Settings
from pyboinc.errors import BackendError, ConfigurationError
from pyboinc.faults import format_faults
from pyboinc.jobdir import JobDirectory
from pyboinc.stderr import say

if TYPE_CHECKING:
    from pyboinc.backends.local.server import Options

_RESTARTS = 5
"""How often a server that died is started again in one run of the master."""

_PAUSE = 0.1
"""Seconds between two looks for a standing server that is beginning, or ending."""

_AT_A_TIME = 500
"""Workunits read from the database at a time."""


class LocalBackend:
    """The emulated project of one job directory."""

    judged = True

    _program = "pyboinc.backends.local.server"
    """The module that is the project's process."""

    def __init__(self, directory: JobDirectory, settings: Settings) -> None:
        self._directory = directory
        self._settings = settings
        self._isolation = choose_isolation(settings.isolation)
        self._database = directory.state / "local" / "project.sqlite"
        self._batches: dict[str, int] = {}
        self._archives: dict[str, str] = {}
        self._server: Conversation | None = None
        self._lost = False
        self._text = b""
        self._unanswered: list[dict[str, Any]] = []
        self._acked = 0
        self._started = False
        self._deaths = 0
        self._counts = Counts()
        self.first_errors: list[str] = []

    # Beginning a batch and making its jobs.

    def begin_batch(self, token: str) -> str:
        """Return the ID of the batch of *token*; begin it if there is none."""
        if token not in self._batches:
            from pyboinc.backends.local.store import Store

            self._directory.make(self._database.parent)
            store = Store(self._database)
            self._batches[token] = store.batch(token, self._number() or None)
            store.close()
        return str(self._batches[token])

    def submit(self, first: int, last: int) -> None:
        """Make jobs of the calls first <= sequence < last that have none; durable then."""
        record = self._directory.record
        assert record is not None
        position = self._directory.spool.start_of(first)
        self._ask(
            {
                "submit": [first, last],
                "at": position,
                "limits": record.limits,
                "modules": record.modules,
            }
        )

    def start(self) -> None:
        """Let the hosts begin."""
        if not self._started:
            self._started = True
            self._ask({"start": True})

    def reissue(self, sequences: Sequence[int], unless_there: bool = False) -> None:
        """Do these jobs again; with *unless_there* only those whose outcome is gone."""
        self._ask({"reissue": list(sequences), "unless_there": unless_there})

    def cancel(self) -> int:
        """Cancel every unfinished job; return how many that were."""
        store = self._look()
        before = store.unfinished(self._number())
        store.close()
        self._ask({"cancel": True})
        return len(before)

    def use_program(self, slave: str, digest: str) -> None:
        """Let jobs of *slave* that are not done run the archive *digest* from now on."""
        self._archives[slave] = digest
        if self._database.exists() and self._number():
            from pyboinc.backends.local.store import Store

            store = Store(self._database)
            store.set_bundle(self._number(), slave, digest)
            store.close()

    # Looking.

    def counts(self) -> Counts:
        """Say how far the batch is: from the server, or from the database if none runs."""
        if self._server is not None or self._lost or not self._database.exists():
            return self._counts
        store, batch = self._look(), self._number()
        total, done, failed, retries = store.totals(batch)
        # Slaves end with their server; without one, what was running waits to be run again.
        at_work = locks.lock_holder(self._database.with_name("lock")) is not None
        running = min(store.running(batch), total - done - failed) if at_work else 0
        store.close()
        return Counts(total, total - done - failed - running, running, done, failed, retries)

    def describe(self, name: str) -> tuple[Attempt, ...]:
        """Return the instances of job *name* that were sent, in order."""
        from pyboinc.backends.local.attempts import attempts

        store = self._look()
        rows = store.named(name)
        store.close()
        return attempts(rows) if rows else ()

    def retried(self) -> Iterator[tuple[str, tuple[Attempt, ...]]]:
        """Yield name and instances of each job that is not given up and had an instance fail."""
        from pyboinc.backends.local.attempts import attempts

        store = self._look()
        ids = store.retried(self._number())
        for start in range(0, len(ids), _AT_A_TIME):
            for rows in store.load(ids[start : start + _AT_A_TIME]):
                yield rows.workunit.name, attempts(rows)
        store.close()

    def last_trickle(self) -> tuple[str, float, str] | None:
        """Return what a running slave said last: the result's name, when (s), and the text."""
        from pyboinc.backends.local.trickles import latest

        if not self._database.exists():
            return None
        store = self._look()
        found = latest(store, self._number())
        store.close()
        return (found[0], found[1].time, found[1].text) if found else None

    def _look(self) -> Any:
        from pyboinc.backends.local.store import Store

        return Store(self._database, read_only=True)

    def _number(self) -> int:
        record = self._directory.record
        return int(record.batch) if record is not None and record.batch is not None else 0

    # Talking with the server.

    def wait(self, timeout: float) -> None:
        """Return when there is news from the server, or after *timeout* seconds."""
        if self._server is None and not self._lost:
            self._start_server()
        self._listen(timeout)

    def _ask(self, command: dict[str, Any]) -> None:
        """Give the server a command, and wait until it is done and durable."""
        if self._server is None and not self._lost:
            self._start_server()
        self._unanswered.append(command)
        self._tell(command)
        while self._unanswered:
            self._listen(1.0)

    def _tell(self, command: dict[str, Any]) -> None:
        if self._server is not None:
            self._server.tell(json.dumps(command).encode())

    def _listen(self, timeout: float) -> None:
        if self._server is None:
            self._look_for_another(timeout)
            return
        if not select.select([self._server.ears], [], [], timeout)[0]:
            return
        data = self._server.hear()
        if not data:
            self._revive()
            return
        *lines, self._text = (self._text + data).split(b"\n")
        for line in lines:
            self._hear(json.loads(line))

    def _hear(self, news: dict[str, Any]) -> None:
        if "counts" in news:
            total, done, failed, running, retries = news["counts"]
            running = min(running, total - done - failed)
            queued = total - done - failed - running
            self._counts = Counts(total, queued, running, done, failed, retries)
        if "ack" in news:
            # Commands are answered in their order, and those of before are of no more use.
            del self._unanswered[: news["ack"] + 1 - self._acked]
            self._acked = news["ack"] + 1
        self.first_errors += news.get("errors", ())
        if "refused" in news:
            self.close()
            raise getattr(errors, news["kind"])(news["refused"])

    def _revive(self) -> None:
        """Go on with another server in the place of one that died; it goes on where that was."""
        assert self._server is not None
        server, self._server = self._server, None
        status = server.end()
        if server.stands:
            self._lost = True
            self._look_for_another(0.0)
            if self._lost:
                say(
                    "pyboinc: the server that stood here has ended; waiting for the next "
                    "pyboinc serve (^C stops; nothing is lost)"
                )
            return
        self._deaths += 1
        if self._deaths > _RESTARTS:
            self.close()
            raise BackendError(
                f"the emulated project's server died {self._deaths} times (the last time with "
                f"status {status}); what it said stands above; run the same command to go on"
            )
        pending = self._unanswered
        self._start_server()
        self._go_on(pending)

    def _look_for_another(self, timeout: float) -> None:
        """Go on with the standing server that is there now; if there is none, let time pass."""
        pending = self._unanswered
        if self._reach():
            self._lost = False
            self._go_on(pending)
        else:
            time.sleep(timeout)

    def _go_on(self, pending: list[dict[str, Any]]) -> None:
        """Tell a new server what the one before it has not answered."""
        if self._started and {"start": True} not in pending:
            pending.insert(0, {"start": True})
        for command in pending:
            self._unanswered.append(command)
            self._tell(command)

    def options(self) -> Options:
        """Return what the server is started with."""
        from pyboinc.backends.local.server import Options

        return Options(**self._usual_options())

    def _usual_options(self) -> dict[str, Any]:
        record, settings = self._directory.record, self._settings
        return {
            "directory": str(self._directory.path),
            "batch": self._number(),
            "seed": record.seed if record else 0,
            "failure_rate": settings.failure_rate,
            "faults": format_faults(settings.fault),
            "latency": str(settings.latency),
            "hosts": settings.hosts,
            "workers": settings.workers,
            "isolation": self._isolation,
            "max_output": settings.max_output,
            "slaves": tuple(record.slaves) if record else (),
            "modules": tuple(record.modules) if record else (),
            "archives": dict(self._archives),
        }

    def _start_server(self) -> None:
        """Go to the server that stands here, or start one that ends with this master."""
        disk.make_directory(self._database.parent)
        while self._server is None:
            lock = standing.enter(self._database.parent)
            if lock is not None:
                self._start_own(lock)
            elif self._reach():
                self._say_whose()
            else:
                time.sleep(_PAUSE)

    def _start_own(self, lock: int) -> None:
        self._forget_the_last()
        pipe = subprocess.PIPE
        try:
            process = conversation.start(
                self._program, self.options().as_json(), stdin=pipe, stdout=pipe
            )
        except BaseException:
            disk.close(lock)
            raise
        self._server = conversation.with_own(process, lambda: disk.close(lock))

    def _reach(self) -> bool:
        """Go to the server that stands here, if there is one."""
        opening = {
            "master": os.getpid(),
            "place": copies.place_of(self._directory.state),
            "options": json.loads(self.options().as_json()),
            "given": standing.given(self._settings),
        }
        server = standing.reach(self._database.parent, opening)
        if server is None:
            return False
        self._forget_the_last()
        self._server = server
        return True

    def _forget_the_last(self) -> None:
        self._unanswered, self._acked, self._text = [], 0, b""

    def _say_whose(self) -> None:
        if not self._settings.quiet:
            whose = standing.holder(self._database.parent) or "?"
            say(f"pyboinc: the server that stands here is used: pyboinc serve, process {whose}")

    def close(self) -> None:
        """Stop the hosts; the batch can be continued later."""
        self._stop_server()

    def _stop_server(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.end()
            self._started = False


def choose_isolation(wanted: str) -> Any:
    """Return "fork" or "spawn" for this computer; raises :class:`ConfigurationError`."""
    if sys.platform == "win32":
        raise ConfigurationError(
            "the local emulator does not run on Windows yet: it needs process groups and flock; "
            "use Linux, macOS or the Windows Subsystem for Linux"
        )
    if wanted == "auto":
        # Apple's frameworks do not survive a fork, and any import may load them.
        return "spawn" if sys.platform == "darwin" else "fork"
    return wanted
