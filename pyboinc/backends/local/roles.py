"""Which of the processes behind a worker this one is, and what it finds to import.

    ROOT SEARCH_PATH server CONNECTION ISOLATION PRELOAD NUMBER SCRATCH
    ROOT SEARCH_PATH slave SERVER SLOT DIRECTORY NAME MAX_OUTPUT FAULT SALT

ROOT is where the package pyboinc is, SEARCH_PATH where third-party packages are, joined
as in PATH.  A slave sees the standard library and these, nothing beside the master.
"""

from __future__ import annotations

import os
import site  # with the option -S it does nothing by itself
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

BROKEN = 71
"""The exit status of one that the system failed, sysexits.h's EX_OSERR: no slave is to blame."""

ENDS = "pyboinc: a worker of the emulator ends: "
"""What that one says; then why."""


def main(arguments: Sequence[str]) -> int:
    """Be what *arguments* say; return the exit status."""
    root, search_path, role, *others = arguments
    if role == "server":
        from pyboinc.backends.local.keeper import main as play
    else:
        from pyboinc.backends.local.forkserver import spawned as play
    arrange(root, search_path)
    try:
        return play(others)
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"{ENDS}{error.strerror}{about}\n")
        return BROKEN


def arrange(root: str, search_path: str) -> None:
    """Make this interpreter one that a slave can find itself in.

    The package that stood in for the real one goes: a slave may import that.
    """
    for name in ("pyboinc.backends", "pyboinc.backends.local"):
        sys.modules.pop(name, None)
    sys.path.remove(root)
    sys.path += [path for path in search_path.split(os.pathsep) if path not in sys.path]
    os.environ.pop("LD_BIND_NOW", None)  # it was for this interpreter, not for its children
    site.setquit()  # exit() and quit()
    site.sethelper()
