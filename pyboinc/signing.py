"""The project's key: made, kept and used where the project's people are, never by a volunteer.

The private key is a PEM file, with a passphrase or without one, readable by its owner alone.
Whoever has it decides what runs on the volunteers' computers, so it may well lie on a
computer that no network reaches; ``pyboinc sign`` works there.  The public key is a small
text that everybody may know; ``pyboinc build`` puts it into what volunteers run.

The arithmetic is that of the package ``cryptography``; what a volunteer needs to check a
signature is in :mod:`pyboinc.slave_archive`.
"""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from pyboinc import disk
from pyboinc.errors import ConfigurationError
from pyboinc.slave_archive import KEY_BITS, modulus_of, public_key_text, seal, signed_part

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_EXTRA = "signing needs the package cryptography: pip install 'pyboinc[boinc]'"


def generate() -> RSAPrivateKey:
    """Make a new private key."""
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError:
        raise ConfigurationError(_EXTRA) from None
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def save(private_key: RSAPrivateKey, path: Path, passphrase: str = "") -> None:
    """Write *private_key* to the new file *path*, encrypted if there is a *passphrase*.

    Only the owner may read it.  An existing file is never written over: what the old key has
    signed could never be signed again.
    """
    from cryptography.hazmat.primitives import serialization

    protection = (
        serialization.BestAvailableEncryption(passphrase.encode())
        if passphrase
        else serialization.NoEncryption()
    )
    text = private_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} is there already and stays as it is; name another file"
        ) from None
    except OSError as error:
        raise disk.explain("write", path, error) from error
    with open(descriptor, "wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def load(path: Path, passphrase: str = "") -> RSAPrivateKey:
    """Read a private key; :class:`~pyboinc.errors.ConfigurationError` says why it can not be."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise ConfigurationError(_EXTRA) from None
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the private key can not be read: {error}") from None
    try:
        key = load_pem_private_key(text, passphrase.encode() or None)
    except TypeError:
        has = "has no passphrase" if passphrase else "has a passphrase, and none was given"
        raise ConfigurationError(f"the private key {path} {has}") from None
    except (ValueError, UnsupportedAlgorithm):
        wrong = ", or the passphrase is wrong" if passphrase else ""
        raise ConfigurationError(
            f"{path} is no private key that can be used here{wrong}; pyboinc keygen makes one"
        ) from None
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError(f"{path} is no RSA key; pyboinc keygen makes one")
    modulus_of(public_key(key))
    return key


def is_encrypted(path: Path) -> bool:
    """Say whether the private key in *path* has a passphrase."""
    try:
        return b"ENCRYPTED" in path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"the private key can not be read: {error}") from None


def public_key(private_key: RSAPrivateKey) -> str:
    """Return the text of the public key that belongs to *private_key*."""
    return public_key_text(private_key.public_key().public_numbers().n)


def sign_archive(zipped: bytes, slave: str, private_key: RSAPrivateKey) -> bytes:
    """Return the signed archive of the zip *zipped*, whose program is *slave*.

    The same arguments always give the same bytes.
    """
    from zipfile import BadZipFile, ZipFile

    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    try:
        members = ZipFile(BytesIO(zipped)).namelist()
    except BadZipFile as error:
        raise ConfigurationError(f"what is to be signed is no zip file: {error}") from None
    if slave not in members:
        raise ConfigurationError(
            f"the archive has no program {slave!r} to be run; in it are {', '.join(members)}"
        )
    signed = signed_part(zipped, slave)
    signature = private_key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    return seal(signed, signature, public_key(private_key))
