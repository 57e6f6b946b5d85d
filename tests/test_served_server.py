"""The served project over HTTP: a master, its project's process, and fake clients."""

from __future__ import annotations

import fcntl
import os
import random
import re
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_client import FakeClient
from masters import Place, crash, finish
from served_masters import Address, Crowd, address_of, pause, place_of, square
from starter import Process

from pyboinc.backends.served import web

SERVE = ("--serve", "127.0.0.1:0")
ALONE = (sys.executable, "app_master.py")
"""Without --workers, which the tests' own command has: clients do all of the work."""

ANSWER = "The answer is 140\n"  # of eight calls


def test_fake_clients_do_the_jobs(tmp_path: Path) -> None:
    """Protocol: over HTTP, from the first request to the last answer, the result is right."""
    place = place_of(tmp_path / "job", 8)
    run = Crowd(place, place.start(*SERVE, command=ALONE)).run()

    place.check(run, ANSWER)
    assert "to attach one: boinccmd --project_attach http://127.0.0.1:" in run.stderr


def test_emulated_hosts_and_clients_work_on_one_batch(tmp_path: Path) -> None:
    """Together: with --workers both kinds of host take from one queue, and all jobs are done."""
    place = place_of(tmp_path / "job", 120)
    slave = place / "app_slave.py"
    slave.write_text(f"import time\n{slave.read_text()}time.sleep(0.02)\n")
    run = Crowd(place, place.start(*SERVE), cpus=1).run()
    place.check(run)
    hosts = {str(host).partition("-")[0] for (host,) in place.select("select host from result")}
    assert hosts == {"host", "boinc"}


STEPS = [
    ("write rows", "*"),
    ("sync uploads", "*"),
    ("deliver", "*"),
    ("publish", ".pyboinc/local/keys/*"),
    ("publish", ".pyboinc/local/address"),
    ("publish", ".pyboinc/local/apps/*"),
    ("remove", ".pyboinc/local/incoming/*"),
]


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_a_server_that_is_killed_loses_nothing_and_repeats_nothing(
    tmp_path: Path, step: tuple[str, str], seed: int
) -> None:
    """Durability: killed before a step in mid-batch, another server goes on with all of it."""
    place = place_of(tmp_path / "job", 8)
    number = random.Random(seed).choice([1, 2, 3]) if step[0] in ("write rows", "deliver") else 1
    environ = crash(*step, number, who="server")
    process = place.start(*SERVE, environ=environ, command=ALONE)
    run = Crowd(place, process).run()

    assert place.crashed(), f"{step} was not reached {number} times"
    place.check(run, ANSWER)
    repeated = "select count(*) from result where outcome = 1 group by workunit having count(*) > 1"
    assert place.select(repeated) == []
    assert place.select("select count(*) from result where host is not null")[0] == (8,)


def test_a_master_that_is_killed_finds_its_clients_again(tmp_path: Path) -> None:
    """Durability: the same address, the same hosts, and what they had is still theirs."""
    place = place_of(tmp_path / "job", 8)
    first = place.start(*SERVE, command=ALONE)
    before = address_of(place, first)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    place.wait_for_processes()
    again = place.start(*SERVE, command=ALONE)
    run = Crowd(place, again).run()

    place.check(run, ANSWER)
    at = (place / ".pyboinc/local/address").read_text()
    assert f'"port": {before.url.split(":")[2].split("/")[0]}' in at


def test_what_clients_had_is_done_here_when_nobody_serves_any_more(tmp_path: Path) -> None:
    """Together: a run without --serve takes back what real hosts have, and ends."""
    place = place_of(tmp_path / "job", 8)
    process = place.start(*SERVE, command=ALONE)
    address = address_of(place, process)
    client = FakeClient(address.keys[0], address.post)
    while not client.tasks:
        client.ask()
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    place.wait_for_processes()

    place.check(place.run(), ANSWER)
    detached = place.select("select count(*) from result where outcome = 7")[0][0]
    assert detached == len(client.tasks)


