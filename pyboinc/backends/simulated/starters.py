"""Processes that are ready to become a master: Python is started and all is imported.

A restart of the master costs a fork then.  That a program depends on the order of a set, which
is another in each process, would go unseen in forks of one, so there are two, with
different hash seeds, and a master's next start is always the other's.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from json import dumps

import pyboinc
from pyboinc.backends.simulated.link import Link
from pyboinc.config.settings import BY_VARIABLE
from pyboinc.errors import BackendError
from pyboinc.faults.draws import words

NUMBER = 2
"""How many hash seeds there are."""

_SINGLE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""With these at 1 a library starts no threads while it is imported; a master does not see them."""


class Starter:
    """One such process; *number* is which hash seed it has.

    *preload* are modules that it imports beforehand.  If one of them starts threads, the process
    can not fork safely, and is replaced by one that has imported none.
    """

    def __init__(self, number: int, preload: Sequence[str]) -> None:
        self._number = number
        self._boot(preload)
        self._preload = preload
        self._ready = False

    def _boot(self, preload: Sequence[str]) -> None:
        added = [name for name in _SINGLE if name not in os.environ]
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = [str(theirs.fileno()), ",".join(preload), ",".join(added)]
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "pyboinc.trial", *arguments],
                env=_environment(self._number) | dict.fromkeys(added, "1"),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # ^C is for the command, which sees to the rest
            )
        self._link = Link(ours.detach())

    def start(self, options: Mapping[str, object], descriptors: Sequence[int]) -> int:
        """Start a master with its stdout, stderr and link; return its process number."""
        if not self._ready:
            if self._hear() > 1 and self._preload:
                self.close()
                self._boot(())
                self._hear()
            self._ready = True
        self._link.say_with(dumps(options), descriptors)
        return self._hear()

    def wait(self) -> int:
        """Wait until the master has ended; return its exit code, or minus a signal's number."""
        return self._hear()

    def _hear(self) -> int:
        answer = self._link.hear()
        if answer is None:
            raise BackendError(
                "a process that was to become the master has died (too little memory?); what it "
                "said stands above; run the same command again"
            )
        return int(answer)

    def leave(self) -> None:
        """Forget the process, which belongs to the one that this is a fork of."""
        self._link.close()
        self._process.returncode = 0  # not this process's child, and not to be waited for

    def close(self) -> None:
        """End the process; a master that it has started ends because nobody answers it."""
        self._link.close()
        self._process.wait()


def _environment(number: int) -> dict[str, str]:
    """Return the user's environment without settings of PyBOINC's, which are given as flags."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(pyboinc.__file__)))
    path = os.environ.get("PYTHONPATH", "")
    return {
        **{name: value for name, value in os.environ.items() if name not in BY_VARIABLE},
        "PYTHONHASHSEED": str(words(0, "hash seed", number)[0] % 2**32),
        "PYTHONPATH": os.pathsep.join(filter(None, [root, path])),
    }
