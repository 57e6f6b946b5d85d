"""Injected mishaps of the master itself: it is killed, or its disk is full.

They strike at steps of the protocol (docs/protocol.md), through the seam that
:mod:`pyboinc.disk` has for it.  Whether one strikes is a hash of the seed, the number of
this start of the master and the number of the step in it: the same command on the same
state comes to the same end, and the next start has luck of its own.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from pyboinc import disk
from pyboinc.faults import FaultPlan, Kind
from pyboinc.stderr import say

WRITING = frozenset({"make directory", "write", "append", "fsync"})
"""The steps that a full disk can stop."""


class Mishaps:
    """Strikes as *plan* says at the steps of start number *start*; first comes *before*."""

    def __init__(self, plan: FaultPlan, start: int, before: Callable[[str, str], None]) -> None:
        self.before = before
        self._plan = plan
        self._start = start
        self._step = 0

    def __call__(self, step: str, subject: str) -> None:
        """Count a step, and strike if it is its turn."""
        self.before(step, subject)
        self._step += 1
        if self._plan.strikes(Kind.MASTER_KILLED, self._start, self._step):
            say(f"pyboinc: killed before step {step!r} (--fault master_killed)")
            os.kill(os.getpid(), signal.SIGKILL)
        if step in WRITING and self._plan.strikes(Kind.DISK_FULL, self._start, self._step):
            say(f"pyboinc: the disk is full for step {step!r} (--fault disk_full)")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def install(plan: FaultPlan, start: int) -> None:
    """Let the mishaps of *plan*, and of no other, strike this process from now on."""
    before = disk.before_step
    if isinstance(before, Mishaps):
        before = before.before
    wanted = plan.kinds & {Kind.MASTER_KILLED, Kind.DISK_FULL}
    disk.before_step = Mishaps(plan, start, before) if wanted else before
