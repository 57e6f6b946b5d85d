"""What the process of a served project is started with, as JSON on its command line."""

from __future__ import annotations

from dataclasses import dataclass

from pyboinc.backends.local.server import Options


@dataclass(frozen=True, slots=True)
class ServedOptions(Options):
    """What a served project is started with, beside the rest: where, and for whom.

    *clients* is how many clients PyBOINC starts itself, *per_cpu* how many results a host may
    have for each of its CPUs.  *app* is the application whose versions `pyboinc build` made,
    *signing_key* the private key that slaves' archives are signed with, if it is not the
    project's own.  A server that outlives its masters is given the socket *listener*
    that is bound already, and *leash*: it ends when that is closed, and not with a master.
    """

    host: str = "127.0.0.1"
    port: int = 0
    clients: int = 0
    per_cpu: int = 8
    app: str = "pyboinc"
    signing_key: str = ""
    listener: int = -1
    leash: int = -1
