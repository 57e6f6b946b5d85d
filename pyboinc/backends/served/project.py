"""The served project as a whole: its address, keys, program, and what the web server may ask."""

from __future__ import annotations

import ipaddress
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from pyboinc import disk
from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.local.store import Rows, workunit_id
from pyboinc.backends.served import keys, runtime, versions
from pyboinc.backends.served.catalogue import FIRST_VERSION, INPUT_NAME, Catalogue
from pyboinc.backends.served.incoming import Incoming
from pyboinc.backends.served.receiving import Wanted
from pyboinc.backends.served.registry import Registry
from pyboinc.backends.served.scheduler import Policy, Scheduler
from pyboinc.backends.served.sealing import Sealer
from pyboinc.disk import AppendLog
from pyboinc.project import Outcome, ServerState


@dataclass(frozen=True, slots=True)
class Address:
    """Where the project is served: *host* is bound to, *shown* is what clients are told."""

    host: str
    shown: str
    port: int

    @property
    def is_private(self) -> bool:
        """Whether only this computer can reach it."""
        return ipaddress.ip_address(self.host).is_loopback


class Project:
    """Everything about one served project but the loop that it lives in."""

    def __init__(
        self,
        emulator: Emulator,
        state: Path,
        spool: AppendLog,
        address: Address,
        policy: Policy,
        max_output: int,
        app: str = "pyboinc",
        signing_key: Path | None = None,
    ) -> None:
        self.emulator = emulator
        self.registry = Registry(emulator)
        self.is_private = address.is_private
        self.path = f"/{self.registry.value('word', f'pyboinc_{secrets.token_hex(4)}')}/"
        self.url = f"http://{address.shown}:{address.port}{self.path}"
        self.name = f"PyBOINC {self.path.strip('/').removeprefix('pyboinc_')}"
        local = state / "local"
        apps = local / "apps"
        self.incoming = Incoming(local / "incoming", max_output)
        self.catalogue = Catalogue(
            self.url,
            apps,
            spool,
            keys.kept(local / "keys" / "code_sign"),
            keys.kept_certificates(local / "keys" / "upload"),
            max_output,
        )
        self._archive_keys = runtime.ArchiveKeys(local / "keys")
        self._sealer = Sealer(state / "bundles", apps, self._archive_keys, signing_key)
        self._add_versions(versions.find(state.parent, app))
        self.scheduler = Scheduler(
            emulator,
            self.registry,
            self.catalogue,
            self.incoming,
            policy,
            self._seal,
            self.name,
        )

    def _add_versions(self, built: list[versions.Built]) -> None:
        """Offer what was built; if nothing was, a program that is made here and now."""
        for one in versions.newest(built):
            self.catalogue.add_built(one)
        if not built:
            self._add_program()

    def _add_program(self) -> None:
        python = runtime.python_here() if self.is_private else runtime.PYTHON_ELSEWHERE
        data = runtime.build(self._archive_keys.public, python)
        digest, known = sha256(data).hexdigest(), self.registry.value("program", "")
        version = int(self.registry.value("version", str(FIRST_VERSION)))
        if digest != known:
            version += bool(known)
            self.registry.keep("program", digest)
            self.registry.keep("version", str(version))
        self.catalogue.add_program(data, version)

    def _seal(self, rows: Rows, key: str) -> bytes:
        return self._sealer.seal(rows.details.bundle, rows.details.slave, key)

    def tidy(self) -> None:
        """Remove uploads that nobody will report: of results that are over."""
        for name in self.incoming.names():
            if self.wanted(name.removesuffix("_r0")) is not Wanted.YES:
                disk.remove_tree(Path(self.incoming.path(name)))

    # What the web server asks.

    def wanted(self, name: str) -> Wanted:
        """Say whether the output of the result *name* may be uploaded now."""
        found = self.scheduler.find(name)
        if found is None or found[1].server_state == ServerState.UNSENT:
            return Wanted.NO
        rows, result = found
        self.emulator.forget(rows.workunit.id)
        late = result.outcome == Outcome.NO_REPLY and result.received_time is None
        in_progress = result.server_state == ServerState.IN_PROGRESS
        return Wanted.YES if in_progress or late else Wanted.OVER

    def input(self, name: str) -> bytes | None:
        """Return the input file of this name; None if there is no such workunit."""
        found = INPUT_NAME.fullmatch(name)
        if found is None or int(found.group(1)) != self.emulator.batch:
            return None
        if int(found.group(2)) >= self.emulator.tally.total:
            return None
        identifier = workunit_id(self.emulator.batch, int(found.group(2)))
        try:
            rows = self.emulator.rows(identifier)
        except KeyError:
            return None
        data = self.catalogue.input(rows)
        self.emulator.forget(identifier)
        return data
