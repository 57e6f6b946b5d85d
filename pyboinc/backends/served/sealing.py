"""The signed archives of slaves: who signs them depends on what the app version trusts.

The program that a served project makes itself trusts a key of the project's own.  What
``pyboinc build`` made trusts the key that it was built with: that may be the project's own, or
the one that the setting ``signing_key`` names; or ``pyboinc sign`` has signed the archive.
"""

from __future__ import annotations

import json
from pathlib import Path

from pyboinc import disk, signing
from pyboinc.backends.served.runtime import ArchiveKeys
from pyboinc.errors import RejectedArchive, RejectedResult
from pyboinc.jobdir import check_archive
from pyboinc.slave_archive import LARGEST, key_id


class Sealer:
    """Gives signed archives of what is in the directory *bundles*, and keeps them in *kept*."""

    def __init__(
        self, bundles: Path, kept: Path, own: ArchiveKeys, signing_key: Path | None
    ) -> None:
        self._bundles = bundles
        self._kept = kept
        self._own = own
        self._own_id = key_id(own.public)
        self._signing_key = signing_key

    def seal(self, bundle: str, slave: str, key: str) -> bytes:
        """Return the archive *bundle* of *slave*, signed by the key called *key*.

        "" stands for the project's own.  Raises :class:`~pyboinc.errors.RejectedArchive` if
        nobody here can sign for that key, and nobody has.
        """
        path = self._bundles / f"{bundle}.zip"
        check_archive(path, bundle)
        zipped = path.read_bytes()
        if key in ("", self._own_id):
            return self._own.seal(zipped, slave, self._kept)
        if self._signing_key is not None:
            private = signing.load(self._signing_key)
            if key_id(signing.public_key(private)) == key:
                return signing.sign_archive(zipped, slave, private)
        signed = _signed(path.with_suffix(".signed"))
        if signed.endswith(b"\n" + zipped) and _head_of(signed) == (f"key {key}", slave):
            return signed
        raise RejectedArchive(
            f"the app versions in apps/ run what the key {key} has signed, and the archive of "
            f"{slave} is not: pyboinc sign, or run again with --signing-key FILE"
        )


def _signed(path: Path) -> bytes:
    try:
        return disk.read_bounded(path, LARGEST)
    except (FileNotFoundError, RejectedResult):
        return b""


def _head_of(signed: bytes) -> tuple[str, object]:
    """Return the line that names the key, and the slave that is to be run; volunteers check both.

    It was made here, by ``pyboinc sign``: it need not be trusted, only told from another one.
    """
    _, key, _, fields, *_ = [*signed.split(b"\n", 4), b"", b"", b"", b""]
    try:
        return key.decode("ascii", "replace"), json.loads(fields)["slave"]
    except (ValueError, KeyError, TypeError):
        return "", None
