"""The master's end of the emulator: a real server, asked step by step, killed and started again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from masters import PATIENCE, SLAVE, TYPES

from pyboinc import bundle, codec, config
from pyboinc.backends import local
from pyboinc.backends.local import LocalBackend
from pyboinc.backends.local.server import Options
from pyboinc.errors import BackendError, ConfigurationError, DirectoryDamaged
from pyboinc.jobdir import JobDirectory, RunRecord

NUMBER_SLAVE = """
from pyboinc import pyboinc_get_input, pyboinc_return_output
number = pyboinc_get_input()
if number == 13:
    raise ValueError("unlucky")
pyboinc_return_output(number ** 2)
"""


class Project:
    """A job directory with some committed calls, and a backend for it."""

    def __init__(self, path: Path, numbers: list[int], **settings: Any) -> None:
        path.mkdir()
        (path / "app_types.py").write_text(TYPES)
        (path / "app_slave.py").write_text(settings.pop("slave", NUMBER_SLAVE))
        self.settings = config.load(
            path, arguments={"workers": 1, "max_errors": 1, **settings}, environ={}
        )
        self.directory = JobDirectory(path)
        self.directory.lock()
        self.directory.begin(
            RunRecord("token", "local", 1, "m.py", limits=self.settings.limits.asdict())
        )
        packed = bundle.pack(path, "app_slave.py")
        self.directory.keep_bundle(packed.digest, packed.data)
        for number in numbers:
            data = codec.encode(number)
            self.directory.spool.append("app_slave.py", packed.digest, 1, {}, data)
        self.directory.spool.sync()
        self.directory.journal.commit_calls(1, len(numbers))
        self.backend = self.open()

    def open(self) -> LocalBackend:
        """A backend with the batch begun."""
        backend = LocalBackend(self.directory, self.settings)
        assert self.directory.record is not None
        self.directory.record.batch = backend.begin_batch("token")
        return backend

    def submit(self) -> None:
        self.backend.submit(0, len(self.directory.spool))

    def finish(self) -> None:
        """Wait until every job is done or has failed."""
        self.backend.start()
        self.until(lambda: self.counts()[1] + self.counts()[2] == self.counts()[0] > 0)

    def until(self, happens: Callable[[], bool]) -> None:
        """Wait for news until something is so."""
        looks = 0
        while not happens():
            self.backend.wait(1.0)
            looks += 1
            assert looks < 10 * PATIENCE

    def counts(self) -> tuple[int, int, int, int]:
        counts = self.backend.counts()
        return counts.total, counts.done, counts.failed, counts.retries

    def names(self) -> list[str]:
        return sorted(os.listdir(self.directory.new))

    def server(self) -> int:
        """The server's process number."""
        assert self.backend._server is not None
        assert self.backend._server.process is not None
        return self.backend._server.process.pid

    def close(self) -> None:
        self.backend.close()
        self.directory.close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Makes projects and closes them."""
    made: list[Project] = []

    def make(numbers: list[int], **settings: Any) -> Project:
        made.append(Project(tmp_path / f"job{len(made)}", numbers, **settings))
        return made[-1]

    yield make
    for project in made:
        project.close()


Make = Callable[..., Project]


def test_a_batch_from_its_beginning_to_its_end(make: Make) -> None:
    """Backend: jobs are made of calls, done, counted, described; a failure among them."""
    project = make([2, 13, 4])
    project.submit()
    assert project.counts() == (3, 0, 0, 0)
    project.submit()
    assert project.counts() == (3, 0, 0, 0), "asked again, it makes no second job"
    project.finish()
    project.until(lambda: len(project.names()) == 3)
    assert project.names() == ["1_0.out", "1_1.error", "1_2.out"]
    assert project.counts() == (3, 2, 1, 1)
    assert [one.outcome for one in project.backend.describe("1_1")] == ["client error"] * 2
    (good,) = project.backend.describe("1_2")
    assert (good.outcome, good.host[:5], good.exit_status) == ("success", "host-", 0)
    assert good.sent <= good.received
    assert project.backend.describe("1_9") == ()
    assert any("unlucky" in text for text in project.backend.first_errors)
    assert dict(project.backend.retried()) == {}


def test_what_was_asked_for_is_not_kept(make: Make) -> None:
    """Backend: a search that makes calls for a year asks a million times, and keeps none of it."""
    project = make([2])
    project.submit()
    times = 200
    tracemalloc.start()
    try:
        for _ in range(times):
            project.submit()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept / times < 100


def test_counts_without_a_server(make: Make) -> None:
    """Backend: who only looks reads the counts from the database; without one there are none."""
    project = make([2, 13])
    looking = LocalBackend(project.directory, project.settings)
    project.submit()
    project.finish()
    assert looking.counts().done == 1
    project.backend.close()
    counts = looking.counts()
    assert (counts.total, counts.done, counts.failed, counts.running) == (2, 1, 1, 0)
    (project.directory.state / "local/project.sqlite").unlink()
    assert looking.counts().total == 0


def test_a_token_is_one_batch(make: Make) -> None:
    """Backend: begun again under its token it is the same batch, also when the database is lost."""
    project = make([2])
    assert project.backend.begin_batch("token") == "1"
    with pytest.raises(DirectoryDamaged, match="project.sqlite is damaged: UNIQUE constraint"):
        project.backend.begin_batch("another that has the same number")
    assert LocalBackend(project.directory, project.settings).begin_batch("token") == "1"
    for path in (project.directory.state / "local").glob("project.sqlite*"):
        path.unlink()
    project.directory.record.batch = "5"  # type: ignore[union-attr]  # begun above
    assert LocalBackend(project.directory, project.settings).begin_batch("token") == "5"


def test_done_again(make: Make) -> None:
    """Backend: a finished job is done again when that is asked for, even if its file is there."""
    project = make([2, 3])
    project.submit()
    project.finish()
    project.until(lambda: len(project.names()) == 2)
    (project.directory.new / "1_0.out").unlink()
    project.backend.reissue([0, 1], unless_there=True)
    assert project.counts()[:2] == (2, 1)
    project.finish()
    project.until(lambda: len(project.names()) == 2)
    project.backend.reissue([1])
    project.finish()
    assert len(project.backend.describe("1_0")) == 2
    assert len(project.backend.describe("1_1")) == 2


def test_short_jobs_do_not_wait_behind_a_long_one(make: Make) -> None:
    """Emulator: what a worker has been given ahead is done by another one while a long job runs."""
    long = "import os, time\nfrom pyboinc import pyboinc_get_input, pyboinc_return_output\n"
    long += "while pyboinc_get_input() == 0 and not os.path.exists('../../../../go'):\n"
    long += "    time.sleep(0.02)\npyboinc_return_output(0)\n"
    project = make(list(range(13)), slave=long, workers=2)
    project.submit()
    project.backend.start()
    project.until(lambda: project.counts()[1] == 12)
    assert "1_0.out" not in project.names()
    (project.directory.path / "go").touch()
    project.finish()
    assert project.counts() == (13, 13, 0, 0)


def test_cancel(make: Make) -> None:
    """Backend: cancelled jobs become failures at once, those that are running as well."""
    project = make([2, 3], slave="import time\nwhile True: time.sleep(60)\n")
    project.submit()
    project.backend.start()
    project.until(lambda: project.backend.counts().running > 0)
    assert project.backend.cancel() == 2
    assert project.names() == ["1_0.error", "1_1.error"]
    assert project.counts()[:3] == (2, 0, 2)
    assert project.backend.cancel() == 0


def test_cancel_before_the_start(make: Make) -> None:
    """Backend: jobs can be cancelled that nobody has begun."""
    project = make([2, 3])
    project.submit()
    assert project.backend.cancel() == 2
    assert project.names() == ["1_0.error", "1_1.error"]


def test_a_batch_that_is_gone_on_with(make: Make) -> None:
    """Backend: closed and opened again it goes on, with a changed program if there is one."""
    project = make([2, 3])
    project.submit()
    project.backend.close()
    project.backend.close()
    (project.directory.path / "app_slave.py").write_text(NUMBER_SLAVE.replace("** 2", "** 3"))
    packed = bundle.pack(project.directory.path, "app_slave.py")
    project.directory.keep_bundle(packed.digest, packed.data)
    project.backend = project.open()
    project.backend.use_program("app_slave.py", packed.digest)
    project.submit()
    project.finish()
    project.until(lambda: len(project.names()) == 2)
    assert (project.directory.new / "1_1.out").read_bytes() == codec.encode(27)


@pytest.mark.parametrize("started", [False, True])
def test_a_server_that_dies_is_replaced(make: Make, started: bool) -> None:
    """Backend: a killed server is noticed at the next word, and another one goes on."""
    project = make(list(range(5)))
    project.submit()
    if started:
        project.backend.start()
    first = project.server()
    os.kill(first, signal.SIGKILL)
    project.finish()
    assert project.server() != first
    project.until(lambda: len(project.names()) == 5)
    assert project.counts()[:3] == (5, 5, 0)


def test_a_server_that_dies_while_it_is_asked(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backend: what was asked and not answered is asked again."""
    project = make([2, 3])
    real = LocalBackend._tell
    killed: list[int] = []

    def tell(backend: LocalBackend, command: dict[str, Any]) -> None:
        if not killed:
            killed.append(project.server())
            os.kill(killed[0], signal.SIGKILL)
            os.waitid(os.P_PID, killed[0], os.WEXITED | os.WNOWAIT)
        real(backend, command)

    monkeypatch.setattr(LocalBackend, "_tell", tell)
    project.submit()
    assert project.counts()[0] == 2
    assert project.server() != killed[0]


