"""``pyboinc doctor``: is this computer, and this job directory, fit for a master?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pyboinc.cli import findings
from pyboinc.cli.findings import Finding
from pyboinc.cli.options import directory_argument
from pyboinc.report import printable

_MARKS = {True: "OK  ", None: "note", False: "MEND"}


@click.command(short_help="Check this computer and a directory.")
@directory_argument
@click.option("--no-trial", is_flag=True, help="Leave out the trial run of 100 small jobs.")
def command(directory: Path, no_trial: bool) -> None:
    """Check this computer and the job directory DIR, a line a check: OK, or what to do.

    Exits with 0 if nothing has to be mended, else with 2.
    """
    bad = 0
    for finding in _all(directory.absolute(), not no_trial):
        bad += finding.good is False
        click.echo(f"{_MARKS[finding.good]}  {printable(finding.text)}")
        if finding.remedy and not finding.good:
            click.echo(
                "".join(f"        {line}\n" for line in finding.remedy.splitlines()), nl=False
            )
    click.echo("All is well." if not bad else f"{bad} to mend.")
    sys.exit(2 if bad else 0)


def _all(path: Path, with_trial: bool) -> Iterator[Finding]:
    for check in (findings.python, findings.system, findings.limits, findings.clocks):
        yield from check()
    yield from findings.packages()
    for examine in (findings.settings, findings.storage, findings.programs, findings.state):
        yield from examine(path)
    if with_trial:
        yield from findings.trial()
