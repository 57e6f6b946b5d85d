"""Arguments and flags that several verbs share, and how data is printed as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pyboinc.config.settings import BY_NAME, SETTINGS, Setting

_Command = TypeVar("_Command", bound=Callable[..., Any])


def directory_argument(command: _Command) -> _Command:
    """Give *command* the argument DIR: a job directory, by default the current one."""
    kind = click.Path(exists=True, file_okay=False, path_type=Path)
    return click.argument("directory", metavar="[DIR]", type=kind, default=".")(command)


def json_flag(command: _Command) -> _Command:
    """Give *command* the flag ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(
        command
    )


def settings_flags(command: _Command) -> _Command:
    """Give *command* a flag for each setting, from the one table of settings."""
    return some_settings_flags(*(setting.name for setting in SETTINGS))(command)


def some_settings_flags(*names: str) -> Callable[[_Command], _Command]:
    """Give a command a flag for each of these settings, in this order."""

    def give(command: _Command) -> _Command:
        for name in reversed(names):
            command = _flag(BY_NAME[name])(command)
        return command

    return give


def _flag(setting: Setting) -> Callable[[_Command], _Command]:
    if setting.is_flag:
        return click.option(setting.flag, setting.name, is_flag=True, help=_help(setting))
    return click.option(
        setting.flag,
        setting.name,
        metavar=setting.metavar,
        multiple=setting.multiple,
        help=_help(setting),
    )


def _help(setting: Setting) -> str:
    return setting.help[0].upper() + setting.help[1:] + "."


def echo_json(value: object, indent: int | None = 1) -> None:
    """Print *value* as JSON on stdout; escapes keep what a volunteer wrote off the terminal."""
    click.echo(json.dumps(value, indent=indent))