def test_a_server_that_can_not_live(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backend: after a few deaths it is given up, with one message."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    project = make([2])
    with pytest.raises(BackendError, match=r"server died 6 times \(the last time with status 1\)"):
        project.submit()


def test_a_server_that_can_not_be_started(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Backend: a computer with no room for another process is told of in one message."""

    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    project = make([2])
    monkeypatch.setattr(subprocess, "Popen", full)
    with pytest.raises(BackendError, match="server can not be started: Resource temporarily"):
        project.submit()


def test_what_the_server_refuses(make: Make) -> None:
    """Backend: what can never be done is an error of its own kind, and the server is gone."""
    project = make([2], quorum=30)
    with pytest.raises(ConfigurationError, match="a quorum of 30 needs as many hosts"):
        project.submit()
    assert project.backend._server is None
    project = make([2])
    spool = project.directory.state / "spool"
    data = bytearray(spool.read_bytes())
    data[-2] ^= 1
    spool.write_bytes(data)
    project.submit()
    with pytest.raises(DirectoryDamaged, match="spool is damaged at call 0"):
        project.finish()


def test_a_command_that_is_none(make: Make) -> None:
    """Server: what it does not understand ends it: a newer master would know what it means."""
    project = make([2])
    project.submit()
    project.backend._tell({"dance": True})
    os.waitid(os.P_PID, project.server(), os.WEXITED | os.WNOWAIT)
    project.finish()


def test_how_slaves_are_started(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolation: fork where it is safe, spawn on macOS, one message on Windows."""
    project = make([2])
    for platform, wanted, chosen in (
        ("linux", "auto", "fork"),
        ("darwin", "auto", "spawn"),
        ("darwin", "fork", "fork"),
        ("linux", "spawn", "spawn"),
    ):
        monkeypatch.setattr(sys, "platform", platform)
        assert local.choose_isolation(wanted) == chosen
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(ConfigurationError, match="does not run on Windows yet"):
        LocalBackend(project.directory, project.settings)


def test_slaves_that_can_not_be_started(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers: if no slave can be started at all, that is one message and nobody's failure."""
    project = make([2], isolation="spawn")
    project.submit()
    (project.directory.state / "local/slots").write_text("in the way")
    with pytest.raises(BackendError, match="slaves have no place to work in: .*slots/0"):
        project.finish()
    project.backend.close()
    (project.directory.state / "local/slots").unlink()
    project.backend = project.open()
    project.submit()
    project.finish()
    assert project.counts() == (1, 1, 0, 0)


def test_options_travel_whole() -> None:
    """Server: what it is started with is what it reads."""
    options = Options(
        "/job", 1, 2, 0.5, "crash=0.1", "0", 20, 2, "fork", 9, ("a",), ("b",), {"c": "d"}
    )
    again = Options.from_json(options.as_json())
    assert (tuple(again.slaves), again.archives, again.faults) == (("a",), {"c": "d"}, "crash=0.1")


def test_a_slave_with_classes(make: Make) -> None:
    """Server: outputs of classes are loaded by the classes of the slave's modules."""
    project = make([], slave=SLAVE)
    sys.path.insert(0, str(project.directory.path))
    try:
        code = "from app_types import Input"
        names: dict[str, Any] = {}
        exec(code, names)
        packed = bundle.pack(project.directory.path, "app_slave.py")
        data = codec.encode(names["Input"](3))
        project.directory.spool.append("app_slave.py", packed.digest, 1, {}, data)
        project.directory.spool.sync()
        project.directory.record.modules = list(packed.modules)  # type: ignore[union-attr]  # begun
        project.submit()
        project.finish()
        assert project.counts() == (1, 1, 0, 0)
    finally:
        sys.path.remove(str(project.directory.path))
        del sys.modules["app_types"]
