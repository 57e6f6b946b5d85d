"""What a broken or hostile host uploads instead of an output.

Four variants, drawn for each instance: the output cut short, nothing at all, far too
much, and bytes made to hurt whoever loads them as a pickle.  The safe loader must refuse
every one of them (``tests/test_faults.py``), and so must the validator.
"""

from __future__ import annotations

from enum import Enum

from pyboinc.faults import words

#: What the hostile bytes leave behind in the current directory if ever they are run.
EVIDENCE = "pyboinc_hostile_bytes_were_run"

_ORDER = f"touch {EVIDENCE}".encode()


class Variant(str, Enum):
    """How the bytes of a garbage output are wrong."""

    TRUNCATED = "truncated"
    EMPTY = "empty"
    OVERSIZED = "oversized"
    HOSTILE = "hostile"


def _call(module: bytes, function: bytes, argument: bytes) -> bytes:
    """A pickle that calls module.function(argument) in whoever loads it without care."""
    return b"c" + module + b"\n" + function + b"\n(S'" + argument + b"'\ntR."


def _bomb() -> bytes:
    """A pickle of 3 * 40 bytes whose value is a list of 2**40 elements, were it walked."""
    return b"\x80\x04]" + b"".join(b"(22e" for _ in range(40)).replace(b"2", b"0") + b"."


#: One of these is what a hostile host sends.
HOSTILE: tuple[bytes, ...] = (
    _call(b"os", b"system", _ORDER),
    _call(b"posix", b"system", _ORDER),
    _call(b"builtins", b"eval", b"__import__(\"os\").system(\"" + _ORDER + b"\")"),
)
