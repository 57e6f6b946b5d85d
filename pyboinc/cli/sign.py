"""``pyboinc sign``: show what is to be signed, and sign it, on the computer that has the key."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import click

from pyboinc import config, disk, signing
from pyboinc.cli.keys import PRIVATE, passphrase, passphrase_flag
from pyboinc.errors import ConfigurationError, RejectedArchive
from pyboinc.jobdir import JobDirectory, check_archive
from pyboinc.slave_archive import LARGEST, key_id, open_archive


@dataclass(frozen=True)
class Archive:
    """An archive that may be signed: where it lies, its bytes, the program to be run."""

    path: Path
    data: bytes
    slave: str

    @property
    def signed(self) -> Path:
        """Where the signed archive goes."""
        return self.path.with_suffix(".signed")

    def is_signed(self, public_key: str) -> bool:
        """Say whether it has been signed already, by this key and for this program."""
        try:
            fields, zipped = open_archive(disk.read_bounded(self.signed, LARGEST), public_key)
        except (FileNotFoundError, RejectedArchive):
            return False
        return fields["slave"] == self.slave and zipped == self.data

    def contents(self) -> Iterator[str]:
        """Yield a line for each file: size, digest and name."""
        with ZipFile(BytesIO(self.data)) as members:
            for member in members.infolist():
                if not member.is_dir():
                    digest = sha256(members.read(member)).hexdigest()
                    yield f"  {member.file_size:>10,} {digest[:16]} {member.filename}"


@click.command(short_help="Sign a slave's code, so that volunteers run it.")
@click.argument(
    "places", nargs=-1, metavar="[DIR|ARCHIVE.zip]...", type=click.Path(exists=True, path_type=Path)
)
@click.option(
    "--key",
    "key_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The private key, from pyboinc keygen; else the setting signing_key.",
)
@click.option(
    "--slave",
    default="app_slave.py",
    show_default=True,
    help="The program in an ARCHIVE; a job directory knows it.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@passphrase_flag
def command(
    places: Sequence[Path],
    key_file: Path | None,
    slave: str,
    yes: bool,
    passphrase_file: Path | None,
) -> None:
    """Sign the archives that the batch in DIR waits for, or each ARCHIVE.zip.

    What is to be signed is shown first.  The key may lie on a computer without a network: take
    .pyboinc/bundles/*.zip of the job directory there, sign them, and bring the .signed
    files back to where the .zip files are.
    """
    first = places[0] if places else Path()
    key_file = key_file or config.load(first if first.is_dir() else first.parent).signing_key
    if key_file is None:
        raise ConfigurationError(f"which key is to sign? --key FILE (as in {PRIVATE})")
    words = passphrase(passphrase_file, str(key_file)) if signing.is_encrypted(key_file) else ""
    key = signing.load(key_file, words)
    public_key = signing.public_key(key)
    for place in places or [Path()]:
        for archive in _archives(place, slave):
            if archive.is_signed(public_key):
                click.echo(f"{archive.path} is signed already.")
                continue
            _show(archive, key_id(public_key))
            if not yes and not _sure():
                raise click.exceptions.Exit(130)
            signed = signing.sign_archive(archive.data, archive.slave, key)
            disk.publish(archive.signed, signed)
            click.echo(f"Signed: {archive.signed}")


def _show(archive: Archive, key: str) -> None:
    digest = sha256(archive.data).hexdigest()
    click.echo(
        f"{archive.path}\n  runs {archive.slave}; {len(archive.data):,} bytes, sha256 {digest}"
    )
    try:
        for line in archive.contents():
            click.echo(line)
    except BadZipFile as error:
        raise ConfigurationError(f"{archive.path} is no archive of a slave: {error}") from None
    click.echo(f"  to be signed by the key {key}, and then to be run on volunteers' computers")


def _sure() -> bool:
    if _asks_nobody():
        raise ConfigurationError("nobody can be asked here; to sign it: pyboinc sign --yes")
    try:
        sure = click.confirm("Sign it?")
    except click.Abort:
        sure = False
    if not sure:
        click.echo("Nothing more was signed.")
    return sure


def _asks_nobody() -> bool:
    return not sys.stdin.isatty()


def _archives(place: Path, slave: str) -> Iterator[Archive]:
    """Yield what is to be signed in *place*: a job directory, or an archive by itself."""
    if place.is_file():
        yield Archive(place, disk.read_bounded(place, LARGEST), slave)
        return
    directory = JobDirectory(place.absolute(), read_only=True)
    try:
        directory.load()
        calls = directory.journal.calls
        known = {(call.slave, call.bundle) for call in directory.spool.calls(0, calls)}
        for program, digest in sorted(known):
            path = directory.bundle_path(digest)
            check_archive(path, digest)
            yield Archive(path, disk.read_bounded(path, LARGEST), program)
        if not known:
            raise ConfigurationError(
                f"no calls are made in {directory.path} yet, so there is nothing to sign; start "
                "the master once: it says what it waits for"
            )
    finally:
        directory.close()
