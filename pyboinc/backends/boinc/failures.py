"""What volunteers' computers said of a job, taken from the project's database.

A client wraps what a slave wrote to stderr into tags of its own; here they are taken off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from pyboinc.backends import Attempt, Failure
from pyboinc.backends.boinc.database import Row

REASONS = {
    1: "couldn't send result",
    2: "too many errors",
    4: "too many results without consensus",
    8: "too many total results",
    16: "cancelled",
    32: "no canonical result",
}
"""The bits of a workunit's error mask (``db/boinc_db_types.h``)."""

_OUTCOMES = {
    0: "in progress",
    1: "success",
    2: "could not be sent",
    3: "client error",
    4: "no reply",
    5: "not needed",
    6: "validate error",
    7: "client detached",
}
_INVALID = 2
_STDERR = re.compile(r"<stderr_txt>\n?(.*)</stderr_txt>", re.DOTALL)
_MESSAGE = re.compile(r"<message>\n?(.*?)</message>", re.DOTALL)
_SIGNAL = re.compile(r"process got signal ([0-9]+)")
_ESCAPED = re.compile(r"(?:&#(?:12[89]|1[3-9][0-9]|2[0-4][0-9]|25[0-5]);)+")


def attempt_of(row: Row) -> Attempt:
    """Return an instance as it is told to people; *row* is one of ``Workunits.instances``."""
    _, name, state, outcome, _, validity, status, said, host, sent, received, elapsed, *more = row
    domain, system = more
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said or "")
    word = _OUTCOMES.get(outcome, f"outcome {outcome}") if state == 5 else "in progress"
    if outcome == 1 and validity == _INVALID:
        word = "outvoted"
    signal = _SIGNAL.search(text)
    return Attempt(
        instance=int(str(name).rpartition("_")[2]),
        host=str(domain or "") or f"host {host}",
        outcome=word,
        exit_status=int(signal[1]) if signal else int(status),
        signal=signal is not None,
        stderr=unwrapped(text),
        platform=str(system or ""),
        elapsed=float(elapsed or 0.0),
        sent=float(sent or 0.0),
        received=float(received or 0.0),
    )


def unwrapped(text: str) -> str:
    """Return what the slave wrote, or what the client says if it wrote nothing."""
    stderr = _STDERR.search(text)
    if stderr is not None and stderr[1].strip():
        return _ESCAPED.sub(_unescaped, stderr[1])
    message = _MESSAGE.search(text)
    if message is not None:
        return message[1].strip()
    return "" if "<core_client_version>" in text else text


def _unescaped(numbers: re.Match[str]) -> str:
    """Return the text of bytes above 127, each of which a client writes as a number."""
    data = bytes(int(number) for number in re.findall("[0-9]+", numbers[0]))
    return data.decode("utf-8", "replace")


def failure(index: int, name: str, mask: int, attempts: Iterable[Attempt]) -> Failure:
    """Return a job that was given up, as its master is told of it."""
    reasons = [text for bit, text in REASONS.items() if mask & bit]
    return Failure(index, name, ", ".join(reasons) or "given up", mask, tuple(attempts))
