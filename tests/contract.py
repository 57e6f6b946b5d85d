"""What the contract suite needs of a backend: a job directory, the project behind it, and time.

A :class:`Side` is one backend with all that stands behind it; :meth:`Side.open` is what a new
master process would have, :meth:`Side.kill` what is left when one was killed.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from boinc_project.place import StandIn
from boinc_project.world import World
from masters import PATIENCE

from pyboinc import bundle, codec, config
from pyboinc.backends import Backend, Failure, failure_from_bytes, find_backend
from pyboinc.backends.simulated.link import SOCKET, Link
from pyboinc.backends.simulated.project import Project
from pyboinc.backends.simulated.slaves import Slaves
from pyboinc.classes import Classes
from pyboinc.faults import FaultPlan, Kind
from pyboinc.faults.draws import uniforms
from pyboinc.jobdir import JobDirectory, RunRecord
from simulator.campaign.calm import Calm

SLAVE = """
from pyboinc import pyboinc_get_input, pyboinc_return_output
number = pyboinc_get_input()
if number == 13:
    raise ValueError("unlucky")
pyboinc_return_output(number ** 2)
"""


class Side:
    """One backend, a job directory for it with some committed calls, and the project behind it.

    *error_rate* is the probability that an instance fails for no reason of its slave's.
    """

    name = ""

    def __init__(self, path: Path, error_rate: float = 0.0, seed: int = 1, **settings: Any) -> None:
        self.path = path
        path.mkdir(parents=True)
        (path / "app_slave.py").write_text(SLAVE)
        self.error_rate = error_rate
        self.seed = seed
        given = {"backend": self.name, "workers": 1, "max_errors": 1, **self._own(), **settings}
        self.settings = config.load(path, arguments=given, environ={})
        self.directory = JobDirectory(path)
        self.directory.lock()
        limits = self.settings.limits.asdict()
        self.token = path.name
        self.directory.begin(RunRecord(self.token, self.name, seed, "m.py", limits=limits))
        self._opened: list[Backend] = []
        self._classes = Classes(path)
        self.backend: Backend

    def _own(self) -> Mapping[str, Any]:
        """Settings that this backend needs."""
        return {}

    def pack(self, slave: str = "app_slave.py") -> str:
        """Pack a slave as it is now, and return the digest of its archive."""
        packed = bundle.pack(self.path, slave)
        self.directory.keep_bundle(packed.digest, packed.data)
        record = self.directory.record
        assert record is not None
        record.slaves = sorted({*record.slaves, slave})
        return packed.digest

    def call(self, *numbers: int, slave: str = "app_slave.py", **limits: Any) -> None:
        """Commit calls with these inputs."""
        digest = self.pack(slave)
        for number in numbers:
            self.directory.spool.append(slave, digest, 1, limits, codec.encode(number))
        self.directory.spool.sync()
        self.directory.journal.commit_calls(1, len(self.directory.spool))

    def open(self) -> Backend:
        """Open the backend, as a new master does, and find or begin the batch."""
        self.backend = find_backend(self.name)(self.directory, self.settings)
        self._opened.append(self.backend)
        self.begin()
        return self.backend

    def begin(self) -> None:
        """Find or begin the batch."""
        record = self.directory.record
        assert record is not None
        record.batch = self.backend.begin_batch(self.token)

    def submit(self) -> None:
        """Make jobs of all calls, and note that."""
        self.backend.submit(0, len(self.directory.spool))
        self.directory.write_checkpoint()

    def finish(self) -> None:
        """Wait until every job has its outcome."""
        self.backend.start()
        self.until(len(self.directory.spool))

    def until(self, number: int) -> None:
        """Wait for so many outcomes in new/."""
        deadline = time.monotonic() + PATIENCE
        while len(self.outcomes()) < number:
            self.backend.wait(0.2)
            self.check_project()
            assert time.monotonic() < deadline, f"{self.outcomes()} of {number}"

    def check_project(self) -> None:
        """Raise if what stands behind the backend has failed."""

    def until_decided(self) -> None:
        """Wait until the backend says that every job is done or has failed."""
        deadline = time.monotonic() + PATIENCE
        while True:
            counts = self.backend.counts()
            if counts.done + counts.failed == counts.total > 0:
                return
            self.backend.wait(0.2)
            self.check_project()
            assert time.monotonic() < deadline, counts

    def outcomes(self) -> dict[str, object]:
        """What lies in new/ by its name without the batch: values, or :class:`Failure` objects."""
        found: dict[str, object] = {}
        for path in sorted(self.directory.new.iterdir()):
            if not path.name.startswith("."):
                name = path.name.partition("_")[2]
                data = path.read_bytes()
                found[name] = failure_from_bytes(data) if ".error" in name else self._load(data)
        return found

    def _load(self, data: bytes) -> Any:
        return self._classes.attempt(lambda registry: codec.decode(data, registry))

    def failure(self, name: str) -> Failure:
        """The failure of this name."""
        found = self.outcomes()[f"{name}.error"]
        assert isinstance(found, Failure)
        return found

    def job(self, sequence: int) -> str:
        """The name of a job."""
        record = self.directory.record
        assert record is not None
        return f"{record.batch}_{sequence}"

    def jobs(self) -> list[int]:
        """The numbers of the jobs that the project was told to make, ascending, twice if it was."""
        raise NotImplementedError

    def kill(self) -> None:
        """Let the master die without a word."""

    def close(self) -> None:
        """End everything."""
        for backend in self._opened:
            backend.close()
        self.directory.close()


class LocalSide(Side):
    """The emulator: the project is a server beside the master, and dies with it."""

    name = "local"

    def _own(self) -> Mapping[str, Any]:
        return {"fault": {"error": self.error_rate}} if self.error_rate else {}

    def jobs(self) -> list[int]:
        from pyboinc.backends.local.store import Store

        store = Store(self.path / ".pyboinc/local/project.sqlite", read_only=True)
        try:
            query = "select sequence from workunit order by sequence"
            return [number for (number,) in store._database.execute(query)]
        finally:
            store.close()

    def kill(self) -> None:
        server: Any = self.backend._server  # type: ignore[attr-defined]  # a master dies with it
        if server is not None:
            os.kill(server.process.pid, signal.SIGKILL)
            server.end()
            self.backend._server = None  # type: ignore[attr-defined]


class SimulatedSide(Side):
    """Virtual time: the project's end is in a thread, a link for each master."""

    name = "simulated"

    def __init__(self, path: Path, error_rate: float = 0.0, seed: int = 1, **settings: Any) -> None:
        super().__init__(path, error_rate, seed, **settings)
        self._slaves = Slaves(path.parent / f"{path.name}-slaves", 1, "fork", 1 << 20)
        faults = FaultPlan(seed=seed, probabilities={Kind.ERROR: error_rate} if error_rate else {})
        self._project = Project(self._slaves, faults, Calm, 1000, 1 << 20)
        self._threads: list[threading.Thread] = []

    def open(self) -> Backend:
        ours, theirs = socket.socketpair()
        link = Link(theirs.detach())
        self._threads.append(threading.Thread(target=self._serve, args=[link]))
        self._threads[-1].start()
        os.environ[SOCKET] = str(ours.fileno())
        try:
            return super().open()
        finally:
            del os.environ[SOCKET]
            ours.close()

    def _serve(self, link: Link) -> None:
        try:
            self._project.serve(link)
        finally:
            link.close()

    def jobs(self) -> list[int]:
        return sorted(job.call.sequence for job in self._project.jobs)

    def close(self) -> None:
        super().close()
        for thread in self._threads:
            thread.join()
        self._slaves.close()


