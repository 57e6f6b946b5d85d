"""A server that stands (``pyboinc serve DIR``): masters come and go, and clients stay."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_client import FakeClient
from masters import Place, finish
from served_masters import Address, Crowd, pause, place_of, serve, square, stop
from starter import Process

from pyboinc import config
from pyboinc.backends.served import standing
from pyboinc.errors import BackendError
from pyboinc.locks import lock_holder

ALONE = (sys.executable, "app_master.py")
VERB = (sys.executable, "-m", "pyboinc")
ANSWER = "The answer is 140\n"  # of eight calls


def until(condition: Callable[[], object], *processes: Process) -> None:
    """Wait until *condition* holds; fail if one of the *processes* ends first."""
    while not condition():
        for process in processes:
            assert pause(process), f"it has ended: {process.communicate()}"


def made(place: Place, jobs: int) -> Callable[[], bool]:
    """Whether so many jobs have been made."""

    def are_made() -> bool:
        try:
            return place.select("select count(*) from workunit") == [(jobs,)]
        except sqlite3.Error:
            return False  # there is no database yet

    return are_made


def kill(process: Process) -> None:
    """SIGKILL to a process and what is in its group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def do_all(client: FakeClient, most: int = 1000) -> int:
    """Let a client do jobs, *most* of them, until there are none; return how many it did."""
    done = 0
    while done < most:
        client.ask()
        names = [name for name in client.tasks if all(one.name != name for one in client.reports)]
        if not names:
            return done
        for name in names[: most - done]:
            client.finish(name, square(int(name.split("_")[1])))
            done += 1
    client.ask(0.0)
    return done


def client_of(address: Address) -> FakeClient:
    return FakeClient(address.keys[0], address.post, cpus=2)


def project_process(place: Place) -> int:
    """The process of the project, which does the work of a server that stands."""
    word = b"pyboinc.backends.served.server"
    (found,) = [
        one for one in place.processes() if word in Path(f"/proc/{one}/cmdline").read_bytes()
    ]
    return found


def test_masters_come_and_go_while_the_server_stands(tmp_path: Path) -> None:
    """Standing: a master is killed, clients do its jobs, the next one ends, a batch follows."""
    place = place_of(tmp_path / "job", 8)
    server, address = serve(place)
    client = client_of(address)
    assert "no work" in client.ask().lower() or not client.tasks
    first = place.start(command=ALONE)
    until(made(place, 8), first, server)
    client.ask()
    assert client.tasks
    kill(first)

    assert do_all(client) == 8, "clients go on without a master"
    status, page = address.get("")
    assert status == 200 and f"{address.url}cgi".encode() in page
    second = place.run(command=ALONE)
    assert second.stdout == ANSWER, second
    assert f"pyboinc serve, process {server.pid}" in second.stderr
    assert place.select("select count(*) from result where outcome = 1") == [(8,)]

    third = Crowd(place, place.start("--fresh", command=ALONE)).run()
    assert third.stdout == ANSWER, third
    assert address.get("")[0] == 200
    ended = stop(server)
    assert (ended.code, ended.stdout) == (0, ""), ended
    assert ended.stderr.count(f"boinccmd --project_attach {address.url} {address.keys[0]}") == 1
    place.check(third, ANSWER)


def test_a_master_goes_on_with_the_next_server(tmp_path: Path) -> None:
    """Standing: the project's process is killed, then the server; what clients had is theirs."""
    place = place_of(tmp_path / "job", 8)
    server, address = serve(place)
    master = place.start(command=ALONE)
    until(made(place, 8), master, server)
    os.kill(project_process(place), signal.SIGKILL)
    client = client_of(address)
    assert do_all(client, most=3) == 3, "another process is there, and nobody was refused"
    client.ask()
    assert client.tasks
    os.kill(server.pid, signal.SIGKILL)
    server.communicate()
    again, there = serve(place)
    assert there == address, "clients find it where it was"
    assert do_all(client) == 5
    run = finish(master)

    assert stop(again, signal.SIGINT).code == 0
    place.check(run, ANSWER)
    assert run.stderr.count("the server that stood here has ended; waiting") == 1, run.stderr
    assert place.select("select count(*) from result where host is not null") == [(8,)]


