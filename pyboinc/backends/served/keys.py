"""The served project's keys: what clients check files with, and what uploads are asked for by.

BOINC's own forms (``lib/crypt.cpp``): RSA of 1,024 bits, which is all that a client's buffers
hold, bytes as lower-case hexadecimal digits, 64 a line, ended by a line ``.``, and a
signature of the 32 digits of an MD5, padded by PKCS#1 type 1 without saying which digest it is.

No secret of volunteers hangs on these: they are made for one job directory, whose slave's
archive has a signature of its own (:mod:`pyboinc.slave_archive`).  The *code sign* key signs
the program that clients start; the *upload* key signs each name that may be uploaded, so that
who was not given a result can not write into its place.
"""

from __future__ import annotations

import re
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


def certified(name: str, max_nbytes: int) -> bytes:
    """Return what the upload key signs: which file may be uploaded, and how large it may be."""
    return f"<name>{name}</name><max_nbytes>{max_nbytes}</max_nbytes>".encode()


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
        pass
    disk.make_directory(path.parent)
    path.parent.chmod(0o700)
    key = generate()
    disk.publish(path, f"{BITS}\n{to_text(_numbers(key))}".encode())
    path.chmod(0o600)
    return key


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