class BoincSide(Side):
    """A stand-in for a real project, with its daemons and volunteers in a thread."""

    name = "boinc"

    def __init__(self, path: Path, error_rate: float = 0.0, seed: int = 1, **settings: Any) -> None:
        root = path.parent / "project"
        self.project = StandIn.at(root)
        super().__init__(path, error_rate, seed, **settings)
        self.world = World(self.project, self._fate)

    def _own(self) -> Mapping[str, Any]:
        return {"project_dir": self.project.root, "signing_key": self.project.key}

    def _fate(self, name: str) -> str:
        return "error" if uniforms(self.seed, name)[0] < self.error_rate else "run"

    def until(self, number: int) -> None:
        with self.world.at_work():
            super().until(number)

    def until_decided(self) -> None:
        with self.world.at_work():
            super().until_decided()

    def check_project(self) -> None:
        self.world.check()

    def jobs(self) -> list[int]:
        query = "select name from workunit where name like %s"
        found = self.project.select(query, f"pyb\\_{self.job(0).partition('_')[0]}\\_%")
        return sorted(int(name.split("_")[2]) for (name,) in found)

    def kill(self) -> None:
        self.backend._database.close()  # type: ignore[attr-defined]

    def close(self) -> None:
        super().close()
        self.world.close()


SIDES: dict[str, type[Side]] = {side.name: side for side in (LocalSide, SimulatedSide, BoincSide)}
