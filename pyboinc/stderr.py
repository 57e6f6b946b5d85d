"""Lines on stderr that never stop the program: a terminal may be gone, a pipe have no reader.

What PyBOINC says beside its answers is worth less than the batch.  If stderr can not be
written to, it is replaced by /dev/null, so that neither another line nor Python's last
flush changes how the program ends.
"""

from __future__ import annotations

import os
import sys


def say(text: str) -> None:
    """Write *text* as a line to stderr, at once, if there is anybody who reads it."""
    if sys.stderr is None:
        return  # it was closed when Python began (2>&-); print would write to stdout
    try:
        print(text, file=sys.stderr, flush=True)
    except RuntimeError:
        # ^C in the midst of another line: its buffer can not be used twice at once.
        os.write(sys.stderr.fileno(), f"{text}\n".encode())
    except (OSError, ValueError):
        fall_silent()


def fall_silent() -> None:
    """Let nothing more be written to stderr: what is in its buffer can not be either."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        os.dup2(descriptor, sys.stderr.fileno())
        os.close(descriptor)
    except (OSError, ValueError):
        pass  # closed by the program, or no file at all


def keep_standard_descriptors() -> None:
    """Open those of 0, 1 and 2 that are closed (2>&-), to /dev/null.

    Otherwise the next files to be opened get these numbers, and what a child process
    writes to its stderr would go into one of them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
