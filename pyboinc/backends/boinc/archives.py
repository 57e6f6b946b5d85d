"""The slave's archive at the project: signed, staged once, removed when nobody needs it.

An archive is shared by all jobs that run it, of whatever batch, so the project's file deleter
is told to leave it alone, and we remove it: ``<project>/pyboinc/archives/<batch>`` names the
archives that a batch may still need, and whoever strikes the last one out removes the file.
A lock keeps staging and removing apart.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyboinc import disk, signing, slave_archive
from pyboinc.backends.boinc.names import archive_name
from pyboinc.backends.boinc.project import Project, missing
from pyboinc.backends.boinc.staging import Staging, write
from pyboinc.errors import BackendError, ConfigurationError, RejectedArchive, RejectedResult
from pyboinc.jobdir import JobDirectory, check_archive

_NAMES_LIMIT = 1 << 20


class Archives:
    """The archives that one batch runs."""

    def __init__(
        self, directory: JobDirectory, project: Project, staging: Staging, key: Path | None
    ) -> None:
        self._directory = directory
        self._project = project
        self._staging = staging
        self._key = key
        self._names: dict[tuple[str, str], str] = {}
        self._uses = project.ours / "archives"

    def stage(self, batch: int, slave: str, digest: str) -> str:
        """See to it that the archive *digest* of *slave* can be downloaded; return its name."""
        name = self._names.get((slave, digest))
        if name is None:
            signed = self._signed(slave, digest)
            name = archive_name(signed)
            with self._locked():
                self._note_use(batch, name)
                if not self._staging.holds(name, len(signed)):
                    self._staging.stage(name, signed)
            self._names[slave, digest] = name
        return name

    def strike_out(self, batch: int) -> None:
        """Note that *batch* needs its archives no more; remove those that nobody needs."""
        if not self._uses.is_dir():
            return
        with self._locked():
            mine = self._used_by(str(batch))
            disk.remove(self._uses / str(batch))
            others = [one for one in disk.listing(self._uses) if one.isdecimal()]
            needed = {name for one in others for name in self._used_by(one)}
            for name in sorted(mine - needed):
                self._staging.remove(name)
        self._names.clear()

    def _note_use(self, batch: int, name: str) -> None:
        names = self._used_by(str(batch))
        if name not in names:
            text = "".join(f"{each}\n" for each in sorted({*names, name}))
            disk.reach("note archive", name)
            with disk.explained("write", self._uses / str(batch)):
                write(str(self._uses / str(batch)), text.encode())

    def _used_by(self, batch: str) -> set[str]:
        try:
            return set(disk.read_bounded(self._uses / batch, _NAMES_LIMIT).decode().split())
        except (FileNotFoundError, RejectedResult, UnicodeDecodeError):
            return set()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only one who stages or removes archives at this project."""
        try:
            if not self._uses.is_dir():
                self._uses.mkdir(exist_ok=True)
                os.chmod(self._uses, 0o2775)
            lock = os.open(self._uses / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        except PermissionError:
            raise ConfigurationError(
                f"{self._uses} can not be written to: {missing(self._uses, self._project.root)}"
            ) from None
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                os.fchmod(lock, 0o664)
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            disk.close(lock)

    # Signing.

    def _signed(self, slave: str, digest: str) -> bytes:
        """Return the signed archive: signed by somebody before, or now by the key that we know."""
        public_key = self._public_key()
        path = self._directory.bundle_path(digest)
        try:
            signed = disk.read_bounded(path.with_suffix(".signed"), slave_archive.LARGEST)
            fields, _ = slave_archive.open_archive(signed, public_key)
            if fields["slave"] == slave:
                return signed
            why = f"{path.with_suffix('.signed').name} is signed for {fields['slave']}"
        except FileNotFoundError:
            why = "it is not signed yet"
        except (RejectedArchive, RejectedResult) as error:
            why = str(error)
        return self._sign(slave, digest, public_key, why)

    def _sign(self, slave: str, digest: str, public_key: str, why: str) -> bytes:
        if self._key is None:
            raise BackendError(
                f"volunteers run nothing that is not signed, and the archive of {slave} is not "
                f"({why}): where the project's private key is, type pyboinc sign "
                f"{self._directory.path}, or name the key with --signing-key; then run the same "
                "command"
            )
        key = signing.load(self._key)
        if signing.public_key(key) != public_key:
            raise ConfigurationError(
                f"the key {self._key} is not the project's: its volunteers trust the one in "
                f"{self._project.ours / 'public_key'}"
            )
        archive = self._directory.bundle_path(digest)
        check_archive(archive, digest)
        signed = signing.sign_archive(archive.read_bytes(), slave, key)
        disk.publish(archive.with_suffix(".signed"), signed)
        return signed

    def _public_key(self) -> str:
        path = self._project.ours / "public_key"
        try:
            return disk.read_bounded(path, 1 << 16).decode("ascii", "replace")
        except (FileNotFoundError, RejectedResult) as error:
            raise ConfigurationError(
                f"the project has no public key ({error}); its owner types: pyboinc setup "
                f"{self._project.root}"
            ) from None
