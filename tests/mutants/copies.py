"""A copy of the project, in which files may be changed: nobody else sees what is in it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from source import ROOT

from mutants import Target

PLACE = ROOT / ".mutants"
"""Where the copies are, and what is known of their mutants; git does not look there."""


def fresh(name: str) -> Path:
    """A copy by that name, of all files that git knows or could add, as they are now."""
    copy = PLACE / name
    shutil.rmtree(copy, ignore_errors=True)
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    for file in filter(None, listed.decode().split("\0")):
        if (ROOT / file).is_file():
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, copy / file)
            os.utime(copy / file, (10**9 - 1,) * 2)
    return copy


def digest(copy: Path, target: Target) -> str:
    """A name for what *copy* has of a target, and of the tests beside it."""
    found = hashlib.sha256(repr(target).encode())
    for path in sorted([*copy.glob("pyboinc/**/*.py"), *copy.glob("tests/*.py")]):
        found.update(f"{path.relative_to(copy)}\n".encode() + path.read_bytes())
    return found.hexdigest()[:12]


def pytest(copy: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    """Start pytest in *copy*, whose package wins over any that is installed."""
    clean = {name: text for name, text in os.environ.items() if not name.startswith("PYBOINC_")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    return subprocess.Popen(
        [*command, *arguments],
        cwd=copy,
        env={**clean, "CI": "1", "PYTHONPATH": f"{copy}:{copy / 'tests'}", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )
