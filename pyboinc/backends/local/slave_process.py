"""What the emulator does inside a slave's own process, before and after the slave's program.

Both ways to isolate meet here: a fork of the fork server calls :func:`compute`, a fresh
interpreter comes in by :func:`main`.
"""

from __future__ import annotations

import gc
import signal
import sys

from pyboinc import slave, slave_runner
from pyboinc.backends.local import keeper, slave_faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


def renew() -> None:
    """Undo in a forked slave what it must not share with its sisters.

    The module random seeds itself anew after a fork; numpy's global generator does not.
    """
    gc.enable()
    numpy_random: Any = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None


def compute(program: slave_runner.Program, max_output: int, fault: str | None, salt: int) -> int:
    """Run *program* in the current directory with its injected *fault*; return its status."""
    slave.instance.max_output = max_output
    if fault is None:
        return slave_runner.run(program)
    return slave_faults.run(program, fault, salt)


def main(arguments: Sequence[str]) -> int:
    """Run the slave that *arguments* (of :func:`command`) tell of; return its status."""
    server, directory, name, max_output, fault, salt = arguments
    keeper.die_with(int(server), signal.SIGKILL)
    program = slave_runner.Program(directory, name)
    return compute(program, int(max_output), fault or None, int(salt))
