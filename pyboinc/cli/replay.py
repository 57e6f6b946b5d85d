"""``pyboinc replay JOB``: one job in the foreground, with its exact input and its own code.

The slave runs in a scratch directory, from the archive that its host got, in the clean
environment of a host.  What it does not get here: injected faults, and the limits on
time, memory and disk.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from pyboinc import bundle, codec, disk, slave
from pyboinc.classes import Classes
from pyboinc.cli.batch import Batch, looked_at
from pyboinc.cli.options import directory_argument
from pyboinc.errors import ConfigurationError, RejectedResult
from pyboinc.jobdir import check_archive
from pyboinc.opening import digests
from pyboinc.records import SpooledCall
from pyboinc.report import printable, signal_name

_SHOWN = 2_000
"""Characters of an output that are printed."""


@click.command(short_help="Run one job here, with its exact input.")
@click.argument("job", metavar="JOB")
@directory_argument
@click.option("--pdb", is_flag=True, help="Open the debugger where the slave fails.")
@click.option("--current", is_flag=True, help="Run the slave as it is in DIR now, to try a repair.")
def command(job: str, directory: Path, pdb: bool, current: bool) -> None:
    """Run JOB of the batch in DIR once more, here and now, and show all that it says.

    JOB is an index, as in 17, or a name, as in 1_17.  Nothing of the batch changes.  Exits
    with 0 if the slave returned an output, else with 1.
    """
    with looked_at(directory) as batch, _slot() as slot:
        call = batch.directory.spool.call(batch.job(job))
        archive, note = _archive(batch, call, current, slot)
        click.echo(f"pyboinc: job {call.sequence}, {call.slave}{note}, in {slot}", err=True)
        disk.publish(slot / slave.INPUT, batch.directory.spool.data(call))
        status = _run(slot, archive, call.slave, pdb)
        worked = status == 0 and (slot / slave.OUTPUT).exists()
        click.echo(f"pyboinc: {_how(status, worked)}", err=True)
        if worked:
            click.echo(_output(slot, call.slave, batch.settings.max_output))
    sys.exit(0 if worked else 1)


@contextmanager
def _slot() -> Iterator[Path]:
    """Give a scratch directory; a slave may have made it hard to remove."""
    slot = tempfile.mkdtemp(prefix="pyboinc-replay-")
    try:
        yield Path(slot)
    finally:
        shutil.rmtree(slot, ignore_errors=True)


def _archive(batch: Batch, call: SpooledCall, current: bool, slot: Path) -> tuple[Path, str]:
    """Return the archive to run, and what is to be said about it.

    That of the call; or, if the program was changed and that was accepted
    (``--accept-changes``), the one that jobs run since then.
    """
    kept = batch.directory.bundle_path(call.bundle)
    try:
        packed = bundle.pack(batch.path, call.slave, batch.record.include)
        accepted = batch.record.files == digests(batch.path, batch.record)
    except ConfigurationError:
        if current:
            raise
        return _existing(kept, call.bundle), " as it was when it was called"
    newer = batch.directory.bundle_path(packed.digest)
    if packed.digest == call.bundle and kept.exists():
        return _existing(kept, call.bundle), ""
    if accepted and newer.exists():
        return _existing(newer, packed.digest), " as it was changed and accepted"
    if current:
        disk.publish(slot / "current.zip", packed.data)
        return slot / "current.zip", " as it is now"
    return _existing(
        kept, call.bundle
    ), " as it was when it was called (--current runs it as it is now)"


def _existing(archive: Path, digest: str) -> Path:
    if not archive.exists():
        raise ConfigurationError(
            f"the slave's archive {archive} is gone; run the slave as it is now: pyboinc replay "
            "--current"
        )
    check_archive(archive, digest)
    return archive


def _run(slot: Path, archive: Path, program: str, pdb: bool) -> int:
    """Run the slave in *slot*; return its exit status, or minus the number of a signal."""
    runner = "pyboinc.cli.post_mortem" if pdb else "pyboinc.slave_runner"
    command = [sys.executable, "-P", "-m", runner, str(archive.absolute()), program]
    environment = {**os.environ} if pdb else _environment(slot)
    with subprocess.Popen(command, cwd=slot, env=environment) as process:
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got the same ^C
            raise


def _environment(slot: Path) -> Mapping[str, str]:
    """The environment of a host: nothing of the user's, one thread."""
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": str(slot),
        "TMPDIR": str(slot),
        **dict.fromkeys(threads, "1"),
    }


def _how(status: int, worked: bool) -> str:
    if worked:
        return "it worked here; its output:"
    if status < 0:
        return f"the slave was killed by {signal_name(-status)}"
    return f"the slave failed with exit status {status}"


def _output(slot: Path, program: str, limit: int) -> str:
    """Return the output for people; its classes are those that the slave itself had."""
    directory = slot / "program"
    classes = Classes(directory)
    classes.add(bundle.local_modules(directory, program))
    budget = codec.Budget(bytes=limit)
    try:
        data = disk.read_bounded(slot / slave.OUTPUT, limit)
        value = classes.attempt(lambda registry: codec.decode(data, registry, budget))
    except RejectedResult as refusal:
        raise ConfigurationError(f"a master would refuse this output: {refusal}") from None
    text = printable(describe_value(value))
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} characters)"


def describe_value(value: Any) -> str:
    """Return *value* as its repr, or as ``Output(square=49)`` if its class has none."""
    kind = type(value)
    if any("__repr__" in vars(base) for base in kind.__mro__[:-1]):
        return repr(value)
    slots = [name for base in kind.__mro__ for name in getattr(base, "__slots__", ())]
    fields = {name: getattr(value, name) for name in slots if hasattr(value, name)}
    fields.update(getattr(value, "__dict__", {}))
    inside = ", ".join(f"{name}={describe_value(one)}" for name, one in fields.items())
    return f"{kind.__qualname__}({inside})"
