"""The keeper by itself, in this process, between a master and a fork server that a test plays."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from computers import PATIENCE

from pyboinc.backends.local import keeper, processes, slots
from pyboinc.backends.local.frames import Receiver, pack
from pyboinc.backends.local.keeper import Keeper
from pyboinc.backends.local.roles import BROKEN
from pyboinc.backends.local.slots import Slot


class Play:
    """The keeper and the ends of its pipes that the test holds."""

    def __init__(self) -> None:
        self.master, theirs = socket.socketpair()
        self.connection = theirs.detach()
        (stderr, self.stderr), (pids, self.pids), (ends, self.ends) = (
            os.pipe(),
            os.pipe(),
            os.pipe(),
        )
        self.orders, orders = os.pipe()
        self.keeper = Keeper(1, self.connection, stderr, pids, ends, orders)
        self.mine = [self.stderr, self.pids, self.ends, self.orders]
        self.its = [self.connection, stderr, pids, ends]

    def close(self) -> None:
        """Close all that is still open; the keeper has closed its orders."""
        self.master.close()
        for descriptor in (*self.mine, *self.its):
            os.close(descriptor)


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    monkeypatch.setattr(keeper, "FAREWELL", 0.0)
    monkeypatch.setattr(processes, "kill_children", lambda *known: None)
    play = Play()
    yield play
    play.close()


def order(name: str) -> bytes:
    return pack(("run", name, "/slot", "/program", "s.py", b"", 1.0, 1.0, 1.0, 1, False, None, 0))


@pytest.mark.parametrize("status", [0, 1, BROKEN])
def test_why_the_fork_server_ended_is_told(play: Play, status: int) -> None:
    """Keeper: its status says whether the fork server ended because the system failed it."""
    with subprocess.Popen(["sh", "-c", f"exit {status}"]) as server:
        play.keeper.server = server.pid
        os.close(play.ends)
        play.mine.remove(play.ends)
        assert play.keeper.serve() == status


def test_neither_side_can_block_the_other(play: Play) -> None:
    """Keeper: reports that the master does not take wait here, and orders are taken meanwhile."""
    serving = threading.Thread(target=play.keeper.serve)
    serving.start()
    names = [f"run_{number}_{'x' * 200}" for number in range(3000)]
    for name in names:
        play.master.sendall(order(name) + pack(("kill", name)))
    receiver, told = Receiver(), []
    play.master.settimeout(PATIENCE)
    while len(told) < len(names):
        told += [message[0] for message in receiver.take(play.master.recv(1 << 16))]
    assert told == names
    play.master.shutdown(socket.SHUT_RDWR)
    serving.join()


def test_a_master_that_went_without_reading(play: Play) -> None:
    """Keeper: a connection that is reset is the master's end, too."""
    play.master.sendall(order("run") + pack(("kill", "run")))
    play.keeper._converse()
    play.keeper._converse()  # there is nothing to read
    assert not play.keeper.closing
    play.master.close()
    play.keeper._converse()
    assert play.keeper.closing


def test_a_report_to_nobody(play: Play) -> None:
    """Keeper: when a report can not be sent because the master is gone, all ends."""
    play.master.close()
    play.keeper._send(b"x")
    assert play.keeper.closing


