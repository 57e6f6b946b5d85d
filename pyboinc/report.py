"""What went wrong, once for each distinct cause, for people and for programs.

Used by :class:`~pyboinc.errors.JobsFailed`, by ``pyboinc errors`` and by the progress
display.  Two failures have the same cause if the slave's own code stopped at the same line
with the same kind of message: numbers, addresses and quoted names in it do not count,
because "no convergence after 173 steps" is one cause and not a thousand.

Text that came from a volunteer is never trusted with the terminal: control characters
are shown as escapes, and long lines are cut.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pyboinc.backends import Attempt, Failure

_SHOWN_LINES = 30
_SHOWN_COLUMNS = 400
_SHOWN_NAMES = 12
_NO_ERROR = ("success", "in progress", "not needed")

# Compiled when they are first used: every master imports this module, and few jobs fail.
_FRAME = r' *(?:\| )?  File "([^"]*)", line ([0-9]{1,9})(?:, in (.*))?'
_FOREIGN = r'^ *(?:\| )?  File "[/<]'
_VARYING = r"0x[0-9a-fA-F]+|'[^']*'|\"[^\"]*\"|[0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?"


class Frame(NamedTuple):
    """A line of the slave's own code in a traceback: where it is, and what stands there."""

    file: str
    line: int
    function: str
    code: str

    def __str__(self) -> str:
        inside = f", in {self.function}" if self.function else ""
        return f"{self.file}, line {self.line}{inside}"


class Cause(NamedTuple):
    """Failures with the same cause, and the first one's word for it, safe to print."""

    text: str
    failures: tuple[Failure, ...]

    @property
    def jobs(self) -> list[int]:
        """The indices of the jobs, in order."""
        return sorted({failure.index for failure in self.failures})


def printable(text: str) -> str:
    """Return *text* with what could deceive a terminal made visible, and long lines cut.

    Control characters but newline and tab, characters that turn the direction of writing,
    lone surrogates: all that is not printable becomes an escape.
    """
    return "\n".join(_printable_line(line) for line in text.split("\n"))


def printable_line(text: str) -> str:
    """As :func:`printable`, for what is to stay one line: nothing in it can forge another."""
    return _printable_line(text.replace("\n", "\\n"))


def _printable_line(line: str) -> str:
    cut = line if len(line) <= _SHOWN_COLUMNS else line[:_SHOWN_COLUMNS] + "..."
    return "".join(
        one if one == "\t" or one.isprintable() else one.encode("unicode_escape").decode()
        for one in cut
    )


def without_numbers(text: str) -> str:
    """Return *text* without what varies from job to job: numbers, addresses, quoted names."""
    return re.sub(_VARYING, "#", text)


def own_frames(stderr: str) -> list[Frame]:
    """Return the frames of the last traceback in *stderr* that are in the slave's own files.

    The slave's runner writes the names of these files relative to the job directory; all
    others (the standard library, installed packages) are absolute.  Innermost last.
    """
    lines = stderr.splitlines()
    starts = [n for n, line in enumerate(lines) if line.startswith("Traceback (most recent")]
    found = []
    for number in range(starts[-1] if starts else 0, len(lines)):
        match = re.fullmatch(_FRAME, lines[number])
        if match and not match[1].startswith(("/", "<")):
            code = lines[number + 1].strip() if number + 1 < len(lines) else ""
            texts = [printable_line(text or "") for text in (match[1], match[3], code)]
            found.append(Frame(texts[0], int(match[2]), *texts[1:]))
    return found


def _said(failure: Failure) -> str:
    """What the slave said of why: nothing if it was not for what it did that the job failed."""
    return "" if failure.cancelled else failure.stderr


def _word(failure: Failure) -> str:
    """One line that says why: the slave's own word, else how its last instance ended."""
    last = _last(failure)
    if _said(failure).strip() or failure.cancelled or last in failure.reason:
        return failure.cause
    return f"{failure.reason}; last: {last}"


def _last(failure: Failure) -> str:
    """How the last instance ended in words; nothing if it has not, or was not wanted."""
    if not failure.attempts or failure.attempts[-1].outcome in _NO_ERROR:
        return ""
    return ending(failure.attempts[-1])


def ending(attempt: Attempt) -> str:
    """Return how an instance ended, in words."""
    if attempt.signal:
        return f"{attempt.outcome}, killed by {signal_name(attempt.exit_status)}"
    return attempt.outcome + (f", exit status {attempt.exit_status}" if attempt.exit_status else "")


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number if it has none (real-time signals)."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _key(failure: Failure) -> tuple[object, ...]:
    frames = own_frames(_said(failure))
    where = (frames[-1].file, frames[-1].line) if frames else None
    return where, without_numbers(_word(failure))


