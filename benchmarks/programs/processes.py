"""What this process and those behind it have cost so far, from /proc (Linux; else nothing)."""

import os
import resource
import sys
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return [int(word) for word in file.read().split()]
    except OSError:
        return []


def _cpu(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process, and of the children that it has waited for."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:  # it has just ended
        return 0.0, 0.0
    ticks = [int(field) for field in fields[11:15]]
    return sum(ticks[:2]) / _TICK, sum(ticks[2:]) / _TICK


def _peak(pid: int) -> int:
    """Return the most memory that a process has had, in bytes."""
    try:
        with open(f"/proc/{pid}/status") as file:
            lines = [line for line in file if line.startswith("VmHWM:")]
    except OSError:
        return 0
    return int(lines[0].split()[1]) * 1024 if lines else 0


def peak() -> int:
    """Return the most memory that this process has had, in bytes.

    On Linux ru_maxrss begins with that of the process that started this one.
    """
    if sys.platform == "linux":
        return _peak(os.getpid())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def costs() -> dict[str, Any]:
    """Return the CPU seconds and the peak memory (bytes) of each kind of process.

    The master's child is the server, its children are keepers, theirs fork servers; what
    those have waited for are slaves.
    """
    me = os.getpid()
    servers = _children(me)
    keepers = [pid for server in servers for pid in _children(server)]
    forkers = [pid for keeper in keepers for pid in _children(keeper)]
    return {
        "cpu": {
            "master": _cpu(me)[0],
            "server": sum(_cpu(pid)[0] for pid in servers),
            "keepers": sum(_cpu(pid)[0] for pid in keepers),
            "fork servers": sum(_cpu(pid)[0] for pid in forkers),
            "slaves": sum(_cpu(pid)[1] for pid in forkers),
        },
        "peak": {"master": peak(), "server": sum(map(_peak, servers))},
    }
