"""What ``pyboinc doctor`` looks at: a function for each check, which returns findings.

A check of the computer takes nothing; a check of a job directory takes its path and
changes nothing in it but for one file of its own, which it removes again.
"""

from __future__ import annotations

import ast
import os
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from pyboinc import bundle, config, copies, disk, locks
from pyboinc.cli.batch import Batch
from pyboinc.cli.init import ANSWER, PROGRAMS, template
from pyboinc.config.settings import cores
from pyboinc.discovery import Discovery
from pyboinc.errors import PyboincError
from pyboinc.opening import digests

NETWORK = ("nfs", "cifs", "smb", "afs", "9p", "fuse.sshfs", "lustre", "gluster", "ceph", "gpfs")
"""How the names of file systems begin that several computers may share."""

ROOM = 100_000_000
"""Bytes that should be free on the disk."""

SLOW_FSYNC = 0.05
"""Seconds for an fsync from which on it is worth a word."""


class Finding(NamedTuple):
    """One line of the doctor's: ``good`` is None if it is worth knowing, but no fault."""

    good: bool | None
    text: str
    remedy: str = ""


def python() -> Iterator[Finding]:
    """The interpreter, and the modules of it that PyBOINC needs."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield Finding(
        sys.version_info >= (3, 11),
        f"Python {version} ({sys.executable})",
        "PyBOINC needs 3.11 or newer",
    )
    yield Finding(
        sqlite3.sqlite_version_info >= (3, 8, 2),
        f"SQLite {sqlite3.sqlite_version}",
        "the emulator needs 3.8.2 or newer; use a Python that brings one",
    )


def system() -> Iterator[Finding]:
    """The operating system, and how slaves can be started and ended on it."""
    if sys.platform.startswith("linux"):
        yield Finding(True, "Linux: slaves are forked, and nothing outlives the master")
    elif sys.platform == "darwin":
        yield Finding(
            None, "macOS: each slave is a fresh interpreter", "short jobs are slower than on Linux"
        )
    else:
        yield Finding(
            False, f"{sys.platform}: no master runs here yet", "use Linux, macOS, or WSL on Windows"
        )


def limits() -> Iterator[Finding]:
    """What this user may open and start (ulimit)."""
    for name, what, flag, least in (
        ("RLIMIT_NOFILE", "open files", "n", 256),
        ("RLIMIT_NPROC", "processes", "u", 64 + 8 * cores()),
    ):
        soft, hard = resource.getrlimit(getattr(resource, name))
        unlimited = soft == resource.RLIM_INFINITY
        yield Finding(
            unlimited or soft >= least,
            f"{'no limit on' if unlimited else soft} {what}, {cores()} cores",
            f"allow at least {least}: ulimit -{flag} {least} (you may set up to {hard})",
        )


def clocks() -> Iterator[Finding]:
    """The clock that deadlines are measured by."""
    clock = time.get_clock_info("monotonic")
    yield Finding(
        clock.monotonic and clock.resolution <= 0.02,
        f"a clock that never goes back, in steps of {clock.resolution:.0e} s",
        "deadlines of slaves can not be measured here",
    )


def packages() -> Iterator[Finding]:
    """What is installed beside PyBOINC, and what it is good for."""
    for name, use, extra in (
        ("rich", "the live display", "rich"),
        ("numpy", "arrays in inputs and outputs", "numpy"),
    ):
        there = find_spec(name) is not None
        text = f"{name} is {'' if there else 'not '}installed: {use}"
        yield Finding(True if there else None, text, f"if you want that: pip install {extra}")


def trial() -> Iterator[Finding]:
    """A hundred jobs on the emulator, in a scratch directory: does all of it work here?"""
    with tempfile.TemporaryDirectory(prefix="pyboinc-doctor-") as scratch:
        for name in PROGRAMS:
            Path(scratch, name).write_text(template(name), "utf-8")
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PYBOINC_")}
        run = subprocess.run(
            [sys.executable, "-m", "pyboinc", "run", "--backend", "local", "app_master.py"],
            cwd=scratch,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
    words = run.stderr.strip().splitlines() or [f"exit code {run.returncode}"]
    yield Finding(
        run.stdout.strip() == ANSWER,
        "a trial on the emulator: 100 jobs in real processes",
        f"it did not end with {ANSWER!r}, but said: {words[-1]}",
    )


# A job directory.


def settings(path: Path) -> Iterator[Finding]:
    """pyboinc.toml and the environment."""
    try:
        found = config.load(path)
    except PyboincError as error:
        yield Finding(False, "the settings can not be", str(error))
        return
    given = [f"{row.name} ({row.origin})" for row in found.describe() if row.origin != "default"]
    yield Finding(True, f"settings given: {', '.join(given) or 'none'}")


def storage(path: Path) -> Iterator[Finding]:
    """The disk that the directory is on: room, kind, writing, locking, syncing."""
    free = shutil.disk_usage(path).free
    yield Finding(free >= ROOM, f"{free / 1e9:.1f} GB free", "a batch needs room; free some")
    kind = filesystem(path)
    if kind.startswith(NETWORK):
        yield Finding(
            None,
            f"a network file system ({kind})",
            "run masters of this directory on one computer only: its locks may not hold elsewhere",
        )
    try:
        descriptor, name = tempfile.mkstemp(prefix=".pyboinc-doctor-", dir=path)
    except OSError as error:
        yield Finding(False, "nothing can be written here", str(disk.explain("write", path, error)))
        return
    try:
        yield from _on_this_file(descriptor, name)
    finally:
        os.close(descriptor)
        os.unlink(name)


def _on_this_file(descriptor: int, name: str) -> Iterator[Finding]:
    lock = locks.take_lock(Path(name))
    holds = locks.lock_holder(Path(name)) is not None
    os.close(lock)
    yield Finding(holds, "locks hold (flock)", "move the directory to a local disk")
    times = []
    for _ in range(5):
        os.write(descriptor, b"x" * 4096)
        before = time.perf_counter()
        os.fsync(descriptor)
        times.append(time.perf_counter() - before)
    took = statistics.median(times)
    slow = None if took >= SLOW_FSYNC else True
    yield Finding(slow, f"fsync takes {took * 1e3:.1f} ms", "short jobs wait for this disk")
    skew = os.stat(name).st_mtime - time.time()
    yield Finding(
        None if abs(skew) > 5 else True,
        f"the clock of the disk is {abs(skew):.0f} s off",
        "times of files and of this computer differ; set both clocks (NTP)",
    )


def filesystem(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """Return the kind of file system that *path* is on, "unknown" where that can not be told."""
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return "unknown"
    best = (-1, "unknown")
    for fields in (line.split(" ") for line in lines):
        # Blanks in the name of a mount point are written as octal escapes.
        mount = Path(fields[1].replace("\\040", " "))
        if path.resolve().is_relative_to(mount):
            best = max(best, (len(mount.parts), fields[2]))
    return best[1]


def programs(path: Path) -> Iterator[Finding]:
    """The master program and its slaves, read and not run."""
    program = _program(path)
    if not (path / program).is_file():
        yield Finding(None, f"no {program} here", "to make one: pyboinc init DIR")
        return
    try:
        found = Discovery(path, program)
        yield Finding(True, f"{program}: {len(found.files)} files")
        yield from _installed(program, found.external)
        slaves = slaves_called(found.files[program])
        for slave in slaves:
            packed = bundle.pack(path, slave, config.load(path).include)
            text = f"{slave}: {len(packed.members)} files, {len(packed.data):,} bytes to each host"
            yield Finding(True, text)
            yield from _installed(slave, packed.external)
    except PyboincError as error:
        yield Finding(False, "the programs are not ready", str(error))


def _program(path: Path) -> str:
    try:
        return Batch(path).record.program or "app_master.py"
    except PyboincError:
        return "app_master.py"


def slaves_called(source: bytes) -> list[str]:
    """Return the slaves that a master's text names in calls of pyboinc_call, in order."""
    names: dict[str, None] = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            function, first = node.func, node.args[0]
            called = getattr(function, "attr", getattr(function, "id", ""))
            if called == "pyboinc_call" and isinstance(first, ast.Constant):
                names[str(first.value)] = None
    return list(names)


