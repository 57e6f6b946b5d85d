"""Masters whose project is served, and fake clients that do its jobs over HTTP until they end."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from fake_client import FakeClient
from masters import MASTER, SLAVE, Place, Run, finish
from starter import Process

from pyboinc import codec

PLAIN = {
    "app_slave.py": SLAVE.replace(
        "Output(pyboinc_get_input().number ** 2)", "pyboinc_get_input().number ** 2"
    ),
}
"""A slave whose outputs are plain numbers, so that a fake client can make them, too."""


def place_of(path: Path, calls: int) -> Place:
    """A job directory whose answer is the sum of the squares of so many numbers."""
    return Place(path, {**PLAIN, "app_master.py": MASTER.format(calls=calls).replace(".value", "")})


def square(sequence: int) -> bytes:
    """What the slave of ``masters.SLAVE`` would return for job *sequence*."""
    return codec.encode(sequence**2)


@dataclass(frozen=True)
class Address:
    """Where a project is served, and the keys of its accounts: people's, then each client's."""

    url: str
    keys: tuple[str, ...]

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> tuple[int, bytes]:
        """Fetch *path*; return status and body."""
        request = urllib.request.Request(self.url + path, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def post(self, path: str, body: bytes) -> bytes:
        """Post *body*, as a client does."""
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        request = urllib.request.Request(self.url + path, body, kind)
        with urllib.request.urlopen(request, timeout=60) as answer:
            data: bytes = answer.read()
            return data


def address_of(place: Place, process: Process) -> Address:
    """Wait until the master of *place* serves, and return where."""
    while True:
        try:
            at = json.loads((place / ".pyboinc/local/address").read_text())
            (word,) = place.select("select value from served where name = 'word'")[0]
            keys = [str(key) for (key,) in place.select("select key from account order by client")]
            if keys:
                return Address(f"http://{at['host']}:{at['port']}/{word}/", tuple(keys))
        except (OSError, ValueError, IndexError, sqlite3.Error):
            pass
        assert pause(process), "the master ended before it served"


def serve(
    place: Place, *flags: str, environ: Mapping[str, str] | None = None
) -> tuple[Process, Address]:
    """Let a server stand in *place*; return it and where it serves, when it does."""
    command = (sys.executable, "-m", "pyboinc", "serve")
    process = place.start(*flags, ".", environ=environ, command=command)
    while not listens(place):
        assert pause(process), f"it does not stand: {process.communicate()}"
    return process, address_of(place, process)


def listens(place: Place) -> bool:
    """Whether masters can come: an address may be that of a server that was killed."""
    try:
        directory = os.open(place / ".pyboinc/local", os.O_RDONLY)
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as caller:
        try:
            caller.connect(f"/proc/self/fd/{directory}/socket")  # however deep it lies
            return True
        except OSError:
            return False
        finally:
            os.close(directory)


def stop(process: Process, number: int = signal.SIGTERM) -> Run:
    """End a server that stands; return how it ended."""
    os.kill(process.pid, number)
    return finish(process)


def pause(process: Process) -> bool:
    """Let a twentieth of a second pass, or less if *process* ends; return whether it runs on."""
    try:
        process.wait(0.05)
        return False
    except subprocess.TimeoutExpired:
        return True


@dataclass
class Crowd:
    """Fake clients in threads: they work until the master ends, whatever becomes of its server."""

    place: Place
    process: Process
    number: int = 2
    cpus: int = 2
    work: Callable[[FakeClient, str, int], None] = lambda client, name, n: client.finish(
        name, square(n)
    )
    clients: list[FakeClient] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)

    def run(self) -> Run:
        """Do the jobs; return how the master ended."""
        address = address_of(self.place, self.process)
        self.clients = [
            FakeClient(address.keys[0], address.post, f"{n:032x}", cpus=self.cpus)
            for n in range(self.number)
        ]
        threads = [threading.Thread(target=self._live, args=(one,)) for one in self.clients]
        for thread in threads:
            thread.start()
        try:
            ended = finish(self.process)
        finally:
            self._over.set()
        for thread in threads:
            thread.join()
        assert self.problems == [], ended
        return ended

    def _live(self, client: FakeClient) -> None:
        while not self._over.wait(0.05):
            try:
                self._turn(client)
            except urllib.error.HTTPError as problem:
                self.problems.append(f"{problem} {problem.read()!r}")
                os.kill(self.process.pid, signal.SIGKILL)
                return
            except (OSError, HTTPException):
                continue  # the server was killed; the next one is there in a moment
            except Exception as problem:  # noqa: BLE001  # told at the end, by the test
                self.problems.append(repr(problem))
                os.kill(self.process.pid, signal.SIGKILL)
                return

    def _turn(self, client: FakeClient) -> None:
        client.ask()
        for name in list(client.tasks):
            if all(one.name != name for one in client.reports):
                self.work(client, name, int(name.split("_")[1]))