def test_an_order_to_nobody(play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeper: when the fork server is gone before it has its order, all ends."""
    monkeypatch.chdir(tmp_path)
    os.close(play.mine.pop())
    play.keeper._begin(
        keeper.Job("run", str(tmp_path / "slot"), "p", "s", b"", 1, 1, 1, 1, False, None, 0)
    )
    assert play.keeper.closing


def test_a_parent_that_changed(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeper: when the socket stays open but the parent is another, all ends."""
    parents = iter([10, 10, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    monkeypatch.setattr(keeper, "PARENT_CHECK", 0.001)
    play.keeper.serve()
    assert list(parents) == []


def test_last_words_before_the_start(play: Play, capfd: pytest.CaptureFixture[str]) -> None:
    """Keeper: what the fork server writes before it is ready goes to the master's stderr."""
    os.write(play.stderr, b"no such module\n")
    play.keeper._take_stderr()
    assert capfd.readouterr().err == "no such module\n"
    play.keeper.ready = True
    os.write(play.stderr, b"from a slave that is gone\n")
    play.keeper._take_stderr()
    assert capfd.readouterr().err == ""


# -- slots


def test_a_slot_that_was_closed_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots: one whose permissions a slave took away is given them back."""
    monkeypatch.chdir(tmp_path)
    refusals = [PermissionError(13, "no")]
    enter: Callable[[Any], None] = os.chdir

    def chdir(path: Any) -> None:
        if refusals:
            raise refusals.pop()
        enter(path)

    monkeypatch.setattr(os, "chdir", chdir)
    (tmp_path / "slot").mkdir(mode=0)
    Slot(str(tmp_path / "slot")).prepare(b"input")
    assert (tmp_path / "slot").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "slot" / "in").read_bytes() == b"input"


def test_stderr_that_can_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots: a full disk costs words and nothing else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stderr.txt").symlink_to("/dev/full")
    slot = Slot(str(tmp_path))
    assert slot.add_stderr(b"words") == 5
    slot.close_stderr()


def test_what_vanishes_while_one_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slots: files that a slave removes in this moment take no space, and are no error."""

    class Gone:
        def stat(self, follow_symlinks: bool) -> os.stat_result:
            raise FileNotFoundError

    assert slots._blocks_of(Gone()) == 0  # type: ignore[arg-type]  # what a DirEntry may do
    assert slots._blocks(str(tmp_path / "missing")) == 0
    assert not slots._holds(str(tmp_path / "missing"), b"")
    with pytest.raises(FileNotFoundError):
        slots._remove(str(tmp_path / "missing"))
    monkeypatch.chdir(tmp_path)
    assert Slot(str(tmp_path)).output_size() is None
    (tmp_path / "out").mkdir()
    assert Slot(str(tmp_path)).output_size() is None


# -- processes


def python(program: str) -> subprocess.CompletedProcess[str]:
    """Run *program*, which is about processes, in one of its own."""
    head = f"import os, signal, sys\nsys.path[:] = {sys.path!r}\n"
    head += "from pyboinc.backends.local import processes\n"
    return subprocess.run(
        [sys.executable, "-c", head + program], capture_output=True, text=True, check=False
    )


def test_a_parent_that_died_before_one_asked() -> None:
    """Processes: a parent-death signal that comes too late is sent at once."""
    ended = python("processes.die_with(os.getppid() + 1, signal.SIGTERM)\n")
    assert ended.returncode == -signal.SIGTERM


def test_children_that_may_not_be_killed() -> None:
    """Processes: a child that this user may not kill (a setuid program) is left to itself."""
    program = """
import subprocess
child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
processes.os.kill = refuse = lambda *_: (_ for _ in ()).throw(PermissionError())
processes.kill_children()
assert child.poll() is None
child.communicate()
print("left")
"""
    assert python(program).stdout == "left\n"


def test_elsewhere_than_on_linux(tmp_path: Path) -> None:
    """Processes: where there is no prctl, no F_SETSIG and no affinity, all is still callable."""
    program = """
processes.LINUX = False
processes.become_subreaper()
processes.die_with(0, signal.SIGKILL)
processes.stay_on_one_cpu(3)
processes.use_all_cpus()
processes.Lifeline(20)
processes.tie(20)
print(processes.threads())
"""
    ended = python(program)
    assert (ended.stdout, ended.stderr) == ("1\n", "")


def test_what_proc_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes: without /proc, or with one that changes while one looks, nothing is found."""
    monkeypatch.setattr(os, "listdir", lambda path: ["1000000000", "self"])
    assert list(processes.children_by_search(1)) == []

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError

    monkeypatch.setattr(processes, "open", refuse, raising=False)
    processes.offer_to_oom_killer()
