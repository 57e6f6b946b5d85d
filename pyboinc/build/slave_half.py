"""The slave half of PyBOINC: the one list of what travels to volunteers, and nothing else does."""

from __future__ import annotations

from pathlib import Path

import pyboinc

PATTERNS = ("__init__.py", "boinc_api.py", "errors.py", "slave*.py", "codec/*.py")
"""The files that travel, relative to the package."""

_MAIN = """\
import sys

if sys.version_info < (3, 8):
    found = "%d.%d" % sys.version_info[:2]
    sys.exit("pyboinc: this computer's python3 is " + found + "; 3.8 or newer is needed")

import os

# A client starts us as ../../projects/..., and a slave may go elsewhere before all is imported.
sys.path[0] = os.path.abspath(sys.path[0])

from pyboinc import slave_volunteer

slave_volunteer.main(PUBLIC_KEY)
"""


def files() -> dict[str, bytes]:
    """Return the files that travel: path in an archive -> content."""
    package = Path(pyboinc.__file__).parent
    found = sorted(path for pattern in PATTERNS for path in package.glob(pattern))
    return {f"pyboinc/{path.relative_to(package).as_posix()}": path.read_bytes() for path in found}


def modules() -> list[str]:
    """Return the names of the modules that travel."""
    paths = [Path(name).with_suffix("") for name in files()]
    return [".".join(path.parts).removesuffix(".__init__") for path in paths]


def main_program(public_key: str) -> bytes:
    """Return the program that is started: it knows the *public_key* and takes no arguments."""
    return _MAIN.replace("PUBLIC_KEY", repr(public_key)).encode()
