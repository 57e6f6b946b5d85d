"""``pyboinc init``: three small files that work, to be changed into one's own."""

from __future__ import annotations

import os
import sys
import textwrap
from importlib.resources import files
from pathlib import Path
from shlex import quote

import click

from pyboinc import disk
from pyboinc.config import FILE_NAME
from pyboinc.config.settings import SETTINGS, Setting
from pyboinc.config.values import text_of
from pyboinc.errors import ConfigurationError

PROGRAMS = ("app_types.py", "app_master.py", "app_slave.py")
ANSWER = "The answer is 328350"

_HEAD = """\
# Settings of this job directory.  Each can also be given by a flag (--quorum 2) or in the
# environment (PYBOINC_QUORUM=2), and both win over this file: `pyboinc config` shows what
# holds.  What is commented out is the default.
"""
_EXAMPLES = {
    "project_dir": '"/home/boincadm/projects/mine"',
    "batch_user": '"ada@example.org"',
    "signing_key": '"key.pem"',
    "seed": "7",
    "fault": '"crash=0.05,late=0.02"',
    "include": '["table.csv", "data/*.txt"]',
    "serve": '"127.0.0.1:8080"',
}


@click.command(short_help="Make a new app: three files that work.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def command(directory: Path) -> None:
    """Make a new app in DIR: three files that work, and a file of settings.

    Nothing that is there is written over.
    """
    contents = {name: template(name) for name in PROGRAMS} | {FILE_NAME: settings_file()}
    for name in contents:
        if os.path.lexists(directory / name):
            raise ConfigurationError(
                f"{directory / name} is there already and is not written over; name another "
                "directory"
            )
    disk.make_directory(directory.absolute())
    for name, text in contents.items():
        disk.publish(directory.absolute() / name, text.encode())
    click.echo(_next_steps(directory))


def template(name: str) -> str:
    """Return the text of one of the three files."""
    return (files("pyboinc.cli") / "templates" / f"{name}.txt").read_text("utf-8")


def settings_file() -> str:
    """Return a pyboinc.toml in which every setting is explained, and commented out."""
    return _HEAD + "".join(_explained(one) for one in SETTINGS if one.in_file)


def _explained(setting: Setting) -> str:
    text = setting.help[0].upper() + setting.help[1:]
    if setting.default_text not in ("", "none"):
        text += f" (if not given: {setting.default_text})"
    explained = textwrap.fill(f"{text}.", 95, initial_indent="# ", subsequent_indent="# ")
    return f"\n{explained}\n# {setting.name} = {_value(setting)}\n"


def _value(setting: Setting) -> str:
    default = setting.value_if_not_given()
    if setting.name == "backend":
        return '"local"'
    if setting.name in _EXAMPLES:
        return _EXAMPLES[setting.name]
    if isinstance(default, bool | int | float):
        return text_of(default)
    return f'"{text_of(default)}"'


def _next_steps(directory: Path) -> str:
    enter = [] if directory.absolute() == Path.cwd() else [f"    cd {quote(str(directory))}"]
    python = "python" if sys.prefix != sys.base_prefix else Path(sys.executable).name
    return "\n".join(
        [
            f"Made {', '.join(PROGRAMS)} and {FILE_NAME}.  Now type:",
            "",
            *enter,
            f"    {python} app_master.py",
            "",
            f"It ends with: {ANSWER}.  With --failure-rate 0.2 it does so on bad computers too.",
        ]
    )
