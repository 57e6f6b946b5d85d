"""A served project without its loop: driven by hand, as ``test_emulator.Bench`` drives the rest.

What clients post goes straight to the scheduler and the upload handler; a reply is given when
the project has committed, as the loop does it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from fake_client import FakeClient

from pyboinc import codec
from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.local.store import Store
from pyboinc.backends.local.uploads import Uploads
from pyboinc.backends.served.messages import parse_request
from pyboinc.backends.served.project import Address, Project
from pyboinc.backends.served.receiving import Receiver, Wanted
from pyboinc.backends.served.replies import write_reply
from pyboinc.backends.served.scheduler import Policy
from pyboinc.bundle import stored_zip
from pyboinc.classes import Classes
from pyboinc.config.limits import Limits
from pyboinc.disk import AppendLog
from pyboinc.project import Outcome, ServerState
from pyboinc.records import SpooledCall, checksum
from pyboinc.validation import Own, Rules

MAX_OUTPUT = 100_000
INPUT = b"an input"

MADE: dict[str, bytes] = {}
"""The keys of the first project of a test run, and what they signed: it takes a while."""


class ServedBench:
    """One batch, its project, and the hands to do what a server's loop does."""

    def __init__(self, path: Path, policy: Policy | None = None, clients: int = 0) -> None:
        self.path = path
        self.clients = clients
        self.signing_key: Path | None = None
        self.policy = policy or Policy()
        for name in ("new", "old", ".pyboinc/local", ".pyboinc/bundles"):
            (path / name).mkdir(parents=True, exist_ok=True)
        archive = stored_zip({"app_slave.py": b"pass\n"})
        self.bundle = sha256(archive).hexdigest()
        (path / f".pyboinc/bundles/{self.bundle}.zip").write_bytes(archive)
        (path / ".pyboinc/spool").write_bytes(INPUT)
        local = path / ".pyboinc/local"
        for name, data in MADE.items():
            (local / name).parent.mkdir(exist_ok=True)
            (local / name).write_bytes(data)
        self.open()

    def open(self) -> None:
        """Open the project, as a server that starts does."""
        state = self.path / ".pyboinc"
        uploads = Uploads(state / "local/upload", self.path / "new", self.path / "old")
        store = Store(state / "local/project.sqlite")
        rules = Rules(Classes(self.path), MAX_OUTPUT, Own())
        self.emulator = Emulator(1, store, uploads, rules, MAX_OUTPUT)
        self.emulator.recover()
        spool = AppendLog(state / "spool")
        address = Address("127.0.0.1", "127.0.0.1", 8080)
        self.project = Project(
            self.emulator,
            state,
            spool,
            address,
            self.policy,
            MAX_OUTPUT,
            signing_key=self.signing_key,
        )
        self.project.tidy()
        registry = self.project.registry
        self.keys = [registry.account_for(n).key for n in range(self.clients + 1)]
        self.emulator.commit()

        async def wanted(name: str) -> Wanted:
            return self.project.wanted(name)

        self.receiver = Receiver(self.project.incoming, self.project.catalogue.certificates, wanted)

    def reopen(self) -> None:
        """Lose everything that was not committed, and start again."""
        self.emulator.store.close()
        self.open()

    def create(self, number: int = 1, **limits: Any) -> None:
        """Make *number* workunits and commit them."""
        first = self.emulator.tally.total
        what = 0, len(INPUT), checksum((INPUT,))
        calls = [
            SpooledCall(n, "app_slave.py", self.bundle, 1, {}, *what)
            for n in range(first, first + number)
        ]
        self.emulator.create(calls, Limits(**{"fpops": 1e9, **limits}))
        self.emulator.commit()

    def post(self, address: str, body: bytes) -> bytes:
        """Answer a client, once what it is told is durable."""
        if address == "cgi":
            answer = write_reply(self.project.scheduler.answer(parse_request(body)))
        else:
            answer = asyncio.run(self._receive(body))
        self.emulator.commit()
        return answer

    async def _receive(self, body: bytes) -> bytes:
        async def chunks() -> AsyncIterator[bytes]:
            for start in range(0, len(body), 1000):
                yield body[start : start + 1000]

        return await self.receiver.receive(chunks())

    def client(self, number: int = 0, **fields: Any) -> FakeClient:
        """A new client of the account *number*."""
        fields.setdefault("cpid", f"{number:032x}")
        return FakeClient(self.keys[number], self.post, **fields)

    def pass_deadlines(self) -> None:
        """Let the deadline of everything that is in progress pass."""
        for identifier in self.emulator.store.in_progress(1):
            for one in self.emulator.rows(identifier).results:
                self.emulator.expire(identifier, one.instance)
        self.emulator.commit()

    def states(self, sequence: int = 0) -> list[tuple[str, str]]:
        """The results of a workunit: server state and outcome of each."""
        rows = self.emulator.store.named(f"1_{sequence}")
        assert rows is not None
        return [
            (ServerState(one.server_state).name, Outcome(one.outcome).name) for one in rows.results
        ]

    def keep(self) -> None:
        """Let the next benches have the keys of this one."""
        local = self.path / ".pyboinc/local"
        for path in (*local.glob("keys/*"), *local.glob("apps/sealed_*")):
            MADE[str(path.relative_to(local))] = path.read_bytes()

    def check(self) -> None:
        """What must always hold, whatever clients do: asserted on the rows in the database."""
        self.keep()
        rows = list(self._rows())
        assert len(rows) == self.emulator.tally.total
        assert Counter(one.workunit.succeeded for one in rows)[True] == self.emulator.tally.done
        delivered = {*self._names("new"), *self._names("old")}
        for one in rows:
            workunit, results = one.workunit, one.results
            assert [result.instance for result in results] == list(range(len(results)))
            for result in results:
                self._check_result(result)
            if workunit.delivered and workunit.succeeded:
                assert f"{workunit.name}.out" in delivered
            running = [r.host for r in results if r.server_state == ServerState.IN_PROGRESS]
            assert len(set(running)) == len(running), "two live instances on one host"

    def _check_result(self, result: Any) -> None:
        sent = result.server_state in (ServerState.IN_PROGRESS, ServerState.OVER)
        never = result.outcome == Outcome.DIDNT_NEED
        assert (result.host is not None) == (sent and not never), result
        if result.host is not None:
            assert self.project.registry.owner_of(result.host) is not None, result
        if result.outcome == Outcome.SUCCESS:
            assert result.server_state == ServerState.OVER and result.exit_status == 0

    def _rows(self) -> Iterator[Any]:
        for sequence in range(self.emulator.tally.total):
            found = self.emulator.store.named(f"1_{sequence}")
            assert found is not None
            yield found

    def _names(self, directory: str) -> list[str]:
        return [path.name for path in (self.path / directory).iterdir()]


def output(value: Any) -> bytes:
    """The bytes of an output."""
    return codec.encode(value)