def test_a_project_that_always_dies_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Standing: a process that can not live is not started for ever; a message says so."""
    started: list[Any] = []

    def start(program: str, options: str, **how: Any) -> Any:
        started.append(subprocess.Popen(["false"], **how))
        return started[-1]

    monkeypatch.setattr(standing, "start", start)
    with pytest.raises(BackendError, match=r"died 6 times \(the last time with status 1\)"):
        standing.serve(tmp_path, config.load(tmp_path, environ={}))
    assert len(started) == 6
    assert not (tmp_path / ".pyboinc/local/socket").exists()
    assert lock_holder(tmp_path / ".pyboinc/local/standing") is None


def test_none_stands_beside_a_master_s_own(tmp_path: Path) -> None:
    """Standing: beside a master with a server of its own, none can stand; the message says who."""
    place = place_of(tmp_path / "job", 8)
    master = place.start("--serve=127.0.0.1:0", command=ALONE)
    until(made(place, 8), master)
    beside = place.run("serve", command=VERB)
    assert beside.code == 3
    assert f"a master (process {master.pid}) is at work" in beside.stderr
    place.check(Crowd(place, master).run(), ANSWER)


def test_what_was_left_or_copied_leads_nowhere(tmp_path: Path) -> None:
    """Standing: the socket of a killed server, and that of a copied directory, mean nothing."""
    place = place_of(tmp_path / "job", 4)
    server, _ = serve(place)
    master = place.start(command=ALONE)
    until(made(place, 4), master, server)
    kill(master)
    copy = Place(tmp_path / "copy", {})
    shutil.rmtree(copy.path)
    _copy_all(place.path, copy.path)
    assert (copy / ".pyboinc/socket").exists() or (copy / ".pyboinc/local/socket").is_socket()
    refused = copy.run("serve", command=VERB, environ={"PYBOINC_ACCEPT_COPY": ""})
    assert refused.code == 4 and "is a copy of" in refused.stderr, refused
    here = copy.run()
    assert here.stdout == "The answer is 14\n"
    assert "stands here" not in here.stderr
    (copy / ".pyboinc/local/socket").unlink()
    copy.check(here)
    assert place.select("select count(*) from result where outcome = 1") == [(0,)]

    os.kill(server.pid, signal.SIGKILL)
    server.communicate()
    place.wait_for_processes()
    left = place.run()
    assert "stands here" not in left.stderr
    (place / ".pyboinc/local/socket").unlink()
    place.check(left, "The answer is 14\n")


def _copy_all(source: Path, target: Path) -> None:
    """Copy a directory as ``cp -a`` does: the socket comes with it."""
    target.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            _copy_all(path, target / path.name)
        elif path.is_socket():
            with socket.socket(socket.AF_UNIX) as left:
                left.bind(str(target / path.name))
        else:
            shutil.copy2(path, target / path.name)


def test_a_directory_may_lie_deep(tmp_path: Path) -> None:
    """Standing: a socket whose path is longer than the system takes is reached all the same."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    place = place_of(deep / "job", 8)
    server, _ = serve(place, "--workers=1")
    run = place.run("--workers=1", command=ALONE)
    assert stop(server).code == 0
    place.check(run, ANSWER)
    assert {str(host).partition("-")[0] for (host,) in place.select("select host from result")} == {
        "host"
    }


def test_there_is_one_server_and_its_settings_are_its_own(tmp_path: Path) -> None:
    """Errors: a second server, and a setting on the wrong side, are refused."""
    place = place_of(tmp_path / "job", 8)
    for flags, words in (
        (["--quorum=2"], "--quorum is for masters"),
        (["--backend=boinc"], "the backend is 'boinc'"),
        (["nowhere"], "there is no program"),
        ([".", "more"], "takes flags only, not more"),
        ([".", "--fresh"], "--fresh is for masters"),
    ):
        run = place.run("serve", *flags, command=VERB)
        assert run.code == 2 and words in run.stderr, run
    assert not (place / ".pyboinc").exists()

    server, address = serve(place)
    second = place.run("serve", command=VERB)
    assert second.code == 3
    assert f"is served already, by process {server.pid}" in second.stderr
    workers = place.run("--workers=3", command=ALONE)
    assert workers.code == 2
    assert "--workers is 3 for this master and 0 for the server that stands here" in workers.stderr
    clients = place.run("clean", "--yes", command=VERB)
    assert clients.code == 3 and "stop it with ^C or kill, then run pyboinc clean" in clients.stderr
    run = Crowd(place, place.start("serve", "app_master.py", command=VERB)).run()
    assert run.stdout == ANSWER
    assert f"to attach one: boinccmd --project_attach {address.url}" in run.stderr
    assert stop(server, signal.SIGHUP).code == 0
    place.check(run)
