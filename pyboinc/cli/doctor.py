"""``pyboinc doctor``: is this computer, and this job directory, fit for a master?"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from pyboinc.cli import findings
from pyboinc.cli.findings import Finding
from pyboinc.cli.options import directory_argument
from pyboinc.errors import PyboincError
from pyboinc.report import printable

_MARKS = {True: "OK  ", None: "note", False: "MEND"}


@click.command(short_help="Check this computer and a directory.")
@directory_argument
@click.option("--no-trial", is_flag=True, help="Leave out the trial run of 100 small jobs.")
@click.option(
    "--project",
    metavar="PROJECT_DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Check this BOINC project instead, and whether DIR is fit for it.",
)
@click.option("--app", default="pyboinc", show_default=True, help="The project's app.")
def command(directory: Path, no_trial: bool, project: Path | None, app: str) -> None:
    """Check this computer and the job directory DIR, a line a check: OK, or what to do.

    With --project a BOINC project is checked, on its server.  Exits with 0 if nothing has to
    be mended, else with 2.
    """
    path, bad = directory.absolute(), 0
    for finding in _all(path, not no_trial) if project is None else _project(project, app, path):
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


def _project(root: Path, app: str, path: Path) -> Iterator[Finding]:
    from pyboinc.cli import project_findings, project_places

    try:
        one = project_findings.Examined(root, app)
    except (PyboincError, OSError) as error:
        yield Finding(False, f"{root} can not be read as a BOINC project", str(error))
        return
    yield Finding(True, f"the project {one.root}, for the app {app}")
    for check in project_findings.CHECKS + project_places.CHECKS:
        yield from check(one)
    if (path / "new").is_dir() or (path / "app_master.py").is_file():
        yield from project_places.job_directory(one, path)
