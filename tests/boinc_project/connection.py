"""A way to a database that can be cut: what a master sees when the server goes away."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from contextlib import suppress


class Connection:
    """A socket at :attr:`path` that leads to another one, as long as it is not :meth:`cut`."""

    def __init__(self, target: str) -> None:
        self.path = f"/tmp/pyboinc-way-{os.getpid()}-{secrets.token_hex(4)}"
        self._target = target
        self._open: list[socket.socket] = []
        self._server: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        """Let connections be made."""
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(self.path)
        self._server.listen(8)
        threading.Thread(target=self._serve, args=[self._server], daemon=True).start()

    def cut(self) -> None:
        """End all connections, and let none be made."""
        os.unlink(self.path)
        assert self._server is not None
        server, self._server = self._server, None
        self._end([server, *self._open])
        self._open = []

    def _serve(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = server.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=[one, other], daemon=True).start()
                self._open += [near, far]
                if self._server is not server:  # cut in this moment
                    self._end([near, far])

    def _end(self, sockets: list[socket.socket]) -> None:
        for one in sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End it."""
        if self._server is not None:
            self.cut()
