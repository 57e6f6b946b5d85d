"""PyBOINC: from a Python function and a thousand inputs to volunteers' computers.

The public names, and nothing else.  Each is imported when it is first used: a slave on
a volunteer's computer has only the slave half of this package, and a master should not
wait for what it does not need.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes longer to import than a slave's half of this
    from typing import Any

    from pyboinc.backends import Failure, Job
    from pyboinc.codec.agreement import bitwise, close_to
    from pyboinc.errors import JobsFailed, PyboincError
    from pyboinc.master import pyboinc_call, pyboinc_master
    from pyboinc.slave import (
        pyboinc_fraction_done,
        pyboinc_get_input,
        pyboinc_load_checkpoint,
        pyboinc_return_output,
        pyboinc_save_checkpoint,
        pyboinc_send_trickle_up,
    )

__version__ = "0.1.0"

_HOME = {
    "Failure": "backends",
    "Job": "backends",
    "JobsFailed": "errors",
    "PyboincError": "errors",
    "bitwise": "codec.agreement",
    "close_to": "codec.agreement",
    "pyboinc_call": "master",
    "pyboinc_fraction_done": "slave",
    "pyboinc_get_input": "slave",
    "pyboinc_load_checkpoint": "slave",
    "pyboinc_master": "master",
    "pyboinc_return_output": "slave",
    "pyboinc_save_checkpoint": "slave",
    "pyboinc_send_trickle_up": "slave",
}

__all__ = [
    "Failure",
    "Job",
    "JobsFailed",
    "PyboincError",
    "bitwise",
    "close_to",
    "pyboinc_call",
    "pyboinc_fraction_done",
    "pyboinc_get_input",
    "pyboinc_load_checkpoint",
    "pyboinc_master",
    "pyboinc_return_output",
    "pyboinc_save_checkpoint",
    "pyboinc_send_trickle_up",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError("module 'pyboinc' has no attribute %r" % name)
    try:
        value = getattr(import_module("pyboinc." + _HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "pyboinc." + _HOME[name]:
            raise
        value = _left_at_home(name)
    except KeyboardInterrupt:
        if _HOME[name] != "master":
            raise
        # Nothing has been done yet, and where in our imports ^C came helps nobody.
        sys.stderr.write(
            "pyboinc: stopped before any job was made; run the same command to start\n"
        )
        sys.exit(130)
    globals()[name] = value
    return value


def _left_at_home(name: str) -> Any:
    """Stand in for *name*, which is the master's, in a slave that imports all names."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise __getattr__("PyboincError")(
            name + " is for a master program; on a volunteer's computer is none"
        )

    return type(name, (), {"__new__": refuse})


def __dir__() -> "list[str]":
    return sorted(__all__)
