"""What must always hold, by name: the invariants I1 to I12 of a job directory.

:func:`check` looks at all of them after a run that ended well, whatever happened before it;
:func:`check_at_rest` at those that hold at any instant, also just after a crash.  Each
assertion says which invariant it is of.

    I1   every committed call has exactly one workunit
    I2   no call has two workunits
    I3   in the life of one master each outcome is handled exactly once, in the recorded order
    I4   every delivered outcome lies in exactly one of new/, old/ and quarantine, as delivered
    I5   the checkpoint is always the previous or the next complete one
    I6   the answer after any faults equals the answer without them
    I7   once faults stop, the run ends (``masters.finish`` fails if it does not)
    I8   never are two masters at work in one directory
    I9   a hostile result changes nothing but quarantine
    I10  at the end no process, temporary file or lock is left
    I11  each refused file lies in quarantine once, with its reason
    I12  replaying old/ twice gives the same state, byte for byte
"""

from __future__ import annotations

import re
from collections import Counter
from hashlib import sha256
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from pyboinc.jobdir import JobDirectory
from pyboinc.locks import lock_holder

if TYPE_CHECKING:
    from masters import Place, Run

OWN = (
    r"lock|run\.json|spool|journal|previous(/.*)?|quarantine(/.*)?",
    r"bundles(/[0-9a-f]{64}\.(zip|signed)|/[0-9a-f]{64}(/.*)?)?",
    r"local/(address|incoming|keys(/code_sign|/upload|/archive\.(pem|public))?)",
    r"local/apps(/pyb_slave_[0-9a-f]{32}\.zip|/pyboinc_[0-9a-f]{32}|/sealed_[0-9a-f]{32})?",
    r"local/apps/built(/pyboinc_[0-9.]{3,7}_[a-z0-9_-]{8,64})?",
    r"local/clients(/.*)?",
    r"local(/project\.sqlite(-wal|-shm|-journal)?|/lock|/standing|/upload|/(slots|scratch)(/.*)?)?",
)
"""What may lie in ``.pyboinc`` when a run has ended well."""

CHECKPOINT = ("format", "backend", "jobs", "seed", "program")
"""The fields of a checkpoint after its first line, in their order."""


class View:
    """A job directory as the checks see it, read once."""

    def __init__(self, place: Place, directory: JobDirectory) -> None:
        assert directory.record is not None, "I1: there is no batch"
        self.place = place
        self.record = directory.record
        self.calls = len(directory.spool)
        self.order = [one.sequence for one in directory.journal.handled]
        self.kinds = {one.sequence: one.kind for one in directory.journal.handled}

    @property
    def outcomes(self) -> set[str]:
        """The names of the outcomes that were handled."""
        return {f"{self.record.batch}_{one}.{kind}" for one, kind in self.kinds.items()}


def check(place: Place, run: Run | None = None, expected: str | None = None) -> None:
    """Check all that must hold after a run that ended well; *expected* is what it prints."""
    place.wait_for_processes()  # I10: no process is left
    directory = place.directory()
    try:
        view = View(place, directory)
    finally:
        directory.close()
    if run is not None:
        assert run.code == 0, f"I7: the run did not end well: {run}"
        assert expected in (None, run.stdout), f"I6: another answer than {expected!r}: {run}"
    _one_workunit_for_each_call(view)
    _handled_once_and_in_order(view)
    _delivered_bytes_are_kept(view)
    _checkpoint_is_complete(view)
    _nothing_foreign(view)
    _nothing_left_over(view)
    _refused_with_a_reason(view)


def check_again(place: Place, expected: str) -> None:
    """Check I12: two more runs, which can only replay, leave every byte as it was."""
    before = contents(place)
    for _ in range(2):
        check(place, place.run(), expected)
        assert contents(place) == before, "I12: a replay has changed something"


def check_at_rest(place: Place) -> None:
    """Check what holds at any instant: no process of the batch is at work, one may have died.

    The outcomes that lie there are remembered, for :func:`check` to see that they are kept.
    """
    place.wait_for_processes()
    assert lock_holder(place / ".pyboinc/lock") is None, "I8: a dead master holds the lock"
    path = place / "pyboinc_checkpoint"
    if path.exists():
        _check_text(path.read_text())
    outcomes = [name for name in ("new", "old") if (place / name).is_dir()]
    there = Counter(name for directory in outcomes for name in place.names(directory))
    assert not [name for name, times in there.items() if times > 1], "I4: an outcome lies twice"
    for directory in outcomes:
        for path in (place / directory).iterdir():
            if path.is_file():
                place.sighted[path.name] = sha256(path.read_bytes()).hexdigest()
    for jobs in place.logged():
        assert max(Counter(jobs).values()) == 1, f"I3: handled twice in one run: {jobs}"


