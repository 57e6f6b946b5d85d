"""What goes between a simulated master and ``pyboinc simulate``: lines of JSON over a socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

SOCKET = "PYBOINC_SIMULATION"
"""The environment variable with the number of the master's descriptor."""


class Link:
    """One end of the socket, and the only one who reads or writes there."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._text = b""

    def say(self, message: object) -> None:
        """Send *message*; if nobody is there any more, :meth:`hear` will tell."""
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def say_with(self, line: str, descriptors: Sequence[int]) -> None:
        """Send a line, and give the other end these descriptors."""
        data = line.encode() + b"\n"
        sent = socket.send_fds(self._socket, [data], descriptors)
        self._socket.sendall(data[sent:])

    def hear_with(self, number: int) -> tuple[Any, list[int]]:
        """Return the next message and the descriptors that came with it; None at the end."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, 1 << 16, number)
        except ConnectionResetError:
            return None, []
        self._text += data
        return self.hear(), list(descriptors)

    def hear(self) -> Any:
        """Return the next message, or None if the other end has gone."""
        while b"\n" not in self._text:
            try:
                data = self._socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                return None
            self._text += data
        line, _, self._text = self._text.partition(b"\n")
        return json.loads(line)

    def close(self) -> None:
        """Give the descriptor back."""
        self._socket.close()
