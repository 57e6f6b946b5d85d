"""A master on trial: the process in which ``pyboinc simulate`` runs a user's program.

    python -m pyboinc.trial OPTIONS

OPTIONS is JSON: the program, its arguments, PyBOINC's flags for it, and the point at which it is
to be killed.  A point is a step of the protocol (docs/protocol.md), or a call of
``pyboinc_call``, which is a step here, too.  A program that never comes to its point is
killed at its very end.  The steps that it took are told to the command.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pyboinc import config, disk
from pyboinc.backends.simulated.link import SOCKET, Link
from pyboinc.calls import Calls
from pyboinc.errors import ConfigurationError, PyboincError
from pyboinc.program import run
from pyboinc.stderr import say

END = "end"
"""The name of the last step: the program has ended, its process has not."""

_JOB = re.compile(r"[0-9]+_[0-9]+(?=\.(out|error)|$)|[0-9a-f]{64}|^[0-9]+$")


class Steps:
    """Counts the steps of this process and kills it at *point*."""

    def __init__(self, root: Path, point: dict[str, Any] | None, link: Link) -> None:
        self._link = link
        self._root = os.path.join(os.path.realpath(root), "")
        self._point = point
        self._matching = 0
        self.counts: Counter[tuple[str, str]] = Counter()

    def __call__(self, step: str, subject: str) -> None:
        """Take note of a step; end this process if it is the one."""
        about = subject.removeprefix(self._root)
        if about.startswith("/"):
            raise ConfigurationError(
                f"the program works in another job directory than its own ({subject}), which a "
                "simulation must not touch; let it leave out directory=... when it is simulated"
            )
        self.counts[step, _JOB.sub("*", about)] += 1
        if self._point is not None and self._is_meant(step, about, self._point):
            self._matching += 1
            if self._matching == self._point["number"]:
                self._kill(step, about)

    def _is_meant(self, step: str, about: str, point: dict[str, Any]) -> bool:
        named = fnmatchcase(step, point.get("step", "*"))
        return named and fnmatchcase(about, point.get("about", "*"))

    def _kill(self, step: str, about: str) -> None:
        self._link.say(["killed", f"{step} {about}".rstrip()])
        os.kill(os.getpid(), signal.SIGKILL)

    def end(self) -> None:
        """The program has ended; if it was to be killed, this is the last chance."""
        self(END, "")
        if self._point is not None:
            self._kill(END, "")


def _count_calls() -> None:
    """Let each call of ``pyboinc_call`` be a step, so that a kill can come between two of them."""
    call = Calls.call

    def counted(self: Calls, *arguments: Any) -> int:
        disk.reach("call", str(self.position))
        return call(self, *arguments)

    Calls.call = counted  # type: ignore[method-assign, assignment]  # for this process alone


def main(options: dict[str, Any]) -> None:
    """Run the program as *options* say, and tell the command what it did."""
    config.flags_of_run[:] = options["flags"]
    link = Link(os.dup(int(os.environ[SOCKET])))
    steps = disk.before_step = Steps(Path.cwd(), options["point"], link)
    _count_calls()
    try:
        run(Path(options["program"]), options["arguments"])
    finally:
        sys.stdout.flush()
        steps.end()
        link.say(["ended", [[*step, number] for step, number in steps.counts.items()]])


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except PyboincError as error:
        say(f"pyboinc: {error}")
        sys.exit(error.exit_code)
