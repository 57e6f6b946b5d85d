"""Nothing outlives a computer: who is killed, by SIGKILL, and who is then gone, too.

Every test starts a slave with a child in its group, and a grandchild that has put itself
into a session of its own by the usual double fork; kills some process; and waits for the
end of all others.  Nothing here waits by sleeping: the kernel tells of the end of any
process (pidfd).
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from computers import HEAD, PATIENCE, Computer, Signpost, await_end, pack

from pyboinc import codec
from pyboinc.backends.local import processes, rehearsal, roles, workers
from pyboinc.backends.local.processes import children, children_by_search
from pyboinc.errors import BackendError

FAMILY = (
    HEAD
    + """
import os, signal, sys
def stay(post, *words):
    post.write(" ".join([str(os.getpid()), *words]) + "\\n")
    post.flush()
    os.write(told, b"x")
    while True:
        signal.pause()
hear, told = os.pipe()
with open(pyboinc_get_input(), "w") as post:
    if os.fork() == 0:
        stay(post, "child")
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            stay(post, "stray")
        os._exit(0)
    os.waitpid(-1, 0)
    os.read(hear, 1), os.read(hear, 1)
    {end}
"""
)
STAYING = FAMILY.format(end="stay(post, 'slave')")


@dataclass
class Family:
    """The processes of a computer with a slave: all that may be left over."""

    keeper: int
    server: int
    slave: int = 0
    child: int = 0
    stray: int = 0

    def await_end(self, *but: str) -> None:
        """Return when all are gone, except *but*."""
        await_end(*(pid for role, pid in vars(self).items() if role not in but))


@pytest.fixture
def signpost(tmp_path: Path) -> Iterator[Signpost]:
    signpost = Signpost(tmp_path / "signpost")
    yield signpost
    signpost.close()


@pytest.fixture(params=["fork", "spawn"])
def computer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Computer]:
    computer = Computer(tmp_path, request.param)
    yield computer
    computer.close()


def family(computer: Computer, signpost: Signpost) -> Family:
    """Start a slave with relatives and return them all."""
    computer.start(STAYING, signpost.path)
    return relatives(computer.worker._keeper.pid, signpost)


def relatives(keeper: int, signpost: Signpost) -> Family:
    told = {role: int(pid) for pid, role in (signpost.line().split() for _ in range(3))}
    (server,) = children(keeper)
    return Family(keeper, server, **told)


# -- each death


def test_a_computer_that_is_closed_leaves_nothing(computer: Computer, signpost: Signpost) -> None:
    """No leak: closing a worker ends all, and waits for it; to close twice is no error."""
    members = family(computer, signpost)
    computer.close()
    computer.close()
    members.await_end()
    assert not computer.worker.alive()


def test_a_slave_that_is_killed_leaves_nothing(computer: Computer, signpost: Signpost) -> None:
    """No leak: with a slave go its children and those that left its session."""
    members = family(computer, signpost)
    os.kill(members.slave, signal.SIGKILL)
    ended = computer.wait("run_1")
    assert (ended.exit_status, ended.signal, ended.reason) == (9, True, None)
    members.await_end("keeper", "server")
    assert computer.answer("pyboinc_return_output(1)") == 1


def test_a_slave_that_ends_leaves_nothing(computer: Computer, signpost: Signpost) -> None:
    """No leak: when the end of a slave is reported, its relatives are gone."""
    program = FAMILY.format(end="pyboinc_return_output(1)")
    computer.start(program, signpost.path)
    others = [int(signpost.line().split()[0]) for _ in range(2)]
    assert computer.wait("run_1").exit_status == 0
    for other in others:
        with pytest.raises(ProcessLookupError):
            os.kill(other, 0)


def test_a_fork_server_that_is_killed_leaves_nothing(
    computer: Computer, signpost: Signpost
) -> None:
    """No leak: with the fork server go its slave and all relatives; runs end as "worker died"."""
    members = family(computer, signpost)
    queued = computer.start(HEAD)
    os.kill(members.server, signal.SIGKILL)
    members.await_end()
    for name in ("run_1", queued):
        ended = computer.wait(name)
        assert (ended.exit_status, ended.signal, ended.reason) == (9, True, "worker died")
    assert not computer.worker.alive()
    late = computer.start(HEAD)
    computer.worker.kill(late)
    assert computer.wait(late).reason == "worker died"


def test_a_keeper_that_is_killed_leaves_nothing(computer: Computer, signpost: Signpost) -> None:
    """No leak: the fork server learns of its keeper's death and clears up in its place."""
    members = family(computer, signpost)
    os.kill(members.keeper, signal.SIGKILL)
    members.await_end()
    assert computer.wait("run_1").reason == "worker died"


