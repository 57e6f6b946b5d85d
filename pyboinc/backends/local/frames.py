"""Messages between a master and its keepers: tuples, marshalled, each after its length.

``marshal`` is the quickest that Python has for plain values, and both ends are the same
interpreter.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LENGTH = 4


def pack(message: tuple[str | bytes | float | None, ...]) -> bytes:
    """Return *message* as bytes to send."""
    data = marshal.dumps(message)
    return len(data).to_bytes(_LENGTH, "little") + data


class Receiver:
    """Puts together what comes in pieces."""

    def __init__(self) -> None:
        self._begun = bytearray()
        self._wanted = 0

    def take(self, data: bytes) -> list[Any]:
        """Return the messages that *data* completes."""
        if self._begun:
            self._begun += data
            if len(self._begun) < self._wanted:
                return []
            data = bytes(self._begun)
        messages = []
        start, end = 0, self._end(data, 0)
        while end <= len(data):
            messages.append(marshal.loads(data[start + _LENGTH : end]))
            start, end = end, self._end(data, end)
        self._begun = bytearray(data[start:])
        self._wanted = end - start
        return messages

    def _end(self, data: bytes, start: int) -> int:
        """Return where the message at *start* ends, or its length, as far as one can see."""
        length = data[start : start + _LENGTH]
        if len(length) < _LENGTH:
            return start + _LENGTH
        return start + _LENGTH + int.from_bytes(length, "little")
