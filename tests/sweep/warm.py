"""Masters forked from this process, which has everything imported: see ``forks.py``.

A thousand masters are killed in a sweep; each is a fork of the process that looks at it.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import forks
import masters
from masters import Run

from pyboinc.backends.local.processes import children

ready = False
"""Whether this process is one whose forks are masters (:func:`make_ready`)."""


def make_ready() -> None:
    """Make this process one whose forks are masters."""
    global ready
    ready = True
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    forks.make_ready()


def run(
    place: Path,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    play: Callable[[], object] | None = None,
) -> Run:
    """Run the program in *place* as ``python app_master.py FLAGS`` would, to its end.

    *play* is run instead of the program, if it is given.
    """
    out, error = os.memfd_create("stdout"), os.memfd_create("stderr")
    command = [sys.executable, "app_master.py", *flags]
    ours = {name: text for name, text in os.environ.items() if not name.startswith("PYBOINC_")}
    process = os.fork()
    if process == 0:
        nothing = os.open(os.devnull, os.O_RDONLY)
        whole = {**ours, **(environ or {}), "PYBOINC_TEST_DIRECTORY": str(place)}
        forks.become(command, str(place), whole, (nothing, out, error))
        faulthandler.enable(file=2)
        forks.end(play or forks.program(command))
    hangs, status = _wait(process)
    texts = [os.pread(one, 1 << 20, 0).decode(errors="replace") for one in (out, error)]
    os.close(out)
    os.close(error)
    assert not hangs, f"hangs; its processes say {' '.join(texts)}"
    return Run(texts[0], texts[1], os.waitstatus_to_exitcode(status))


def _wait(process: int) -> tuple[bool, int]:
    """Wait for the end of a process; one that hangs says where it and those behind it are."""
    descriptor = os.pidfd_open(process)
    ended, _, _ = select.select([descriptor], [], [], masters.PATIENCE)
    if not ended:
        for one in _family(process):
            os.kill(one, signal.SIGABRT)
    os.close(descriptor)
    _, status = os.waitpid(process, 0)
    return not ended, status


def _family(process: int) -> list[int]:
    """A process and all below it, itself last."""
    below = [one for child in children(process) for one in _family(child)]
    return [*below, process]
