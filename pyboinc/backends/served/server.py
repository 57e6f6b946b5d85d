"""The served project's process: that of the emulated project, with a web server in a thread.

Real clients are one more taker of unsent results, beside the emulated hosts; one loop changes
the project and commits for both.  News that a master hears beside the usual:

    {"serving": {"url": "http://127.0.0.1:8080/pyboinc_1a2b3c4d/", "keys": ["...", ...]}}

The first key is that of the account for people's own clients, the n-th that of client n.

One with a *leash* outlives its masters (:mod:`pyboinc.backends.served.standing`): when its master
has gone it goes on without one, and it ends when the leash is let go.
"""

from __future__ import annotations

import heapq
import select
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from pyboinc import disk
from pyboinc.backends.local.hosts import is_emulated
from pyboinc.backends.local.server import Options, Server, main, say
from pyboinc.backends.local.store import Rows
from pyboinc.backends.served.addresses import choose, given
from pyboinc.backends.served.gate import Gate
from pyboinc.backends.served.options import ServedOptions
from pyboinc.backends.served.project import Project
from pyboinc.backends.served.registry import PREFIX
from pyboinc.backends.served.scheduler import Policy
from pyboinc.backends.served.web import Web
from pyboinc.errors import ConfigurationError
from pyboinc.project import Result, ServerState

_LOOK = 0.05
"""Seconds between two looks whether the web server has stopped."""


class ServedServer(Server):
    """The loop of the emulated project, which also answers real clients."""

    def __init__(self, options: Options, commands: int, news: int) -> None:
        super().__init__(options, commands, news)
        assert isinstance(options, ServedOptions)
        self._served = options
        self._gate = Gate()
        self._let_go = False
        self._deadlines: list[tuple[float, int, int]] = []

    def _taken_over(self, left: list[tuple[Rows, Result]]) -> list[tuple[Rows, Result]]:
        return [one for one in left if one[1].host is None or is_emulated(one[1].host)]

    def _begin(self) -> None:
        options, state = self._served, Path(self._directory, ".pyboinc")
        for directory in ("", "apps", "apps/built", "keys"):
            disk.remove_temporaries(state / "local" / directory)  # of servers that were killed
        if options.listener >= 0:
            address, sock = given(options.listener, options.host)
        else:
            address, sock = choose(state / "local" / "address", options.host, options.port)
        policy = Policy(clients=options.clients, per_cpu=options.per_cpu)
        self._project = Project(
            self._emulator,
            state,
            self._spool,
            address,
            policy,
            options.max_output,
            options.app,
            Path(options.signing_key) if options.signing_key else None,
        )
        self._project.scheduler.sent = self._sent
        self._project.tidy()
        for host in list(self._project.registry.away(options.clients)):
            self._project.scheduler.detach(host)
        for name, workunit, instance, deadline in self._emulator.store.at_hosts(options.batch):
            if name.startswith(PREFIX):
                heapq.heappush(self._deadlines, (deadline, workunit, instance))
        accounts = [self._project.registry.account_for(n) for n in range(options.clients + 1)]
        self._commit()
        self._web = Web(self._project, self._gate)
        self._web.start(sock)
        keys = [one.key for one in accounts]
        say(self._news, {"serving": {"url": self._project.url, "keys": keys}})

    def _sent(self, result: Result) -> None:
        entry = result.report_deadline, result.workunit, result.instance
        heapq.heappush(self._deadlines, entry)

    def _pass_time(self) -> None:
        """Let the transitioner look at each workunit whose instance has reached its deadline."""
        while self._deadlines and self._deadlines[0][0] <= self._emulator.now():
            _, workunit, instance = heapq.heappop(self._deadlines)
            rows = self._emulator.rows(workunit)
            for one in rows.results:
                if one.instance == instance and one.server_state == ServerState.IN_PROGRESS:
                    self._emulator.settle(rows)

    def _finish(self) -> None:
        """Stop the web server; who has asked something by now is answered."""
        stopping = self._web.stop()
        while not stopping.done():
            if select.select([self._gate], [], [], _LOOK)[0]:
                self._gate.take()
            self._commit()
            self._gate.release()
        self._web.join()

    def _listeners(self) -> Mapping[int, Callable[[], None]]:
        listeners: dict[int, Callable[[], None]] = {self._gate.fileno(): self._gate.take}
        if self._served.leash >= 0:
            listeners[self._served.leash] = self._end
        return listeners

    def _end(self) -> None:
        self._let_go = True

    def _wait(self) -> bool:
        going_on = super()._wait()
        if not going_on and self._served.leash >= 0:
            self._commands = self._news = None  # the master has gone, and the next one comes anew
            self._acks = []
            self._start()  # what is made by now is done
            going_on = True
        return going_on and not self._let_go

    def _urgent(self) -> bool:
        return super()._urgent() or self._gate.answers_wait

    def _committed(self) -> None:
        self._gate.release()

    def _timeout(self) -> float:
        timeout = super()._timeout()
        if self._deadlines:
            timeout = min(timeout, max(0.0, self._deadlines[0][0] - self._emulator.now()))
        return timeout

    def _running(self) -> int:
        return super()._running() + self._project.scheduler.in_progress

    def _first_errors(self) -> list[str]:
        found, self._project.scheduler.news = self._project.scheduler.news, []
        return [*super()._first_errors(), *found]

    def _check_quorum(self, quorum: int) -> None:
        clients, workers = self._served.clients, self._served.workers
        if workers:
            super()._check_quorum(quorum)
        elif clients and quorum > clients:
            raise ConfigurationError(
                f"a quorum of {quorum} needs as many hosts, and there are {clients} clients; "
                f"give --boinc-clients {quorum} or more"
            )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ServedServer, ServedOptions))
