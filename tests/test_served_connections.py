"""How long the web server keeps a connection, and how it ends: with shortened waits."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from served_bench import ServedBench

from pyboinc.backends.served import web
from pyboinc.backends.served.addresses import bound
from pyboinc.backends.served.gate import Gate
from pyboinc.backends.served.server import ServedServer
from pyboinc.backends.served.web import Web

PATIENCE = 60.0


class Site:
    """A project's web server, in a thread; its gate is looked after by the test."""

    def __init__(self, path: Path) -> None:
        self.bench = ServedBench(path)
        self.bench.keep()
        self.path = self.bench.project.path
        self.gate = Gate()
        self.web = Web(self.bench.project, self.gate)
        sock = bound("127.0.0.1", 0)
        self.port = sock.getsockname()[1]
        self.web.start(sock)
        self.stopped = False

    def connect(self, said: bytes = b"") -> socket.socket:
        """A connection on which *said* was sent."""
        sock = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        sock.sendall(said)
        return sock

    def head(self, method: str, name: str, *lines: str) -> bytes:
        """The head of a request."""
        return "\r\n".join(
            [f"{method} {self.path}{name} HTTP/1.1", "Host: x", *lines, "", ""]
        ).encode()

    def stop(self) -> None:
        """Stop as the project's loop does."""
        self.stopped = True
        loop: Any = SimpleNamespace(
            _web=self.web, _gate=self.gate, _commit=self.bench.emulator.commit
        )
        ServedServer._finish(loop)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(web, "SILENCE", 0.2)
    monkeypatch.setattr(web, "_SWEEP", 0.05)
    site = Site(tmp_path)
    yield site
    if not site.stopped:
        site.stop()


def rest(sock: socket.socket) -> bytes:
    """What still comes until the other side closes; that it does is the promise."""
    parts = []
    with sock:
        try:
            while part := sock.recv(1 << 16):
                parts.append(part)
        except ConnectionResetError:
            pass
    return b"".join(parts)


def test_who_says_nothing_or_half_is_let_go(site: Site) -> None:
    """Strangers: silent before, within and after a request: closed; others are served meanwhile."""
    asked = site.head("GET", "get_project_config.php")
    silent = [site.connect(), site.connect(b"GET /"), site.connect(asked[:-2])]
    after = site.connect(asked)
    told = rest(after)
    assert told.startswith(b"HTTP/1.1 200 ") and told.count(b"<project_config>") == 1
    assert [rest(one) for one in silent] == [b""] * len(silent)
    assert rest(site.connect(asked)).startswith(b"HTTP/1.1 200 ")


def test_who_sends_half_of_a_body_is_told(site: Site) -> None:
    """Protocol: a client that falls silent in its request hears 408, and that it is let go."""
    body = site.head("POST", "cgi", "Content-Length: 100")
    chunks = site.head("POST", "file_upload_handler", "Transfer-Encoding: chunked")
    silent = [body, body + b"<scheduler", chunks + b"5\r\n<data\r\n"]
    for answer in map(rest, map(site.connect, silent)):
        assert_gone(answer)


def assert_gone(answer: bytes) -> None:
    """It says that the request took too long, and that the connection is closed."""
    assert answer.startswith(b"HTTP/1.1 408 "), answer
    assert b"\r\nConnection: close\r\n" in answer, answer


def test_who_sends_half_of_a_file_sends_the_rest_later(site: Site) -> None:
    """Protocol: a client that falls silent in an upload hears 408, and what came is kept."""
    site.bench.create()
    client = site.bench.client()
    client.ask()
    (name,) = client.tasks
    said: list[bytes] = []
    post, client.post = client.post, lambda address, body: said.append(body) or b""
    client.upload(name, b"x" * 100)
    length = f"Content-Length: {len(said[0])}"
    sock = site.connect(site.head("POST", "file_upload_handler", length) + said[0][:-40])
    assert select.select([site.gate], [], [], PATIENCE)[0]
    site.gate.take()
    site.gate.release()
    assert_gone(rest(sock))
    client.post = post
    assert "<file_size>60</file_size>" in client.size(name)
    assert "<status>0</status>" in client.upload(name, b"x" * 100, start=60)


def test_who_drips_is_let_go(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers: a byte now and then is no silence; a request has an end all the same."""
    monkeypatch.setattr(web, "_LONGEST", 1.0)
    sock = site.connect(site.head("POST", "cgi", "Content-Length: 100000"))
    sock.settimeout(0.02)
    going_on = True
    while going_on:
        try:
            sock.sendall(b"x")
            going_on = bool(sock.recv(1000))
        except TimeoutError:
            continue
        except OSError:
            going_on = False
    sock.close()


def test_who_is_slow_but_not_silent_is_waited_for(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Protocol: a client on a slow line, whose request takes longer than a silence, is answered."""
    monkeypatch.setattr(web, "SILENCE", 2.0)
    body = b"<scheduler_request>" * 5
    sock = site.connect(
        site.head("POST", "cgi", f"Content-Length: {len(body)}", "Connection: close")
    )
    begun = time.monotonic()
    for byte in body[:-1]:
        sock.sendall(bytes([byte]))
        time.sleep(2.5 / len(body))  # what a slow line is
    assert time.monotonic() - begun > web.SILENCE
    sock.sendall(body[-1:])
    answer = rest(sock)
    assert answer.startswith(b"HTTP/1.1 200 ") and b"incomplete request" in answer


def test_who_has_asked_is_answered_before_the_end(site: Site) -> None:
    """Durability: a request that is being answered when the server ends is not left without one."""
    client = site.bench.client()
    answers: list[bytes] = []
    body = client.request()
    sock = site.connect(site.head("POST", "cgi", f"Content-Length: {len(body)}") + body)
    reader = threading.Thread(target=lambda: answers.append(rest(sock)))
    reader.start()
    while not site.gate._waiting:
        assert reader.is_alive()
        reader.join(0.01)
    site.stop()
    reader.join(PATIENCE)
    assert b"</scheduler_reply>" in answers[0]
    with pytest.raises(ConnectionRefusedError):
        site.connect()
