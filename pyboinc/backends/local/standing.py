"""How a master and a standing server (``pyboinc serve DIR``) find each other: a lock, a socket.

    .pyboinc/local/standing   held alone by the standing server, with its process number in it;
                              shared by a master whose server is its own: never one of each
    .pyboinc/local/socket     where the standing server listens for masters

The lock decides.  It ends with its process, and the socket alone means nothing: it may be
left by a server that was killed, or have come with a copied directory.  What a master says first
is one line,

    {"master": 4711, "place": "2049:131", "options": {...}, "given": {"workers": "4"}}

its process number, which directory it means (:mod:`pyboinc.copies`), what it would start a
server of its own with, and those of the server's settings that somebody has given it.  From
then on they talk as if the server were the master's own (:mod:`pyboinc.backends.local.server`).
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyboinc import disk, locks
from pyboinc.backends.local.conversation import Conversation
from pyboinc.config import Settings
from pyboinc.config.values import text_of
from pyboinc.errors import DirectoryBusy

SETTINGS = (
    "failure_rate",
    "fault",
    "latency",
    "workers",
    "hosts",
    "boinc_clients",
    "serve",
    "isolation",
    "max_output",
    "app",
    "signing_key",
)
"""The settings that are the server's: a master that uses a standing one takes them as they are."""

_SHORT = 100
"""Bytes that the name of a socket may have on every system: 104 with the zero, or 108."""


def given(settings: Settings) -> dict[str, str]:
    """Return which of the server's settings somebody has given, and how they read."""
    found = [name for name in SETTINGS if settings.origin(name) != "default"]
    return {name: text_of(getattr(settings, name)) for name in found}


# The lock.


def enter(local: Path) -> int | None:
    """Let a master have a server of its own: the lock that it keeps; None if one stands here."""
    return locks.share(local / "standing")


def holder(local: Path) -> int | None:
    """Return the process number of the standing server (0: not known), or None."""
    return locks.lock_holder(local / "standing")


def hold(local: Path) -> int:
    """Become the standing server here; raises :class:`DirectoryBusy` that says who is there."""
    path = local / "standing"
    descriptor = locks.alone(path)
    if descriptor is not None:
        return descriptor
    directory, other = local.parent.parent, holder(local)
    if other is not None:
        raise DirectoryBusy(
            f"{directory} is served already, by process {other or 'unknown'}: masters that are "
            "started there use it; to end it: ^C, or kill it"
        )
    master = locks.lock_holder(local.parent / "lock")
    raise DirectoryBusy(
        f"a master (process {master or 'unknown'}) is at work in {directory} with a server of its "
        "own; stop it with ^C (nothing is lost), serve, and start it again"
    )


def refuse_beside(local: Path, what: str) -> None:
    """Raise :class:`DirectoryBusy` if a server stands here, where *what* can not be done."""
    other = holder(local)
    if other is not None:
        raise DirectoryBusy(
            f"pyboinc serve (process {other or 'unknown'}) is at work in {local.parent.parent}; "
            f"stop it with ^C or kill, then {what}"
        )


# The socket.


@contextmanager
def _short(local: Path) -> Iterator[str]:
    """Give a name of the socket that is short enough, however deep the directory lies."""
    path = str(local / "socket")
    if len(os.fsencode(path)) <= _SHORT:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="pyboinc-") as place:
        os.symlink(local, f"{place}/d")
        yield f"{place}/d/socket"


def listen(local: Path) -> socket.socket:
    """Return the socket that masters come to; who has the lock may remove one that was left."""
    disk.remove(local / "socket")
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with disk.explained("listen at", local / "socket"):
        with _short(local) as name:
            door.bind(name)
        os.chmod(local / "socket", 0o600)
        door.listen()
    return door


def reach(local: Path, opening: Mapping[str, Any]) -> Conversation | None:
    """Go to the standing server and say *opening*; None if none stands here, or not yet."""
    if holder(local) is None:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(local) as name:
            sock.connect(name)
        sock.sendall(json.dumps(opening).encode() + b"\n")
    except OSError:
        sock.close()  # it is about to listen, or about to end
        return None
    return Conversation(sock.fileno(), sock.fileno(), sock.close)
