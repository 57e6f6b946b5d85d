"""The slaves of a simulation: each distinct job is run once, for real, and remembered.

A job is distinct by its slave's archive and its input.  However many instances, crashes and
seeds there are, and without faults as with them, what its slave does is found out once; a
host of the simulation only decides when that arrives, and as what.
"""

from __future__ import annotations

import os
import select
import shutil
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pyboinc import disk, removal
from pyboinc.backends.local.workers import Ended, Isolation, Run, Worker
from pyboinc.errors import BackendError, RejectedResult
from pyboinc.jobdir import check_archive

_AHEAD = 8
"""Slaves that a worker has at once, of which one runs."""

_ANOTHER = 0.3
"""Seconds after which another worker is worth its start, if there still is work for it."""

_DEATHS = 3
"""A slave under which its worker dies so often has failed."""

_STDERR_LIMIT = 1 << 17
_EXIT_STATUS = {"memory limit": 198, "disk limit": 196, "killed": 203, "stderr flood": 196}


@dataclass(frozen=True, slots=True)
class Work:
    """One distinct job: what is to be run, on what, within which limits.

    ``fault`` and ``salt`` are as in :class:`~pyboinc.backends.local.workers.Run`.
    """

    archive: str
    slave: str
    input: bytes = field(repr=False)
    time_limit: float
    memory: float
    disk: float
    fault: str | None = None
    salt: int = 0

    key: bytes = field(init=False, repr=False)
    """What tells it from every other."""

    def __post_init__(self) -> None:
        name = self.archive.rpartition("/")[2]
        what = f"{name} {self.slave} {self.fault} {self.salt} ".encode()
        object.__setattr__(self, "key", sha256(what + sha256(self.input).digest()).digest())


@dataclass(frozen=True, slots=True)
class Ending:
    """How a slave ended: with an output, which lies in a file, or with an exit status.

    ``too_big``: its output was, and no host could have uploaded it.
    """

    output: str | None
    exit_status: int
    signal: bool = False
    too_big: bool = False
    no_reply: bool = False
    stderr: str = ""