def _installed(program: str, external: Iterable[str]) -> Iterator[Finding]:
    missing = [name for name in external if find_spec(name) is None]
    if missing:
        yield Finding(
            False,
            f"{program} imports {', '.join(missing)}, not installed here",
            f"install it, or put the file into the directory: pip install {' '.join(missing)}",
        )


def state(path: Path) -> Iterator[Finding]:
    """What earlier runs have left."""
    if not (path / ".pyboinc").is_dir():
        yield Finding(True, "no batch has been begun here")
        return
    try:
        batch = Batch(path)
        yield from _state_of(batch)
    except PyboincError as error:
        yield Finding(False, "the batch here can not be read", str(error))


def _state_of(batch: Batch) -> Iterator[Finding]:
    calls, handled = batch.journal.calls, len(batch.journal.handled)
    yield Finding(True, f"batch {batch.record.batch or '-'}: {handled} of {calls} handled")
    if batch.holder is not None:
        yield Finding(None, f"a master is at work (process {batch.holder or 'unknown'})")
    if not calls:
        yield Finding(None, "make_calls did not return", "the next run calls it again")
    if (original := copies.original_of(batch.directory)) is not None:
        yield Finding(
            None,
            f"this directory is a copy of {original}",
            f"go on here with {batch.command} --accept-copy, or anew with --fresh",
        )
    elif batch.record.directory != str(batch.path):
        yield Finding(None, f"this directory was {batch.record.directory}", "a run goes on here")
    try:
        now = digests(batch.path, batch.record)
    except PyboincError as error:
        yield Finding(False, "the program of the batch can not be read", str(error))
        return
    changes = bundle.changed_files(batch.record.files, now) if calls else []
    if changes:
        yield Finding(
            None,
            f"since the batch was begun: {'; '.join(changes)}",
            f"go on with {batch.command} --accept-changes, or anew with --fresh",
        )
