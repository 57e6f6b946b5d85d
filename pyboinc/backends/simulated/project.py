"""The project's end of a simulation: batches, jobs and outcomes, in the command's process.

It outlives the masters, which come and go.  Workunits live in a *world* of volunteers in
virtual time (:class:`World`); here are the calls that they were made of, and the files that
go into new/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from pyboinc import bundle, codec, disk
from pyboinc.backends import failure_to_bytes
from pyboinc.backends.local.attempts import attempts, failure_of
from pyboinc.backends.local.hosts import PLATFORM, PYTHON, check_quorum
from pyboinc.backends.local.judge import Judge
from pyboinc.backends.local.store import Details, Rows, Turn
from pyboinc.backends.simulated.fates import Fate, Fates, Job
from pyboinc.backends.simulated.link import Link
from pyboinc.backends.simulated.slaves import Slaves, Work
from pyboinc.classes import Classes
from pyboinc.config.limits import Limits
from pyboinc.differences import difference
from pyboinc.disk import ReadLog
from pyboinc.errors import BackendError, PyboincError
from pyboinc.faults import FaultPlan
from pyboinc.project import Result, Results, Workunit
from pyboinc.records import calls_from, input_of


class Decision(NamedTuple):
    """What was decided of a workunit: its canonical instance, or None if it is given up.

    ``label`` stands for the canonical output.
    """

    workunit: int
    instance: int | None
    label: str | None


class World(Protocol):
    """Volunteers in virtual time, as a project uses them."""

    @property
    def now(self) -> float:
        """The virtual time (s)."""

    def create(
        self, name: str, sequence: int, *, flops: float, limits: Limits, priority: int = 0
    ) -> int:
        """Make a workunit, and return its number."""

    def cancel(self, workunit: int) -> None:
        """Give a workunit up."""

    def reissue(self, workunit: int) -> None:
        """Do a finished workunit again."""

    def run_until_outcome(self, until: float = ...) -> Sequence[Decision]:
        """Let time pass until something was decided, or until *until*.

        Nothing is returned at *until*, and when nothing will ever be decided any more.
        """

    def rows(self, workunit: int) -> tuple[Workunit, Results]:
        """Return the rows of a workunit as they are now."""


class Project:
    """The batches of one campaign, whatever masters come and go.

    *make_world* is given what tells the fate of an instance (its workunit's sequence number here,
    its own number, its host); *hosts* is how many different ones there are.  *pause* is asked
    for the seconds that pass between an outcome and the master's next look.
    """

    def __init__(
        self,
        slaves: Slaves,
        faults: FaultPlan,
        make_world: Callable[[Callable[[int, int, Any], Fate]], World],
        hosts: int,
        max_output: int,
        pause: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.heard = False
        self.first_calls = 0
        self.refusal: PyboincError | None = None
        self.trace: list[str] = []
        self._slaves = slaves
        self._hosts = hosts
        self._max_output = max_output
        self._pause = pause
        self._fates = Fates(slaves, faults, self._refusal, self._same)
        self._directory = Path()
        self._batches: dict[str, int] = {}
        self._batch = 0
        self.jobs: list[Job] = []
        self._numbers: dict[tuple[int, int], int] = {}
        self._by_workunit: dict[int, Job] = {}
        self._tallies: dict[int, list[int]] = {}
        self._modules: set[str] = set()
        self._classes: Classes | None = None
        self._judge: Judge | None = None
        self._archives: dict[str, str] = {}
        self.world = make_world(self._fate)

    @property
    def _open(self) -> bool:
        """Whether there are jobs that are not decided."""
        return any(total > done + failed for total, done, failed, _ in self._tallies.values())

    def note(self, text: str) -> None:
        """Add a line to the trace: the virtual time (s), and what happens then."""
        self.trace.append(f"{self.world.now:.3f} {text}")

    @property
    def retries(self) -> int:
        """How many instances were made beyond the first ones."""
        return sum(tally[3] for tally in self._tallies.values())

    @property
    def failed(self) -> int:
        """How many jobs were given up."""
        return sum(tally[2] for tally in self._tallies.values())

    # Serving a master.

    def serve(self, link: Link) -> list[Any] | None:
        """Answer one master until it has gone; return what it said at its end, if anything."""
        last = None
        while (message := link.hear()) is not None:
            if message[0] in ("ended", "killed"):
                last = message
                continue
            self.heard = True
            try:
                answer = self._answer(message)
            except PyboincError as error:
                self.refusal = error
                link.say({"refused": str(error), "kind": type(error).__name__})
                continue
            total, done, failed, retries = self._tallies.get(self._batch, [0, 0, 0, 0])
            counts = [total, total - done - failed, 0, done, failed, retries]
            link.say({"answer": answer, "counts": counts, "errors": self._fates.first_errors})
            self._fates.first_errors = []
        return last

    def _answer(self, message: list[Any]) -> Any:
        match message:
            case ["wait"]:
                return self._wait()
            case ["describe", name]:
                return self._describe_named(name)
            case ["submit", *details]:
                return self._submit(*details)
            case ["directory", path]:
                return self._enter(Path(path))
            case ["batch", token]:
                return self._begin(token)
            case ["reissue", sequences, unless_there]:
                return self._reissue(sequences, unless_there)
            case ["program", slave, digest]:
                return self._archives.update({slave: digest})
            case ["cancel"]:
                return self._cancel()
            case ["retried"]:
                return list(self._retried())
        raise BackendError(f"pyboinc simulate does not know what to do about {message!r:.60}")

    def _enter(self, directory: Path) -> None:
        self._directory = directory
        if self._classes is None:
            self._classes = Classes(directory)
            self._judge = Judge(directory, self._classes, self._max_output)

    def _begin(self, token: str) -> int:
        """Return the number of the batch of *token*; begin it if there is none."""
        self._batch = self._batches.setdefault(token, len(self._batches) + 1)
        self._tallies.setdefault(self._batch, [0, 0, 0, 0])
        return self._batch

    def close(self) -> None:
        """End what was started to look at outputs."""
        if self._judge is not None:
            self._judge.close()

    # Making jobs.

    def _submit(
        self,
        first: int,
        last: int,
        position: int,
        limits: dict[str, Any],
        slaves: list[str],
        modules: list[str],
    ) -> None:
        self._add_modules(modules)
        self._slaves.boot(self._to_preload(slaves))
        log = ReadLog(self._directory / ".pyboinc" / "spool")
        general = Limits(**limits)
        jobs = []
        try:
            for call in calls_from(log, position, first, last):
                if (self._batch, call.sequence) not in self._numbers:
                    own = general.replace(**call.limits) if call.limits else general
                    check_quorum(own.quorum, self._hosts)
                    data = input_of(log, call.sequence, call.offset, call.size, call.crc32)
                    archive = self._archive(self._archives.get(call.slave, call.bundle))
                    limited = own.delay_bound, own.memory, own.disk
                    work = Work(archive, call.slave, data, *limited)
                    self._slaves.order(work)
                    jobs.append(Job(self._batch, call, work, own))
        finally:
            log.close()
        # Only now, for an instance that is sent at once is waited for: until its slave has ended.
        for job in jobs:
            self._create(job)

    def _create(self, job: Job) -> None:
        self._numbers[job.batch, job.call.sequence] = len(self.jobs)
        self.jobs.append(job)
        self._tallies[job.batch][0] += 1
        limits, number = job.limits, len(self.jobs) - 1
        job.workunit = self.world.create(
            job.name, number, flops=limits.fpops, limits=limits, priority=limits.priority
        )
        self._by_workunit[job.workunit] = job

    def _archive(self, digest: str) -> str:
        """Return where a slave's archive is kept: for every run, that of the first of them."""
        return self._slaves.archive(self._directory / ".pyboinc" / "bundles" / f"{digest}.zip")

    def _to_preload(self, slaves: Iterable[str]) -> list[str]:
        names: dict[str, None] = {}
        for slave in slaves:
            names.update(dict.fromkeys(bundle.pack(self._directory, slave).preload))
        return list(names)

    def _add_modules(self, modules: Iterable[str]) -> None:
        if not self._modules.issuperset(modules):
            self._modules.update(modules)
            assert self._classes is not None and self._judge is not None
            self._classes.add(modules)
            self._judge.add(self._modules)

    # What happens to them.

    def _fate(self, number: int, instance: int, host: Any) -> Fate:
        """Say what happens to an instance that is sent now."""
        job = self.jobs[number]
        self._tallies[job.batch][3] += instance >= job.limits.quorum
        fate = self._fates.draw(job, instance)
        status = f" exit status {fate.exit_status}" if fate.exit_status else ""
        self.note(" ".join([f"sent {job.name}_{instance} to {_name(host)}", *fate.kinds]) + status)
        return fate

    def _refusal(self, data: bytes) -> str:
        """Say why the validator would refuse an output; nothing if it would not."""
        assert self._judge is not None
        return self._judge.refusal(data)

    def _same(self, a: bytes, b: bytes) -> bool:
        """Whether the validator would take two outputs for the same."""
        assert self._judge is not None
        return self._judge.same(a, b)

    def _wait(self) -> None:
        """Let time pass until an outcome has come, and then until the master looks."""
        total, done, failed, _ = self._tallies[self._batch]
        self.first_calls = self.first_calls or total
        if done + failed == total:
            return
        outcomes = self.world.run_until_outcome()
        if not outcomes:
            raise BackendError(
                f"after {self.world.now / 86400:.0f} days of virtual time nothing happens any "
                f"more, and {total - done - failed} of {total} jobs are not done: no host "
                "that is left can do them within their delay bound; give hosts that stay longer or "
                "are faster, or a longer --delay-bound"
            )
        self._deliver(outcomes)
        self.pass_time(self._pause())

    def pass_time(self, seconds: float) -> None:
        """Let virtual time pass, whatever the master does meanwhile."""
        until = self.world.now + seconds
        while (
            self._open
            and self.world.now < until
            and (outcomes := self.world.run_until_outcome(until))
        ):
            self._deliver(outcomes)

    def _deliver(self, outcomes: Sequence[Decision]) -> None:
        """Put outcomes into new/, each whole or not at all."""
        for one in outcomes:
            job = self._by_workunit[one.workunit]
            tally = self._tallies[job.batch]
            if job.finished:  # decided a second time, for the better
                tally[2 if job.failed else 1] -= 1
            job.finished, job.failed = True, one.instance is None
            tally[2 if job.failed else 1] += 1
            self.note(f"decided {job.name} {'given up' if job.failed else one.instance}")
            if one.instance is None:
                data = failure_to_bytes(failure_of(self.rows(job)))
                disk.publish(self._directory / "new" / f"{job.name}.error", data)
            else:
                data = self._fates.output(job, one.label or "")
                disk.publish(self._directory / "new" / f"{job.name}.out", data)

    def _reissue(self, sequences: Sequence[int], unless_there: bool) -> None:
        """Do finished jobs again, but for those whose outcome is there."""
        for sequence in sequences:
            job = self.jobs[self._numbers[self._batch, sequence]]
            if not job.finished or (unless_there and self._is_there(job)):
                continue
            self._tallies[job.batch][2 if job.failed else 1] -= 1
            job.finished = job.failed = False
            self.note(f"again {job.name}")
            self.world.reissue(job.workunit)

    def _is_there(self, job: Job) -> bool:
        name = f"{job.name}.{'error' if job.failed else 'out'}"
        return any((self._directory / place / name).exists() for place in ("new", "old"))

    def _cancel(self) -> int:
        open_ones = [job for job in self.jobs if job.batch == self._batch and not job.finished]
        for job in open_ones:
            self.world.cancel(job.workunit)
        return len(open_ones)

    # Looking.

    def difference(self, then: bytes, now: bytes) -> str:
        """Say where one input differs from another; nothing if they are the same value."""
        assert self._classes is not None
        if self._classes.attempt(lambda registry: codec.same_value(then, now, registry)):
            return ""
        decode = self._decode
        return difference(decode(then), decode(now), "input") or "its input has another value"

    def _decode(self, data: bytes) -> Any:
        assert self._classes is not None
        return self._classes.attempt(lambda registry: codec.decode(data, registry))

    def _describe_named(self, name: str) -> list[dict[str, Any]]:
        """Describe the job of this name; there may be none."""
        batch, _, sequence = name.partition("_")
        if not (batch.isdecimal() and sequence.isdecimal()):
            return []
        number = self._numbers.get((int(batch), int(sequence)))
        return [] if number is None else self._describe(self.jobs[number])

    def rows(self, job: Job) -> Rows:
        """Return a job as the local emulator would have it, hosts by their names."""
        workunit, results = self.world.rows(job.workunit)
        call, limits = job.call, job.limits
        what = call.sequence, call.slave, call.bundle, call.offset, call.size, call.crc32
        turns = {one.instance: _turn(job, one) for one in results}
        named = tuple(_with_host_name(one) for one in results)
        return Rows(
            workunit, named, Details(*what, limits.memory, limits.disk, limits.fpops), turns
        )

    def _describe(self, job: Job) -> list[dict[str, Any]]:
        return [asdict(one) for one in attempts(self.rows(job))]

    def _retried(self) -> Iterable[tuple[str, list[dict[str, Any]]]]:
        for job in self.jobs:
            if job.batch == self._batch and not job.failed:
                found = self._describe(job)
                if any(one["outcome"] not in ("success", "in progress") for one in found):
                    yield job.name, found


def _turn(job: Job, result: Result) -> Turn:
    turn = job.turns.get(result.instance) or Turn(python=PYTHON, platform=PLATFORM)
    if result.sent_time is not None and result.received_time is not None:
        turn = replace(turn, elapsed=result.received_time - result.sent_time)
    return turn


def _with_host_name(result: Result) -> Result:
    if result.host is not None:
        result = result.copy()
        result.host = _name(result.host)
    return result


def _name(host: Any) -> str:
    """Return a host's name; the world may know it by a number, from 0."""
    return host if isinstance(host, str) else f"host-{host + 1}"
