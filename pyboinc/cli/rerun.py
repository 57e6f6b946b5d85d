"""``pyboinc rerun``: have some jobs done again, without starting a new batch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from pyboinc import bundle
from pyboinc.cli.batch import Batch, held
from pyboinc.cli.options import directory_argument
from pyboinc.errors import ConfigurationError
from pyboinc.jobdir import Arrival
from pyboinc.opening import digests


@click.command(short_help="Have jobs done again.")
@directory_argument
@click.option("--failed", is_flag=True, help="Every job that can not be done.")
@click.option("--job", "jobs", metavar="JOB", multiple=True, help="This job; may be repeated.")
def command(directory: Path, failed: bool, jobs: tuple[str, ...]) -> None:
    """Have jobs of the batch in DIR done again when its master is run again.

    Their earlier outcomes are set aside, not removed.
    """
    if not failed and not jobs:
        raise click.UsageError("say which jobs: --failed, or --job JOB")
    with held(directory) as batch:
        chosen = {batch.job(one) for one in jobs}
        if failed:
            chosen |= {failure.index for failure in batch.failures()}
        outcomes = _outcomes(batch, chosen)
        again = {outcome.sequence for outcome in outcomes}
        for job in sorted(chosen - again):
            click.echo(f"Job {job} has no outcome yet: it is still to be done.")
        if not chosen:
            click.echo("No job has failed: there is nothing to do again.")
        if again:
            _do_again(batch, again, outcomes)
            more = "" if len(again) == 1 else "s"
            click.echo(f"{len(again)} job{more} will be done again.  Now type: {_next(batch)}")


def _next(batch: Batch) -> str:
    """Return what to type, so that the slave that was mended is the one that runs."""
    try:
        now = digests(batch.path, batch.record)
    except ConfigurationError as error:
        return f"{batch.command}  (but first: {error})"
    changes = bundle.changed_files(batch.record.files, now)
    return f"{batch.command} --accept-changes  ({'; '.join(changes)})" if changes else batch.command


def _do_again(batch: Batch, jobs: set[int], outcomes: Mapping[Arrival, Path]) -> None:
    """Do the steps in the one order in which a crash between two of them loses nothing.

    While a job is done again and its old outcome is still recorded as handled, a second
    outcome is merely set aside.  The other way round a master could wait for a job that
    nobody does.
    """
    _refuse_parents(batch, jobs)
    batch.backend.begin_batch(batch.record.token)
    batch.backend.submit(0, batch.journal.calls)
    batch.backend.reissue(sorted(jobs))
    batch.directory.journal.forget(jobs)
    batch.directory.put_by(outcomes)


def _outcomes(batch: Batch, jobs: set[int]) -> dict[Arrival, Path]:
    """Return the outcomes of *jobs*, and where each lies."""
    outcomes = batch.directory.outcomes()
    return {one: place for one, place in outcomes.items() if one.sequence in jobs}


def _refuse_parents(batch: Batch, jobs: set[int]) -> None:
    """Refuse to undo what handling the outcome of a job has led to."""
    parents = {one.sequence for one in batch.directory.journal.handled if one.made}
    if parents & jobs:
        raise ConfigurationError(
            f"handling job {min(parents & jobs)} made calls of its own, which would be orphans if "
            f"it were done again; only a new batch can: {batch.command} --fresh"
        )
