"""Measuring every process that the tests start: what coverage's patch "subprocess" does, quickly.

``coverage run -m pytest`` is all that is needed.  ``tests/conftest.py`` calls :func:`begin`,
from which on each new Python imports ``measured.py`` at its start, and :func:`end`, which
gives what all of them saw to the coverage that runs here.  tests/test_measuring.py holds it
against coverage's own way, branch by branch.
"""

from __future__ import annotations

import marshal
import os
import shutil
import sysconfig
import tempfile
from pathlib import Path

import coverage
from source import ROOT

HOOK = """\
import os, sys; tests = os.environ.get("COVERAGE_MEASURED"); \
tests and (sys.path.insert(0, tests), __import__("measured"), sys.path.remove(tests))
"""
"""What Python executes at its start if it lies beside the installed packages: one line."""

_BITS = 28
"""How long a line's number is in what the tracer packs; above two of them are their signs."""


def environment(found: Path) -> dict[str, str]:
    """Return the variables with which a process is measured and leaves what ran in *found*."""
    return {
        "COVERAGE_MEASURED": str(Path(__file__).parent),
        "COVERAGE_TRACER": str(Path(coverage.__file__).parent),
        "COVERAGE_FOUND": str(found),
        "COVERAGE_SOURCE": os.path.join(os.path.realpath(ROOT / "pyboinc"), ""),
    }


def unmeasured() -> dict[str, str]:
    """Return the environment without what has a process measured: it takes half of the time.

    For what runs the same lines over and over that other tests reach as well.
    """
    return {name: text for name, text in os.environ.items() if not name.startswith("COVERAGE_")}


def install() -> None:
    """Let Python, as it is installed here, import ``measured`` where the environment says so."""
    path = Path(sysconfig.get_path("purelib"), "a0_measured.pth")
    if not path.exists() or path.read_text() != HOOK:
        part = path.with_suffix(f".{os.getpid()}")
        part.write_text(HOOK)
        part.rename(path)  # at once: another process may start just now


def begin() -> Path | None:
    """Have every process from here on measured, if coverage measures this one."""
    if coverage.Coverage.current() is None:
        return None
    install()
    found = Path(tempfile.mkdtemp(prefix="measured-"))
    os.environ.update(environment(found))
    return found


def end(found: Path) -> None:
    """Give what the processes saw to the coverage that measures this one."""
    here = coverage.Coverage.current()
    assert here is not None
    here.get_data().add_arcs(branches(found))
    shutil.rmtree(found)


def branches(found: Path) -> dict[str, set[tuple[int, int]]]:
    """Return the branches that ran in any process: by file, from which line to which."""
    packed: dict[str, set[int]] = {}
    for path in found.glob("*.ran"):
        for name, numbers in marshal.loads(path.read_bytes()).items():
            packed.setdefault(name, set()).update(numbers)
    return {name: set(map(_unpacked, numbers)) for name, numbers in packed.items()}


def _unpacked(number: int) -> tuple[int, int]:
    mask = (1 << _BITS) - 1
    first, second = number & mask, number >> _BITS & mask
    return (
        -first if number >> 2 * _BITS & 1 else first,
        -second if number >> 2 * _BITS & 2 else second,
    )
