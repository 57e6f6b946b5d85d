"""What a task does when its BOINC client speaks, is silent, or is gone; with real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import Client, cpu_seconds, state_of, until
from computers import PATIENCE, Signpost

from pyboinc import codec, slave_watcher
from pyboinc.boinc_api import Task
from pyboinc.slave_watcher import Watcher

SLAVE = """
import os, subprocess, sys
from pyboinc import *
def say(text):
    with open("signpost", "w") as file:
        file.write(text + "\\n")
state = pyboinc_load_checkpoint()
say(f"{os.getpid()} {state}")
"""

COMPUTE = {
    "in Python": "while True:\n    pass\n",
    "in C, with Python's lock": "while True:\n    sum(range(10**6))\n",
    "in threads": "import threading\n"
    "for _ in range(3):\n    threading.Thread(target=lambda: [0 for _ in iter(int, 1)]).start()\n",
    "in a process of its own": "subprocess.run([sys.executable, '-c', 'while True: pass'])\n",
    "asleep": "import time\nwhile True:\n    time.sleep(1000)\n",
}


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    client = Client(tmp_path)
    client.give("in", codec.encode(7))
    client.give("out", None)
    yield client
    client.close()


class Place:
    """A client with a slave of which the test hears through a signpost."""

    def __init__(self, client: Client, program: str) -> None:
        self.client = client
        self.signpost = Signpost(client.slot / "signpost")
        (client.slot / "app_slave.py").write_text(SLAVE + program)

    def start(self) -> tuple[subprocess.Popen[str], str]:
        """Start the slave; return its process and what its checkpoint held."""
        process = self.client.start([sys.executable, "app_slave.py"])
        pid, _, state = self.signpost.line().partition(" ")
        assert int(pid) == process.pid
        return process, state


@pytest.mark.parametrize("work", sorted(COMPUTE))
def test_a_task_that_must_quit_ends_well(client: Client, work: str) -> None:
    """Quit: a task at work ends with status 0, not as one that has finished."""
    place = Place(client, COMPUTE[work])
    process, _ = place.start()
    client.send("<quit/>")
    assert client.ended(process) == (0, "")
    assert not (client.slot / "boinc_finish_called").exists()


def test_a_task_goes_on_from_where_it_quit(client: Client) -> None:
    """Quit: the last state is kept, though the volunteer lets the disk be used once an hour only.

    The client learns the CPU time up to which nothing is lost, and the next process counts on.
    """
    client.tell(checkpoint_period=3600, wu_cpu_time=50)
    place = Place(
        client,
        "if state is None:\n"
        "    for step in range(10):\n"
        "        sum(range(10**6))\n"
        "        pyboinc_save_checkpoint(step)\n"
        "    say('saved')\n"
        "    while True: pass\n"
        "pyboinc_return_output(state)\n",
    )
    process, state = place.start()
    assert state == "None"
    assert place.signpost.line() == "saved"
    client.send("<quit/>")
    assert client.ended(process) == (0, "")
    told = client.status()
    assert told is not None and told["checkpoint_cpu_time"] > 50
    client.tell(checkpoint_period=3600, wu_cpu_time=told["checkpoint_cpu_time"])
    process, state = place.start()
    assert state == "9"
    assert client.ended(process) == (0, "")
    assert (client.slot / "boinc_finish_called").read_text() == "0\n"
    last = client.status()
    assert last is not None and last["current_cpu_time"] > told["checkpoint_cpu_time"]


def test_an_aborted_task_says_so(client: Client) -> None:
    """Abort: the exit status is the one that BOINC has for it."""
    process, _ = Place(client, COMPUTE["in Python"]).start()
    client.send("<abort/>")
    assert client.ended(process) == (194, "")


@pytest.mark.parametrize("work", ["in C, with Python's lock", "in threads", "asleep"])
def test_a_suspended_task_does_not_compute(client: Client, work: str) -> None:
    """Suspend: the process stands still but for a short look now and then, until it may go on."""
    process, _ = Place(client, COMPUTE[work]).start()
    client.send("<suspend/>")
    until(lambda: state_of(process.pid) == "T")
    began, used = time.monotonic(), cpu_seconds(process.pid)
    until(lambda: time.monotonic() > began + 2 and state_of(process.pid) == "T")
    elapsed, used = time.monotonic() - began, cpu_seconds(process.pid) - used
    assert used < elapsed / 4
    client.send("<resume/>")
    until(lambda: not client.is_unread("process_control_request"))
    until(lambda: cpu_seconds(process.pid) > used + 0.1 or work == "asleep")
    client.send("<quit/>")
    assert client.ended(process) == (0, "")


def test_the_processes_of_a_suspended_task_stop_too(client: Client) -> None:
    """Suspend: what the slave has started stands still with it, and goes on with it."""
    place = Place(
        client,
        "child = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n"
        "say(str(child.pid))\nchild.wait()\n",
    )
    process, _ = place.start()
    child = int(place.signpost.line())
    client.send("<suspend/>")
    until(lambda: state_of(process.pid) == state_of(child) == "T")
    client.send("<resume/>")
    used = cpu_seconds(child)
    until(lambda: cpu_seconds(child) > used + 0.1)
    os.kill(child, 9)
    client.send("<quit/>")
    assert client.ended(process)[0] == 0


@pytest.mark.parametrize(("order", "status"), [("<quit/>", 0), ("<abort/>", 194)])
def test_a_suspended_task_still_hears(client: Client, order: str, status: int) -> None:
    """Suspend: quit and abort are obeyed without a resume before."""
    process, _ = Place(client, COMPUTE["in Python"]).start()
    client.send("<suspend/>")
    until(lambda: state_of(process.pid) == "T")
    client.send("<heartbeat/>", "heartbeat")
    until(lambda: not client.is_unread("heartbeat"))
    client.send(order)
    assert client.ended(process) == (status, "")


@pytest.mark.parametrize("suspended", [False, True])
def test_a_task_whose_client_is_gone_ends(client: Client, suspended: bool) -> None:
    """Orphans: a task ends when its client is gone, also one that is suspended."""
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    client.tell(client_pid=other.pid)
    process, _ = Place(client, COMPUTE["in Python"]).start()
    if suspended:
        client.send("<suspend/>")
        until(lambda: state_of(process.pid) == "T")
    other.kill()
    other.communicate()
    assert client.ended(process) == (0, "")
    assert not (client.slot / "boinc_finish_called").exists()


def test_a_task_whose_parent_is_gone_ends(client: Client) -> None:
    """Orphans: a self-contained runtime's outer process may be killed alone; the inner one ends."""
    place = Place(client, COMPUTE["in Python"])
    script = f"{sys.executable} app_slave.py & read forever"
    between = subprocess.Popen(["sh", "-c", script], cwd=client.slot, stdin=subprocess.PIPE)
    pid = int(place.signpost.line().split()[0])
    between.kill()
    between.communicate()
    until(lambda: state_of(pid) in ("", "Z"))


