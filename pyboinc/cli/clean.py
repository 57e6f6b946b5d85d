"""``pyboinc clean``: remove what PyBOINC has put into a job directory, and nothing else."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from pyboinc import copies, disk
from pyboinc.backends.local.standing import refuse_beside
from pyboinc.cli.batch import Batch, hold, no_batch
from pyboinc.cli.options import directory_argument
from pyboinc.errors import CheckpointMismatch, ConfigurationError, DirectoryDamaged
from pyboinc.jobdir import JobDirectory


@click.command(short_help="Remove a batch, and nothing of your own.")
@directory_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(directory: Path, yes: bool) -> None:
    """Remove the batch in DIR: its jobs, its results and its checkpoint.

    The programs, pyboinc.toml and every other file of your own stay.
    """
    job_directory = JobDirectory(directory.absolute())
    state = job_directory.state
    if not state.is_dir() and not job_directory.checkpoint.exists():
        raise no_batch(job_directory.path)
    hold(job_directory)
    try:
        refuse_beside(state / "local", "run pyboinc clean again")
        batch, lines = _readable(directory, job_directory)
        click.echo(f"In {job_directory.path} this will be removed:")
        for line in [*lines, *_inventory(job_directory)]:
            click.echo(f"  {line}")
        if not yes:
            _ask()
        if batch is not None:
            _stop_jobs(batch)
        _remove(job_directory)
    finally:
        job_directory.close()
    click.echo("Removed.")


def _readable(directory: Path, job_directory: JobDirectory) -> tuple[Batch | None, list[str]]:
    """Return the batch and what to say of it; nothing if this PyBOINC can read none."""
    try:
        job_directory.load()
        if job_directory.record is None:
            return None, []
        batch, journal = Batch(directory, job_directory), job_directory.journal
    except (DirectoryDamaged, CheckpointMismatch) as error:
        click.echo(f"pyboinc: {error}", err=True)
        return None, []
    calls, handled = journal.calls, len(journal.handled)
    lines = [f"batch {batch.record.batch or '-'}: {calls} jobs, {handled} of them handled"]
    if handled < calls:
        original = copies.original_of(job_directory)
        fate = "they are cancelled" if original is None else f"they stay those of {original}"
        lines.append(f"  {calls - handled} jobs are NOT handled yet: {fate}")
    return batch, lines


def _inventory(directory: JobDirectory) -> list[str]:
    """Say what is there in files."""
    outcomes = len(directory.outcome_files())
    lines = [f"pyboinc_checkpoint, and {outcomes} outcomes in new/ and old/"]
    lines.append(f".pyboinc, {_size(directory.state):,} bytes")
    refused = directory.state / "quarantine"
    if refused.is_dir() and os.listdir(refused):
        lines.append("  with the refused files in .pyboinc/quarantine")
    previous = directory.state / "previous"
    if previous.is_dir() and os.listdir(previous):
        lines.append("  with what --fresh and rerun have set aside in .pyboinc/previous")
    return lines


def _size(directory: Path) -> int:
    paths = [Path(top) / name for top, _, names in os.walk(directory) for name in names]
    return sum(path.lstat().st_size for path in paths)


def _ask() -> None:
    if _asks_nobody():
        raise ConfigurationError("nobody can be asked here; to remove it: pyboinc clean --yes")
    try:
        sure = click.confirm("Remove it?")
    except click.Abort:
        sure = False
    if not sure:
        click.echo("Nothing was removed.")
        raise click.exceptions.Exit(130)


def _asks_nobody() -> bool:
    return not sys.stdin.isatty()


def _stop_jobs(batch: Batch) -> None:
    """Let nobody work for a batch that is gone; that of a copy's original is not."""
    journal = batch.directory.journal
    if copies.original_of(batch.directory) is not None:
        return
    if batch.record.batch is not None and len(journal.handled) < journal.calls:
        batch.directory.abandon()
        batch.backend.begin_batch(batch.record.token)
        batch.backend.cancel()
        batch.backend.close()


def _remove(directory: JobDirectory) -> None:
    """Remove all; a master that finds the half of it says that it is damaged, and does nothing."""
    disk.remove(directory.checkpoint)
    disk.remove(directory.state / "run.json")
    for path in directory.outcome_files():
        disk.remove(path)
    for place in (directory.new, directory.old):
        if not disk.remove_empty(place):
            click.echo(f"pyboinc: {place} holds files of your own and stays", err=True)
    for name in sorted(disk.listing(directory.state)):
        if name != "lock":
            disk.remove_tree(directory.state / name)
    # The lock last: a master that gets one from now on finds nothing of what was here.
    disk.remove(directory.state / "lock")
    disk.remove_empty(directory.state)
    disk.sync_directory(directory.path)