def test_an_idle_computer_whose_keeper_is_killed(computer: Computer) -> None:
    """No leak: a fork server without a slave ends with its keeper, too."""
    assert computer.answer("pyboinc_return_output(1)") == 1
    keeper = computer.worker._keeper.pid
    (server,) = children(keeper)
    os.kill(keeper, signal.SIGKILL)
    await_end(server)


def test_keeper_and_fork_server_killed_at_once(tmp_path: Path, signpost: Signpost) -> None:
    """No leak: then the kernel kills the slave and its group, by the lifeline."""
    computer = Computer(tmp_path)
    members = family(computer, signpost)
    os.kill(members.keeper, signal.SIGSTOP)
    os.kill(members.server, signal.SIGKILL)
    os.kill(members.keeper, signal.SIGKILL)
    members.await_end("stray")
    # What can not be promised: one that left the slave's session survives this.
    os.kill(members.stray, signal.SIGKILL)
    members.await_end()
    computer.close()


MASTER = """
import sys, os
sys.path[:] = {path!r}
from pyboinc.backends.local.workers import Run, Worker
worker = Worker({isolation!r})
worker.start(Run("run", {slot!r}, {archive!r}, "app_slave.py", {data!r}, 60, 1e9, 1e9, 10**6))
if {child}:
    if os.fork() == 0:  # holds the master's end of the socket
        os.write(1, b"holder %d\\n" % os.getpid())
        os.read(0, 1)
        os._exit(0)
os.write(1, b"keeper %d\\n" % worker._keeper.pid)
os.read(0, 1)
"""


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
@pytest.mark.parametrize("how", ["alone", "group", "held"])
def test_a_master_that_is_killed_leaves_nothing(
    tmp_path: Path, signpost: Signpost, isolation: str, how: str
) -> None:
    """No leak: with the master, killed alone or with its group, go its computers.

    So also if a process that the master forked still holds the socket ("held").
    """
    program = MASTER.format(
        path=sys.path,
        isolation=isolation,
        slot=str(tmp_path / "slot"),
        archive=str(pack(tmp_path / "a.zip", {"app_slave.py": STAYING})),
        data=codec.encode(signpost.path),
        child=how == "held",
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    ) as master:
        assert master.stdout is not None
        lines = [master.stdout.readline().split() for _ in range(2 if how == "held" else 1)]
        told = {role: int(pid) for role, pid in lines}
        members = relatives(told["keeper"], signpost)
        kill = os.killpg if how == "group" else os.kill
        kill(master.pid, signal.SIGKILL)
        members.await_end()
        if "holder" in told:
            os.kill(told["holder"], signal.SIGKILL)
        master.communicate(timeout=PATIENCE)


