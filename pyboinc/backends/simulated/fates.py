"""What happens to an instance of a job in virtual time: as the local emulator draws it.

The same faults strike the same instances, from the seed, the job's number and the instance's
number; what a slave does by itself was found out by running it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import NamedTuple

from pyboinc.backends.local.hosts import PLATFORM, PYTHON
from pyboinc.backends.local.slave_faults import MESSAGE
from pyboinc.backends.local.store import Turn
from pyboinc.backends.simulated.slaves import Ending, Slaves, Work
from pyboinc.config.limits import Limits
from pyboinc.faults import ACCOMPANYING, FaultPlan, Kind
from pyboinc.faults.garbage import variant
from pyboinc.records import SpooledCall

RIGHT = "right"
"""The label of the output that the slave itself makes."""

_NO_REPLY = (Kind.HANG, Kind.VANISH)
_OUTPUT = (Kind.WRONG, Kind.GARBAGE, Kind.LOST_UPLOAD)


class Fate(NamedTuple):
    """What is going to happen to one instance: faults, exit status, and which output comes.

    A *label* stands for the content of an output: two are the same if their labels are.  None:
    there is no output, or none that a validator takes.
    """

    kinds: tuple[Kind, ...] = ()
    exit_status: int = 0
    label: str | None = RIGHT
    upload_failed: bool = False


@dataclass(slots=True)
class Job:
    """A call that the project knows, and what has happened to it so far.

    ``turns`` tells how instances ran, ``outputs`` has what was uploaded under each label but the
    right one.
    """

    batch: int
    call: SpooledCall
    work: Work
    limits: Limits
    workunit: int = -1
    finished: bool = False
    failed: bool = False
    turns: dict[int, Turn] = field(default_factory=dict)
    outputs: dict[str, bytes] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The workunit's name: ``<batch>_<sequence>``."""
        return f"{self.batch}_{self.call.sequence}"


class Fates:
    """Draws what happens to instances.

    *refusal* says why an output is not valid, or nothing; *same* whether two outputs agree.
    """

    def __init__(
        self,
        slaves: Slaves,
        faults: FaultPlan,
        refusal: Callable[[bytes], str],
        same: Callable[[bytes, bytes], bool],
    ) -> None:
        self._slaves = slaves
        self._faults = faults
        self._refusal = refusal
        self._same = same
        self._errors_seen: set[str] = set()
        self.first_errors: list[str] = []

    def draw(self, job: Job, instance: int) -> Fate:
        """Return what happens to *instance* of *job*, and keep what it says."""
        sequence = job.call.sequence
        kinds = self._faults.draw(sequence, instance)
        salt = (sequence << 8) + instance
        turn = Turn(python=PYTHON, platform=PLATFORM)
        if Kind.CRASH in kinds:
            status = 11 if salt & 1 else 9  # as backends/local/slave_faults.py does it
            turn.signal, turn.stderr = 1, f"ended by signal {status}\n"
            fate = Fate(kinds, status, None)
        elif Kind.ERROR in kinds:
            turn.stderr = f"RuntimeError: {MESSAGE}\n"
            fate = Fate(kinds, 1, None)
        elif kinds and kinds[0] in _NO_REPLY:
            fate = Fate(kinds, 0, None)
        else:
            fate = self._by_slave(job, instance, kinds, turn)
        if turn.stderr:
            job.turns[instance] = turn
        return fate

    def _by_slave(self, job: Job, instance: int, kinds: tuple[Kind, ...], turn: Turn) -> Fate:
        """Let the slave itself say how it ends, and the host what becomes of its output."""
        work = job.work
        if Kind.WRONG in kinds:
            work = replace(work, fault="wrong", salt=(job.call.sequence << 8) + instance)
        ending = self._slaves.ending(work)
        turn.signal, turn.stderr = int(ending.signal), ending.stderr
        others = tuple(kind for kind in kinds if kind not in _OUTPUT)
        if ending.no_reply:
            return Fate((Kind.HANG, *(kind for kind in others if kind in ACCOMPANYING)), 0, None)
        if ending.too_big or ending.exit_status:
            self._notice(job, instance, ending.stderr)
            return Fate(others, ending.exit_status, None, upload_failed=ending.too_big)
        if Kind.GARBAGE in kinds:
            return self._garbage(job, instance, kinds)
        if Kind.LOST_UPLOAD in kinds or ending.output is None:
            return Fate(kinds, 0, None)
        refusal = self._slaves.refusals.get(work.key)
        if refusal is None:
            refusal = self._slaves.refusals[work.key] = self._refusal(self._slaves.output(ending))
        if refusal:
            turn.stderr += f"its output is not valid: {refusal}\n"
            if Kind.WRONG not in kinds:
                self._notice(job, instance, turn.stderr)
            return Fate(kinds, 0, None)
        return Fate(kinds, 0, self._label(job, work, ending))

    def _label(self, job: Job, work: Work, ending: Ending) -> str:
        """Return what stands for an output of a slave: that of the first one it agrees with."""
        if work is job.work:
            return RIGHT
        data = self._slaves.output(ending)
        right = self._slaves.ending(job.work)
        if right.output is not None and self._same(data, self._slaves.output(right)):
            return RIGHT  # there was nothing in it to be made wrong, or too little
        for label, other in job.outputs.items():
            if self._same(data, other):
                return label
        label = sha256(data).hexdigest()
        job.outputs[label] = data
        return label

    def _garbage(self, job: Job, instance: int, kinds: tuple[Kind, ...]) -> Fate:
        """Upload what no validator takes in the place of an output; too much is refused at once."""
        if variant(self._faults.seed, job.call.sequence, instance) == "oversized":
            others = tuple(kind for kind in kinds if kind is not Kind.GARBAGE)
            return Fate(others, 0, None, upload_failed=True)
        return Fate(kinds, 0, None)

    def _notice(self, job: Job, instance: int, stderr: str) -> None:
        """Remember the first error of each kind that was not injected, for the display."""
        lines = [line.strip() for line in stderr.splitlines() if line.strip()]
        cause = lines[-1] if lines else "failed without a word"
        if cause not in self._errors_seen and len(self._errors_seen) < 20:
            self._errors_seen.add(cause)
            self.first_errors.append(f"{job.name}_{instance}: {cause}")

    def output(self, job: Job, label: str) -> bytes:
        """Return the bytes of the output that *label* stands for."""
        if label == RIGHT:
            return self._slaves.output(self._slaves.ending(job.work))
        return job.outputs[label]
