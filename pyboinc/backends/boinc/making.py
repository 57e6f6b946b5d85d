"""From calls to jobs: which are there, which are to be made, and making them.

The project is asked what it has, and only the rest is made.  Files are staged a few thousand at
a time, made durable, and then their jobs are asked for, while the next files are staged: so
no job is ever without its files, and a batch of a million takes no more memory than one of a
thousand.  What counts in the end are the rows that are there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import md5
from itertools import compress, islice
from typing import Any

from pyboinc import disk
from pyboinc.backends.boinc.archives import Archives
from pyboinc.backends.boinc.creation import Creator
from pyboinc.backends.boinc.names import workunit_name
from pyboinc.backends.boinc.project import Project
from pyboinc.backends.boinc.rows import Made, Workunits
from pyboinc.backends.boinc.staging import Staging, Syncing
from pyboinc.config.limits import Limits
from pyboinc.errors import BackendError, CheckpointMismatch, RejectedResult
from pyboinc.jobdir import OUTPUT, JobDirectory
from pyboinc.records import SpooledCall

_CHUNK = 2000
"""Jobs whose files are staged between two syncs."""

_ROUNDS = 5
"""How often missing jobs are asked for again, as long as there are fewer of them each time."""

_LARGEST = 1 << 32

_Staged = tuple[Mapping[str, Any], str, str, str]


class Making:
    """Makes the jobs of one batch; *issues* says how often a job was made again, if it was."""

    def __init__(
        self,
        directory: JobDirectory,
        project: Project,
        workunits: Workunits,
        staging: Staging,
        archives: Archives,
        issues: dict[int, int],
    ) -> None:
        self._directory = directory
        self._project = project
        self._workunits = workunits
        self._batch = workunits.batch
        self._staging = staging
        self._archives = archives
        self._issues = issues

    # What is there.

    def examine(
        self, first: int, last: int, known: int, programs: Mapping[str, str]
    ) -> tuple[Sequence[int], list[Made]]:
        """Return which of these jobs are to be made, and which are there with another program.

        Jobs below *known* are known to have been made: if their rows are gone, the project has
        purged them.  Raises :class:`CheckpointMismatch` for a job made for another input.
        """
        there = bytearray(last - first)
        latest: dict[int, Made] = {}
        for page in self._existing(first, last):
            mine = [one for one in page if first <= one.sequence < last]
            self._compare(mine)
            for one in mine:
                there[one.sequence - first] = 1
                if one.issue:
                    self._issues[one.sequence] = max(one.issue, self._issues.get(one.sequence, 0))
                self._examine(one, programs, latest)
        for sequence in range(first, min(known, last)):
            there[sequence - first] = 1
        missing = list(compress(range(first, last), map(_nothing, there)))
        stale = [one for one in latest.values() if one.issue == self._issues.get(one.sequence, 0)]
        return missing, stale

    def _existing(self, first: int, last: int) -> Iterator[list[Made]]:
        """Yield what there is: of a batch from its beginning all, else what has these names."""
        if not first:
            yield from self._workunits.pages()
            return
        for start in range(first, last, _CHUNK):
            numbers = range(start, min(start + _CHUNK, last))
            yield self._workunits.named([workunit_name(self._batch, one) for one in numbers])

    def _compare(self, page: list[Made]) -> None:
        """Raise unless each was made for the input that is called for now."""
        spool = self._directory.spool
        for run in runs(sorted({one.sequence for one in page})):
            cksums = {
                call.sequence: md5(spool.data(call), usedforsecurity=False).hexdigest()
                for call in spool.calls(run[0], run[-1] + 1)
            }
            for one in page:
                if cksums.get(one.sequence, one.md5) != one.md5:
                    raise CheckpointMismatch(
                        f"job {self._batch}_{one.sequence} was made before, with another input "
                        "than is called for now: this job directory, or a part of it, is older "
                        "than the project's state. Restore all of it from one backup, or start "
                        "anew with --fresh"
                    )

    def _examine(self, made: Made, programs: Mapping[str, str], latest: dict[int, Made]) -> None:
        """See whether an unfinished job has its input, and the program of now."""
        if made.finished:
            return
        call = self._directory.spool.call(made.sequence)
        name = f"{workunit_name(self._batch, made.sequence, made.issue)}.in"
        if not self._staging.holds(name, call.size):
            self._stage_again(made, name, call)
        if self._archive(call, programs) != made.archive:
            before = latest.get(made.sequence)
            if before is None or before.issue < made.issue:
                latest[made.sequence] = made

    def _stage_again(self, made: Made, name: str, call: SpooledCall) -> None:
        """Stage an input that a power cut has taken; not that of a job which is done by now."""
        self._staging.stage(name, self._directory.spool.data(call))
        self._staging.sync()
        if any(one.finished for one in self._workunits.numbered([made.id])):
            self._staging.remove(name)

    # Making jobs.

    def make(
        self, sequences: Sequence[int], issue_of: Callable[[int], int], programs: Mapping[str, str]
    ) -> None:
        """Make these jobs, each as the issue that *issue_of* says; all are there afterwards."""
        wanted = self._workunits.number() + len(sequences)
        complaints: list[str] = []
        for _ in range(_ROUNDS):
            complaints += self._ask_for(sequences, issue_of, programs)
            if self._workunits.number() >= wanted:
                return
            missing = self._missing(sequences, issue_of)
            if not missing:
                return
            if len(missing) == len(sequences) and len(complaints) > 1:
                break
            sequences = missing
        said = f" (it said: {complaints[-1]})" if complaints else ""
        raise BackendError(
            f"{self._project.program('create_work')} did not make {len(sequences)} of the jobs "
            f"that it was told to make{said}; mend that, and run the same command: what is made "
            "stays"
        )

    def _missing(self, sequences: Sequence[int], issue_of: Callable[[int], int]) -> list[int]:
        missing: list[int] = []
        for start in range(0, len(sequences), _CHUNK):
            part = sequences[start : start + _CHUNK]
            names = [workunit_name(self._batch, one, issue_of(one)) for one in part]
            there = {one.sequence for one in self._workunits.named(names)}
            missing += [one for one in part if one not in there]
        return missing

    def _ask_for(
        self, sequences: Sequence[int], issue_of: Callable[[int], int], programs: Mapping[str, str]
    ) -> list[str]:
        """Stage files and have jobs made of them; return what create_work said."""
        record = self._directory.record
        assert record is not None
        creator = Creator(self._project, self._batch, Limits(**record.limits))
        syncing: Syncing | None = None
        before: list[_Staged] = []
        try:
            staged = self._staged(sequences, issue_of, programs)
            while chunk := list(islice(staged, _CHUNK)):
                self._hand_on(creator, syncing, before)
                syncing, before = self._staging.syncing(), chunk
            self._hand_on(creator, syncing, before)
            creator.finish()
        except BaseException:
            creator.stop()
            raise
        return creator.complaints

    def _hand_on(self, creator: Creator, syncing: Syncing | None, staged: list[_Staged]) -> None:
        """Have jobs made of what was staged, when that is durable."""
        if syncing is not None:
            syncing.wait()
        for limits, name, archive, file in staged:
            creator.add(limits, name, archive, file)
        creator.flush()

    def _staged(
        self, sequences: Sequence[int], issue_of: Callable[[int], int], programs: Mapping[str, str]
    ) -> Iterator[_Staged]:
        """Stage the files of each job; yield its limits, its name and theirs."""
        for call in self._calls(sequences):
            archive = self._archive(call, programs)
            name = workunit_name(self._batch, call.sequence, issue_of(call.sequence))
            file = f"{name}.in"
            self._staging.stage(file, self._directory.spool.data(call))
            yield call.limits, name, archive, file

    def _calls(self, sequences: Sequence[int]) -> Iterator[SpooledCall]:
        for run in runs(sequences):
            yield from self._directory.spool.calls(run[0], run[-1] + 1)

    def _archive(self, call: SpooledCall, programs: Mapping[str, str]) -> str:
        return self._archives.stage(self._batch, call.slave, programs.get(call.slave, call.bundle))

    # Jobs that are done again, or not at all.

    def finished(self, sequences: Sequence[int]) -> list[Made]:
        """Return which of these jobs are decided; those whose rows are gone are."""
        names = {
            one: workunit_name(self._batch, one, self._issues.get(one, 0)) for one in sequences
        }
        made = {one.sequence: one for one in self._workunits.named(list(names.values()))}
        return [
            made.get(one) or Made(0, one, 0, True, 0, "", "")
            for one in sequences
            if one not in made or made[one].finished
        ]

    def deliver_again(self, made: Made) -> bool:
        """Put the output of a job into new/ again, if it is still where it was uploaded to.

        Not one that was refused before: it would be refused again.
        """
        name = self._workunits.output_file(made) if made.id and made.succeeded else None
        if name is None or "/" in name:
            return False
        path = self._project.in_hierarchy(self._project.upload, name)
        outcome = self._directory.outcome(made.sequence, OUTPUT).file
        try:
            data = disk.read_bounded(path, _LARGEST)
        except (FileNotFoundError, RejectedResult):
            return False
        if data in self._refused(outcome):
            return False
        disk.publish(self._directory.new / outcome, data)
        return True

    def _refused(self, outcome: str) -> Iterator[bytes]:
        place = self._directory.state / "quarantine"
        for path in place.glob(f"{outcome}*"):
            if path.suffix != ".reason":
                yield path.read_bytes()

    def cancel(self, ranges: Iterable[Sequence[int]]) -> list[int]:
        """Cancel runs of adjacent workunits by the project's program; return those it did not."""
        left: list[int] = []
        for run in ranges:
            command = [self._project.program("cancel_jobs"), str(run[0]), str(run[-1])]
            try:
                done = subprocess.run(
                    command,
                    cwd=self._project.root,
                    env={**os.environ, "BOINC_PROJECT_DIR": str(self._project.root)},
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    check=False,
                    start_new_session=True,
                )
                failed = done.returncode != 0
            except OSError:
                failed = True
            left += run if failed else []
        return left


def _nothing(flag: int) -> bool:
    return not flag


def runs(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Yield runs of adjacent numbers, which are ascending."""
    start = 0
    for index in range(1, len(numbers) + 1):
        if index == len(numbers) or numbers[index] != numbers[index - 1] + 1:
            yield numbers[start:index]
            start = index
