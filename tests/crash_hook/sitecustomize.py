"""Makes a process fail at one step of the protocol: the seam is ``pyboinc.disk.before_step``.

Python imports a module of this name at its start if it finds one; the tests put this
directory on the path of a real master (and so of the emulator's server), which needs no
change for it.  PYBOINC_TEST_CRASH says what happens where, as JSON::

    {"who": "master", "step": "fsync", "about": ".pyboinc/journal", "number": 2, "what": "kill"}

*step* and *about* are patterns, the latter for the step's subject, a path relative to the job
directory; *number* counts the steps of a process that match, from 1 on, or those of all such
processes if *together* says so.  *what* is "kill"
(SIGKILL), "interrupt" (^C), "interrupt twice", or the name of an errno.  It happens once in a
job directory (a file "crashed" says that it has), or, with "always kill", in every process.
PYBOINC_TEST_STEPS names a file to which every step is appended: who, step, subject.
With PYBOINC_TEST_TRACER the process asks to be traced before it begins (``tracing.py``).
PYBOINC_TEST_CLOCK names a file with the seconds by which the time of day is wrong.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import time
from fnmatch import fnmatchcase

STEPS = os.environ.get("PYBOINC_TEST_STEPS")
CRASH = json.loads(os.environ.get("PYBOINC_TEST_CRASH", "null"))


def who() -> str | None:
    """Return which of the processes of a batch this is, if it is one that has steps."""
    arguments = " ".join(sys.orig_argv)
    if (
        "pyboinc.backends.local.server" in arguments
        or "pyboinc.backends.served.server" in arguments
    ):
        return "server"
    return "master" if "app_master.py" in arguments else None


def family(process: int) -> list[int]:
    """Return *process* and all below it, in the order to kill them in: parents after children."""
    try:
        with open(f"/proc/{process}/task/{process}/children") as file:
            children = [int(word) for word in file.read().split()]
    except FileNotFoundError:  # it has just ended
        return []
    return [*(one for child in children for one in family(child)), process]


def kill_all(master: int) -> None:
    """SIGKILL to *master* and to all processes behind it, this one last."""
    for process in family(master):
        if process != os.getpid():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                pass
    os.kill(os.getpid(), signal.SIGKILL)


class Hook:
    """Counts the steps of this process and fails at the chosen one."""

    def __init__(self, me: str) -> None:
        self.me = me
        self.root = os.path.join(os.path.realpath(os.environ["PYBOINC_TEST_DIRECTORY"]), "")
        self.count = 0

    def __call__(self, step: str, subject: str) -> None:
        """Take note of a step; fail if it is the one."""
        about = subject.removeprefix(self.root)
        if STEPS:
            with open(STEPS, "a") as file:
                file.write(f"{self.me}\t{step}\t{about}\n")
        if CRASH and self.is_meant(step, about) and self.next_number() == CRASH["number"]:
            self.fail(CRASH["what"], f"{step} {about}")

    def next_number(self) -> int:
        """Count one more step: of this process, or of all, one after the other (a byte each)."""
        self.count += 1
        if not CRASH["together"]:
            return self.count
        with open(os.path.join(self.root, "counted"), "ab") as file:
            file.write(b".")
            return file.tell()

    def is_meant(self, step: str, about: str) -> bool:
        """Whether this is one of the steps to be counted."""
        meant = fnmatchcase(step, CRASH["step"]) and fnmatchcase(about, CRASH["about"])
        return meant and CRASH["who"] == self.me

    def fail(self, what: str, where: str) -> None:
        """Do to this process what was asked for, unless it has been done."""
        try:
            with open(os.path.join(self.root, "crashed"), "x") as file:
                file.write(where)
        except FileExistsError:
            if not what.startswith("always"):
                return
        if what == "kill all":
            kill_all(os.getpid() if self.me == "master" else os.getppid())
        elif what.endswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        elif what.startswith("interrupt"):
            for _ in range(2 if what.endswith("twice") else 1):
                os.kill(os.getpid(), signal.SIGINT)
        else:
            number = getattr(errno, what)
            raise OSError(number, os.strerror(number))


CLOCK = os.environ.get("PYBOINC_TEST_CLOCK")
if CLOCK:
    right = time.time

    def wrong() -> float:
        """Return the time of day that somebody has set."""
        with open(CLOCK) as file:
            return right() + float(file.read() or 0)

    time.time = wrong

me = who()
if me is not None and (STEPS or CRASH):
    from pyboinc import disk

    disk.before_step = Hook(me)

if me is not None and os.environ.get("PYBOINC_TEST_TRACER"):
    import tracing

    if me == "server":
        tracing.let_workers_ask()
    tracing.ask(me)
