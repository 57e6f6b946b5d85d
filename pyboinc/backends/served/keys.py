"""The served project's keys: what clients check files with, and what uploads are asked for by.

BOINC's own forms (``lib/crypt.cpp``): RSA of 1,024 bits, which is all that a client's buffers
hold, bytes as lower-case hexadecimal digits, 64 a line, ended by a line ``.``, and a
signature of the 32 digits of an MD5, padded by PKCS#1 type 1 without saying which digest it is.

The key is made for one job directory, and signs the program that clients start; what that
program runs has a signature of its own (:mod:`pyboinc.slave_archive`).  For uploads there is a
certificate for each name, so that who was not given a result can not write into its place.  A
client sends it back as it is, and nobody but the project reads it: so it is made with a secret
(HMAC), and not with a second key, which would take a thousand times as long.
"""

from __future__ import annotations

import hmac
import re
import secrets
from dataclasses import dataclass
from hashlib import md5
from pathlib import Path

from pyboinc import disk
from pyboinc.errors import ConfigurationError, DirectoryDamaged

BITS = 1024
_SIZE = BITS // 8
_EXPONENT = 65537
_LINE = 64


@dataclass(frozen=True, slots=True)
class Key:
    """A private key: its modulus and its secret exponent."""

    modulus: int
    secret: int

    @property
    def public(self) -> str:
        """The text form of the public key."""
        numbers = self.modulus.to_bytes(_SIZE, "big") + _EXPONENT.to_bytes(_SIZE, "big")
        return f"{BITS}\n{to_text(numbers)}"

    def sign(self, data: bytes) -> str:
        """Return the signature of *data* in its text form."""
        return to_text(pow(_block(data), self.secret, self.modulus).to_bytes(_SIZE, "big"))

    def has_signed(self, data: bytes, signature: str) -> bool:
        """Say whether *signature*, in its text form, is this key's of *data*."""
        number = int.from_bytes(from_text(signature), "big")
        return number < self.modulus and pow(number, _EXPONENT, self.modulus) == _block(data)


def _block(data: bytes) -> int:
    """Return the number that a signature of *data* stands for."""
    digest = md5(data, usedforsecurity=False).hexdigest().encode()
    padding = b"\xff" * (_SIZE - 3 - len(digest))
    return int.from_bytes(b"\0\1" + padding + b"\0" + digest, "big")


def to_text(data: bytes) -> str:
    """Return *data* as lines of hexadecimal digits and a last line ``.``."""
    digits = data.hex()
    lines = [digits[start : start + _LINE] for start in range(0, len(digits), _LINE)]
    return "".join(f"{one}\n" for one in [*lines, "."])


def from_text(text: str) -> bytes:
    """Return the bytes that *text* stands for; none if it is no such text."""
    digits = "".join(text.split()).removesuffix(".")
    if not re.fullmatch("(?:[0-9a-f]{2}){1,1024}", digits, re.ASCII):
        return b""
    return bytes.fromhex(digits)


class Certificates:
    """Says with a *secret* which files may be uploaded, and how large they may be."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def of(self, name: str, max_nbytes: int) -> str:
        """Return the certificate for a file, in the text form of a signature."""
        text = f"<name>{name}</name><max_nbytes>{max_nbytes}</max_nbytes>"
        return to_text(hmac.digest(self._secret, text.encode(), "sha256"))

    def is_one(self, name: str, max_nbytes: int, certificate: str) -> bool:
        """Say whether *certificate* is the one for this file."""
        return hmac.compare_digest(from_text(certificate), from_text(self.of(name, max_nbytes)))


# ---------------------------------------------------------------- on disk


def generate() -> Key:
    """Make a new key."""
    try:
        from cryptography.hazmat.primitives.asymmetric import rsa
    except ImportError:
        raise ConfigurationError(
            "serving needs the package cryptography: pip install 'pyboinc[serve]'"
        ) from None
    made = rsa.generate_private_key(public_exponent=_EXPONENT, key_size=BITS).private_numbers()
    return Key(made.public_numbers.n, made.d)


def kept(path: Path) -> Key:
    """Return the key in the file *path*; make it, readable by its owner alone, the first time.

    It stays the same for as long as the project does: clients trust the first one they see.
    """
    try:
        return _read(path)
    except FileNotFoundError:
        key = generate()
        _write(path, f"{BITS}\n{to_text(_numbers(key))}".encode())
        return key


def kept_certificates(path: Path) -> Certificates:
    """Return who makes certificates with the secret in the file *path*; as :func:`kept`."""
    try:
        return Certificates(path.read_bytes())
    except FileNotFoundError:
        secret = secrets.token_bytes(32)
        _write(path, secret)
        return Certificates(secret)


def _write(path: Path, data: bytes) -> None:
    disk.make_directory(path.parent)
    path.parent.chmod(0o700)
    disk.publish(path, data)
    path.chmod(0o600)


def _numbers(key: Key) -> bytes:
    return key.modulus.to_bytes(_SIZE, "big") + key.secret.to_bytes(_SIZE, "big")


def _read(path: Path) -> Key:
    bits, _, rest = path.read_text("ascii", "replace").partition("\n")
    numbers = from_text(rest)
    if bits != str(BITS) or len(numbers) != 2 * _SIZE:
        raise DirectoryDamaged(
            f"{path} is no key of this project; restore it from a backup, or remove it and the "
            "clients' directories beside it: a client that knows another key takes no new program"
        )
    return Key(int.from_bytes(numbers[:_SIZE], "big"), int.from_bytes(numbers[_SIZE:], "big"))
