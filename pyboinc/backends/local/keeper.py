"""Nothing that a slave started outlives it, nor the worker, nor the master.

:func:`keep` is the whole life of the keeper, the process between the master and a fork
server: it waits until one of the two is gone, then kills whatever is left below it.  On
Linux keeper and fork server are *subreapers*: a process whose parents have died becomes
their child, even if it put itself into a session of its own, and so can be found.

Who is killed with SIGKILL, and who then cleans up:

    the master          keeper and fork server both see the socket close
    the keeper          the fork server gets SIGTERM, its parent-death signal
    the fork server     the keeper; the slave itself gets SIGKILL from the kernel
    a slave             the fork server

Only if keeper and fork server are killed at the same instant can a process survive that
a slave had put into a session of its own.  Elsewhere than on Linux such a process
survives every death but the slave's own.
"""

from __future__ import annotations

import os
import select
import signal
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LINUX = sys.platform.startswith("linux")

PARENT_CHECK = 1.0
"""Seconds between two looks at who the parent is.

The socket tells of the master's death at once, unless the master forked a process that
still holds it.
"""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def _find_prctl() -> Callable[[int, int], object]:
    import ctypes

    prctl = ctypes.CDLL(None).prctl
    prctl.argtypes = [ctypes.c_int, ctypes.c_ulong]

    def call(option: int, value: int) -> object:
        return prctl(option, value)

    return call


def _no_prctl(option: int, value: int) -> object:
    return None


_prctl = _find_prctl() if LINUX else _no_prctl


def become_subreaper() -> None:
    """Become the parent of every process below this one whose own parent dies (Linux)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with(parent: int, number: int) -> None:
    """Get the signal *number* when the process *parent*, this one's parent, dies (Linux)."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died before we asked
        os.kill(os.getpid(), number)


def children(pid: int) -> list[int]:
    """Return the processes whose parent is the single-threaded process *pid*."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return list(_children_by_search(pid))


def _children_by_search(pid: int) -> Iterator[int]:
    """As :func:`children`, for kernels without CONFIG_PROC_CHILDREN."""
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    # The command's name may hold anything, so count from its end.
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
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


def keep(server: int, connection: int) -> None:
    """Wait until the master or the fork server *server* is gone, then leave nothing behind.

    *connection* is this process's copy of the fork server's socket to the master.  It is
    held to the end, so that the master sees it close when all is cleaned up.
    """
    master = os.getppid()
    wake, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    poller = select.poll()
    poller.register(wake, select.POLLIN)
    poller.register(connection, 0)
    ended = closed = False
    while not ended and not closed and os.getppid() == master:
        events = dict(poller.poll(PARENT_CHECK * 1000))
        if wake in events:
            os.read(wake, 512)
        closed = connection in events
        ended = server in _reaped()
    kill_children(*([] if ended else [server]))


def _reaped() -> list[int]:
    """Reap children that have ended: the fork server, or orphans that became ours."""
    ended = []
    try:
        while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
            ended.append(pid)
    except ChildProcessError:
        pass
    return ended
