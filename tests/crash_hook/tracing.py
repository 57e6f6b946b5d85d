"""How a process of a batch asks to be traced before it goes on (see ``sweep/tracing.py``).

PYBOINC_TEST_TRACER is the name of an abstract socket.  The process says which one it is and
waits until it is let go on; by then ``strace`` is attached to it, or nobody wants to.  What
it would import later on it imports before: an import is not a step of the protocol, and a
fault in one is not of interest.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import sys

NAME = os.environ.get("PYBOINC_TEST_TRACER", "")

LATER = {
    "master": "pyboinc.master pyboinc.backends.local.server pyboinc.report inspect traceback",
    "server": "pyboinc.backends.local.server zipfile encodings.cp437 traceback",
    "keeper": "pyboinc.backends.local.keeper shutil",
    "fork server": "pyboinc.slave_runner threading importlib.abc encodings.ascii",
    "slave": "",
}
"""The modules that a process imports only when it needs them."""

_PR_SET_PTRACER = 0x59616D61
_ANY = ctypes.c_ulong(-1)


def ask(role: str) -> None:
    """Say that this process is *role*, and wait until it may go on."""
    import _socket

    for name in LATER[role].split():
        importlib.import_module(name)
    sys.modules.pop("pyboinc.backends.local.server", None)  # it is going to be __main__
    ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANY)  # where only a parent may trace (Yama)
    line = _socket.socket(_socket.AF_UNIX)
    line.connect(f"\0{NAME}")
    line.send(f"{role},{os.getpid()}".encode())
    line.recv(1)
    line.close()


def let_workers_ask() -> None:
    """In the emulator's server: let the processes behind its workers ask, too."""
    from pyboinc.backends.local import workers

    clean = workers._environment
    workers._environment = lambda: {**clean(), "PYBOINC_TEST_TRACER": NAME}
    workers._BOOT = workers.Path(__file__).with_name("boot.py")
