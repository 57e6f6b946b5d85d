"""The project's key on the command line: its flags, its passphrase, the text of a public key."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pyboinc.errors import ConfigurationError
from pyboinc.slave_archive import modulus_of

_Command = TypeVar("_Command", bound=Callable[..., Any])

PRIVATE, PUBLIC = "pyboinc_private_key.pem", "pyboinc_public_key"
"""The names of the files that ``pyboinc keygen`` makes."""


def passphrase_flag(command: _Command) -> _Command:
    """Give *command* the flag ``--passphrase-file``."""
    return click.option(
        "--passphrase-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Take the passphrase from the first line of FILE; else you are asked for it.",
    )(command)


def passphrase(file: Path | None, whose: str, new: bool = False) -> str:
    """Return the passphrase of the key *whose*, from *file* or from who sits here."""
    if file is not None:
        return file.read_text().partition("\n")[0]
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"nobody can be asked here for the passphrase of {whose}: --passphrase-file FILE"
        )
    answer: str = click.prompt(
        f"Passphrase for {whose}", hide_input=True, confirmation_prompt=new, err=True
    )
    return answer


def read_public_key(file: Path) -> str:
    """Return the public key in *file*; raises if it is none."""
    text = file.read_text(encoding="ascii", errors="replace")
    modulus_of(text)
    return text