# ---------------------------------------------------------------- one server, many questions


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Address]]:
    """A project that is served and whose jobs nobody does."""
    place = Place(tmp_path_factory.mktemp("served") / "job", calls=8)
    process = place.start(*SERVE, command=ALONE)
    address = address_of(place, process)
    while place.select("select count(*) from workunit") != [(8,)]:
        assert pause(process), "the master ended before its jobs were made"
    yield place, address
    os.kill(process.pid, signal.SIGINT)
    process.communicate()
    place.wait_for_processes()


def test_the_master_page_leads_to_the_scheduler(served: tuple[Place, Address]) -> None:
    """Protocol: the link stands on a line of its own, short enough for the client's buffer."""
    _, address = served
    status, page = address.get("")

    assert status == 200
    link = f'<link rel="boinc_scheduler" href="{address.url}cgi">'
    assert link in page.decode().splitlines()
    assert max(map(len, page.splitlines())) < 256


def test_accounts_are_made_and_looked_up(served: tuple[Place, Address]) -> None:
    """Protocol: what the Manager and boinccmd ask before they attach, and what can be wrong."""
    _, address = served
    who = f"email_addr=a%40b.c&passwd_hash={'5' * 32}"
    status, configuration = address.get("get_project_config.php")
    assert status == 200 and f"<master_url>{address.url}<".encode() in configuration
    assert b"<error_num>-136<" in address.get(f"lookup_account.php?{who}")[1]
    made = address.get(f"create_account.php?{who}&user_name=Ada")[1]
    assert re.search(rb"<authenticator>[0-9a-f]{32}</authenticator>", made)
    assert address.get(f"create_account.php?{who}")[1] == made
    assert address.get(f"lookup_account.php?{who}")[1] == made
    wrong = f"email_addr=a%40b.c&passwd_hash={'6' * 32}"
    assert b"<error_num>-206<" in address.get(f"lookup_account.php?{wrong}")[1]
    assert b"<error_num>-205<" in address.get("create_account.php?email_addr=x")[1]


def test_downloads_whole_and_in_part(served: tuple[Place, Address]) -> None:
    """Protocol: a download that broke goes on where it was; one that is complete is told so."""
    _, address = served
    status, data = address.get("download/1_0.in")
    assert status == 200
    size = len(data)
    assert address.get("download/1_0.in", {"Range": "bytes=10-"}) == (206, data[10:])
    assert address.get("download/1_0.in", {"Range": "bytes=2-5"}) == (206, data[2:6])
    assert address.get("download/1_0.in", {"Range": f"bytes={size}-"})[0] == 416
    assert address.get("download/1_0.in", {"Range": "nonsense"})[1] == data


@pytest.mark.parametrize(
    "name",
    [
        "1_99.in",
        "2_0.in",
        "x",
        "..%2f..%2fspool",
        "%2e%2e/keys/upload",
        "code_sign",
        "1_0.in%00",
        "%ff",
    ],
)
def test_nothing_else_can_be_downloaded(served: tuple[Place, Address], name: str) -> None:
    """Strangers: no name leads out of what is offered."""
    _, address = served
    status, body = address.get(f"download/{name}")

    assert status == 404 and b"1024" not in body


def test_what_is_no_request_is_answered(served: tuple[Place, Address]) -> None:
    """Strangers: noise gets a reply that says so, and the next client is served."""
    _, address = served
    for noise in (b"", b"\0" * 1000, b"GET / HTTP", b"<scheduler_request>" * 100):
        answer = address.post("cgi", noise)
        assert answer.startswith(b"<scheduler_reply>") and b"incomplete request" in answer
        assert b"<status>-1</status>" in address.post("file_upload_handler", noise)
    assert address.get("")[0] == 200


def test_too_much_is_cut_off(served: tuple[Place, Address]) -> None:
    """Strangers: a request that does not end is not read to its end."""
    _, address = served
    host, port = address.url.split("/")[2].split(":")
    path = "/" + address.url.split("/")[3] + "/cgi"
    with socket.create_connection((host, int(port))) as sock:
        sock.settimeout(60)
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        sock.sendall(head.encode())
        chunk = b"100000\r\n" + b"x" * 0x100000 + b"\r\n"
        try:
            for _ in range(11):
                sock.sendall(chunk)
            answer = sock.recv(100)
        except (BrokenPipeError, ConnectionResetError):
            answer = b"HTTP/1.1 413 "
    assert answer.startswith(b"HTTP/1.1 413")
    assert address.get("")[0] == 200


