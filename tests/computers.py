"""Emulated computers for tests: workers, archives made by hand, and waiting without sleeping."""

from __future__ import annotations

import os
import select
import sys
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from pyboinc import codec
from pyboinc.backends.local import workers
from pyboinc.backends.local.workers import Ended, Run, Worker

PATIENCE = 60.0
"""Seconds after which a test that waits fails; a pass never takes them."""

NOTHING = codec.Registry({})

HEAD = "from pyboinc import pyboinc_get_input, pyboinc_return_output\n"


@contextmanager
def measured() -> Iterator[None]:
    """Let coverage, if it runs, measure keepers, fork servers and slaves, too.

    For this their interpreters need ``site`` and two variables that slaves else never see.
    """
    variables = [name for name in os.environ if name.startswith("COVERAGE_")]
    with pytest.MonkeyPatch.context() as patch:
        if variables:
            clean = workers._environment
            kept = {name: os.environ[name] for name in variables}
            patch.setattr(workers, "INTERPRETER", (sys.executable,))
            patch.setattr(workers, "_environment", lambda: {**clean(), **kept})
        yield


def pack(archive: Path, files: Mapping[str, str]) -> Path:
    """Make the zip *archive* of *files*."""
    with zipfile.ZipFile(archive, "w") as members:
        for name, text in files.items():
            members.writestr(name, text)
    return archive


class Computer:
    """A worker with slots and archives in *directory*; it counts its runs."""

    def __init__(
        self,
        directory: Path,
        isolation: Any = "fork",
        preload: Iterable[str] = (),
        measure: bool = True,
    ) -> None:
        self.directory = directory
        self.isolation = isolation
        self.preload = list(preload)
        self.runs = 0
        with measured() if measure else nullcontext():
            self.worker = Worker(isolation, self.preload)
        self.ended: dict[str, Ended] = {}

    @property
    def slot(self) -> Path:
        """The slot of the last run."""
        return self.directory / "slot"

    def start(self, program: str = "", value: object = 7, **how: Any) -> str:
        """Start a run of the slave *program* (and of *files*) with *value*; return its name."""
        self.runs += 1
        name = f"run_{self.runs}"
        files = {"app_slave.py": program, **how.pop("files", {})}
        archive = how.pop("archive", None) or pack(self.directory / f"{name}.zip", files)
        run = Run(
            name=name,
            slot=str(how.pop("slot", self.slot)),
            archive=str(archive),
            slave=how.pop("slave", "app_slave.py"),
            input=how.pop("input", None) or codec.encode(value),
            time_limit=how.pop("time_limit", PATIENCE),
            memory=how.pop("memory", 1e9),
            disk=how.pop("disk", 1e9),
            max_output=how.pop("max_output", 10**6),
            **how,
        )
        self.worker.start(run)
        return name

    def wait(self, name: str) -> Ended:
        """Return how the run *name* ended."""
        deadline = time.monotonic() + PATIENCE
        while name not in self.ended:
            assert time.monotonic() < deadline, f"{name} has not ended"
            if self.worker.alive():
                select.select([self.worker], [], [], 1)
            self.ended.update({ended.name: ended for ended in self.worker.reports()})
        return self.ended[name]

    def run(self, program: str = "", value: object = 7, **how: Any) -> Ended:
        """Run the slave *program* and return how it ended."""
        return self.wait(self.start(program, value, **how))

    def output(self) -> Any:
        """Return the output in the slot."""
        return codec.decode((self.slot / "out").read_bytes(), NOTHING)

    def stderr(self) -> str:
        """Return what the last slave wrote to stderr."""
        path = self.slot / "stderr.txt"
        return path.read_text() if path.exists() else ""

    def answer(self, program: str, value: object = 7, **how: Any) -> Any:
        """Run the slave *program*, which must succeed, and return its output."""
        ended = self.run(HEAD + program, value, **how)
        assert (ended.exit_status, ended.signal, ended.reason) == (0, False, None), self.stderr()
        return self.output()

    def close(self) -> None:
        """End the worker."""
        self.worker.close()


def await_end(*pids: int) -> None:
    """Return when none of the processes *pids* is there any more."""
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            ready, _, _ = select.select([descriptor], [], [], PATIENCE)
            assert ready, f"process {pid} is still there"
        finally:
            os.close(descriptor)


class Signpost:
    """A named pipe through which a slave tells the test something, so that neither polls."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        os.mkfifo(path)
        # Also open for writing: so it never ends while slaves come and go.
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)

    def line(self) -> str:
        """Return the next line that a slave writes."""
        data = b""
        while not data.endswith(b"\n"):
            ready, _, _ = select.select([self._descriptor], [], [], PATIENCE)
            assert ready, "no word from the slave"
            data += os.read(self._descriptor, 1)
        return data.decode().rstrip("\n")

    def numbers(self) -> list[int]:
        """Return the numbers in the next line."""
        return [int(word) for word in self.line().split()]

    def close(self) -> None:
        """Close the pipe."""
        os.close(self._descriptor)
