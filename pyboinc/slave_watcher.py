"""Hears what the BOINC client says while the slave computes: suspend, resume, quit, abort.

A thread looks ten times a second.  It needs Python's lock for that, so a slave that holds the
lock in C code for a while is deaf for so long, and no longer.

*Suspend* is meant: nothing of the task may use the processor, neither threads in C code nor
processes that the slave has started.  No handler in Python can do that, and a client sends
words, not SIGSTOP.  So the thread has a shell stop the whole process group, this thread
included, and wake it up after a short nap, to look whether the client has said something.  (A
fork of this process, instead of a shell, would run what libraries do at a fork, in the middle
of their work.)

*Quit* means: end now, go on later from the checkpoint.  *Abort*: end, it is not wanted any
more.  Neither cuts short what is being written (:class:`pyboinc.boinc_api.Critical`).  If the
client is gone, or the process that started this one, there is nobody to compute for, and the
process ends at once.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import _thread
import os
import sys
import time

from pyboinc.boinc_api import ABORTED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyboinc.boinc_api import Task

POLL = 0.1
"""Seconds between two looks at what the client says."""

REPORT = 1.0
"""Seconds between two reports of CPU time, and between two looks whether the client lives."""

SHORTEST_NAP, LONGEST_NAP = 0.1, 1.6
"""Seconds that a suspended task sleeps before it looks: twice as long each time.

A client that limits the use of the processor suspends for fractions of a second.
"""


class Watcher:
    """The thread of *task* that hears its client."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._next_report = 0.0
        self._group = 0

    def start(self) -> None:
        """Begin to listen, in a process group of this process's own."""
        try:
            os.setpgid(0, 0)
        except PermissionError:
            pass  # it has one, as the leader of a session
        if os.getpgrp() == os.getpid():
            self._group = os.getpid()
        _thread.start_new_thread(self._run, ())

    def _run(self) -> None:
        while True:
            time.sleep(POLL)
            self.look()

    def look(self) -> None:
        """See whether the client is there and what it has said; do it."""
        task = self._task
        task.receive("heartbeat")  # it only tells that the client is there; see is_orphan
        order = task.receive("process_control_request")
        if "<reread_app_info/>" in order:
            self._read_again()
        self._obey(order)
        if "<suspend/>" in order:
            with task.critical:
                self._suspended()
        now = time.monotonic()
        if now >= self._next_report:
            self._next_report = now + REPORT
            if task.is_orphan():
                self._leave(0)
            task.report_status()

    def _obey(self, order: str) -> None:
        """End this process if *order* says so."""
        if "<quit/>" in order:
            with self._task.critical:
                try:
                    self._task.save_due()
                except OSError:
                    pass  # a full disk: the checkpoint before it is still there
                self._end(0)
        if "<abort/>" in order:
            with self._task.critical:
                self._end(ABORTED)

    def _end(self, status: int) -> NoReturn:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (AttributeError, OSError, ValueError):
                pass  # closed, replaced or None: the slave's own affair
        self._leave(status)

    def _leave(self, status: int) -> NoReturn:
        """End this process now, and what the slave has started with it."""
        if self._group:
            try:
                self._shell(f"sleep 1; kill -s KILL -- -{self._group} 2> /dev/null")
            except OSError:
                pass  # the client does the same, if there is one
        os._exit(status)

    def _read_again(self) -> None:
        try:
            self._task.read_init_data()
        except OSError:
            pass  # what was read before still holds

    def _suspended(self) -> None:
        """Let nothing of this task run until the client says ``<resume/>``."""
        nap = SHORTEST_NAP
        order = ""
        while "<resume/>" not in order:
            self._stop(nap)
            nap = min(2 * nap, LONGEST_NAP)
            if self._task.is_orphan():
                self._leave(0)
            self._task.receive("heartbeat")
            order = self._task.receive("process_control_request")
            self._obey(order)

    def _stop(self, seconds: float) -> None:
        """Stop this process, and what the slave has started, for so many *seconds*."""
        whom = -self._group if self._group else os.getpid()
        # The shell does both, one after the other, and has ended when we go on: whenever each
        # of its signals reaches us, none of them can come too late.
        shell = self._shell(
            f"exec 2> /dev/null; kill -s STOP -- {whom}; sleep {seconds:.1f} || sleep 2; "
            f"kill -s CONT -- {whom}"
        )
        try:
            used = os.wait4(shell, 0)[2]
            self._task.helpers_cpu_time += used.ru_utime + used.ru_stime
        except ChildProcessError:
            pass  # the slave waits for any child, and this was one

    def _shell(self, script: str) -> int:
        """Start a shell that runs *script*, outside of this process group."""
        return os.posix_spawn("/bin/sh", ["sh", "-c", script], {}, setpgroup=0)
