"""The scheduler of the served project: one request of a client, judged, and what it is told.

The order is that of BOINC's ``sched/handle_request.cpp``: who asks; what is reported; what the
host should drop, or has lost; what it gets.  The rules of each step are those of
:mod:`pyboinc.project.scheduler`.  Nothing here waits for anything: the caller commits what has
changed, and only then sends the reply.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from pyboinc.backends.local import trickles
from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.local.store import Rows, Turn, workunit_id
from pyboinc.backends.served.catalogue import FLOPS, Catalogue
from pyboinc.backends.served.incoming import Incoming
from pyboinc.backends.served.messages import ReportedResult, Request, Trickle
from pyboinc.backends.served.registry import PREFIX, Account, Host, Registry
from pyboinc.backends.served.replies import AppVersion, Reply
from pyboinc.errors import RejectedArchive
from pyboinc.project import (
    AbortRequest,
    ClientState,
    Outcome,
    Report,
    Result,
    ServerState,
    abort_request,
    may_send,
)

_RESULT_NAME = re.compile("([0-9]{1,9})_([0-9]{1,12})_([0-9]{1,9})", re.ASCII)

_LOOKS = 200
"""Unsent results that one request looks at, at most: a real feeder offers about as many."""

_BAD_KEY_DELAY = 3600.0
_NO_VERSION_DELAY = 86400.0
_ACTIVE = 600.0
"""Seconds since its last request for which a host counts as there."""


def _nobody(result: Result) -> None:
    """Tell nobody that a result went out."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a project's ``config.xml`` says.

    At most *per_request* results go out with one reply, and *per_cpu* are in progress for each
    CPU of a host.  *clients* is how many clients share the work evenly, 0 if that is not
    known.  *daily_quota* is the number of results for a CPU and day, 0 for any; a host's own
    quota falls by one with each error and doubles with each success, up to it.  A client comes
    again after *next_rpc_delay* seconds by itself.
    """

    per_request: int = 50
    per_cpu: int = 8
    clients: int = 0
    daily_quota: int = 0
    next_rpc_delay: float = 5.0
    down_delay: float = 10.0


class Scheduler:
    """Answers requests from the state of one project, and changes it."""

    def __init__(
        self,
        emulator: Emulator,
        registry: Registry,
        catalogue: Catalogue,
        incoming: Incoming,
        policy: Policy,
        seal: Callable[[Rows, str], bytes],
        name: str,
    ) -> None:
        self.emulator = emulator
        self.registry = registry
        self.down = False
        self.news: list[str] = []
        self.sent: Callable[[Result], object] = _nobody
        self._catalogue = catalogue
        self._incoming = incoming
        self._policy = policy
        self._seal = seal
        self._name = name
        self._at: defaultdict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        self._told_of: set[str] = set()
        self.take_over()

    def take_over(self) -> None:
        """Read from the database which results the hosts have."""
        self._at.clear()
        for host, identifier, instance, _ in self.emulator.store.at_hosts(self.emulator.batch):
            if host.startswith(PREFIX):
                rows = self.emulator.rows(identifier)
                self._at[host][f"{rows.workunit.name}_{instance}"] = identifier, instance

    @property
    def in_progress(self) -> int:
        """How many results real hosts have, at most."""
        return sum(map(len, self._at.values()))

    def find(self, name: str) -> tuple[Rows, Result] | None:
        """Return the result *name* with its workunit; None if there is none."""
        found = _RESULT_NAME.fullmatch(name)
        if found is None or int(found.group(1)) != self.emulator.batch:
            return None
        sequence, instance = int(found.group(2)), int(found.group(3))
        if sequence >= self.emulator.tally.total:
            return None
        try:
            rows = self.emulator.rows(workunit_id(self.emulator.batch, sequence))
        except KeyError:
            return None
        for one in rows.results:
            if one.instance == instance:
                return rows, one
        return None

    # One request.

    def answer(self, request: Request) -> Reply:
        """Take one request; return what the client is told."""
        reply = Reply(self._catalogue.base, self._name)
        if self.down:
            reply.down, reply.request_delay = True, self._policy.down_delay
            return reply
        account = self.registry.account(request.authenticator)
        if account is None:
            reply.messages = [("notice", "Invalid or missing account key.")]
            reply.request_delay = _BAD_KEY_DELAY
            return reply
        host = self._host(account, request, reply)
        for said in request.results:
            self._report(host, account, said)
            reply.acks.append(said.name)
        if request.others is not None:
            self._compare(host, account, request, request.others, reply)
        for trickle in request.trickles:
            self._hear(account, trickle)
            reply.message_ack = True
        if request.work_seconds > 0:
            self._send_work(host, request, reply)
        if not request.knows_key:
            reply.code_sign_key = self._catalogue.code_sign.public
        reply.next_rpc_delay = self._policy.next_rpc_delay
        self.registry.note(host, request)
        return reply

    def _host(self, account: Account, request: Request, reply: Reply) -> Host:
        host, told = self.registry.host(account, request)
        if not host.last_rpc:
            host.quota = self._policy.daily_quota * request.cpus
        reply.user, reply.created = account.name, account.created
        if told:
            reply.hostid = host.id
            if account.client:
                # It begins anew, in an empty directory: what it had before is gone.
                for other in self.registry.of_account(account):
                    self.detach(other)
            elif request.hostid == 0:
                self.detach(host)
        return host

    def detach(self, host: Host) -> None:
        """Take back what *host* has: it attaches anew with nothing, or is gone."""
        for identifier, _ in self._at.pop(host.name, {}).values():
            self.emulator.detach(identifier, host.name)

    # Reports.

    def _report(self, host: Host, account: Account, said: ReportedResult) -> None:
        found = self.find(said.name)
        if found is None:
            return
        rows, result = found
        if not self._takes(account, result):
            self.emulator.forget(rows.workunit.id)
            return
        self._at[result.host or ""].pop(result.name, None)
        good = said.client_state == ClientState.FILES_UPLOADED and said.exit_status == 0
        if good:
            report = Report.success(result.instance, self._output(result, said), host.name)
        else:
            state = said.client_state if 0 <= said.client_state <= 7 else ClientState.COMPUTE_ERROR
            status, there = said.exit_status, ClientState(state)
            report = Report.error(result.instance, status, there, host.name)
        self._note(rows, result, said, host)
        self.emulator.report(rows.workunit.id, report, same_user=True)
        self._incoming.remove(f"{result.name}_r0")
        self._count(host, good)

    def _takes(self, account: Account, result: Result) -> bool:
        """Whether a report of *result* by a host of *account* is taken; see project.report()."""
        late = result.outcome == Outcome.NO_REPLY and result.received_time is None
        if result.server_state != ServerState.IN_PROGRESS and not late:
            return False
        return self.registry.owner_of(result.host) == account.id

    def _output(self, result: Result, said: ReportedResult) -> bytes | None:
        """Take the file that was uploaded; None unless it is the one that the client means."""
        name = f"{result.name}_r0"
        for file in said.files:
            if file.name != name:
                continue
            if self._incoming.holds(name, file.md5):
                return self.emulator.take_upload(self._incoming.path(name), result.name)
            if self.emulator.uploads.holds(result.name, file.md5, self._catalogue.max_output):
                # Taken before, by a server that was killed before it had written that down.
                return self.emulator.look_at(result.name)
        return None

    def _note(self, rows: Rows, result: Result, said: ReportedResult, host: Host) -> None:
        turn = rows.turns.setdefault(result.instance, Turn())
        turn.elapsed, turn.stderr = said.elapsed, said.stderr
        turn.signal = int(said.signal)
        turn.platform = " ".join(filter(None, [host.system, host.platform]))
        self.emulator.note_turn(rows, result.instance, turn)
        if said.exit_status and said.stderr:
            self._tell_once(result.name, said.stderr.strip().splitlines()[-1])

    def _tell_once(self, name: str, cause: str) -> None:
        if cause not in self._told_of and len(self._told_of) < 20:
            self._told_of.add(cause)
            self.news.append(f"{name}: {cause}")

    def _count(self, host: Host, good: bool) -> None:
        """The quota of a host (``sched/sched_result.cpp``)."""
        daily = self._policy.daily_quota * host.cpus
        host.quota = min(max(2 * host.quota, 1), daily) if good else max(1, host.quota - 1)

    def _hear(self, account: Account, said: Trickle) -> None:
        """Keep what a task says while it runs, if it is one of this account's."""
        found = self.find(said.result)
        if found is None:
            return
        rows, result = found
        if self.registry.owner_of(result.host) == account.id:
            told = trickles.parse(result.instance, said.time, said.text)
            trickles.keep(self.emulator, rows.workunit.id, told)
        self.emulator.forget(rows.workunit.id)

    # What the host has.

    def _compare(
        self,
        host: Host,
        account: Account,
        request: Request,
        others: tuple[str, ...],
        reply: Reply,
    ) -> None:
        """Say what to drop of what the host has, and send again what it has lost."""
        for name in others:
            found = self.find(name)
            wanted = AbortRequest.NOW if found is None else self._wanted(account, *found)
            if wanted is AbortRequest.NOW:
                reply.aborts.append(name)
            elif wanted is AbortRequest.IF_NOT_STARTED:
                reply.aborts_if_not_started.append(name)
        there = {*others, *(one.name for one in request.results)}
        for name in [one for one in self._at[host.name] if one not in there]:
            self._lost(host, name, request, reply)

    def _wanted(self, account: Account, rows: Rows, result: Result) -> AbortRequest:
        self.emulator.forget(rows.workunit.id)
        if self.registry.owner_of(result.host) != account.id:
            return AbortRequest.NOW
        if result.outcome == Outcome.CLIENT_DETACHED:
            return AbortRequest.NOW
        return abort_request(rows.workunit, result)

    def _lost(self, host: Host, name: str, request: Request, reply: Reply) -> None:
        """Send a lost result again; if nobody wants it any more, let its deadline pass."""
        found = self.find(name)
        if found is None or found[1].server_state != ServerState.IN_PROGRESS:
            del self._at[host.name][name]
            return
        rows, result = found
        if rows.workunit.finished:
            del self._at[host.name][name]
            self.emulator.expire(rows.workunit.id, result.instance)
        elif len(reply.assignments) < self._policy.per_request:
            version = self._version(request, reply)
            if version is not None and self._is_signed(rows, result, version):
                self._assign(rows, result, version, reply)

    # Work.

    def _send_work(self, host: Host, request: Request, reply: Reply) -> None:
        version = self._version(request, reply)
        if version is None:
            primary = request.platforms[0] if request.platforms else "unknown"
            text = f"This project doesn't support computers of type {primary}"
            reply.messages.append(("notice", text))
            reply.request_delay = _NO_VERSION_DELAY
            return
        room = self._room(host, request) - len(reply.assignments)
        passed_over: list[tuple[Rows, Result]] = []
        sent = 0
        while sent < room and len(passed_over) < _LOOKS:
            unsent = self.emulator.take_unsent()
            if unsent is None:
                break
            if self._fits(host, version, *unsent):
                self._send(host, *unsent, version, reply)
                sent += 1
            else:
                passed_over.append(unsent)
        for rows, result in passed_over:
            self.emulator.put_back(rows, result)
        host.today += sent
        if not sent:
            reply.messages.append(("low", "No work available"))

    def _room(self, host: Host, request: Request) -> int:
        """Return how many results the host may get now."""
        policy = self._policy
        most = policy.per_cpu * min(request.cpus, 64)
        if policy.clients:
            tally = self.emulator.tally
            left = tally.total - tally.done - tally.failed
            most = min(most, max(1, -(-left // policy.clients)))
        room = min(policy.per_request, most - len(self._at[host.name]))
        if policy.daily_quota:
            day = int(self.emulator.now() // 86400)
            if host.day != day:
                host.day, host.today = day, 0
            room = min(room, host.quota - host.today)
        return room

    def _fits(self, host: Host, version: AppVersion, rows: Rows, result: Result) -> bool:
        """Whether an instance of this workunit may go to *host* (``sched_check.cpp``)."""
        estimated = rows.details.fpops / FLOPS
        if estimated > rows.workunit.delay_bound:
            self._tell_once(
                result.name,
                f"can not be sent: it is estimated to take {estimated:.0f} s, longer than its "
                f"delay_bound of {rows.workunit.delay_bound:.0f} s; give fpops",
            )
            return False
        if not self._is_signed(rows, result, version):
            return False
        if may_send(host.name, rows.workunit, rows.results, one_result_per_host=True):
            return True
        return self._once_more(host, rows)

    def _is_signed(self, rows: Rows, result: Result, version: AppVersion) -> bool:
        """Whether the slave's archive is signed, or can be, by the key that *version* trusts."""
        try:
            self._catalogue.archive(rows, version.key, lambda: self._seal(rows, version.key))
        except RejectedArchive as refusal:
            self._tell_once(result.name, f"can not be sent: {refusal}")
            return False
        return True

    def _once_more(self, host: Host, rows: Rows) -> bool:
        """Whether a host may try again what has failed on it: if no other is left to do so.

        A real project of one host would wait for ever.  Never are two instances that count
        towards a quorum on one host.
        """
        for one in rows.results:
            counts = one.server_state == ServerState.IN_PROGRESS or one.outcome == Outcome.SUCCESS
            if one.host == host.name and counts:
                return False
        tried = {one.host for one in rows.results}
        since = self.emulator.now() - _ACTIVE
        active = (one for one in self.registry.hosts.values() if one.last_rpc >= since)
        return rows.workunit.error_mask == 0 and all(one.name in tried for one in active)

    def _send(
        self, host: Host, rows: Rows, result: Result, version: AppVersion, reply: Reply
    ) -> None:
        platform = " ".join(filter(None, [host.system, host.platform]))
        self.emulator.send(rows, result.instance, host.name, Turn(platform=platform))
        sent = next(one for one in rows.results if one.instance == result.instance)
        self._at[host.name][sent.name] = rows.workunit.id, sent.instance
        self.sent(sent)
        self._assign(rows, sent, version, reply)

    def _assign(self, rows: Rows, result: Result, version: AppVersion, reply: Reply) -> None:
        fpops, key = rows.details.fpops, version.key
        reply.assignments.append(
            self._catalogue.assignment(rows, result, fpops, key, lambda: self._seal(rows, key))
        )

    def _version(self, request: Request, reply: Reply) -> AppVersion | None:
        """Return the app version that fits the host; None if there is none for its platforms."""
        if not reply.versions:
            reply.versions = self._catalogue.versions(request.platforms)
        if not reply.versions:
            return None
        reply.app = reply.versions[0].app, "Python on BOINC"
        return reply.versions[0]
