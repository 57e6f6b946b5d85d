"""The program that clients start: the slave half of this package, as one file.

As in production it checks who has signed a slave's code before it runs any of it
(:mod:`pyboinc.slave_volunteer`).  For clients on this computer it is run by this very Python,
which has the packages that the slaves need.
"""

from __future__ import annotations

import os
import shlex
import sys
from hashlib import sha256
from pathlib import Path

import pyboinc
from pyboinc import bundle, disk, signing

_TRAVELS = ("__init__.py", "boinc_api.py", "errors.py", "slave*.py", "codec/*.py")
_MAIN = "from pyboinc.slave_volunteer import main\n\nmain({key!r})\n"


def build(public_key: str, python: str) -> bytes:
    """Return a program that runs what the holder of *public_key* has signed.

    It is a script of the shell, which starts *python* with the zip file that follows.
    """
    package = Path(pyboinc.__file__).parent
    paths = [path for pattern in _TRAVELS for path in sorted(package.glob(pattern))]
    files = {f"pyboinc/{path.relative_to(package).as_posix()}": path.read_bytes() for path in paths}
    files["__main__.py"] = _MAIN.format(key=public_key).encode()
    start = f'#!/bin/sh\nexec {python} -I "$0" "$@"\n'
    return start.encode() + bundle.stored_zip(files)


def python_here() -> str:
    """Return this Python for the shell."""
    return shlex.quote(sys.executable)


PYTHON_ELSEWHERE = "/usr/bin/env python3"


class ArchiveKeys:
    """The key that signs slaves' archives, kept in *directory* with its public half.

    The private one is read when something is to be signed: to check it takes a while.
    """

    def __init__(self, directory: Path) -> None:
        self._private = directory / "archive.pem"
        public = directory / "archive.public"
        if not public.exists():
            temporary = directory / f".archive.pem.{os.getpid()}.tmp"
            key = signing.generate()
            signing.save(key, temporary)
            os.rename(temporary, self._private)
            disk.publish(public, signing.public_key(key).encode())
        self.public = public.read_text("ascii", "replace")

    def seal(self, zipped: bytes, slave: str, kept: Path) -> bytes:
        """Return the signed archive of a slave's zip file; it is kept in the directory *kept*."""
        what = sha256(zipped + f"\n{slave}\n{self.public}".encode()).hexdigest()
        path = kept / f"sealed_{what[:32]}"
        if not path.exists():
            disk.make_directory(kept)
            disk.publish(path, signing.sign_archive(zipped, slave, signing.load(self._private)))
        return path.read_bytes()
