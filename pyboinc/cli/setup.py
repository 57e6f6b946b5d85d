"""``pyboinc setup``: prepare a BOINC project for PyBOINC, on the project's server."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from pyboinc.administration.changes import Run
from pyboinc.administration.daemons import VALIDATORS
from pyboinc.administration.removing import Removal
from pyboinc.administration.setup import OUTPUT_LIMIT, Plan, Setup, Wanted
from pyboinc.administration.site import Site
from pyboinc.errors import ConfigurationError
from pyboinc.report import printable

_NEXT = """\
Now restart the daemons, in {root}:
    bin/stop && bin/start
Daemons that end, with the database for example, come back by themselves only if cron has a line
    */5 * * * * cd {root} && bin/start --cron
To see whether all is well: pyboinc doctor --project {root}"""

_GONE = """\
The app and its versions stay in the project's database; `deprecated` on the page
manage_app_versions.php of html/ops has no more jobs sent to them."""


@click.command(short_help="Prepare a BOINC project, on its server.")
@click.argument(
    "project", metavar="PROJECT_DIR", type=click.Path(path_type=Path, file_okay=False, exists=True)
)
@click.option("--app", default="pyboinc", show_default=True, help="The name of the app.")
@click.option(
    "--apps",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="App versions to add: what `pyboinc build` wrote.",
)
@click.option(
    "--public-key",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The public half of the key that signs slaves (`pyboinc keygen`).",
)
@click.option(
    "--validator",
    type=click.Choice(list(VALIDATORS)),
    help="What judges results: any that succeeded (trivial), equal bytes (bitwise), or validate"
    " and compare of the author's app_types.py (script).",
)
@click.option(
    "--output-limit",
    metavar="BYTES",
    type=click.IntRange(1000, 2**40),
    help=f"The largest output of a job (if not given: {OUTPUT_LIMIT:,}).",
)
@click.option(
    "--no-compiler",
    is_flag=True,
    help="Deliver results by the shell script alone, half as quickly.",
)
@click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")
@click.option("--remove", is_flag=True, help="Undo it.")
@click.option("--force", is_flag=True, help="Write over, or remove, what one is warned of.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def command(
    project: Path,
    app: str,
    apps: Path | None,
    public_key: Path | None,
    validator: str | None,
    output_limit: int | None,
    no_compiler: bool,
    dry_run: bool,
    remove: bool,
    force: bool,
    yes: bool,
) -> None:
    """Prepare the BOINC project in PROJECT_DIR for PyBOINC; its owner types this, on its server.

    Adds an app, a template, a validator, an assimilator and app versions.  It shows what it
    will do and asks; what is there already stays, and a second run finds nothing to do.
    """
    site = Site(project, app)
    if remove:
        plan = Removal(site, force).make()
    else:
        wanted = Wanted(apps, public_key, validator, output_limit, no_compiler, force)
        plan = Setup(site, wanted).make()
    _show(plan, site)
    if not plan.steps or dry_run:
        return
    if not yes:
        _ask()
    for step in plan.steps:
        if isinstance(step, Run):
            click.echo(step.show())
        step.do()
    click.echo("Done.")
    if remove:
        click.echo(_GONE)
    if plan.restart or not remove:
        click.echo(_NEXT.format(root=site.root))


def _show(plan: Plan, site: Site) -> None:
    """Say what will be done, and what is worth knowing."""
    if plan.steps:
        click.echo(f"In {site.root}:")
    for step in plan.steps:
        click.echo(printable(step.show()))
    for note in plan.notes:
        click.echo(f"note   {note}")
    if not plan.steps:
        click.echo("There is nothing to do.")


def _ask() -> None:
    if not sys.stdin.isatty():
        raise ConfigurationError(
            "nobody can be asked here; to do it: the same command with --yes, to see it: --dry-run"
        )
    try:
        sure = click.confirm("Do it?")
    except click.Abort:
        sure = False
    if not sure:
        click.echo("Nothing was changed.")
        raise click.exceptions.Exit(130)
