"""Readers of single values: from what a user wrote to what the program uses, or why not.

A reader takes the text of a flag or an environment variable, or a value from Python or
TOML, and returns it in its one proper type.  It raises ``ValueError`` with the second
half of a sentence ("is not a probability; give a number from 0 to 1"): the caller knows
the first half, which value stood where.

True and False are not numbers here (``quorum=True`` is a mistake); numpy's numbers are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from numbers import Integral, Real
from pathlib import Path
from typing import Any

from pyboinc.errors import ConfigurationError
from pyboinc.faults import Kind, check_probabilities, kind_named, parse_faults
from pyboinc.faults.latency import Latency

Reader = Callable[[object], Any]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


def number(low: float, high: float, *, above: bool = False) -> Callable[[object], float]:
    """A reader of a number from *low* to *high*; *above*: larger than *low*."""
    allowed = (
        f"above {low:.10g} and at most {high:.10g}" if above else f"from {low:.10g} to {high:.10g}"
    )

    def read(value: object) -> float:
        found = _as_float(value)
        if found is None or math.isnan(found):
            raise ValueError(f"is not a number; give a number {allowed}")
        if not (low < found or (low == found and not above)) or found > high:
            raise ValueError(f"is out of range; give a number {allowed}")
        return found

    return read


def whole(low: int, high: int) -> Callable[[object], int]:
    """A reader of a whole number from *low* to *high*; 64e6 and 3.0 are whole."""

    def read(value: object) -> int:
        found = _as_int(value)
        if found is None:
            raise ValueError(f"is not a whole number; give one from {low} to {high}")
        if not low <= found <= high:
            raise ValueError(f"is out of range; give a whole number from {low} to {high}")
        return found

    return read


def _as_float(value: object) -> float | None:
    if isinstance(value, str) or (isinstance(value, Real) and not isinstance(value, bool)):
        try:
            return float(value)
        except (ValueError, OverflowError):  # not a number; an int of 400 digits
            return None
    return None


def _as_int(value: object) -> int | None:
    if isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    found = _as_float(value)
    return int(found) if found is not None and math.isfinite(found) and found % 1 == 0 else None


def probability(value: object) -> float:
    """A number from 0 to 1."""
    found = _as_float(value)
    if found is None or not 0 <= found <= 1:
        raise ValueError("is not a probability; give a number from 0 to 1")
    return found


def boolean(value: object) -> bool:
    """True or false, or one of the words for them."""
    text = str(value).strip().lower()  # of True, 1 and numpy's True as well
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("is neither true nor false; give 1/0, true/false, yes/no or on/off")


def choice(*names: str) -> Callable[[object], str]:
    """A reader of one of some words."""

    def read(value: object) -> str:
        text = value.strip().lower() if isinstance(value, str) else ""
        if text not in names:
            raise ValueError(f"is not possible; give one of {', '.join(names)}")
        return text

    return read


def word(value: object) -> str:
    """A name: some text without blanks."""
    if not isinstance(value, str) or len(value.split()) != 1:
        raise ValueError("is not a name; give one word")
    return value.strip()


def directory(value: object) -> Path:
    """The path of a directory, which need not exist yet; ~ is the home directory."""
    return _path(value, "directory")


def file(value: object) -> Path:
    """The path of a file, which need not exist yet; ~ is the home directory."""
    return _path(value, "file")


def _path(value: object, what: str) -> Path:
    if not isinstance(value, str | Path) or "\0" in str(value):
        raise ValueError(f"is not a path; give the path of a {what}")
    return Path(value).expanduser()


def address(value: object) -> str:
    """Where a server listens: a port, or a numeric address and a port, 127.0.0.1:8080."""
    text = str(value).strip()
    host, colon, port = text.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 2**16) or (colon and not host):
        raise ValueError("is no address; give for example 127.0.0.1:8080, or port 0 for any")
    try:
        ip_address(host.strip("[]") if host else "127.0.0.1")
    except ValueError:
        raise ValueError(
            "is no numeric address; give for example 127.0.0.1:8080, or 0.0.0.0:8080 for all"
        ) from None
    return f"{host or '127.0.0.1'}:{int(port)}"


def file_names(value: object) -> tuple[str, ...]:
    """File names or glob patterns: a list, or text separated by commas."""
    names = value.split(",") if isinstance(value, str) else value
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise ValueError(
            'is not a list of file names; give for example ["table.csv", "data/*.txt"]'
        )
    return tuple(filter(None, (name.strip() for name in names)))


def faults(value: object) -> dict[Kind, float]:
    """Probabilities of faults: a mapping of kinds to numbers, or "crash=0.05,late=0.02"."""
    try:
        if isinstance(value, str):
            return parse_faults(value)
        if not isinstance(value, Mapping):
            raise ValueError("is not a set of faults; give for example crash=0.05,late=0.02")
        found = {kind_named(str(kind)): p for kind, p in value.items()}
        read = {kind: _fault_probability(kind, p) for kind, p in found.items()}
        check_probabilities(read)
    except ConfigurationError as error:
        raise ValueError(f"is not possible: {error}") from None
    return read


def _fault_probability(kind: Kind, value: object) -> float:
    try:
        return probability(value)
    except ValueError as error:
        raise ConfigurationError(f"fault {kind}: {value!r} {error}") from None


def latency(value: object) -> Latency:
    """A distribution of delays: text as in "uniform:0.1,2", a number of seconds, a Latency."""
    if isinstance(value, Latency):
        return value
    try:
        seconds = None if isinstance(value, str) else _as_float(value)
        if seconds is not None:
            return Latency("constant", (seconds,))
        if not isinstance(value, str):
            raise ValueError("is not a latency; give seconds, or for example uniform:0.1,2")
        return Latency.parse(value)
    except ConfigurationError as error:
        raise ValueError(f"is not possible: {error}") from None


def text_of(value: object) -> str:
    """The text that the value's own reader reads back; empty for "not given"."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, Mapping):
        return ",".join(f"{kind}={text_of(p)}" for kind, p in value.items())
    return str(value)
