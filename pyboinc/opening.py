"""Opening a job directory: a new batch, an earlier one to go on with, or a clear refusal."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from shlex import quote

from pyboinc import __version__, bundle, copies
from pyboinc.backends import Backend, find_backend
from pyboinc.calls import Calls
from pyboinc.config import Settings
from pyboinc.errors import CheckpointMismatch, DirectoryDamaged, PyboincError
from pyboinc.faults.draws import new_seed
from pyboinc.jobdir import JobDirectory
from pyboinc.run_record import RunRecord
from pyboinc.stderr import say


def open_directory(directory: JobDirectory, settings: Settings, calls: Calls) -> Backend:
    """Lock *directory*, begin or continue its batch (M0 and M1), and return its backend.

    Raises :class:`CheckpointMismatch` when what lies there belongs to another program.
    """
    opener = find_backend(settings.backend)
    directory.lock()
    try:
        directory.load()
    except (DirectoryDamaged, CheckpointMismatch):
        if not settings.fresh:
            raise
    if settings.fresh or (directory.record is not None and directory.record.abandoned):
        _start_afresh(directory, settings)
    backend = opener(directory, settings)
    if directory.record is None or not directory.spool:
        _begin(directory, settings)
    else:
        _go_on(directory, settings, calls, backend)
    for note in settings.notes:
        say(f"pyboinc: {note}")
    if not settings.quiet:
        say(_first_line(directory, settings))
    return backend


def _start_afresh(directory: JobDirectory, settings: Settings) -> None:
    """Give the batch here up, once and for all, even if this is cut short."""
    original = None if settings.accept_copy else copies.original_of(directory)
    directory.abandon()
    if original is None:
        _cancel(directory, settings)
    kept = directory.set_aside()
    if kept is not None and not settings.quiet:
        say(f"pyboinc: the earlier batch is kept in {kept} (pyboinc clean removes it)")


def _cancel(directory: JobDirectory, settings: Settings) -> None:
    record = directory.record
    if record is None or record.batch is None:
        return
    try:
        backend = find_backend(record.backend)(directory, settings)
        backend.begin_batch(record.token)
        backend.cancel()
        backend.close()
    except PyboincError as error:
        say(f"pyboinc: the unfinished jobs of batch {record.batch} are not cancelled: {error}")


def _begin(directory: JobDirectory, settings: Settings) -> None:
    """Begin a batch; of a run that was killed before it had any calls, only the seed is kept."""
    earlier = directory.record
    seed = settings.seed
    if seed is None:
        seed = new_seed() if earlier is None else earlier.seed
    directory.begin(
        RunRecord(
            token=os.urandom(16).hex(),
            backend=settings.backend,
            seed=seed,
            program=_program(directory.path),
            limits=settings.limits.asdict(),
            include=list(settings.include),
            directory=str(directory.path),
            place=copies.place_of(directory.state),
            starts=0 if earlier is None else earlier.starts + 1,
        )
    )


def _program(path: Path) -> str:
    """Return the master program's file name, or nothing if it lies elsewhere."""
    name: str | None = getattr(sys.modules["__main__"], "__file__", None)
    if name and Path(name).absolute().parent == path:
        return Path(name).name
    return ""


def _go_on(directory: JobDirectory, settings: Settings, calls: Calls, backend: Backend) -> None:
    """Check that the batch here belongs to this program, and note that it goes on."""
    record = directory.record
    assert record is not None
    if record.backend != settings.backend:
        raise CheckpointMismatch(
            f"this batch was begun with the backend {record.backend!r}, not with "
            f"{settings.backend!r}: go on with --backend {record.backend}, "
            "or start a new batch with --fresh"
        )
    if not settings.accept_copy:
        copies.refuse_copy(directory, f"python {quote(_program(directory.path) or record.program)}")
    _check_program(directory, record, settings.accept_changes)
    if record.directory != str(directory.path):
        say(f"pyboinc: this job directory was {record.directory} before; going on here")
    record.directory, record.place = str(directory.path), copies.place_of(directory.state)
    record.seed = record.seed if settings.seed is None else settings.seed
    record.starts += 1
    directory.save(record)
    # Whether or not anything was changed: a run that accepted a change may have been killed here.
    for slave in record.slaves:
        packed = calls.bundle(slave)
        backend.use_program(packed.slave, packed.digest)


def _check_program(directory: JobDirectory, record: RunRecord, accept: bool) -> None:
    program = _program(directory.path)
    others = []
    if program and record.program not in ("", program):
        others = [f"that is {record.program}, this is {program}"]
        record.program = program
    now = digests(directory.path, record)
    changes = others or bundle.changed_files(record.files, now)
    if changes and not accept:
        command = f"python {quote(program or record.program or 'app_master.py')}"
        raise CheckpointMismatch(
            f"the program is not the one that began this batch: {'; '.join(changes)}. Choose:\n"
            f"  {command} --accept-changes   go on: results handled so far are handled again by\n"
            "      the changed program, and jobs not yet done run the changed slave\n"
            f"  {command} --fresh            set this batch aside and begin a new one\n"
            "  or stop here, put the files back as they were, and run the same command"
            f"{', or each master in a directory of its own' if others else ''}"
        )
    record.files = now


def digests(path: Path, record: RunRecord) -> dict[str, str]:
    """Return the sha256 of each file that the program of *record* consists of, if it is there."""
    names = (record.program, *record.slaves)
    programs = [name for name in names if name and (path / name).exists()]
    return bundle.program_digests(path, programs, record.include)


def _first_line(directory: JobDirectory, settings: Settings) -> str:
    record = directory.record
    assert record is not None
    total, handled = len(directory.spool), len(directory.journal.handled)
    state = f"resume: {handled} of {total} handled" if total else "a new batch"
    backend = f"{record.backend} ({settings.origin('backend')})"
    return f"pyboinc {__version__}  backend={backend}  seed={record.seed}  {state}"
