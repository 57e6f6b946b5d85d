"""How many scheduler requests a second the served project answers, with its state on the disk.

    python benchmarks/serve.py [--hosts 10000] [--connections 64] [--directory DIR]

A project's process serves a batch with a job for each host; fake hosts in this process each
attach, get a job, and report that it failed, in two requests as a real client makes them.
Every reply is sent after the commit that makes it durable.  Beside it, in the same run: the
same requests to a bare handler of the same web server, and commits of one row each to a
database of the same kind.  At the end nothing may be lost: each host has had its job, and
each report is in the database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from measuring import verdict

from pyboinc.backends.local.store import Store
from pyboinc.backends.served.options import ServedOptions
from pyboinc.bundle import pack
from pyboinc.jobdir import JobDirectory
from pyboinc.records import Spool

BAR = 500.0
"""Scheduler requests a second on two cores, with durable state (the issue's)."""

EXCHANGES = Path(__file__).parents[1] / "tests" / "data" / "exchanges"
NO_OTHERS = "<other_results>\n</other_results>"
TEMPLATE = (EXCHANGES / "nothing_to_say.xml").read_text()


def request(key: str, host: int, hostid: int, seqno: int, result: str = "") -> bytes:
    """Return what fake host *host* says: a real client's request with its own names in it."""
    text = re.sub("<authenticator>.*?<", f"<authenticator>{key}<", TEMPLATE, count=1)
    text = re.sub("<hostid>.*?<", f"<hostid>{hostid}<", text, count=1)
    text = re.sub("<rpc_seqno>.*?<", f"<rpc_seqno>{seqno}<", text, count=1)
    text = re.sub("<host_cpid>.*?<", f"<host_cpid>{host:032x}<", text, count=1)
    text = re.sub("<p_ncpus>.*?<", "<p_ncpus>1<", text, count=1)
    wanted = 0 if result else 1
    text = re.sub("<work_req_seconds>.*?<", f"<work_req_seconds>{wanted}<", text, count=1)
    text = re.sub(
        "<other_results>.*</other_results>", "<other_results>\n</other_results>", text, flags=re.S
    )
    report = (
        f"<result>\n<name>{result}</name>\n<exit_status>1</exit_status>\n<state>3</state>\n"
        "<stderr_out>\n<![CDATA[\n<stderr_txt>\nValueError\n</stderr_txt>\n]]>\n</stderr_out>\n</result>\n"
    )
    return text.replace("<app_versions>", (report if result else "") + "<app_versions>").encode()


class Hosts:
    """All fake hosts: each makes two requests, some connections at a time."""

    def __init__(self, url: str, key: str, number: int, connections: int) -> None:
        self.url, self.key, self.number, self.connections = url, key, number, connections
        self.lost: list[str] = []
        self.given: set[str] = set()

    async def run(self) -> float:
        """Let all hosts do what they do; return the requests a second."""
        waiting: Iterator[int] = iter(range(self.number))
        connector = aiohttp.TCPConnector(limit=self.connections)
        begun = time.perf_counter()
        async with aiohttp.ClientSession(connector=connector) as session:
            await asyncio.gather(*(self._work(session, waiting) for _ in range(self.connections)))
        return 2 * self.number / (time.perf_counter() - begun)

    async def _work(self, session: aiohttp.ClientSession, waiting: Iterator[int]) -> None:
        for host in waiting:
            first = await self._ask(session, request(self.key, host, 0, 0))
            hostid = re.search("<hostid>([0-9]+)<", first)
            result = re.search("<result>\n    <name>([0-9_]+)<", first)
            if hostid is None or result is None:
                self.lost.append(f"host {host}: {first[:300]}")
                continue
            self.given.add(result.group(1))
            said = request(self.key, host, int(hostid.group(1)), 1, result.group(1))
            second = await self._ask(session, said)
            if f"<result_ack>\n    <name>{result.group(1)}<" not in second:
                self.lost.append(f"host {host}: {second[:300]}")

    async def _ask(self, session: aiohttp.ClientSession, body: bytes) -> str:
        async with session.post(f"{self.url}cgi", data=body) as answer:
            return await answer.text()


def bare(number: int, connections: int) -> float:
    """Return the requests a second to a handler that reads them and says nothing."""
    ready = threading.Event()
    found: dict[str, Any] = {}

    async def handler(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=b"<scheduler_reply>\n</scheduler_reply>\n")

    async def serve() -> None:
        runner = web.ServerRunner(web.Server(handler))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found["port"] = runner.addresses[0][1]
        found["stop"] = asyncio.Event()
        found["loop"] = asyncio.get_running_loop()
        ready.set()
        await found["stop"].wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()

    async def ask() -> float:
        waiting = iter(range(number))
        body = request("0" * 32, 1, 1, 1)
        connector = aiohttp.TCPConnector(limit=connections)
        begun = time.perf_counter()
        async with aiohttp.ClientSession(connector=connector) as session:

            async def work() -> None:
                for _ in waiting:
                    async with session.post(f"http://127.0.0.1:{found['port']}/", data=body) as one:
                        await one.read()

            await asyncio.gather(*(work() for _ in range(connections)))
        return number / (time.perf_counter() - begun)

    rate = asyncio.run(ask())
    found["loop"].call_soon_threadsafe(found["stop"].set)
    thread.join()
    return rate


def commits(directory: Path, number: int) -> float:
    """Return the commits a second, of one row each, to a database like the project's."""
    database = sqlite3.connect(directory / "commits.sqlite", isolation_level=None)
    database.execute("pragma journal_mode = wal")
    database.execute("pragma synchronous = full")
    database.execute("create table row (id integer primary key, value)")
    begun = time.perf_counter()
    for _ in range(number):
        database.execute("insert into row (value) values (?)", ("x" * 200,))
    rate = number / (time.perf_counter() - begun)
    database.close()
    return rate


class Served:
    """A project's process, with one job for each host; spoken to as its master would."""

    def __init__(self, directory: Path, jobs: int) -> None:
        (directory / "app_slave.py").write_text("pass\n")
        job_directory = JobDirectory(directory)
        job_directory.lock()
        bundle = pack(directory, "app_slave.py")
        (job_directory.state / "bundles").mkdir()
        (job_directory.state / "bundles" / f"{bundle.digest}.zip").write_bytes(bundle.data)
        spool = job_directory.spool
        assert isinstance(spool, Spool)
        for _ in range(jobs):
            spool.append("app_slave.py", bundle.digest, 1, {"max_errors": 1}, b"input")
        spool.sync()
        (job_directory.state / "local").mkdir()
        store = Store(job_directory.state / "local" / "project.sqlite")
        batch = store.batch("benchmark")
        store.close()
        self.database = job_directory.state / "local" / "project.sqlite"
        options = ServedOptions(
            directory=str(directory),
            batch=batch,
            seed=1,
            failure_rate=0.0,
            faults="",
            latency="0",
            hosts=1,
            workers=0,
            isolation="fork",
            max_output=1000,
            slaves=(),
            modules=(),
            archives={},
            per_cpu=1,
        )
        command = [sys.executable, "-m", "pyboinc.backends.served.server", options.as_json()]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        limits = {"max_errors": 1, "fpops": 1e9}
        self._say({"submit": [0, jobs], "at": 0, "limits": limits, "modules": []})
        self.at: dict[str, Any] = {}
        assert self.process.stdout is not None
        for line in self.process.stdout:
            news = json.loads(line)
            self.at = news.get("serving", self.at)
            if "ack" in news:
                break

    def _say(self, command: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()

    def stop(self) -> None:
        """End it."""
        self.process.communicate()


def main() -> None:
    """Measure, and hold the figure against the bar."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--directory", default=None, help="where the project's files are to lie")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as name:
        place = Path(name)
        served = Served(place, given.hosts)
        hosts = Hosts(served.at["url"], served.at["keys"][0], given.hosts, given.connections)
        rate = asyncio.run(hosts.run())
        served.stop()
        database = sqlite3.connect(served.database)
        ((reported,),) = database.execute("select count(*) from result where outcome = 3")
        database.close()
        figures = {
            "scheduler requests, durable": rate,
            "bare handler, same requests": bare(min(given.hosts, 5000), given.connections),
            "commits of one row": commits(place, min(given.hosts, 2000)),
        }
        for what, figure in figures.items():
            print(f"{what:30} {figure:8.0f} a second")
        print(f"{given.hosts} hosts, {len(hosts.given)} jobs, {reported} reports in the database")
        for line in hosts.lost[:5]:
            print("lost:", line)
        lost = len(hosts.lost) + given.hosts - reported + given.hosts - len(hosts.given)
    print(verdict("durable scheduler requests", rate, "requests/s", BAR, True))
    print(verdict("lost hosts, jobs and reports", lost, "", 0, False))


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    main()