def test_an_orphan_writes_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans: who is about to write and finds the client gone ends instead."""
    ends: list[int] = []

    def end(status: int) -> None:
        ends.append(status)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", end)
    task = Task(str(client.slot))
    assert not task.is_orphan()
    monkeypatch.setattr(os, "getppid", lambda: 1)
    with pytest.raises(SystemExit):
        task.checkpoint(lambda: pytest.fail("written"))
    with pytest.raises(SystemExit):
        task.finish()
    assert ends == [0, 0]
    assert not (client.slot / "boinc_finish_called").exists()


def test_a_client_of_another_user_is_there(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orphans: a client that may not be signalled is one that lives."""

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not Task(str(client.slot)).is_orphan()


def test_cpu_time_is_told_without_the_slaves_help(client: Client) -> None:
    """Status: a slave that reports nothing has its CPU time told all the same, and no fraction."""
    client.tell(wu_cpu_time=50)
    process, _ = Place(client, COMPUTE["in C, with Python's lock"]).start()
    first = until(client.status)
    second = until(client.status)
    assert 50 < first["current_cpu_time"] < second["current_cpu_time"]
    assert first["checkpoint_cpu_time"] == second["checkpoint_cpu_time"] == 50
    assert "fraction_done" not in first
    client.send("<quit/>")
    client.ended(process)


def test_a_later_process_waits_for_the_slot(client: Client) -> None:
    """Orphans: a task that is started again waits until its earlier process has left the slot."""
    place = Place(client, COMPUTE["in Python"])
    first, _ = place.start()
    second = client.start([sys.executable, "app_slave.py"])
    first.kill()
    assert int(place.signpost.line().split()[0]) == second.pid
    second.kill()


def test_a_slot_that_stays_occupied_is_tried_again_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orphans: if the earlier process does not leave, the client is asked to start it later."""
    process, _ = Place(client, COMPUTE["in Python"]).start()
    monkeypatch.setattr(os, "_exit", lambda status: (_ for _ in ()).throw(SystemExit(status)))
    with pytest.raises(SystemExit, match="^0$"):
        Task(str(client.slot)).occupy(patience=0)
    text = (client.slot / "boinc_temporary_exit").read_text()
    assert text == "600\nanother process of this task is still running\n"
    process.kill()


# -- one look, in this process


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The statuses that this process would have ended with."""
    found: list[int] = []

    def end(status: int) -> None:
        found.append(status)
        raise SystemExit

    monkeypatch.setattr(os, "_exit", end)
    return found


def look_and_end(task: Task) -> None:
    with pytest.raises(SystemExit):
        Watcher(task).look()


