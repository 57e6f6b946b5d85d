"""``pyboinc keygen``: the two keys of a project, the one that signs and the one that checks."""

from __future__ import annotations

from pathlib import Path

import click

from pyboinc import disk, signing
from pyboinc.cli.keys import PRIVATE, PUBLIC, passphrase, passphrase_flag
from pyboinc.cli.options import directory_argument
from pyboinc.errors import ConfigurationError
from pyboinc.slave_archive import key_id


@click.command(short_help="Make the key that signs what volunteers run.")
@directory_argument
@click.option("--no-passphrase", is_flag=True, help="Let the file alone be enough to sign.")
@passphrase_flag
def command(directory: Path, no_passphrase: bool, passphrase_file: Path | None) -> None:
    """Make a new key pair in DIR: once for a project, for all its life.

    Volunteers run only what the private key has signed.  Best make it, and keep it, on a
    computer that is not the project's server.
    """
    private, public = directory / PRIVATE, directory / PUBLIC
    if no_passphrase and passphrase_file:
        raise ConfigurationError("--no-passphrase and --passphrase-file contradict each other")
    for path in (private, public):
        if path.exists():
            raise ConfigurationError(
                f"{path} is there already and stays as it is: what volunteers have would not run "
                "what another key signs. For another project: name another directory"
            )
    words = "" if no_passphrase else passphrase(passphrase_file, str(private), new=True)
    if not words and not no_passphrase:
        raise ConfigurationError("the passphrase is empty; if none is wanted: --no-passphrase")
    key = signing.generate()
    signing.save(key, private, words)
    text = signing.public_key(key)
    disk.publish(public, text.encode())
    click.echo(f"{private}\n  signs what volunteers run: keep it secret, and a copy of it safe")
    click.echo(f"{public}\n  checks it, and may be known to all: pyboinc build --public-key FILE")
    click.echo(f"The key is called {key_id(text)}.")
