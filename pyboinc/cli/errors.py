"""``pyboinc errors``: what failed, once for each cause."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pyboinc.backends import Failure
from pyboinc.cli.batch import Batch, looked_at
from pyboinc.cli.options import directory_argument, echo_json, json_flag
from pyboinc.report import by_cause, cause_as_data, describe_cause, retried


@click.command(short_help="Show why jobs failed, once for each cause.")
@directory_argument
@json_flag
@click.option(
    "--all", "everything", is_flag=True, help="Also errors that were made good by a retry."
)
def command(directory: Path, as_json: bool, everything: bool) -> None:
    """Show why jobs in DIR failed, grouped by cause, the slave's own lines first.

    Exits with 1 if there are jobs that can not be done, else with 0.
    """
    with looked_at(directory) as batch:
        failures = batch.failures()
        made_good = list(_made_good(batch, failures)) if everything else []
        if as_json:
            _print_data(batch, failures, made_good, everything)
        else:
            _print_text(batch, failures, made_good, everything)
    sys.exit(1 if failures else 0)


def _made_good(batch: Batch, failures: list[Failure]) -> Iterator[Failure]:
    """Yield the failed attempts of jobs that have not failed."""
    failed = {failure.name for failure in failures}
    histories = batch.backend.retried() if batch.record.batch else ()
    for name, attempts in (one for one in histories if one[0] not in failed):
        yield from retried(int(name.rpartition("_")[2]), name, attempts)


def _print_data(
    batch: Batch, failures: list[Failure], made_good: list[Failure], everything: bool
) -> None:
    data = {
        "directory": str(batch.path),
        "failed": len(failures),
        "causes": [cause_as_data(cause) for cause in by_cause(failures)],
    }
    if everything:
        data["retried"] = [cause_as_data(cause) for cause in by_cause(made_good)]
    echo_json(data)


def _print_text(
    batch: Batch, failures: list[Failure], made_good: list[Failure], everything: bool
) -> None:
    where = batch.directory_given
    paragraphs = []
    if failures:
        paragraphs.append(f"{len(failures)} of {batch.journal.calls} jobs can not be done.")
        paragraphs += [describe_cause(cause, where) for cause in by_cause(failures)]
        paragraphs.append(f"Mend the cause, then: pyboinc rerun --failed{where}")
    else:
        paragraphs.append("No job has failed.")
    if made_good:
        errors = "1 error was" if len(made_good) == 1 else f"{len(made_good)} errors were"
        paragraphs.append(f"{errors} made good by a retry.")
        paragraphs += [describe_cause(cause, where) for cause in by_cause(made_good)]
    elif everything:
        paragraphs.append("No job that is done had to be retried after an error.")
    click.echo("\n\n".join(paragraphs))
