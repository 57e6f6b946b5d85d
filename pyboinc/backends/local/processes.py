"""Processes that end together: what Linux offers, and what is left elsewhere.

Three means, each for another death:

* a *subreaper* becomes the parent of every process below it whose own parents have died,
  even of one that put itself into a session of its own: so it can be found and killed;
* a *parent-death signal* is sent by the kernel when the parent process dies;
* a :class:`Lifeline` makes the kernel kill a whole process group when the process that
  holds its other end dies.

The first two need ``prctl``, by ctypes.  The third needs only ``fcntl`` and is much cheaper
in a freshly forked process: a fork server's slaves use it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from struct import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LINUX = sys.platform.startswith("linux")

_PAGE = os.sysconf("SC_PAGE_SIZE")
_F_SETOWN_EX, _F_OWNER_PGRP = 15, 2  # of Linux's fcntl.h
_owner = Struct("ii").pack
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _prctl(option: int, value: int) -> None:
    import ctypes

    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value))


def become_subreaper() -> None:
    """Become the parent of every process below this one whose own parent dies (Linux)."""
    if LINUX:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int, number: int) -> None:
    """Get the signal *number* when the process *parent*, this one's parent, dies (Linux)."""
    if LINUX:
        _prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before we asked
            os.kill(os.getpid(), number)


_cpus: set[int] = set()


def stay_on_one_cpu(number: int) -> None:
    """Let this process and those that it will fork run on one CPU, told by *number* (Linux).

    Keeper, fork server and a short slave run in turns, never at once.  On one CPU each finds
    its memory in the caches and wakes the next without waking another CPU: together they
    do a third more of short jobs.  A slave frees itself first thing (:func:`use_all_cpus`).
    """
    if LINUX:
        _cpus.update(os.sched_getaffinity(0))
        os.sched_setaffinity(0, [sorted(_cpus)[number % len(_cpus)]])


def use_all_cpus() -> None:
    """Undo :func:`stay_on_one_cpu` in a forked process."""
    if _cpus:
        os.sched_setaffinity(0, _cpus)


def offer_to_oom_killer() -> None:
    """Be killed before others, with all children, when the computer has no memory left (Linux)."""
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:
        pass  # no /proc, or this process is to be killed even earlier


def environment() -> dict[str, str]:
    """Return our environment, for a Python that is to find this very package."""
    root = os.path.abspath(f"{__file__}/../../../..")
    path = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, path]))}


def watch(parent: int, period: float = 1.0) -> None:
    """Kill this process's group when the process *parent*, this one's parent, is gone.

    A thread looks every *period* seconds: for systems without a parent-death signal.  Not
    for a process that forks.
    """
    import threading

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(period)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=look, daemon=True).start()


class Lifeline:
    """Kills the process group that is tied to it when the process that made it dies.

    It is a pipe that nothing is written to.  The kernel is told to send SIGKILL instead of
    SIGIO when its reading end becomes readable, which it does when the last holder of its
    writing end is gone; who gets the signal is set by the group itself.  The descriptor
    ``held`` stays open in the group; the writing end has a lower number, because a dying
    process closes its descriptors in order, and the reading end must go last.
    """

    def __init__(self, held: int) -> None:
        self.held = held
        reader, self._writer = os.pipe()
        os.dup2(reader, held, inheritable=False)
        os.close(reader)
        if LINUX:
            fcntl.fcntl(held, fcntl.F_SETSIG, signal.SIGKILL)
            fcntl.fcntl(held, fcntl.F_SETFL, os.O_ASYNC)


def tie(held: int) -> None:
    """Tie this process's group, which it leads, to the lifeline that it holds as *held*.

    It must close its copy of the writing end only afterwards.  F_SETOWN would do the same,
    but given a number Python first tries it for a buffer, and in a freshly forked process
    the exception that this makes costs ten page faults.
    """
    if LINUX:
        fcntl.fcntl(held, _F_SETOWN_EX, _owner(_F_OWNER_PGRP, os.getpid()))


def children(pid: int) -> list[int]:
    """Return the processes whose parent is the single-threaded process *pid* (Linux)."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return list(children_by_search(pid))


def children_by_search(pid: int) -> Iterator[int]:
    """As :func:`children`, for kernels without CONFIG_PROC_CHILDREN."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The command's name may hold anything, so count from its end.
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it has just ended
            if int(fields[1]) == pid:
                yield int(name)


def kill_children(*known: int) -> None:
    """Kill every child of this process and, as they become its own, theirs; reap them all.

    *known* are children that must go even where the system can not list them.  A child that
    this user may not kill (it runs a setuid program) is left to itself.
    """
    me = os.getpid()
    while True:
        targets = {*known, *children(me)}
        known = ()
        killed = [child for child in targets if _killed(child)]
        try:
            ended, _ = os.waitpid(-1, 0 if killed else os.WNOHANG)
        except ChildProcessError:
            return
        if not killed and not ended:
            return


def _killed(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def resident(pid: int) -> int:
    """Return the bytes of memory that *pid* and its descendants have in use (Linux)."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * _PAGE + sum(map(resident, children(pid)))


def threads() -> int:
    """Return the number of threads of this process, as the system counts them (Linux)."""
    return len(os.listdir("/proc/self/task")) if LINUX else 1
