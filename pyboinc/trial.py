"""A master on trial: the process in which ``pyboinc simulate`` runs a user's program.

    python -m pyboinc.trial SOCKET PRELOAD ADDED

It imports PRELOAD and waits.  For each order that comes through SOCKET it forks: JSON with the
program, its directory and arguments, PyBOINC's flags for it, and the point at which it is to be
killed; and three descriptors, stdout, stderr, and the link to the project.  It answers with the
fork's process number, then with its exit code.  ADDED are variables that masters do not see.

  A point is a step of the protocol (docs/protocol.md), or a call of
``pyboinc_call``, which is a step here, too.  A program that never comes to its point is
killed at its very end.  The steps that it took are told to the command.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import signal
import sys
from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pyboinc import config, disk
from pyboinc.backends.local import processes
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
        self._matching = self._steps = 0
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
        self._steps += 1
        if self._point is not None and self._is_now(step, about, self._point):
            self._kill(step, about)

    def _is_now(self, step: str, about: str, point: dict[str, Any]) -> bool:
        """Whether *point* has come: the wanted step, or as many steps as there may be."""
        if fnmatchcase(step, point.get("step", "*")) and fnmatchcase(
            about, point.get("about", "*")
        ):
            self._matching += 1
        return self._matching == point["number"] or self._steps == point.get("latest")

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


def run_program(options: dict[str, Any], link: Link) -> None:
    """Run the program as *options* say, and tell the command what it did."""
    config.flags_of_run[:] = options["flags"]
    steps = disk.before_step = Steps(Path.cwd(), options["point"], link)
    _count_calls()
    try:
        run(Path(options["program"]), options["arguments"])
    finally:
        sys.stdout.flush()
        steps.end()
        link.say(["ended", [[*step, number] for step, number in steps.counts.items()]])


def serve(orders: Link, preload: list[str], added: list[str]) -> tuple[dict[str, Any], Link] | None:
    """Start masters as they are ordered; returns what to do in each of them, here None at the end.

    The first answer is how many threads this process has.
    """
    gc.disable()
    for name in ("pyboinc.master", "pyboinc.backends.simulated", *preload):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001  # the program shows what is wrong
            pass
    gc.freeze()  # a fork that looks through all this for garbage would copy it
    sys.dont_write_bytecode = True  # from here on it is the user's, in a copy that goes
    orders.say(processes.threads())
    while True:
        options, descriptors = orders.hear_with(3)
        if options is None:
            return None
        process = os.fork()
        if not process:
            orders.close()
            return options, _become(options, descriptors, added)
        for descriptor in descriptors:
            os.close(descriptor)
        orders.say(process)
        orders.say(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def _become(options: dict[str, Any], descriptors: list[int], added: list[str]) -> Link:
    """Turn this fork into a master with these descriptors; return its link."""
    gc.enable()
    for number in (1, 2):
        os.dup2(descriptors[number - 1], number)
        os.close(descriptors[number - 1])
    os.chdir(options["directory"])
    for name in added:
        os.environ.pop(name, None)
    os.environ[SOCKET] = str(descriptors[2])
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # as the module random does by itself
    return Link(os.dup(descriptors[2]))


def main(arguments: list[str]) -> None:
    """Be a process that starts masters, or, in each of its forks, a master."""
    number, *lists = arguments
    preload, added = (list(filter(None, text.split(","))) for text in lists)
    ordered = serve(Link(int(number)), preload, added)
    if ordered is not None:
        run_program(*ordered)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except PyboincError as error:
        say(f"pyboinc: {error}")
        sys.exit(error.exit_code)