def test_a_connection_that_says_nothing_keeps_nobody_waiting(
    served: tuple[Place, Address],
) -> None:
    """Strangers: many connections with half a request each, and clients are served all the same."""
    _, address = served
    host, port = address.url.split("/")[2].split(":")
    idle = []
    for _ in range(200):
        sock = socket.create_connection((host, int(port)))
        sock.sendall(b"POST /x HTTP/1.1\r\nHost: ")
        idle.append(sock)
    assert address.get("")[0] == 200
    for sock in idle:
        sock.close()


def test_no_page_is_where_none_should_be(served: tuple[Place, Address]) -> None:
    """Strangers: another path, another method: a plain refusal."""
    _, address = served
    assert address.get("../etc/passwd")[0] == 404
    assert address.get("cgi")[0] == 405
    assert web.SILENCE < 60


def test_an_address_that_is_taken_is_said(tmp_path: Path) -> None:
    """Errors: the message names the address and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = Place(tmp_path / "job")
        run = place.run("--serve", f"127.0.0.1:{taken.getsockname()[1]}")
    assert run.code == 3
    assert "can not be served at 127.0.0.1" in run.stderr and "or port 0" in run.stderr


def test_a_quorum_needs_as_many_clients(tmp_path: Path) -> None:
    """Errors: a quorum that the clients can never reach is refused, not waited for."""
    place = Place(tmp_path / "job")
    bin_directory = place / "bin"
    bin_directory.mkdir()
    (bin_directory / "boinc").write_text("#!/bin/sh\nexec sleep 1000\n")
    (bin_directory / "boinc").chmod(0o755)
    path = f"{bin_directory}:{os.environ['PATH']}"
    run = place.run("--boinc-clients=2", "--quorum=3", command=ALONE, environ={"PATH": path})
    assert run.code == 2
    assert "give --boinc-clients 3 or more" in run.stderr
    place.wait_for_processes()


def test_without_a_client_the_message_says_how_to_get_one(tmp_path: Path) -> None:
    """Errors: no boinc on PATH."""
    place = Place(tmp_path / "job")
    run = place.run("--boinc-clients=1", environ={"PATH": "/nowhere"})

    assert run.code == 2
    assert "apt-get install boinc-client" in run.stderr


def test_a_master_that_is_stopped_does_not_stop_the_server(tmp_path: Path) -> None:
    """Together: ^Z stops a master alone; clients go on, however much news there is for it."""
    place = place_of(tmp_path / "job", 100)
    master = place.start(*SERVE, command=ALONE)
    address = address_of(place, master)
    client = FakeClient(address.keys[0], address.post)
    made = "select count(*) from workunit"
    while place.select(made) != [(100,)] or not client.tasks:
        assert pause(master)
        client.ask()
    os.kill(master.pid, signal.SIGSTOP)
    shrink_news(place, master)
    while client.tasks:
        name = next(iter(client.tasks))
        client.finish(name, square(int(name.split("_")[1])))
        client.ask(0.0)
        client.ask()
    done = place.select("select count(*) from workunit where canonical_instance is not null")
    assert done == [(100,)]
    os.kill(master.pid, signal.SIGCONT)
    place.check(finish(master), "The answer is 328350\n")


def shrink_news(place: Place, master: Process) -> None:
    """Let little news fit into the pipe from the server to its master."""
    word = b"pyboinc.backends.served.server"
    (server,) = [p for p in place.processes() if word in Path(f"/proc/{p}/cmdline").read_bytes()]
    theirs = {os.readlink(path) for path in Path(f"/proc/{server}/fd").iterdir()}
    shared = [
        path
        for path in Path(f"/proc/{master.pid}/fd").iterdir()
        if (link := os.readlink(path)).startswith("pipe:") and link in theirs
    ]
    for path in shared:
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, 4096)
        os.close(descriptor)
    assert shared