@pytest.mark.parametrize("order", ["<quit/>", "<abort/>"])
def test_what_is_being_written_is_not_cut_short(
    client: Client, ends: list[int], order: str
) -> None:
    """Quit and abort: they wait while a checkpoint or an output is written."""
    task = Task(str(client.slot))
    client.send(order)
    with task.critical, task.critical:
        thread = threading.Thread(target=look_and_end, args=[task])
        thread.start()
        until(lambda: not client.is_unread("process_control_request"))
        thread.join(0.05)
        assert ends == []
    thread.join(PATIENCE)
    assert ends == [0 if order == "<quit/>" else 194]


def test_a_task_that_has_finished_hears_nothing_more(client: Client, ends: list[int]) -> None:
    """End: after the finish file no order changes how the task ends."""
    task = Task(str(client.slot))
    task.finish()
    client.send("<abort/>")
    thread = threading.Thread(target=look_and_end, args=[task])
    thread.start()
    until(lambda: not client.is_unread("process_control_request"))
    thread.join(0.05)
    assert ends == []
    task.critical.__exit__()
    thread.join(PATIENCE)
    assert ends == [194]


def test_a_full_disk_does_not_keep_a_task_from_quitting(client: Client, ends: list[int]) -> None:
    """Quit: a checkpoint that can not be written is not, and the earlier one stays."""
    client.tell(checkpoint_period=3600)
    task = Task(str(client.slot))
    task.report_checkpoint()

    def fail() -> None:
        raise OSError("full")

    task.checkpoint(fail)
    client.send("<quit/>")
    with pytest.raises(SystemExit):
        Watcher(task).look()
    assert ends == [0]


def test_preferences_may_change_while_a_task_runs(client: Client) -> None:
    """Checkpoints: how often is the volunteer's choice, and the client says when it is another."""
    client.tell(checkpoint_period=3600)
    task = Task(str(client.slot))
    assert task.time_to_checkpoint()
    task.report_checkpoint()
    assert not task.time_to_checkpoint()
    client.tell(checkpoint_period=0)
    client.send("<reread_app_info/>")
    Watcher(task).look()
    assert task.time_to_checkpoint()
    (client.slot / "init_data.xml").unlink()
    client.send("<reread_app_info/>")
    Watcher(task).look()
    assert task.init_data["wu_name"] == "pyb_1_0"


def test_a_look_ends_an_orphan(
    client: Client, ends: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orphans: the look once a second finds out that the parent is another."""
    watcher = Watcher(Task(str(client.slot)))
    watcher.look()
    assert ends == []
    monkeypatch.setattr(os, "getppid", lambda: 1)
    watcher.look()
    assert ends == []
    monkeypatch.setattr(slave_watcher, "REPORT", 0.0)
    watcher = Watcher(Task(str(client.slot)))
    monkeypatch.setattr(os, "getppid", lambda: 2)
    with pytest.raises(SystemExit):
        watcher.look()
    assert ends == [0]


def test_naps_get_longer(client: Client, monkeypatch: pytest.MonkeyPatch, ends: list[int]) -> None:
    """Suspend: a task that is suspended for long looks less and less often, and hears resume."""
    naps: list[float] = []

    def nap(watcher: Watcher, seconds: float) -> None:
        naps.append(seconds)
        if len(naps) == 7:
            client.send("<resume/>")

    monkeypatch.setattr(Watcher, "_stop", nap)
    client.send("<suspend/>")
    Watcher(Task(str(client.slot))).look()
    assert naps == [0.1, 0.2, 0.4, 0.8, 1.6, 1.6, 1.6]
    assert ends == []


def test_trickles_go_both_ways(client: Client) -> None:
    """Trickles: a message to the server and those from it, oldest first, each once."""
    task = Task(str(client.slot))
    task.send_trickle_up("progress", "half way")
    assert client.hears("trickle_up") == "<have_new_trickle_up/>\n"
    written = (client.slot / "trickle_up.xml").read_text()
    assert written == "<variety>progress</variety>\nhalf way"
    assert task.receive_trickle_down() is None
    (client.slot / "trickle_down_2").write_text("second")
    (client.slot / "trickle_down_1").write_text("first")
    got = [task.receive_trickle_down() for _ in range(3)]
    assert got == ["first", "second", None]


def test_a_child_of_the_slave_says_nothing(client: Client) -> None:
    """Status: what the slave forks is not the task; it neither reports nor counts as an orphan."""
    task = Task(str(client.slot))
    task._process += 1  # as it is seen from a child
    task._parent += 1
    task.report_status()
    assert client.status() is None
    assert not task.is_orphan()


def test_without_shared_memory_nothing_is_heard(client: Client) -> None:
    """Status: where there is no shared memory, a task runs deaf and looks whether it is alone."""
    (client.slot / "boinc_mmap_file").unlink()
    Watcher(Task(str(client.slot))).look()
