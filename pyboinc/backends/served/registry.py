"""Who may ask for work: the accounts of the served project, and the hosts that have come.

All of it is in memory and in tables of the emulated project's database; a change is written
with the next commit, before the client hears of it.

A client that PyBOINC itself starts has an account of its own, so that a second one can not
report what was sent to the first, and so that it is known when one begins anew with nothing.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import astuple, dataclass, fields
from hashlib import md5

from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.served.messages import Request

PREFIX = "boinc-"
"""What the name of a real host begins with; an emulated one is called ``host-N``."""


@dataclass(slots=True)
class Account:
    """A volunteer: *key* is what BOINC calls the authenticator.

    *client* is the number of the client that was started for it, 0 for people's accounts;
    *password* is an MD5, as clients make it of the password and the e-mail address.
    """

    id: int
    key: str
    name: str
    email: str = ""
    password: str = ""
    client: int = 0
    created: float = 0.0


@dataclass(slots=True)
class Host:
    """A client's computer, as far as it has told; times in seconds since the epoch.

    *quota* is how many results it may get in a day, and *today* how many it got on *day*.
    """

    id: int
    account: int
    cpid: str = ""
    rpc_seqno: int = 0
    created: float = 0.0
    last_rpc: float = 0.0
    cpus: int = 1
    domain: str = ""
    system: str = ""
    platform: str = ""
    version: str = ""
    flops: float = 0.0
    quota: int = 0
    day: int = 0
    today: int = 0

    @property
    def name(self) -> str:
        """What the host is called in results and reports."""
        return f"{PREFIX}{self.id}"


_ACCOUNTS = [field.name for field in fields(Account)]
_HOSTS = [field.name for field in fields(Host)]
_SCHEMA = (
    f"create table if not exists account (id integer primary key, {', '.join(_ACCOUNTS[1:])})",
    f"create table if not exists host (id integer primary key, {', '.join(_HOSTS[1:])})",
    "create table if not exists served (name text primary key, value)",
)


def _put(table: str, columns: list[str]) -> str:
    marks = ", ".join("?" * len(columns))
    return f"insert or replace into {table} ({', '.join(columns)}) values ({marks})"


_PUT_ACCOUNT, _PUT_HOST = _put("account", _ACCOUNTS), _put("host", _HOSTS)
_PUT_VALUE = _put("served", ["name", "value"])


class Registry:
    """The accounts and hosts of one project, read from its database."""

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        store = emulator.store
        for statement in _SCHEMA:
            store.ask(statement)
        accounts = store.ask(f"select {', '.join(_ACCOUNTS)} from account")
        hosts = store.ask(f"select {', '.join(_HOSTS)} from host")
        self._values = dict(store.ask("select name, value from served"))
        self.accounts = {row[0]: Account(*row) for row in accounts}
        self.hosts = {row[0]: Host(*row) for row in hosts}
        self._by_key = {one.key: one for one in self.accounts.values()}
        self._by_email = {one.email: one for one in self.accounts.values() if one.email}
        self._of_account: defaultdict[int, list[Host]] = defaultdict(list)
        self._by_cpid: dict[tuple[int, str], Host] = {}
        self._last = max(self.hosts, default=0)
        for host in self.hosts.values():
            self._of_account[host.account].append(host)
            self._by_cpid[host.account, host.cpid] = host

    # What is kept of the project itself.

    def value(self, name: str, default: str) -> str:
        """Return what is kept under *name*; *default* is kept if there is nothing yet."""
        if name not in self._values:
            self.keep(name, default)
        return str(self._values[name])

    def keep(self, name: str, value: str) -> None:
        """Keep *value* under *name*."""
        self._values[name] = value
        self._emulator.write_too(("served", name), _PUT_VALUE, (name, value))

    # Accounts.

    def account(self, key: str) -> Account | None:
        """Return the account with this key."""
        return self._by_key.get(key)

    def account_of(self, email: str) -> Account | None:
        """Return the account with this e-mail address."""
        return self._by_email.get(email.lower())

    def account_for(self, client: int) -> Account:
        """Return the account of the client of this number; 0 is for people's own clients."""
        for one in self.accounts.values():
            if one.client == client and not one.email:
                return one
        return self._new_account(f"client {client}" if client else "volunteer", client=client)

    def new_account(self, name: str, email: str, password: str) -> Account:
        """Make an account for a person."""
        return self._new_account(name, email=email.lower(), password=password)

    def _new_account(
        self, name: str, email: str = "", password: str = "", client: int = 0
    ) -> Account:
        number, now = max(self.accounts, default=0) + 1, self._emulator.now()
        made = Account(number, secrets.token_hex(16), name, email, password, client, now)
        self.accounts[number] = self._by_key[made.key] = made
        if email:
            self._by_email[email] = made
        self._emulator.write_too(("account", number), _PUT_ACCOUNT, astuple(made))
        return made

    # Hosts.

    def host(self, account: Account, request: Request) -> tuple[Host, bool]:
        """Return the host that asks, and whether it has to be told its number.

        A count of requests that went back means that the client's files were copied to
        another computer, or were not written before it was killed.  In the second case it has
        the same CPID still, and keeps what it has; a real server takes it for a new host, too.
        """
        known = self.hosts.get(request.hostid)
        if known is not None and known.account == account.id:
            if request.rpc_seqno >= known.rpc_seqno or request.cpid == known.cpid:
                return known, False
            return self._new_host(account), True
        same = self._by_cpid.get((account.id, request.cpid)) if request.cpid else None
        return same or self._new_host(account), True

    def _new_host(self, account: Account) -> Host:
        self._last += 1
        host = Host(self._last, account.id, created=self._emulator.now())
        self.hosts[host.id] = host
        self._of_account[account.id].append(host)
        return host

    def of_account(self, account: Account) -> list[Host]:
        """Return the hosts of *account*, in the order in which they came."""
        return self._of_account[account.id]

    def note(self, host: Host, request: Request) -> None:
        """Take over what *host* tells of itself."""
        host.cpid, host.rpc_seqno = request.cpid, request.rpc_seqno
        self._by_cpid[host.account, host.cpid] = host
        host.last_rpc = self._emulator.now()
        host.cpus, host.flops = request.cpus, request.flops
        host.domain, host.system = request.host_name, request.system
        host.platform = request.platforms[0] if request.platforms else ""
        host.version = request.version
        self.write(host)

    def write(self, host: Host) -> None:
        """Have *host* written with the next commit."""
        self._emulator.write_too(("host", host.id), _PUT_HOST, _values(host))

    def owner_of(self, name: str | None) -> int | None:
        """Return the account of the host of this *name*; None if there is no such host."""
        number = (name or "").removeprefix(PREFIX)
        known = self.hosts.get(int(number)) if number.isdecimal() and number.isascii() else None
        return known.account if known is not None and known.name == name else None

    def away(self, clients: int) -> Iterator[Host]:
        """Yield the hosts of clients that are not started any more: only *clients* are."""
        for host in self.hosts.values():
            if self.accounts[host.account].client > clients:
                yield host


def _values(host: Host) -> tuple[object, ...]:
    """As ``dataclasses.astuple``, which copies each value and takes ten times as long."""
    return tuple([getattr(host, name) for name in _HOSTS])


def email_hash(account: Account) -> str:
    """Return what a client shows pictures by: the MD5 of the e-mail address."""
    return md5(account.email.encode(), usedforsecurity=False).hexdigest()
