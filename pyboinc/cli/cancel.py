"""``pyboinc cancel``: stop what is not done yet."""

from __future__ import annotations

from pathlib import Path

import click

from pyboinc.cli.batch import held
from pyboinc.cli.options import directory_argument


@click.command(short_help="Cancel the jobs that are not done.")
@directory_argument
def command(directory: Path) -> None:
    """Cancel every job of the batch in DIR that is not done.

    To the master they are failed jobs.  What is done stays.
    """
    with held(directory) as batch:
        if batch.record.batch is None:
            click.echo("The batch has no jobs yet: there is nothing to cancel.")
            return
        batch.backend.begin_batch(batch.record.token)
        number = batch.backend.cancel()
        jobs = "1 job was" if number == 1 else f"{number} jobs were"
        click.echo(f"{jobs} cancelled.")
        if number:
            click.echo(f"To see what was done: {batch.command}")
            click.echo(
                f"To have them done after all: pyboinc rerun --failed{batch.directory_given}"
            )