class Slaves:
    """Runs slaves in *scratch*, *workers* of them at a time, each distinct one once."""

    def __init__(self, scratch: Path, workers: int, isolation: Isolation, max_output: int) -> None:
        self.runs = 0
        self._scratch = scratch
        self._number = workers
        self._isolation: Isolation = isolation
        self._max_output = max_output
        self._endings: dict[bytes, Ending] = {}
        self.refusals: dict[bytes, str] = {}
        """Which outputs a validator takes, by the key of their work."""
        self._queue: deque[Work] = deque()
        self._ordered: dict[bytes, Work] = {}
        self._running: dict[str, tuple[Work, Run, Worker]] = {}
        self._deaths: dict[str, int] = {}
        self._workers: list[Worker] = []
        self._next_worker = 0.0
        self._preload: list[str] = []
        self._free: list[int] = []
        self._slots = 0
        self._outputs = 0
        self._known: dict[str, str] = {}
        self._archives = scratch / "archives"
        self._archives.mkdir(parents=True, exist_ok=True)
        self._make_places()

    def _make_places(self) -> None:
        for name in ("slots", "outputs", "boot"):
            (self._scratch / name).mkdir(parents=True, exist_ok=True)

    def boot(self, preload: Sequence[str]) -> None:
        """Let the workers boot, which takes a while, with these modules imported beforehand."""
        missing = set(preload) - set(self._preload)
        if missing and self._workers and not self._running:
            self._close_workers()
        if missing or not self._workers:
            self._preload = [*self._preload, *missing]
        if not self._workers:
            self._add_worker()

    def _add_worker(self) -> None:
        self._workers.append(self._new_worker())
        self._next_worker = time.monotonic() + _ANOTHER

    def _new_worker(self) -> Worker:
        return Worker(self._isolation, self._preload, str(self._scratch / "boot"))

    def archive(self, path: Path) -> str:
        """Return where a slave's archive is kept for all runs; *path* may go with its run."""
        if path.name not in self._known:
            kept = self._archives / path.name
            check_archive(path, path.stem)
            half = kept.with_suffix(f".{os.getpid()}")
            shutil.copyfile(path, half)
            half.rename(kept)
            self._known[path.name] = str(kept)
        return self._known[path.name]

    def order(self, work: Work) -> None:
        """Have a slave run, if it has not, without waiting for it."""
        if work.key not in self._endings and work.key not in self._ordered:
            self._ordered[work.key] = work
            self._queue.append(work)
            self._fill()

    def ending(self, work: Work) -> Ending:
        """Return how a slave ended, when it has."""
        self.order(work)
        while work.key not in self._endings:
            self._collect()
        return self._endings[work.key]

    def output(self, ending: Ending) -> bytes:
        """Return the output of a slave that has one."""
        assert ending.output is not None
        return disk.read_bounded(ending.output, self._max_output)

    def _fill(self) -> None:
        self.boot(())
        if not self._running:
            self._next_worker = time.monotonic() + _ANOTHER
        while self._queue:
            busy = Counter(id(worker) for _, _, worker in self._running.values())
            worker = min(self._workers, key=lambda one: busy[id(one)])
            if busy[id(worker)] >= _AHEAD:
                if len(self._workers) == self._number or time.monotonic() < self._next_worker:
                    return
                self._add_worker()
                continue
            self._start(worker, self._queue.popleft())

    def _start(self, worker: Worker, work: Work) -> None:
        slot = self._free.pop() if self._free else self._new_slot()
        run = Run(
            name=str(slot),
            slot=str(self._scratch / "slots" / str(slot)),
            archive=work.archive,
            slave=work.slave,
            input=work.input,
            time_limit=work.time_limit,
            memory=work.memory,
            disk=work.disk,
            max_output=self._max_output,
            fault=work.fault,
            salt=work.salt,
        )
        self._running[run.name] = work, run, worker
        worker.start(run)

    def _new_slot(self) -> int:
        self._slots += 1
        return self._slots - 1

    def _collect(self) -> None:
        """Wait until some slave has ended, and take what there is."""
        ready, _, _ = select.select(self._workers, [], [])
        for worker in ready:
            said = ""
            for ended in worker.reports():
                if ended.reason == "worker died":
                    said = _stderr_of(f"{self._scratch}/slots/{ended.name}") or said
                self._ended(ended)
            if not worker.alive():
                self._replace(worker, said)
        self._fill()

    def _replace(self, worker: Worker, said: str) -> None:
        worker.close()
        worker.check_system(said)
        self._workers[self._workers.index(worker)] = self._new_worker()

    def _ended(self, ended: Ended) -> None:
        work, run, _ = self._running.pop(ended.name)
        self._free.append(int(ended.name))
        if ended.reason == "worker died" and self._again(work):
            self._queue.appendleft(work)
            return
        self.runs += 1
        del self._ordered[work.key]
        self._endings[work.key] = self._ending_of(run, ended)

    def _again(self, work: Work) -> bool:
        """Whether to try again when the worker died, which need not be this slave's doing."""
        deaths = self._deaths[work.slave] = 1 + self._deaths.get(work.slave, 0)
        if deaths > _DEATHS and not self._endings:
            raise BackendError(
                "slaves can not be started here: the worker processes end at once; pyboinc doctor "
                "looks for the cause, --isolation spawn may help"
            )
        return deaths <= _DEATHS

    def _ending_of(self, run: Run, ended: Ended) -> Ending:
        disk.check_space(self._scratch)
        if ended.reason is not None and ended.reason.startswith("no slot"):
            raise BackendError(f"slaves have no place to work in: {ended.reason}; mend that")
        if ended.reason == "output too big":
            return Ending(None, 0, too_big=True, stderr=_stderr(run, ended))
        if ended.reason is not None:
            status = _EXIT_STATUS.get(ended.reason, 1)
            late = ended.reason == "time limit"
            return Ending(None, status, no_reply=late, stderr=_stderr(run, ended))
        if ended.exit_status:
            return Ending(None, ended.exit_status, ended.signal, stderr=_stderr(run, ended))
        return Ending(self._keep(run), 0, stderr=_stderr(run, ended))

    def _keep(self, run: Run) -> str | None:
        """Take the output out of a slot, if there is one."""
        try:
            data = disk.read_bounded(f"{run.slot}/out", self._max_output)
        except (FileNotFoundError, RejectedResult):
            return None
        self._outputs += 1
        path = self._scratch / "outputs" / f"{os.getpid()}-{self._outputs}"
        path.write_bytes(data)
        return str(path)

    def leave(self, scratch: Path) -> None:
        """Forget the workers in a fork of the process whose they are, and work in *scratch*."""
        for worker in self._workers:
            worker.leave()
        self._workers, self._running = [], {}
        self._queue = deque(self._ordered.values())
        self._scratch = scratch
        self._make_places()

    def _close_workers(self) -> None:
        for worker in self._workers:
            worker.close()
        self._workers = []

    def close(self) -> None:
        """Stop the workers."""
        self._close_workers()
        for path in (self._scratch / "slots").iterdir():
            removal.remove(str(path))


def _stderr(run: Run, ended: Ended) -> str:
    """Return what a slave said, and how the emulated client ended it."""
    text = _stderr_of(run.slot)
    if text and not text.endswith("\n"):
        text += "\n"
    if ended.reason:
        text += f"ended by the emulated client: {ended.reason}\n"
    elif ended.signal:
        text += f"ended by signal {ended.exit_status}\n"
    return text


def _stderr_of(slot: str) -> str:
    try:
        return disk.read_bounded(f"{slot}/stderr.txt", _STDERR_LIMIT).decode("utf-8", "replace")
    except (OSError, RejectedResult):  # whatever a slave has made of its slot
        return ""
