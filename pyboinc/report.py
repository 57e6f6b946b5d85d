"""What went wrong, once for each distinct cause, for people.

Used by :class:`~pyboinc.errors.JobsFailed`, by ``pyboinc errors`` and by the progress
display.  Text that came from a volunteer is never trusted with the terminal: control
characters are shown as escapes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pyboinc.backends import Failure

_SHOWN_LINES = 30


@dataclass(frozen=True, slots=True)
class Cause:
    """Failures with the same last line of stderr (or the same reason)."""

    text: str
    failures: tuple[Failure, ...]


def printable(text: str) -> str:
    """Return *text* with every control character but newline and tab made visible."""
    return "".join(
        one if one in "\n\t" or one.isprintable() else one.encode("unicode_escape").decode()
        for one in text
    )


def by_cause(failures: Iterable[Failure]) -> list[Cause]:
    """Group *failures* by cause, the most frequent first."""
    groups: dict[str, list[Failure]] = {}
    for failure in failures:
        groups.setdefault(failure.cause, []).append(failure)
    causes = [Cause(printable(text), tuple(group)) for text, group in groups.items()]
    return sorted(causes, key=lambda cause: -len(cause.failures))


def describe_cause(cause: Cause) -> str:
    """Return a paragraph about one cause: the traceback, which jobs, where, how to replay."""
    first = cause.failures[0]
    lines = [f"{len(cause.failures)} x {cause.text}", f"  project: {first.reason}"]
    shown = printable(first.stderr).splitlines()[-_SHOWN_LINES:]
    lines += ["    " + line for line in shown]
    lines.append(f"  jobs:    {_some([str(one.index) for one in cause.failures])}")
    lines.append(f"  where:   {_where(first)}")
    lines.append(f"  replay:  {first.replay}")
    return "\n".join(lines)


def _where(failure: Failure) -> str:
    if not failure.attempts:
        return "no host ever ran it"
    last = failure.attempts[-1]
    facts = [last.host, last.platform, f"Python {last.python}" if last.python else ""]
    known = ", ".join(printable(fact) for fact in facts if fact)
    return f"{known}; {len(failure.attempts)} attempts"


def _some(names: Sequence[str], limit: int = 12) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def describe_failures(failures: Sequence[Failure], total: int) -> str:
    """Return the message of :class:`JobsFailed`: each distinct cause once."""
    head = f"{len(failures)} of {total} jobs can not be done; the other results were handled."
    tail = "Mend the cause, then: pyboinc rerun --failed"
    paragraphs = [describe_cause(cause) for cause in by_cause(failures)]
    return "\n\n".join([head, *paragraphs, tail])
