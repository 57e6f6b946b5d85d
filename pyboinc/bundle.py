"""The slave's archive: which of the user's files a slave needs, packed as one file.

The slave's program, the local modules that it imports (:mod:`pyboinc.discovery`) and the
data files named by ``include`` go into one zip file.  Its bytes depend on the names and
contents of those files alone, not on dates, permissions, the machine or the version of
Python, so that its digest is the name of what the batch runs.  Nothing is compressed:
the bytes would depend on the version of zlib, and a sent archive is compressed on its way.

On the slave's side its modules are found where they were found here: beside the slave's
program, and at the top of the archive.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from zlib import crc32

from pyboinc.classes import TYPES
from pyboinc.discovery import SKIPPED, Discovery, local_modules
from pyboinc.errors import ConfigurationError

__all__ = ["Bundle", "changed_files", "local_modules", "pack", "program_digests", "stored_zip"]

#: The largest archive (bytes), before its small zip overhead.
LARGEST = 64_000_000


@dataclass(frozen=True, slots=True)
class Bundle:
    """One slave's archive and what is in it; immutable."""

    #: sha256 of *data*, in hexadecimal
    digest: str
    #: the bytes of the zip file
    data: bytes
    #: the slave's program: its path in the job directory and in the archive
    slave: str
    #: the path of each file in the archive, sorted
    members: tuple[str, ...]
    #: the importable names of the local modules, in the order in which they are imported
    modules: tuple[str, ...]
    #: top-level names of imported modules that are neither local nor of the standard library
    external: tuple[str, ...]
    #: the same of the standard library
    stdlib: tuple[str, ...]
    #: full names of modules that a warm server can import ahead of the slave, in order; some
    #: may not exist ("from numpy import array" gives numpy and numpy.array)
    preload: tuple[str, ...]
    #: the members that are data: they lie around the slave's program as in the job directory
    included: tuple[str, ...]


def pack(job_directory: Path, slave: str, include: Sequence[str] = ()) -> Bundle:
    """Pack *slave* with the local modules that it imports and the files of *include*.

    *slave* is a path in *job_directory*; *include* has names or glob patterns (``**``
    allowed) in it, a directory standing for all that is below.  ``ConfigurationError``
    if a file is missing, outside, not Python, or if it is too much in all.
    """
    found = _gather(job_directory, slave, include)
    _check_size(slave, found.files)
    data = stored_zip(found.files)
    program = found.relative(found.program)
    python = {program, *(found.relative(path) for path in found.modules.values())}
    return Bundle(
        digest=sha256(data).hexdigest(),
        data=data,
        slave=program,
        members=tuple(sorted(found.files)),
        modules=tuple(found.modules),
        external=tuple(found.external),
        stdlib=tuple(found.stdlib),
        preload=tuple(found.preload),
        included=tuple(sorted(set(found.files) - python)),
    )


def _gather(job_directory: Path, program: str, include: Sequence[str]) -> Discovery:
    found = Discovery(Path(job_directory), program)
    types = found.root / TYPES
    if types.is_file():  # the input's class is needed even if the slave never names it
        found.add_file(types)
    for pattern in include:
        for path in _matches(found.root, pattern):
            found.add_file(path)
    return found


def _matches(root: Path, pattern: str) -> list[Path]:
    """The files that *pattern* names in the job directory, sorted; at least one."""
    if PurePosixPath(pattern).is_absolute() or ".." in PurePosixPath(pattern).parts:
        raise ConfigurationError(
            f"include {pattern!r} leads out of the job directory {root}; only what is in it travels"
        )
    try:
        hits = list(root.glob(pattern))
    except (ValueError, NotImplementedError) as error:
        raise ConfigurationError(f"include {pattern!r} is not a pattern: {error}") from None
    below = [path for hit in hits for path in (hit.rglob("*") if hit.is_dir() else [hit])]
    files = sorted({path for path in below if path.is_file() and _travels(root, path)})
    if not files:
        raise ConfigurationError(
            f"include {pattern!r} matches no file in the job directory {root}; correct or drop it"
        )
    return files


def _travels(root: Path, path: Path) -> bool:
    """False for what is PyBOINC's own, Python's cache, or an environment."""
    parts = path.relative_to(root).parts
    own = parts[0] in SKIPPED or parts[0] == "pyboinc_checkpoint"
    return not own and "__pycache__" not in parts


def _check_size(slave: str, files: Mapping[str, bytes]) -> None:
    total = sum(map(len, files.values()))
    if total > LARGEST:
        largest = max(files, key=lambda name: len(files[name]))
        raise ConfigurationError(
            f"what {slave} needs is too much to send to every host: {total:,} bytes, {LARGEST:,}"
            f" at most; the largest is {largest} with {len(files[largest]):,}"
        )


# ---------------------------------------------------------------- the archive


def stored_zip(files: Mapping[str, bytes]) -> bytes:
    """A zip file of *files* (path -> content), byte for byte the same everywhere.

    Sorted, dated 1980-01-01, not compressed, each directory an entry of its own (without
    them zipimport finds no namespace packages).  Written here and not by ``zipfile``, whose
    bytes are not promised from one version of Python to the next.
    """
    entries = {f"{folder}/": b"" for name in files for folder in _folders(name)} | dict(files)
    body, directory, offset = [], [], 0
    for name in sorted(entries):
        local, central = _headers(name, entries[name], offset)
        body += [local, entries[name]]
        directory.append(central)
        offset += len(local) + len(entries[name])
    central_size = sum(map(len, directory))
    count = len(directory)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, central_size, offset, 0)
    return b"".join([*body, *directory, end])


def _folders(name: str) -> Iterable[str]:
    return (parent.as_posix() for parent in PurePosixPath(name).parents if parent.name)


def _headers(name: str, data: bytes, offset: int) -> tuple[bytes, bytes]:
    """The header before a member, and its entry in the directory at the end."""
    path = name.encode()
    flags = 0 if name.isascii() else 0x800  # the name is UTF-8
    mode = 0o40755 << 16 | 0x10 if name.endswith("/") else 0o100644 << 16
    # version 2.0, flags, stored, 00:00:00, 1980-01-01, checksum, size twice, name, no extra
    common = struct.pack(
        "<5H3L2H", 20, flags, 0, 0, 0x21, crc32(data), len(data), len(data), len(path), 0
    )
    made_on_unix = struct.pack("<H", 3 << 8 | 20)
    tail = struct.pack("<3H2L", 0, 0, 0, mode, offset)  # comment, disk, text or not
    return b"PK\3\4" + common + path, b"PK\1\2" + made_on_unix + common + tail + path


# ---------------------------------------------------------------- what changed


def program_digests(
    job_directory: Path, programs: Iterable[str], include: Sequence[str] = ()
) -> dict[str, str]:
    """The sha256 of each local file that *programs* consist of, by relative path.

    The files of *include* count as well: the slaves' outputs depend on them.
    """
    files: dict[str, bytes] = {}
    for program in programs:
        files.update(_gather(job_directory, program, include).files)
    return {name: sha256(files[name]).hexdigest() for name in sorted(files)}


def changed_files(recorded: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What differs between two program_digests(): a phrase for each file, sorted by name."""
    phrases = []
    for name in sorted({*recorded, *now}):
        if name not in now:
            phrases.append(f"{name} is gone")
        elif name not in recorded:
            phrases.append(f"{name} is new")
        elif recorded[name] != now[name]:
            phrases.append(f"{name} changed")
    return phrases
