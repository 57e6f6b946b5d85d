"""A fork server's rehearsal: a small slave, run a dozen times in the server's own process.

The interpreter writes what it learns into its own memory: in which class of a type's bases
a method was found, which kinds of operands a line of code has, where a function of the C
library is.  In a freshly forked process each such write costs a page fault.  So the server
learns it before, by doing all that every slave does: a slave then has a tenth fewer faults.
"""

from __future__ import annotations

import io
import os
import sys

from pyboinc import codec, slave, slave_runner
from pyboinc.slave_program import Program

TIMES = 12
"""How often it is repeated: the interpreter specializes code that has run eight times."""

VALUES = (7, 300, 0.5, "text", None, [1, 2.5, "three"], {"key": (1, True)}, b"bytes")

FILES = {
    "pyboinc_rehearsal.py": b"""
class Input:
    def __init__(self, value):
        self.value = value

class Output:
    def __init__(self, value):
        self.value = value
""",
    "slave.py": b"""
from pyboinc import pyboinc_get_input, pyboinc_return_output
from pyboinc_rehearsal import Output

job = pyboinc_get_input()
pyboinc_return_output(Output(job.value))
""",
}


def rehearse(directory: str) -> None:
    """Rehearse in *directory*, which is made and removed again.

    A server that can not write there is a bit slower, that is all: nobody is told.
    """
    arguments, stderr = list(sys.argv), sys.stderr
    sys.stderr = io.StringIO()
    try:
        os.makedirs(directory, 0o700)
        for name, text in FILES.items():
            slave.write(f"{directory}/{name}", text)
        for number in range(TIMES):
            if perform(directory, VALUES[number % len(VALUES)]):
                break
    except (OSError, ImportError):
        pass
    finally:
        sys.argv[:], sys.stderr = arguments, stderr
        _remove(directory)


def perform(directory: str, value: object) -> int:
    """Run the small slave with *value* once; return its exit status."""
    program = Program(directory, "slave.py")
    program.prepare()
    program.install()
    try:
        slave.begin(slave.Instance(directory, program.classes))
        module = __import__("pyboinc_rehearsal")
        slave.write(f"{directory}/in", codec.encode(module.Input(value)))
        del sys.modules["pyboinc_rehearsal"]
        program.prepare()
        return slave_runner.run(program, at_exit=_nothing)
    finally:
        program.uninstall()
        sys.modules.pop("pyboinc_rehearsal", None)


def _nothing() -> None:
    """Leave the handlers of this process's own end alone."""


def _remove(directory: str) -> None:
    try:
        for name in os.listdir(directory):
            os.unlink(f"{directory}/{name}")
        os.rmdir(directory)
    except OSError:
        pass
