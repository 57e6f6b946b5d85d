"""A project on another computer: what it knows outlives the power of the master's.

The emulated project shares the master's disk; a real one does not.  This backend keeps its
truth in a directory of its own, of which no power cut takes anything.  What it knows is
there before it answers; an outcome is durable in new/ before it counts as delivered, and is
delivered again if the power is cut in between, as by BOINC's assimilator.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from masters import Place, Run

from pyboinc import backends, codec, disk
from pyboinc.backends import Attempt, Counts
from pyboinc.config import Settings
from pyboinc.jobdir import JobDirectory

TRUTH = "PYBOINC_TEST_TRUTH"
"""The environment variable that names the directory of the truth."""


class Truth:
    """What the project knows: a file that is replaced whenever it changes."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "truth.json"
        self.batches: dict[str, str] = {}
        self.inputs: dict[str, str] = {}
        self.undone: list[str] = []
        self.times: dict[str, int] = {}
        self.outputs: dict[str, str] = {}
        if self._path.exists():
            vars(self).update(json.loads(self._path.read_text()))

    def save(self) -> None:
        """Keep it."""
        told = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        new = self._path.with_name(".truth.json")
        new.write_text(json.dumps(told))
        os.rename(new, self._path)


class Distant:
    """The master's end of it; *at_once* outcomes come when a master waits.

    The output of a job is the square of its input.  The first output of jobs whose input is
    :data:`SPOILT` is cut short.
    """

    def __init__(self, directory: JobDirectory, settings: Settings) -> None:
        self._directory = directory
        self._truth = Truth(Path(os.environ[TRUTH]))
        self._at_once = int(os.environ.get("AT_ONCE", "1000"))
        self.first_errors: list[str] = []

    def _name(self, sequence: int) -> str:
        assert self._directory.record is not None
        return f"{self._directory.record.batch}_{sequence}"

    def begin_batch(self, token: str) -> str:
        batch = self._truth.batches.setdefault(token, str(1 + len(self._truth.batches)))
        self._truth.save()
        return batch

    def submit(self, first: int, last: int) -> None:
        spool = self._directory.spool
        for sequence in range(first, last):
            name, call = self._name(sequence), spool.call(sequence)
            data = spool.data(call)
            if name not in self._truth.inputs:
                self._truth.inputs[name] = data.hex()
                self._truth.undone.append(name)
        self._truth.save()

    def start(self) -> None:
        """It has been at work all the time."""

    def wait(self, timeout: float) -> None:
        mine = [one for one in self._truth.undone if one.startswith(self._name(0)[:-1])]
        for name in mine[: self._at_once]:
            times = self._truth.times.get(name, 0)
            value = codec.decode(bytes.fromhex(self._truth.inputs[name]), codec.Registry({}))
            output = codec.encode(value**2)
            data = output[:-1] if value == SPOILT and not times else output
            disk.publish(self._directory.new / f"{name}.out", data)
            self._truth.undone.remove(name)
            self._truth.times[name] = times + 1
            self._truth.outputs[name] = sha256(data).hexdigest()
            self._truth.save()

    def counts(self) -> Counts:
        names = [one for one in self._truth.inputs if one.startswith(self._name(0)[:-1])]
        undone = len(set(names) & set(self._truth.undone))
        return Counts(len(names), queued=undone, done=len(names) - undone)

    def describe(self, name: str) -> tuple[Attempt, ...]:
        return ()

    def retried(self) -> Any:
        return iter(())

    def reissue(self, sequences: Sequence[int], unless_there: bool = False) -> None:
        for name in map(self._name, sequences):
            there = any((self._directory.path / one / f"{name}.out").exists() for one in _PLACES)
            if name not in self._truth.undone and not (unless_there and there):
                self._truth.undone.append(name)
        self._truth.save()

    def use_program(self, slave: str, digest: str) -> None:
        """The program is the same for ever."""

    def cancel(self) -> int:
        before = len(self._truth.undone)
        self._truth.undone = [
            one for one in self._truth.undone if not one.startswith(self._name(0)[:-1])
        ]
        self._truth.save()
        return before - len(self._truth.undone)

    def close(self) -> None:
        """It goes on without a master."""


SPOILT = 5
"""Jobs with this input have a first output that does not load."""

_PLACES = ("new", "old")


class DistantPlace(Place):
    """A job directory whose project is a :class:`Distant` one, with its truth in *truth*."""

    def __init__(self, path: Path, truth: Path, files: dict[str, str]) -> None:
        super().__init__(path, files)
        self.truth = truth
        truth.mkdir(exist_ok=True)

    def workunits(self, batch: str) -> list[str]:
        """The names of all jobs that the project ever made for *batch*, in order."""
        names = [one for one in Truth(self.truth).inputs if one.startswith(f"{batch}_")]
        return sorted(names, key=lambda name: int(name.rpartition("_")[2]))

    def select(self, query: str) -> list[tuple[object, ...]]:
        """The jobs of the batch with the SHA-256 of their outputs: all that is asked for."""
        (batch,) = re.findall(r"w\.batch = (\w+)$", query)
        outputs = Truth(self.truth).outputs.items()
        return [(name, bytes.fromhex(one)) for name, one in outputs if name.startswith(f"{batch}_")]

    def names(self, directory: str) -> set[str]:
        """The names in *directory*; nothing of the emulated project's is here."""
        return set() if directory.startswith(".pyboinc/local") else super().names(directory)

    def processes(self) -> list[int]:
        """No process works here but the master, which has ended."""
        return []

    def check(self, run: Run | None = None, expected: str | None = None) -> None:
        """Check what must hold, and that the project was given the inputs that are recorded."""
        super().check(run, expected)
        inputs = Truth(self.truth).inputs
        directory = self.directory()
        try:
            assert directory.record is not None
            spool = directory.spool
            recorded = {
                f"{directory.record.batch}_{one}": spool.data(spool.call(one)).hex()
                for one in range(len(spool))
            }
        finally:
            directory.close()
        assert {name: inputs[name] for name in recorded} == recorded


backends._BUILT_IN["distant"] = Distant
