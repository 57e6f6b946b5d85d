"""The signed archive: the slave's code as it travels, and why a volunteer may trust it.

    pyboinc-slave 1
    key 0123456789abcdef
    signature 5e2d...
    {"format": "pyboinc-slave 1", "slave": "app_slave.py"}
    PK...

Three lines tell who has signed; all that follows is signed, to the last byte: one line of
JSON that says how the archive is to be run, and the zip of :mod:`pyboinc.bundle`.  The
signature is RSA PKCS#1 v1.5 with SHA-256 (RFC 8017).  It is checked by making the one block
that a true signature stands for and comparing it whole: nothing in it is parsed, so there is
nothing in which a forger could hide (the forgeries of 2006 live in padding that was parsed).

The project's key signs (:mod:`pyboinc.signing`), which may lie on a computer that no network
reaches; a volunteer's runtime has the public key inside.  So who takes over the project's
server can run nothing on volunteers' computers that was not signed before.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import re
from hashlib import sha256

from pyboinc.errors import RejectedArchive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMAT = "pyboinc-slave 1"
KEY_FORMAT = "pyboinc-public-key 1"

LARGEST = 100_000_000
"""Bytes of a signed archive, at most."""

KEY_BITS = 3072
"""Bits of a key, at least."""

_MOST_KEY_BITS = 8192
_EXPONENT = 65537
_PUBLIC_KEY = re.compile(
    r"\A" + KEY_FORMAT + r"\n([1-9a-f][0-9a-f]*)\n([1-9a-f][0-9a-f]*)\n\Z", re.ASCII
)
_HEAD = re.compile(
    rb"\A" + FORMAT.encode() + rb"\nkey ([0-9a-f]{16})\nsignature ([0-9a-f]{2,2048})\n"
)
_SHA256 = bytes.fromhex("3031300d060960864801650304020105000420")
"""What PKCS#1 puts before a SHA-256: "the 32 bytes of such a digest follow"."""


def key_id(public_key: str) -> str:
    """Return the short name of the key whose text is *public_key*: 16 hexadecimal digits."""
    return sha256(public_key.encode()).hexdigest()[:16]


def public_key_text(modulus: int) -> str:
    """Return the text form of the public key with this *modulus*."""
    return f"{KEY_FORMAT}\n{modulus:x}\n{_EXPONENT:x}\n"


def modulus_of(public_key: str) -> int:
    """Return the modulus of a public key in its text form.

    Raises :class:`~pyboinc.errors.RejectedArchive` for what is none, is too short, or has
    another exponent than 65537: with a small one signatures can be forged.
    """
    found = _PUBLIC_KEY.match(public_key)
    if found is None:
        raise RejectedArchive(
            f"this is no public key of PyBOINC (its first line is {KEY_FORMAT!r}); "
            "pyboinc keygen makes one"
        )
    modulus, exponent = int(found.group(1), 16), int(found.group(2), 16)
    if not KEY_BITS <= modulus.bit_length() <= _MOST_KEY_BITS or modulus % 2 == 0:
        raise RejectedArchive(
            f"a public key of {modulus.bit_length()} bits is not used; "
            f"pyboinc keygen makes one of {KEY_BITS}"
        )
    if exponent != _EXPONENT:
        raise RejectedArchive(
            f"a public key with the exponent {exponent} is not used; "
            f"pyboinc keygen makes one with {_EXPONENT}"
        )
    return modulus


def signed_part(zipped: bytes, slave: str) -> bytes:
    """Return what is to be signed: how to run the archive *zipped*, and the archive."""
    import json

    return json.dumps({"format": FORMAT, "slave": slave}).encode() + b"\n" + zipped


def seal(signed: bytes, signature: bytes, public_key: str) -> bytes:
    """Return the whole archive of the *signed* part and its *signature*."""
    head = f"{FORMAT}\nkey {key_id(public_key)}\nsignature {signature.hex()}\n"
    return head.encode() + signed


def open_archive(data: bytes, public_key: str) -> tuple[dict[str, Any], bytes]:
    """Return how the signed archive *data* is to be run, and the zip in it.

    Raises :class:`~pyboinc.errors.RejectedArchive` unless the holder of the key has signed
    exactly these bytes.  Nothing of *data* but its head is looked at before that is sure.
    """
    modulus = modulus_of(public_key)
    head = _HEAD.match(data)
    if head is None:
        raise RejectedArchive(
            f"this is no signed archive (its first line is {FORMAT!r}); "
            "pyboinc sign makes one of a slave's archive"
        )
    signer, signature = head.group(1).decode(), head.group(2).decode()
    if signer != key_id(public_key):
        raise RejectedArchive(
            f"the slave's archive is signed by the key {signer}; "
            f"what runs here must be signed by {key_id(public_key)}"
        )
    signed = memoryview(data)[head.end() :]
    if not _is_signature(signature, signed, modulus):
        raise RejectedArchive(
            f"the slave's archive is not what the key {signer} has signed: "
            "it was changed or damaged"
        )
    return _parts(bytes(signed))


def _is_signature(signature: str, signed: memoryview, modulus: int) -> bool:
    """Say whether *signature*, in hexadecimal, is that of *signed*."""
    size = (modulus.bit_length() + 7) // 8
    number = int(signature, 16)
    if len(signature) != 2 * size or number >= modulus:
        return False  # another spelling of the same number would be another archive
    digest = _SHA256 + sha256(signed).digest()
    block = b"\x00\x01" + b"\xff" * (size - 3 - len(digest)) + b"\x00" + digest
    return pow(number, _EXPONENT, modulus).to_bytes(size, "big") == block


def _parts(signed: bytes) -> tuple[dict[str, Any], bytes]:
    """Split what has been signed into its fields and the zip."""
    import json

    line, _, zipped = signed.partition(b"\n")
    try:
        fields = json.loads(line.decode())
    except ValueError:
        fields = None
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise RejectedArchive(
            f"what was signed is no slave's archive of this version ({FORMAT}): "
            "build the app version and sign the archive with the same PyBOINC"
        )
    if not isinstance(fields.get("slave"), str):
        raise RejectedArchive("what was signed does not say which slave is to be run: sign it anew")
    return fields, zipped
