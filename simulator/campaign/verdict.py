"""What a program did with faults against what it did without: is it the same, and if not, where?

The first thing that differs is shown, and then what may explain it: calls that the program
made otherwise, or that it prints something else each time even where nothing goes wrong.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from pyboinc.report import printable
from simulator.campaign import Run

SHOWN = 12
"""Lines of a difference that are shown."""

TAIL = 40
"""Lines of stderr that are shown: its end."""


def differences(calm: Run, run: Run) -> list[str]:
    """Return what differs in what the program printed and in how it ended; none: nothing."""
    found = []
    if calm.last.code != run.last.code:
        found.append(
            f"it ended with {_code(run.last.code)}, without faults with "
            f"{_code(calm.last.code)}; the end of its stderr:"
        )
        found += [f"    {line}" for line in printable(tail(run.last.stderr)).splitlines()]
    if calm.last.stdout != run.last.stdout:
        found.append("it printed something else (- without faults, + with them):")
        found += [f"    {line}" for line in _difference(calm.last.stdout, run.last.stdout)]
        if sorted(calm.last.stdout.splitlines()) == sorted(run.last.stdout.splitlines()):
            found.append("the same lines in another order: so do results arrive, in every run")
    if found and run.changed_call:
        found.append(run.changed_call)
    return found


def _difference(calm: str, run: str) -> Iterator[str]:
    lines = difflib.unified_diff(calm.splitlines(), run.splitlines(), n=1, lineterm="")
    for number, line in enumerate(lines):
        if number >= 2 + SHOWN:
            yield "..."
            return
        if number >= 2:  # after the names of files, which these are not
            yield printable(line)


def _code(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def tail(stderr: str) -> str:
    """Return the end of what a program wrote to stderr."""
    return "\n".join(stderr.rstrip().splitlines()[-TAIL:])
