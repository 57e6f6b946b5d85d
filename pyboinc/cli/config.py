"""``pyboinc config``: what every setting is, and who said so."""

from __future__ import annotations

from pathlib import Path

import click

from pyboinc import config
from pyboinc.cli.options import directory_argument, echo_json, json_flag


@click.command(short_help="Show every setting and who set it.")
@directory_argument
@json_flag
def command(directory: Path, as_json: bool) -> None:
    """Show the settings that hold in DIR, each with its value and where that comes from.

    A flag wins over the environment, the environment over pyboinc.toml, that over the
    default.
    """
    rows = config.load(directory.absolute()).describe()
    if as_json:
        echo_json([row._asdict() for row in rows])
        return
    wide = [max(len(row[column]) for row in rows) for column in range(2)]
    for row in rows:
        click.echo(f"{row.name:<{wide[0]}}  {row.value:<{wide[1]}}  {row.origin}")
