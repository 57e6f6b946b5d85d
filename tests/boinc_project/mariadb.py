"""One MariaDB for a whole run of tests, however many processes of pytest share it.

The first that needs it starts it (``guardian.py``, which ends it when the run has ended).  Each
test has a database of its own in it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest
from sweep.shared import memory

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
"""Where a server is looked for: a user's PATH may be without the last."""

PATIENCE = 120.0
"""Seconds that the server is waited for."""


def is_installed() -> bool:
    """Whether there is a MariaDB that could be started."""
    return all(shutil.which(name, path=PATH) for name in ("mariadbd", "mariadb-install-db"))


def require() -> None:
    """Skip the test that asks if there is no MariaDB; under CI that fails the run."""
    if not is_installed():
        pytest.skip("MariaDB is missing: apt-get install mariadb-server-core mariadb-client-core")


RUN = "PYBOINC_TEST_RUN"
"""The variable that tells a program which run of tests it belongs to."""


def run_of_tests() -> int:
    """The process that all processes of this run of tests have in common."""
    if RUN in os.environ:
        return int(os.environ[RUN])
    return os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()


def socket() -> str:
    """Return the path of the server's socket; start the server if need be."""
    process = run_of_tests()
    root = memory() or Path(tempfile.gettempdir())
    directory = root / f"pyboinc-mariadb-{process}"
    with open(root / f".pyboinc-mariadb-{process}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not directory.exists():
            directory.mkdir()
            program = str(Path(__file__).with_name("guardian.py"))
            command = [sys.executable, program, str(directory), str(process)]
            os.posix_spawn(
                sys.executable,
                command,
                {**{n: v for n, v in os.environ.items() if "COV" not in n}, "PATH": PATH},
                # Nobody is to wait for its end because it has a pipe of theirs.
                file_actions=[(os.POSIX_SPAWN_OPEN, n, os.devnull, os.O_RDWR, 0) for n in range(3)],
                setsid=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not (directory / "ready").exists():
            if (directory / "failed").exists():
                raise OSError((directory / "failed").read_text())
            assert time.monotonic() < deadline, "MariaDB does not come up"
            time.sleep(0.02)
    return str(directory / "sock")


def connect(database: str | None = None, **how: Any) -> pymysql.Connection[Any]:
    """Return a connection as the server's own administrator."""
    return pymysql.connect(
        unix_socket=socket(),
        user="root",
        database=database,
        autocommit=True,
        ssl_disabled=True,
        **how,
    )
