"""The emulated project's server: a process of its own beside the master.

It works while the master handles, as a real project does, and ends when the master ends,
however that ends: its standard input is a pipe from the master.  Commands come in there,
a line of JSON each, and news goes out on its standard output:

    {"submit": [0, 100], "at": 0, "limits": {...}, "modules": [...]}   make workunits of
                            calls in the spool; their outputs are of classes of these modules
    {"reissue": [17], "unless_there": true}   {"cancel": true}   {"start": true}   {"stop": true}

    {"ack": N}              the N-th command is done and durable
    {"refused": "...", "kind": "ConfigurationError"}   it can not be done, ever
    {"counts": [total, done, failed, running, retries], "errors": [...]}
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

from pyboinc import bundle, disk, locks
from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.local.hosts import Hosts, is_emulated
from pyboinc.backends.local.judge import Judge
from pyboinc.backends.local.runs import Runs
from pyboinc.backends.local.store import Rows, Store
from pyboinc.backends.local.uploads import Uploads
from pyboinc.backends.local.workers import Isolation
from pyboinc.classes import Classes
from pyboinc.config.limits import Limits
from pyboinc.disk import AppendLog
from pyboinc.errors import PyboincError
from pyboinc.faults import FaultPlan, parse_faults
from pyboinc.faults.latency import Latency
from pyboinc.jobdir import moved
from pyboinc.project import Result
from pyboinc.records import calls_from

_BETWEEN_COMMITS = 0.01
"""Seconds between two commits, at least, while instances are running."""

_AT_A_TIME = 250
"""Workunits made before the workers are looked after again."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a server is started with, as JSON on its command line."""

    directory: str
    batch: int
    seed: int
    failure_rate: float
    faults: str
    latency: str
    hosts: int
    workers: int
    isolation: Isolation
    max_output: int
    slaves: tuple[str, ...]
    modules: tuple[str, ...]
    archives: Mapping[str, str]

    def as_json(self) -> str:
        """Return the text that :meth:`from_json` reads."""
        return json.dumps({field.name: getattr(self, field.name) for field in fields(self)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what :meth:`as_json` wrote."""
        return cls(**json.loads(text))


class Server:
    """The loop: commands, reports, deadlines, one commit for all of them, new instances."""

    def __init__(self, options: Options, commands: int, news: int) -> None:
        self._directory = directory = Path(options.directory)
        state = directory / ".pyboinc"
        self._lock_path = state / "local" / "lock"
        self._options = options
        self._commands: int | None = commands
        self._news: int | None = news
        self._lock = own_lock(self._lock_path)
        disk.remove_temporaries(state / "bundles", "unpacked")
        self._scratch = state / "local" / "scratch"
        shutil.rmtree(self._scratch, ignore_errors=True)  # of workers that were killed
        faults = FaultPlan(options.failure_rate, parse_faults(options.faults), options.seed)
        self._hosts = Hosts(options.hosts, faults, Latency.parse(options.latency))
        self._classes = Classes(directory)
        self._judge = Judge(directory, self._classes, options.max_output, parent=os.getppid())
        self._modules: set[str] = set()
        self._add_modules(options.modules)
        uploads = Uploads(state / "local" / "upload", directory / "new", directory / "old")
        store = Store(state / "local" / "project.sqlite")
        self._spool = AppendLog(state / "spool")
        self._emulator = Emulator(options.batch, store, uploads, self._judge, options.max_output)
        self._make_runs: Callable[[], Runs] = lambda: Runs(
            self._emulator,
            self._hosts,
            faults,
            state,
            self._spool,
            options.workers,
            options.isolation,
            _to_preload(directory, options.slaves),
            options.max_output,
        )
        self._runs: Runs | None = None
        self._started = False
        self._text = b""
        self._acks: list[int] = []
        self._next_commit = 0.0
        self._heard = 0
        self._making: deque[tuple[int, Iterator[object]]] = deque()
        self._told: dict[str, Any] = {}

    def serve(self) -> None:
        """Serve until the master ends or says stop."""
        self._left = self._taken_over(self._emulator.recover())
        self._begin()
        going_on = True
        while going_on:
            if self._runs is not None and self._started:
                self._runs.fill()
            going_on = self._wait()
            if self._runs is not None:
                self._runs.pass_time()
            self._pass_time()
            self._make_some()
            self._commit_if_due()
        self._finish()
        self._commit()
        self._emulator.tidy()
        if self._runs is not None:
            self._runs.close()
        self._judge.close()
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._emulator.store.close()

    # What a project that is served has beside this (pyboinc.backends.served.server).

    def _taken_over(self, left: list[tuple[Rows, Result]]) -> list[tuple[Rows, Result]]:
        """Return which of the instances that were left running are run on here.

        Those that real clients had are not: nobody serves them now, so nobody can report.
        """
        ours = []
        for rows, result in left:
            if result.host is None or is_emulated(result.host):
                ours.append((rows, result))
            else:
                self._emulator.detach(rows.workunit.id, result.host)
        return ours

    def _begin(self) -> None:
        """Do what comes before the first turn of the loop."""

    def _pass_time(self) -> None:
        """Do what is due."""

    def _finish(self) -> None:
        """Do what comes after the last turn of the loop."""

    def _listeners(self) -> Mapping[int, Callable[[], None]]:
        """Return what else is to be waited for, and what is done when it is ready."""
        return {}

    def _urgent(self) -> bool:
        """Whether somebody waits for the next commit."""
        return bool(self._acks)

    def _timeout(self) -> float:
        """Return how long nothing is due, at most (s)."""
        return self._runs.timeout(1.0) if self._runs is not None else 1.0

    def _running(self) -> int:
        """Return how many instances are in progress."""
        return self._runs.running if self._runs is not None else 0

    def _check_quorum(self, quorum: int) -> None:
        self._hosts.check_quorum(quorum)

    def _committed(self) -> None:
        """Be told that all that happened is durable."""

    # The loop.

    def _commit_if_due(self) -> None:
        """Commit at once when things are slow, and many changes together when they are not.

        However slow the disk is, at most half of the time goes into waiting for it.
        """
        busy = self._runs is not None and self._runs.running
        if busy and not self._urgent() and time.monotonic() < self._next_commit:
            return
        begun = time.monotonic()
        if self._commit():
            ended = time.monotonic()
            self._next_commit = ended + max(_BETWEEN_COMMITS, ended - begun)
        self._committed()
        self._tell()

    def _commit(self) -> bool:
        """Make durable what happened; if the directory was moved, that was no fault of a host."""
        self.check_place()
        return self._emulator.commit()

    def check_place(self) -> None:
        """Raise if the job directory is no longer where it was."""
        if not locks.is_at(self._lock, self._lock_path):
            raise moved(self._directory)

    def _wait(self) -> bool:
        """Wait for a command or a report and take it; False when the master has ended."""
        workers = self._runs.workers if self._runs is not None else []
        places = {worker.fileno(): index for index, worker in enumerate(workers)}
        listeners = self._listeners()
        timeout = self._timeout()
        if self._emulator.dirty:
            timeout = min(timeout, max(0.0, self._next_commit - time.monotonic()))
        if self._making:
            timeout = 0.0
        commands = [] if self._commands is None else [self._commands]
        ready, _, _ = select.select([*commands, *places, *listeners], [], [], timeout)
        going_on = True
        for descriptor in ready:
            if descriptor == self._commands:
                going_on = self._read_commands()
            elif descriptor in listeners:
                listeners[descriptor]()
            elif self._runs is not None:
                self._runs.collect(places[descriptor])
        return going_on

    def _read_commands(self) -> bool:
        assert self._commands is not None
        try:
            data = os.read(self._commands, 1 << 16)
        except ConnectionResetError:
            data = b""
        *lines, self._text = (self._text + data).split(b"\n")
        going_on = bool(data)
        for line in lines:
            number, self._heard = self._heard, self._heard + 1
            going_on = self._obey(number, json.loads(line)) and going_on
        return going_on

    def _obey(self, number: int, command: dict[str, Any]) -> bool:
        match command:
            case {"submit": [first, last], "at": position, "limits": limits, "modules": modules}:
                self._add_modules(modules)
                self._submit(number, first, last, position, Limits(**limits))
                return True
            case {"reissue": sequences, "unless_there": unless_there}:
                self._emulator.reissue(sequences, unless_there)
            case {"cancel": True}:
                self._emulator.cancel()
                if self._runs is not None:
                    self._runs.kill_all()
            case {"start": True}:
                self._start()
            case _:
                return False
        self._acks.append(number)
        return True

    def _start(self) -> None:
        self._started = True
        self._boot()

    def _boot(self) -> None:
        """Let the workers boot, which takes a while, even before they may begin."""
        if self._runs is None:
            self._runs = self._make_runs()
            self._runs.resume(self._left)

    def _submit(self, number: int, first: int, last: int, position: int, limits: Limits) -> None:
        """Make workunits of the calls that have none, a few at a time."""
        self._boot()
        existing = self._emulator.store.existing(self._options.batch, first, last)

        def make() -> Iterator[object]:
            for call in calls_from(self._spool, position, first, last):
                known = existing.get(call.sequence)
                if known is not None:
                    self._emulator.recognise(call, known)
                else:
                    own = limits.replace(**call.limits) if call.limits else limits
                    self._check_quorum(own.quorum)
                    # The program may have been changed between its call and now.
                    archive = self._options.archives.get(call.slave, call.bundle)
                    self._emulator.create([replace(call, bundle=archive)], limits)
                yield None

        self._making.append((number, make()))

    def _add_modules(self, modules: Iterable[str]) -> None:
        """Let outputs be of classes of these modules: handlers may call further slaves."""
        if not self._modules.issuperset(modules):
            self._modules.update(modules)
            self._classes.add(modules)
            self._judge.add(self._modules)

    def _make_some(self) -> None:
        if not self._making:
            return
        number, making = self._making[0]
        for _ in range(_AT_A_TIME):
            if next(making, self) is self:
                self._making.popleft()
                self._acks.append(number)
                break

    def _first_errors(self) -> list[str]:
        """Return the first errors of each kind that were not told yet."""
        if self._runs is None or not self._runs.first_errors:
            return []
        found, self._runs.first_errors = self._runs.first_errors, []
        return found

    def _tell(self) -> None:
        """Tell the master what is new; called after a commit only.

        One that does not listen, because it was stopped, hears it when it does again.
        """
        if self._news is None or not select.select([], [self._news], [], 0)[1]:
            return
        tally = self._emulator.tally
        counts = [tally.total, tally.done, tally.failed, self._running(), tally.retries]
        news: dict[str, Any] = {} if counts == self._told.get("counts") else {"counts": counts}
        self._told = {"counts": counts}
        if errors := self._first_errors():
            news["errors"] = errors
        if self._acks:
            news["ack"], self._acks = self._acks[-1], []
        if news:
            say(self._news, news)


def say(pipe: int | None, news: dict[str, Any]) -> None:
    data = json.dumps(news).encode() + b"\n" if pipe is not None else b""
    try:
        while data and pipe is not None:
            data = data[os.write(pipe, data) :]
    except (BrokenPipeError, ConnectionResetError):
        pass  # the master has ended; the next read of commands says so


def own_lock(path: Path) -> int:
    """Wait until no other server works here: an earlier one may still be ending."""
    import fcntl

    disk.make_directory(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def _to_preload(directory: Path, slaves: tuple[str, ...]) -> list[str]:
    """Return the modules, not the user's own, that slaves import: a warm server has them."""
    names: dict[str, None] = {}
    for slave in slaves:
        try:
            packed = bundle.pack(directory, slave)
        except PyboincError:
            continue  # it was changed since; the archive made then is what runs
        names.update(dict.fromkeys(packed.preload))
    return list(names)


def main(
    arguments: list[str], kind: type[Server] = Server, options_kind: type[Options] = Options
) -> int:
    """Run the server; news goes to the original standard output, prints to stderr."""
    news = os.dup(1)
    os.dup2(2, 1)
    options = options_kind.from_json(arguments[0])
    try:
        server = kind(options, 0, news)
        try:
            server.serve()
        except (PyboincError, OSError):
            server.check_place()  # whatever went wrong, this is why
            raise
        return 0
    except PyboincError as error:
        refusal = error
    except OSError as error:
        refusal = disk.explain("use", error.filename or options.directory, error)
    say(news, {"refused": str(refusal), "kind": type(refusal).__name__})
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
