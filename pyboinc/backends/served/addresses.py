"""Where the project is served: an address that stays the same as long as it can.

Clients know a project by its address, and the one that they were attached to is the one where
they come back: so a port that was free once is kept, in a file, and taken again.
"""

from __future__ import annotations

import ipaddress
import json
import socket
from pathlib import Path
from typing import Any

from pyboinc import disk
from pyboinc.backends.served.project import Address
from pyboinc.errors import BackendError, ConfigurationError


def choose(path: Path, host: str, port: int) -> tuple[Address, Any]:
    """Return the address to serve at and a socket bound to it; *path* keeps it.

    Port 0 is the one of the last time, if that is free, or else any that is.
    """
    if not port:
        try:
            sock = bound(host, _kept(path, host))
        except BackendError:
            sock = bound(host, 0)
    else:
        sock = bound(host, port)
    address = Address(host, _shown(host), sock.getsockname()[1])
    sock.listen()  # who reads the address and comes at once waits in line, and is not refused
    disk.publish(path, json.dumps({"host": host, "port": address.port}).encode() + b"\n")
    return address, sock


def given(listener: int, host: str) -> tuple[Address, Any]:
    """Return the same for a socket that is bound already."""
    sock = socket.socket(fileno=listener)
    return Address(host, _shown(host), sock.getsockname()[1]), sock


def _kept(path: Path, host: str) -> int:
    try:
        kept = json.loads(path.read_bytes())
        return int(kept["port"]) if kept["host"] == host else 0
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _shown(host: str) -> str:
    """Return what clients are told in the place of *host*: they want an address with a dot."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        raise ConfigurationError(
            f"{host!r} is no address to serve at; give a number like 127.0.0.1 or 0.0.0.0"
        ) from None
    if not address.is_unspecified:
        return f"[{host}]" if address.version == 6 else host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Nothing is sent: the system is asked which of its addresses leads outside.
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to this address; raises :class:`BackendError` if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise BackendError(
            f"the project can not be served at {host}:{port}: {error.strerror}; give another "
            "address, or port 0 for one that is free"
        ) from error
    return sock
