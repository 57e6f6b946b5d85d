"""What runs on a volunteer's computer: see who signed a job's code, and run it if it is ours.

A BOINC client starts this program, the main program of the app version that ``pyboinc build``
makes, in a slot with two files: ``slave.zip``, the signed archive of the slave's code
(:mod:`pyboinc.slave_archive`), and ``in``.  Without a client it does the same in any directory
that has them, and leaves ``out`` there:

    cd somewhere_with_slave.zip_and_in
    pyboinc_1.0_x86_64-pc-linux-gnu

The public key is inside what ``pyboinc build`` made.  A job's command line, its input and the
names of its files come from the project's server and are signed by nobody.  So the command
line is not looked at, the input is read by the safe loader, and what is unpacked is cleared
first: a server may have put files there.

In a checkout, and for tests, the key may lie in a file:

    python -m pyboinc.slave_volunteer --public-key FILE

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import io
import os
import sys

from pyboinc import slave, slave_runner
from pyboinc.errors import ConfigurationError, PyboincError, RejectedArchive, SlaveError
from pyboinc.slave_archive import LARGEST, open_archive
from pyboinc.slave_program import unpack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

LATER = 600
"""Seconds after which a client is to try again if there is no room for the slave's code now."""

ARCHIVE = "slave.zip"
"""The signed archive, under the name that it has in a slot."""


def run(public_key: str) -> int:
    """Run the job in the current directory; return the exit status of its slave.

    Raises :class:`~pyboinc.errors.RejectedArchive`, before anything of it is run, unless
    the holder of *public_key* has signed the slave's code.
    """
    slot = os.getcwd()
    task = slave.task_in(slot)
    path = os.path.join(slot, ARCHIVE)
    fields, zipped = open_archive(
        _read(path if task is None else task.resolve(ARCHIVE)), public_key
    )
    directory = os.path.join(slot, slave_runner.PROGRAM)
    try:
        _clear(directory)
        unpack(io.BytesIO(zipped), directory)
    except (OSError, ConfigurationError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__
        if task is None or not isinstance(cause, OSError):
            raise
        task.exit_temporarily(LATER, f"can not unpack the slave's archive: {cause}")
    return slave_runner.start(slot, fields["slave"], task)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise SlaveError(
            f"there is no signed archive to be run here: {path}: {error.strerror}"
        ) from None
    if len(data) > LARGEST:
        raise RejectedArchive(f"the slave's archive is larger than {LARGEST:,} bytes")
    return data


def _clear(directory: str) -> None:
    """Remove whatever lies where the archive is to be unpacked."""
    from shutil import rmtree

    if os.path.isdir(directory) and not os.path.islink(directory):
        rmtree(directory)
    elif os.path.lexists(directory):
        os.unlink(directory)


def main(public_key: str) -> NoReturn:
    """Run the job in the current directory and end this process; whatever its arguments are."""
    if getattr(sys, "frozen", False):
        sys.executable = ""  # it is no Python that a slave could start, but this program again
    try:
        status = run(public_key)
    except (PyboincError, OSError) as problem:
        sys.stderr.write(f"pyboinc: {problem}\n")
        sys.stderr.flush()
        status = getattr(problem, "exit_code", 1)
    os._exit(status)


def _public_key(arguments: Sequence[str]) -> str:
    """Return the text of the public key that the command line names."""
    if len(arguments) != 2 or arguments[0] != "--public-key":
        raise ConfigurationError("usage: python -m pyboinc.slave_volunteer --public-key FILE")
    with open(arguments[1], encoding="ascii", errors="replace") as file:
        return file.read()


if __name__ == "__main__":
    try:
        key = _public_key(sys.argv[1:])
    except (ConfigurationError, OSError) as wrong:
        sys.exit(f"pyboinc: {wrong}")
    main(key)
