"""The files of the served project: under which names and addresses clients know them.

A name that a client has once seen means the same bytes for ever, since it never downloads a
file of a known name again.  So the names of programs and archives are made of their digests,
and the address of the project has a word of its own: another project in the same place is
another one for clients, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path

from pyboinc import disk
from pyboinc.backends.local.store import Rows
from pyboinc.backends.served.keys import Certificates, Key
from pyboinc.backends.served.replies import AppVersion, Assignment, FileInfo
from pyboinc.backends.served.versions import NAME, Built, BuiltFile
from pyboinc.disk import AppendLog
from pyboinc.errors import ConfigurationError
from pyboinc.project import Result
from pyboinc.records import input_of

OWN_APP = "pyboinc_script"
"""The application whose program is made here.

One that ``pyboinc build`` made has another name: a client that knew the one by a version's
number would not take the other.
"""

FIRST_VERSION = 100
SLAVE, INPUT, OUTPUT = "slave.zip", "in", "out"
"""What a slave's files are called in its slot."""

_BOUND = 24
"""BOINC's ``create_work`` ends a task after so many times its estimated work."""

FLOPS = 1e9
"""The speed that estimates are made with: that of a CPU which has not been measured."""

OUTPUT_NAME = re.compile("([0-9]{1,9}_[0-9]{1,12}_[0-9]{1,9})_r0", re.ASCII)
INPUT_NAME = re.compile("([0-9]{1,9})_([0-9]{1,12})[.]in", re.ASCII)

_BUILT = "built"
"""Where copies of what ``pyboinc build`` made are kept: clients may have them for ever."""

_KEPT = re.compile("(pyb_slave_[0-9a-f]{32}[.]zip|pyboinc_[0-9a-f]{32}([.][a-z0-9_-]{1,64})?)")


class Catalogue:
    """Names, addresses, sizes and signatures of all files, and the bytes of those kept here.

    *base* is the project's address; *seal* makes a signed archive of one in ``bundles/``.
    """

    def __init__(
        self,
        base: str,
        directory: Path,
        spool: AppendLog,
        code_sign: Key,
        certificates: Certificates,
        max_output: int,
    ) -> None:
        self.base = base
        self.code_sign = code_sign
        self.certificates = certificates
        self.max_output = max_output
        self._directory = directory
        self._spool = spool
        self._versions: dict[str, AppVersion] = {}
        self._archives: dict[tuple[str, str, str], FileInfo] = {}

    # What is made once.

    @property
    def platforms(self) -> tuple[str, ...]:
        """The platforms that there are app versions for; none if there is one for all."""
        return tuple(filter(None, sorted(self._versions)))

    def add_program(self, data: bytes, version: int) -> None:
        """Let clients of all platforms run the program *data*, as this *version*.

        Another program has another number, or clients that know the first one would keep it.
        """
        info = self._keep(f"pyboinc_{_digest(data)}", data)
        main = self._signed(info, data, executable=True)
        self._versions[""] = AppVersion(OWN_APP, version, "", main, FLOPS)

    def add_built(self, built: Built) -> None:
        """Let clients of its platform run *built*."""
        main, *others = [self._built_file(one) for one in built.files]
        names = [one.open_name for one in built.files[1:]]
        self._versions[built.platform] = AppVersion(
            built.app,
            built.number,
            built.platform,
            main,
            FLOPS,
            tuple(zip(others, names, strict=True)),
            built.api_version,
            built.key,
        )

    def _built_file(self, file: BuiltFile) -> FileInfo:
        data, name = file.path.read_bytes(), file.path.name
        path = self._directory / _BUILT / name
        if not path.exists():
            disk.make_directory(path.parent)
            disk.publish(path, data)
        elif path.read_bytes() != data:
            raise ConfigurationError(
                f"{file.path} has changed: clients may have it as it was, and would never fetch "
                "this one; build it with the next --version"
            )
        return self._signed(FileInfo(name, self._url(name), len(data)), data, file.executable)

    def _signed(self, info: FileInfo, data: bytes, executable: bool) -> FileInfo:
        signature = self.code_sign.sign(data)
        return FileInfo(info.name, info.url, info.size, signature=signature, executable=executable)

    def archive(self, rows: Rows, key: str, seal: Callable[[], bytes]) -> FileInfo:
        """Return the archive of a workunit's slave, signed by *key*; *seal* makes it once."""
        what = rows.details.bundle, rows.details.slave, key
        known = self._archives.get(what)
        if known is None:
            data = seal()
            known = self._keep(f"pyb_slave_{_digest(data)}.zip", data, sticky=True)
            self._archives[what] = known
        return known

    def _keep(self, name: str, data: bytes, sticky: bool = False) -> FileInfo:
        path = self._directory / name
        if not path.exists():
            disk.make_directory(self._directory)
            disk.publish(path, data)
        digest = md5(data, usedforsecurity=False).hexdigest()
        return FileInfo(name, self._url(name), len(data), digest, sticky=sticky)

    def _url(self, name: str) -> str:
        return f"{self.base}download/{name}"

    # What a client is told.

    def versions(self, platforms: tuple[str, ...]) -> list[AppVersion]:
        """Return the app version for the first of *platforms* that has one; none if none has.

        As BOINC's ``sched/sched_version.cpp`` does with ``prefer_primary_platform``; without it,
        estimates of speed decide, which are the same for all platforms here.
        """
        for platform in platforms:
            version = self._versions.get(platform) or self._versions.get("")
            if version is not None:
                return [replace(version, platform=platform)]
        return []

    def assignment(
        self, rows: Rows, result: Result, fpops: float, key: str, seal: Callable[[], bytes]
    ) -> Assignment:
        """Return what a client is told of *result*, whose app version trusts *key*."""
        data = self.input(rows)
        name = f"{rows.workunit.name}.in"
        digest = md5(data, usedforsecurity=False).hexdigest()
        return Assignment(
            workunit=rows.workunit.name,
            result=result.name,
            deadline=result.report_deadline,
            inputs=(
                (self.archive(rows, key, seal), SLAVE),
                (FileInfo(name, self._url(name), len(data), digest), INPUT),
            ),
            output=(self.output(result), OUTPUT),
            fpops_est=fpops,
            fpops_bound=_BOUND * fpops,
            memory=rows.details.memory,
            disk=rows.details.disk,
        )

    def output(self, result: Result) -> FileInfo:
        """Return the file that *result* has to upload, with the certificate for it."""
        name = f"{result.name}_r0"
        return FileInfo(
            name,
            f"{self.base}file_upload_handler",
            max_nbytes=self.max_output,
            signature=self.certificates.of(name, self.max_output),
        )

    def input(self, rows: Rows) -> bytes:
        """Return the input of a workunit, as it was spooled."""
        one = rows.details
        return input_of(self._spool, one.sequence, one.offset, one.size, one.crc32)

    # What a client asks for.

    def path(self, name: str) -> Path | None:
        """Return where the program or archive of this name lies; None if there is none.

        Those of an earlier run are there still: a client may be in the middle of one.
        """
        built = self._directory / _BUILT / name
        if NAME.fullmatch(name) and built.is_file():
            return built
        path = self._directory / name
        return path if _KEPT.fullmatch(name) and path.is_file() else None


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()[:32]
