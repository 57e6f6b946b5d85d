"""The process that keeps a database server for a run of tests, and ends with that run.

    python guardian.py DIRECTORY PROCESS

It makes a database in DIRECTORY, starts ``mariadbd`` on it, says so by a file ``ready`` (or
``failed``, with the reason), and waits for the end of PROCESS, however that comes about.  Then it
stops the server and removes the directory.
"""

from __future__ import annotations

import ctypes
import getpass
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

_SMALL = (
    "--innodb-buffer-pool-size=64M",
    "--innodb-log-file-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-use-native-aio=0",
    "--innodb-flush-method=fsync",
    "--performance-schema=off",
    "--skip-log-bin",
    "--skip-name-resolve",
    "--max-allowed-packet=64M",
)


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent dies."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def start(directory: Path) -> subprocess.Popen[bytes]:
    """Make a database in *directory* and start the server; raises if it does not come up."""
    user = [f"--user={getpass.getuser()}"]
    data = [f"--datadir={directory / 'data'}"]
    with open(directory / "log", "wb") as log:
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                *data,
                *user,
                *_SMALL[:2],
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ],
            stdout=log,
            stderr=log,
            check=True,
        )
        server = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                *data,
                *user,
                *_SMALL,
                "--skip-networking",
                f"--socket={directory / 'sock'}",
                f"--pid-file={directory / 'pid'}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=end_with_parent,
        )
    while not (directory / "sock").exists():
        if server.poll() is not None:
            raise OSError(f"mariadbd ended with {server.returncode}")
        time.sleep(0.02)
    return server


def main(directory: Path, process: int) -> None:
    """Keep the server until *process* has ended."""
    other = os.pidfd_open(process)
    server = None
    try:
        try:
            server = start(directory)
            (directory / "ready").touch()
        except (OSError, subprocess.CalledProcessError) as error:
            (directory / "failed").write_text(f"{error}\n{(directory / 'log').read_text()[-2000:]}")
        select.select([other], [], [])
    finally:
        if server is not None:
            server.kill()  # what is in it is for nobody any more
            server.wait()
        shutil.rmtree(directory, ignore_errors=True)
        directory.with_name(f".{directory.name}.lock").unlink(missing_ok=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