def _one_workunit_for_each_call(view: View) -> None:
    batch = view.record.batch
    assert batch is not None, "I1: the batch has no ID"
    names = view.place.workunits(batch)
    assert not [name for name, number in Counter(names).items() if number > 1], f"I2: {names}"
    expected = [f"{batch}_{number}" for number in range(view.calls)]
    assert names == expected, f"I1: {view.calls} calls, and the workunits {names}"


def _handled_once_and_in_order(view: View) -> None:
    assert sorted(view.order) == list(range(view.calls)), f"I3: handled {view.order}"
    runs = view.place.logged()
    for jobs in runs:
        assert max(Counter(jobs).values()) == 1, f"I3: handled twice in one run: {jobs}"
    if runs:
        assert runs[-1] == view.order, f"I3: handled {runs[-1]}, recorded {view.order}"
    starts = [process for process, _ in groupby(view.place.log(), key=lambda line: line[0])]
    assert len(starts) == len(set(starts)), f"I8: two masters handled at the same time: {starts}"


def _delivered_bytes_are_kept(view: View) -> None:
    outcomes, quarantined = view.outcomes, view.place.quarantined()
    left = view.place.names("new")
    assert left == set(), f"I4: outcomes are left in new/: {left}"
    assert view.place.names("old") == outcomes, f"I4: of {sorted(outcomes)}"
    for name, before in view.place.sighted.items():
        # The batch may have been set aside since; refused files were changed by who planted them.
        if name in outcomes and name not in quarantined:
            now = sha256((view.place / f"old/{name}").read_bytes()).hexdigest()
            assert now == before, f"I4: old/{name} is not what was delivered"


def _check_text(checkpoint: str) -> list[str]:
    """Check that a checkpoint is complete (I5), and return the values in it."""
    pattern = "([A-Za-z0-9-]+)\n" + "".join(f"{name}: (.*)\n" for name in CHECKPOINT)
    match = re.fullmatch(pattern, checkpoint)
    assert match, f"I5: {checkpoint!r} is not a complete checkpoint"
    return list(match.groups())


def _checkpoint_is_complete(view: View) -> None:
    record = view.record
    found = _check_text((view.place / "pyboinc_checkpoint").read_text())
    values = record.batch, record.format, record.backend, view.calls, record.seed, record.program
    # The seed may have been changed by a run that had no more jobs to make.
    assert found[:4] == [str(value) for value in values[:4]], f"I5: {found}, the batch is {values}"


def _nothing_foreign(view: View) -> None:
    state = view.place / ".pyboinc"
    known = re.compile("|".join(OWN), re.DOTALL)
    names = [path.relative_to(state).as_posix() for path in state.rglob("*")]
    foreign = [name for name in names if not known.fullmatch(name)]
    assert foreign == [], f"I9: files that no step of the protocol makes: {foreign}"


def _nothing_left_over(view: View) -> None:
    temporaries = view.place.temporaries()
    assert temporaries == [], f"I10: temporary files are left: {temporaries}"
    uploads = view.place.uploads()
    assert uploads == set(), f"I10: uploads are left: {uploads}"
    for name in (".pyboinc/lock", ".pyboinc/local/lock", ".pyboinc/local/standing"):
        assert lock_holder(view.place / name) is None, f"I10: somebody still holds {name}"


def _refused_with_a_reason(view: View) -> None:
    quarantine = view.place / ".pyboinc/quarantine"
    names = view.place.names(".pyboinc/quarantine") if quarantine.is_dir() else set()
    reasons = {name.removesuffix(".reason") for name in names if name.endswith(".reason")}
    files = {name for name in names if not name.endswith(".reason")}
    assert reasons == files, "I11: a refused file without its reason, or a reason without its file"


def contents(place: Place) -> dict[str, bytes]:
    """The files that hold what was handled: two replays must leave the same (I12)."""
    paths = [place / "pyboinc_checkpoint", *(place / "old").iterdir()]
    paths += [place / f".pyboinc/{name}" for name in ("spool", "journal")]
    return {_name(place.path, path): path.read_bytes() for path in paths}


def _name(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
