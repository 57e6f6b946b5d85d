"""The quick half of the assimilator, compiled on the project's server, if it has a compiler."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

NAME = "pyboinc_deliver"

_TIME_LIMIT = 120


def source() -> str:
    """Return the program's text."""
    return (files("pyboinc.administration") / "bin" / f"{NAME}.c").read_text("utf-8")


def compiler() -> str | None:
    """Return the C compiler of this computer, if it has one."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def compiled(compiler: str, *flags: str) -> bytes | None:
    """Return the program as *compiler* makes it, or None if that does not work.

    Without shared libraries where that is possible: it is started once for each result.
    """
    with tempfile.TemporaryDirectory(prefix="pyboinc-") as scratch:
        text, program = Path(scratch, f"{NAME}.c"), Path(scratch, NAME)
        text.write_text(source(), "utf-8")
        for libraries in (["-static"], []):
            words = [compiler, "-O2", *flags, *libraries, "-o", str(program), str(text)]
            try:
                done = subprocess.run(words, capture_output=True, timeout=_TIME_LIMIT)
            except (OSError, subprocess.TimeoutExpired):
                return None
            if done.returncode == 0 and program.is_file():
                return program.read_bytes()
    return None


def runs(program: Path) -> bool:
    """Whether *program* runs on this computer; a call without arguments does nothing."""
    try:
        return subprocess.run([program], capture_output=True, timeout=_TIME_LIMIT).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False
