"""``pyboinc build``: the app versions that a BOINC server hands out to volunteers."""

from __future__ import annotations

import platform as python_platform
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from pyboinc import build
from pyboinc.cli.keys import read_public_key
from pyboinc.errors import ConfigurationError
from pyboinc.slave_archive import key_id


@click.command(short_help="Build what volunteers' computers run.")
@click.option(
    "--public-key",
    "key_file",
    required=True,
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The project's public key, from pyboinc keygen: nothing else is run.",
)
@click.option(
    "--platform",
    "platforms",
    multiple=True,
    metavar="PLATFORM",
    help="For this platform, by BOINC's name; may be repeated. Else for all that can be built.",
)
@click.option(
    "--self-contained",
    is_flag=True,
    help="With its own Python, made by PyInstaller, for the platform of this computer.",
)
@click.option(
    "--with",
    "packages",
    multiple=True,
    metavar="PACKAGE",
    help="Put PACKAGE (numpy) into it, too; may be repeated. Means --self-contained.",
)
@click.option("--app", default="pyboinc", show_default=True, help="The app's name in the project.")
@click.option("--version", default="1.0", show_default=True, help="Never the same twice.")
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where apps/ is made: the project's directory, or this one.",
)
def command(
    key_file: Path,
    platforms: Sequence[str],
    self_contained: bool,
    packages: Sequence[str],
    app: str,
    version: str,
    output: Path,
) -> None:
    """Build app versions into apps/APP/VERSION/PLATFORM, ready for bin/update_versions.

    By default one small file for every platform, run by the volunteer's own python3.
    """
    public_key = read_public_key(key_file)
    own_python = self_contained or bool(packages)
    chosen = list(dict.fromkeys(platforms)) or (_here() if own_python else list(build.PLATFORMS))
    if own_python and chosen != _here():
        raise ConfigurationError(
            f"a self-contained version can be built for {_here()[0]} only, which this computer "
            "is; build the others on computers of their kind"
        )
    versions = [build.app_version(app, version, each, public_key) for each in chosen]
    for each in versions:
        if own_python:
            from pyboinc.build import self_contained as form

            files = form.build(each, packages)
        else:
            from pyboinc.build import python_form

            files = python_form.build(each)
        new = build.place(each, output, files)
        _tell(each, output, {name: len(data) for name, data in files.items()}, new)
    if own_python:
        click.echo(_needs())
    click.echo(f"They run what the key {key_id(public_key)} has signed, and nothing else.")
    click.echo("In the project's directory: bin/update_versions --noconfirm")


def _here() -> list[str]:
    here = build.platform_here()
    if here is None:
        raise ConfigurationError("BOINC has no name that we know for this computer's platform")
    return [here]


def _tell(built: build.AppVersion, output: Path, sizes: dict[str, int], new: bool) -> None:
    click.echo(f"{built.directory(output)}{'' if new else ' (as it was)'}")
    for name, size in sizes.items():
        click.echo(f"  {size:>11,} {name}")


def _needs() -> str:
    """Say what a volunteer's computer needs for what was built here."""
    library, version = python_platform.libc_ver()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    needs = f", runs where {library} is {version} or newer" if library else ""
    return f"It carries Python {python}{needs}."