def by_cause(failures: Iterable[Failure]) -> list[Cause]:
    """Group *failures* by cause, the most frequent first."""
    groups: dict[tuple[object, ...], list[Failure]] = {}
    for failure in failures:
        groups.setdefault(_key(failure), []).append(failure)
    causes = [Cause(printable_line(_word(group[0])), tuple(group)) for group in groups.values()]
    return sorted(causes, key=lambda cause: -len(cause.failures))


def describe_cause(cause: Cause, directory: str = "") -> str:
    """Return a paragraph about one cause: where it is, the traceback, which jobs, how to replay.

    *directory* is put behind the command that replays a job.
    """
    first = cause.failures[0]
    lines = [f"{len(cause.failures)} x {cause.text}"]
    # Where every line of the traceback is the slave's own, they are not told twice.
    said = _said(first)
    if re.search(_FOREIGN, said, re.MULTILINE):
        for frame in reversed(own_frames(said)):
            lines += [f"  at {frame}", f"       {frame.code}"]
    lines += ["    | " + line for line in _end_of(said)]
    facts = {
        "project": printable_line(first.reason),
        "jobs": _some([str(index) for index in cause.jobs]),
        "last": printable_line(_last(first)),
        "where": _where(cause.failures),
        "replay": f"{first.replay}{directory}",
    }
    lines += [f"  {name + ':':<9}{fact}" for name, fact in facts.items() if fact]
    return "\n".join(lines)


def _end_of(stderr: str) -> list[str]:
    """The last lines of *stderr*, safe to print; nothing if it is one line, which is the cause."""
    lines = printable(stderr.rstrip()).split("\n")
    if len(lines) < 2:
        return []
    left_out = len(lines) - _SHOWN_LINES
    head = [f"[{left_out} lines before]"] if left_out > 0 else []
    return head + lines[-_SHOWN_LINES:]


def _where(failures: Sequence[Failure]) -> str:
    """The hosts that the jobs failed on, and what they run."""
    attempts = [failure.attempts[-1] for failure in failures if failure.attempts]
    if not attempts:
        return "no host ever ran it"
    hosts = list(dict.fromkeys(printable_line(attempt.host) for attempt in attempts))
    versions = list(dict.fromkeys(filter(None, map(_versions, attempts))))
    most = max(len(failure.attempts) for failure in failures)
    tried = f"at most {most} {'attempt' if most == 1 else 'attempts'} at a job"
    return "; ".join([_some(hosts, 4), *versions[:3], tried])


def _versions(attempt: Attempt) -> str:
    facts = (attempt.platform, f"Python {attempt.python}" if attempt.python else "")
    return ", ".join(printable_line(fact) for fact in facts if fact)


def _some(names: Sequence[str], limit: int = _SHOWN_NAMES) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


def describe_failures(failures: Sequence[Failure], total: int) -> str:
    """Return the message of :class:`JobsFailed`: each distinct cause once."""
    head = f"{len(failures)} of {total} jobs can not be done; the other results were handled."
    tail = "Mend the cause, then: pyboinc rerun --failed"
    paragraphs = [describe_cause(cause) for cause in by_cause(failures)]
    return "\n\n".join([head, *paragraphs, tail])


def cause_as_data(cause: Cause) -> Mapping[str, Any]:
    """Return one cause as ``pyboinc errors --json`` prints it (docs/command_line.md)."""
    first = cause.failures[0]
    attempts = [attempt for failure in cause.failures for attempt in failure.attempts]
    return {
        "cause": cause.text,
        "count": len(cause.failures),
        "jobs": cause.jobs,
        "reason": first.reason,
        "error_mask": first.error_mask,
        "frames": [frame._asdict() for frame in reversed(own_frames(first.stderr))],
        "stderr": first.stderr,
        "hosts": sorted({attempt.host for attempt in attempts}),
        "platforms": sorted({attempt.platform for attempt in attempts} - {""}),
        "pythons": sorted({attempt.python for attempt in attempts} - {""}),
        "attempts": len(attempts),
        "replay": first.replay,
    }


def retried(index: int, name: str, attempts: Iterable[Attempt]) -> Iterator[Failure]:
    """Yield each attempt of a job that failed and was made good later, as a failure of its own."""
    for attempt in attempts:
        if attempt.outcome not in _NO_ERROR:
            yield Failure(index, name, f"{ending(attempt)}; done again", attempts=(attempt,))