@pytest.mark.parametrize("broken", ["keeper", "forkserver"])
def test_what_can_not_start_says_why(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    """No leak: if keeper or fork server die at their start, their last words are not lost."""
    library = tmp_path / "pyboinc"
    shutil.copytree(workers._ROOT / "pyboinc", library)
    (library / "backends" / "local" / f"{broken}.py").write_text("raise RuntimeError('bad disk')\n")
    monkeypatch.setattr(workers, "_ROOT", tmp_path)
    computer = Computer(tmp_path, measure=False)
    assert computer.run(HEAD).reason == "worker died"
    computer.close()
    assert "RuntimeError: bad disk" in capfd.readouterr().err


# -- the means


def test_children_are_found_in_both_ways() -> None:
    """Processes: with and without CONFIG_PROC_CHILDREN a process's children are found."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert child.pid in children(os.getpid())
        assert child.pid in children_by_search(os.getpid())
        child.communicate()
    assert child.pid not in children_by_search(os.getpid())


def test_the_memory_of_what_is_gone_is_nothing() -> None:
    """Processes: a process that has just ended has no memory, no children, and no error."""
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert processes.resident(child.pid) == 0
    assert children(child.pid) == []
    assert processes.resident(os.getpid()) > 0


def test_a_process_can_watch_its_parent(tmp_path: Path, signpost: Signpost) -> None:
    """Processes: without a parent-death signal a slave looks for its parent, and ends with it."""
    child = f"""
import os, sys, signal
sys.path[:] = {sys.path!r}
from pyboinc.backends.local import processes
os.setpgid(0, 0)
parent = os.getppid()
if os.fork() == 0:
    signal.pause()
processes.watch(parent, 0.01)
open({signpost.path!r}, "w").write(f"{{os.getpid()}} {{processes.children(os.getpid())[0]}}\\n")
signal.pause()
"""
    parent = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}]).wait()"
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        pids = signpost.numbers()
        process.kill()
        await_end(*pids)


BOOT = """
import os, sys
boot = {boot!r}
sys.argv = [boot, {root!r}, "", "server", "{connection}", "spawn", "", "0", "/tmp"]
exec(compile(open(boot).read(), boot, "exec"))
"""


def test_a_worker_that_the_system_fails_says_so() -> None:
    """Processes: one line, no traceback, and a status of its own: no slave is to blame."""
    text = BOOT.format(boot=str(workers._BOOT), root=str(workers._ROOT), connection=77)
    run = subprocess.run([*workers.INTERPRETER, "-c", text], capture_output=True, text=True)
    assert run.stderr == "pyboinc: a worker of the emulator ends: Bad file descriptor\n"
    assert run.returncode == roles.BROKEN


def test_a_program_that_can_not_be_listed_ends_the_worker(tmp_path: Path) -> None:
    """Processes: a disk that fails a fork server is no slave's fault; it is said what failed."""
    computer = Computer(tmp_path)
    archive = pack(tmp_path / "a.zip", {"one.py": HEAD + "pyboinc_return_output(1)", "two.py": ""})
    assert computer.run(archive=archive, slave="one.py").exit_status == 0
    shutil.rmtree(tmp_path / "a")
    assert computer.run(archive=archive, slave="two.py").reason == "worker died"
    said = f"No such file or directory ({tmp_path / 'a'})"
    with pytest.raises(BackendError, match=re.escape(f"slaves fail: {said}; nothing is lost")):
        computer.worker.check_system(computer.stderr())
    with pytest.raises(BackendError, match="slaves fail, as they said above; nothing is lost"):
        computer.worker.check_system("words of a slave\n")


def test_a_rehearsal_that_fails_is_nobodys_business(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Processes: a fork server that can not rehearse is slower, says nothing and leaves nothing."""
    tried: list[str] = []

    def fail(directory: str, value: object) -> int:
        tried.append(directory)
        sys.stderr.write("Traceback\n")
        return 1

    monkeypatch.setattr(rehearsal, "perform", fail)
    rehearsal.rehearse(str(tmp_path / "scratch/rehearsal"))
    assert tried == [str(tmp_path / "scratch/rehearsal")]
    assert list((tmp_path / "scratch").iterdir()) == []
    assert capfd.readouterr() == ("", "")
