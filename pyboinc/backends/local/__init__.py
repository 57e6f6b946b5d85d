"""The local emulator: a BOINC project on this computer, with real slave processes.

This is the master's end.  The project itself runs in a process of its own
(:mod:`pyboinc.backends.local.server`), keeps its rows in SQLite
(:mod:`~pyboinc.backends.local.store`) by the rules of :mod:`pyboinc.project`
(:mod:`~pyboinc.backends.local.emulator`), has hosts that fail as drawn
(:mod:`~pyboinc.backends.local.hosts`, :mod:`~pyboinc.backends.local.runs`), and workers
that run each instance as a process (:mod:`~pyboinc.backends.local.workers`).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pyboinc import errors, locks
from pyboinc.backends import Attempt, Counts
from pyboinc.backends.local import processes
from pyboinc.config import Settings
from pyboinc.errors import BackendError, ConfigurationError
from pyboinc.faults import format_faults
from pyboinc.jobdir import JobDirectory

if TYPE_CHECKING:
    from pyboinc.backends.local.server import Options

_RESTARTS = 5
"""How often a server that died is started again in one run of the master."""

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
        self._server: subprocess.Popen[bytes] | None = None
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
        if self._server is not None or not self._database.exists():
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
        if self._server is None:
            self._start_server()
        self._listen(timeout)

    def _ask(self, command: dict[str, Any]) -> None:
        """Give the server a command, and wait until it is done and durable."""
        if self._server is None:
            self._start_server()
        self._unanswered.append(command)
        self._tell(command)
        while self._unanswered:
            self._listen(1.0)

    def _tell(self, command: dict[str, Any]) -> None:
        assert self._server is not None and self._server.stdin is not None
        if self._server.stdin.closed:
            return
        try:
            self._server.stdin.write(json.dumps(command).encode() + b"\n")
            self._server.stdin.flush()
        except OSError:
            # It has ended, or it can not be spoken to any more and ends for want of a master:
            # _listen will find that, and start another one.
            with suppress(OSError):
                self._server.stdin.close()

    def _listen(self, timeout: float) -> None:
        assert self._server is not None and self._server.stdout is not None
        pipe = self._server.stdout.fileno()
        if not select.select([pipe], [], [], timeout)[0]:
            return
        data = os.read(pipe, 1 << 16)
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
        """Start another server in the place of one that died; it goes on where that was."""
        assert self._server is not None
        status = _status_of(self._server)
        self._deaths += 1
        if self._deaths > _RESTARTS:
            self.close()
            raise BackendError(
                f"the emulated project's server died {self._deaths} times (the last time with "
                f"status {status}); what it said stands above; run the same command to go on"
            )
        pending, started = self._unanswered, self._started
        self._stop_server()
        self._start_server()
        self._started = started
        if started and {"start": True} not in pending:
            pending.insert(0, {"start": True})
        for command in pending:
            self._unanswered.append(command)
            self._tell(command)

    def _options(self) -> Options:
        """Return what the server is started with."""
        from pyboinc.backends.local.server import Options

        return Options(**self._usual_options())

    def _usual_options(self) -> dict[str, Any]:
        record, settings = self._directory.record, self._settings
        assert record is not None
        return {
            "directory": str(self._directory.path),
            "batch": self._number(),
            "seed": record.seed,
            "failure_rate": settings.failure_rate,
            "faults": format_faults(settings.fault),
            "latency": str(settings.latency),
            "hosts": settings.hosts,
            "workers": settings.workers,
            "isolation": self._isolation,
            "max_output": settings.max_output,
            "slaves": tuple(record.slaves),
            "modules": tuple(record.modules),
            "archives": dict(self._archives),
        }

    def _start_server(self) -> None:
        options = self._options()
        self._unanswered, self._acked, self._text = [], 0, b""
        # -P: nothing in the user's current directory stands in for a module of Python's.
        command = [sys.executable, "-P", "-m", self._program, options.as_json()]
        pipe = subprocess.PIPE
        try:
            self._server = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe,
                start_new_session=True,
                env=processes.environment(),
            )
        except OSError as error:
            raise BackendError(
                f"the emulated project's server can not be started: {error.strerror} (too many "
                "processes? too little memory?); mend that and run the same command"
            ) from error

    def close(self) -> None:
        """Stop the hosts; the batch can be continued later."""
        self._stop_server()

    def _stop_server(self) -> None:
        if self._server is None:
            return
        self._tell({"stop": True})
        server, self._server = self._server, None
        for pipe in (server.stdin, server.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # a broken pipe, mostly: what was not said is not heard
                    pass
        _status_of(server)
        self._started = False


def _status_of(server: subprocess.Popen[bytes]) -> int | None:
    """Wait for the end of *server* and return its exit status; None if that can not be had.

    What it did is in its files; its status is only for a message.
    """
    try:
        return server.wait()
    except OSError:
        return None


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
