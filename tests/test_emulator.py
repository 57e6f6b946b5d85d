"""The emulated project: its rows, queue and files, driven by hand instead of by workers."""

from __future__ import annotations

import ctypes
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyboinc import codec, disk
from pyboinc.backends import failure_from_bytes
from pyboinc.backends.local import emulator as emulator_module
from pyboinc.backends.local import uploads as uploads_module
from pyboinc.backends.local.attempts import failure_of
from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.local.store import Rows, Store, Turn, workunit_id
from pyboinc.backends.local.uploads import Uploads
from pyboinc.classes import Classes
from pyboinc.config.limits import Limits
from pyboinc.errors import BackendError, DirectoryDamaged
from pyboinc.project import ClientState, Outcome, Report, ServerState, ValidateState
from pyboinc.records import SpooledCall
from pyboinc.validation import Own, Rules

MAX_OUTPUT = 10_000


class Bench:
    """An emulator with its files, and hands to do what hosts do."""

    def __init__(self, path: Path) -> None:
        self.path = path
        for name in ("new", "old", "slot"):
            (path / name).mkdir(exist_ok=True)
        self.open()

    def open(self) -> None:
        """Open the project, as a server does that starts."""
        uploads = Uploads(self.path / "upload", self.path / "new", self.path / "old")
        rules = Rules(Classes(self.path), MAX_OUTPUT, Own())
        self.emulator = Emulator(1, Store(self.path / "db"), uploads, rules, MAX_OUTPUT)

    def reopen(self) -> Any:
        """Lose everything that was not committed and start again; return what was running."""
        self.emulator.store.close()
        self.open()
        return self.emulator.recover()

    def create(self, number: int = 1, **limits: Any) -> None:
        """Make *number* workunits and commit them."""
        calls = [SpooledCall(n, "s.py", "ab", 1, {}, 0, 0, "0") for n in range(number)]
        self.emulator.create(calls, Limits(**limits))
        self.emulator.commit()

    def send(self, host: str = "host-1") -> tuple[Rows, int]:
        """Send the next unsent result to a host."""
        taken = self.emulator.take_unsent()
        assert taken is not None
        rows, result = taken
        self.emulator.send(rows, result.instance, host, Turn(slot=0))
        return rows, result.instance

    def answer(self, rows: Rows, instance: int, value: Any) -> None:
        """Let a host report *value* (bytes as they are) as its output."""
        data = value if isinstance(value, bytes) else codec.encode(value)
        (self.path / "slot/out").write_bytes(data)
        output = self.emulator.upload(str(self.path / "slot"), f"{rows.workunit.name}_{instance}")
        self.emulator.report(rows.workunit.id, Report.success(instance, output))

    def fail(self, rows: Rows, instance: int) -> None:
        """Let a host report an error."""
        self.emulator.report(rows.workunit.id, Report.error(instance, 1))

    def do(self, *values: Any) -> None:
        """Send a result and answer, for each value; then commit."""
        for number, value in enumerate(values):
            self.answer(*self.send(f"host-{number}"), value)
        self.emulator.commit()

    def names(self, directory: str) -> list[str]:
        return sorted(os.listdir(self.path / directory))

    def tally(self) -> tuple[int, int, int, int]:
        tally = self.emulator.tally
        return tally.total, tally.done, tally.failed, tally.retries


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty project."""
    bench = Bench(tmp_path)
    yield bench
    bench.emulator.store.close()


# ---------------------------------------------------------------- a job's life


def test_an_output_is_delivered_when_its_rows_are_durable(bench: Bench) -> None:
    """Order: uploaded, committed, delivered; before the commit nothing is in new/."""
    bench.create()
    bench.answer(*bench.send(), 42)
    assert (bench.names("upload"), bench.names("new")) == (["1_0_0"], [])
    assert bench.emulator.dirty
    assert bench.emulator.commit()
    assert (bench.names("upload"), bench.names("new")) == ([], ["1_0.out"])
    assert not bench.emulator.dirty
    assert not bench.emulator.commit()
    assert bench.tally() == (1, 1, 0, 0)
    assert codec.decode((bench.path / "new/1_0.out").read_bytes(), codec.Registry({})) == 42


def test_a_job_is_tried_again_until_its_errors_are_too_many(bench: Bench) -> None:
    """Retries: a failed instance is replaced; then a report of them all is delivered."""
    bench.create(max_errors=2)
    for _ in range(3):
        bench.fail(*bench.send())
    assert bench.emulator.take_unsent() is None
    bench.emulator.commit()
    assert bench.names("new") == ["1_0.error"]
    failure = failure_from_bytes((bench.path / "new/1_0.error").read_bytes())
    assert (failure.index, failure.reason) == (0, "too many errors")
    assert [one.outcome for one in failure.attempts] == ["client error"] * 3
    assert bench.tally() == (1, 0, 1, 2)


def test_an_output_that_does_not_load_is_refused(bench: Bench) -> None:
    """Validator: bytes that are no output, or none at all, are a validate error."""
    bench.create()
    bench.answer(*bench.send(), b"cos\nsystem\n.")
    rows, instance = bench.send()
    (bench.path / "slot/out").unlink(missing_ok=True)
    output = bench.emulator.upload(str(bench.path / "slot"), f"{rows.workunit.name}_{instance}")
    assert output is None
    bench.emulator.report(rows.workunit.id, Report.success(instance, output))
    bench.do(7)
    outcomes = [one.outcome for one in rows.results]
    assert outcomes == [Outcome.VALIDATE_ERROR, Outcome.VALIDATE_ERROR, Outcome.SUCCESS]
    assert (bench.names("upload"), bench.names("new")) == ([], ["1_0.out"])


def test_equal_values_agree_whatever_their_bytes(bench: Bench) -> None:
    """Quorum: a set in another order is the same value; the first one is delivered."""
    one, other = codec.encode({0, 8}), codec.encode(_other_order())
    assert one != other
    bench.create(quorum=2)
    bench.do(one, other)
    assert bench.tally() == (1, 1, 0, 0)
    assert (bench.path / "new/1_0.out").read_bytes() == one


def _other_order() -> set[int]:
    values = {0, 8}
    values.clear()
    values.update((8, 0))
    return values


def test_outputs_that_disagree_are_put_to_the_vote(bench: Bench) -> None:
    """Quorum: the value that a quorum agrees on is delivered, and files of the others go."""
    bench.create(quorum=2)
    bench.do(1, 2)
    assert (bench.names("upload"), bench.names("new")) == (["1_0_0", "1_0_1"], [])
    rows, instance = bench.send("host-9")
    bench.answer(rows, instance, 2)
    assert len(bench.names("upload")) == 3, "what lost the vote stays until the rows say so"
    bench.emulator.commit()
    assert (bench.names("upload"), bench.names("new")) == ([], ["1_0.out"])
    assert [one.validate_state for one in rows.results] == [
        ValidateState.INVALID,
        ValidateState.VALID,
        ValidateState.VALID,
    ]


def test_an_output_that_is_gone_agrees_with_nothing(bench: Bench) -> None:
    """Quorum: what can not be compared is not taken for equal."""
    bench.create(quorum=2)
    bench.do({0, 8})
    (bench.path / "upload/1_0_0").unlink()
    bench.do(codec.encode(_other_order()))
    assert bench.tally() == (1, 0, 0, 1)


def test_an_answer_after_the_deadline(bench: Bench) -> None:
    """Deadlines: a late answer counts if it is the first, and its replacement is not sent."""
    bench.create()
    rows, instance = bench.send()
    bench.emulator.expire(rows.workunit.id, instance)
    assert [one.outcome for one in rows.results] == [Outcome.NO_REPLY, Outcome.INIT]
    bench.answer(rows, instance, 5)
    bench.emulator.commit()
    assert bench.names("new") == ["1_0.out"]
    assert bench.emulator.take_unsent() is None


def test_an_answer_that_comes_too_late(bench: Bench) -> None:
    """Deadlines: when another one was delivered before, a late answer leaves no file behind."""
    bench.create()
    rows, instance = bench.send()
    bench.emulator.expire(rows.workunit.id, instance)
    bench.do(5)
    bench.answer(bench.emulator.rows(rows.workunit.id), instance, 5)
    bench.emulator.commit()
    bench.emulator.tidy()
    assert (bench.names("upload"), bench.names("new")) == ([], ["1_0.out"])
    assert bench.tally() == (1, 1, 0, 1)


def test_what_an_earlier_batch_left_is_removed(bench: Bench) -> None:
    """Uploads: of a batch that was given up while its files were written nothing stays."""
    bench.create()
    for name in ("2_0.error", "2_3_0"):
        (bench.path / "upload" / name).write_text("half")
    bench.reopen()
    assert bench.names("upload") == []


def test_the_same_report_twice(bench: Bench) -> None:
    """Reports: the second one is ignored."""
    bench.create()
    rows, instance = bench.send()
    (bench.path / "slot/out").write_bytes(codec.encode(5))
    output = bench.emulator.upload(str(bench.path / "slot"), f"{rows.workunit.name}_{instance}")
    said = Report.success(instance, output)
    assert bench.emulator.report(rows.workunit.id, said)
    assert not bench.emulator.report(rows.workunit.id, said)
    bench.emulator.commit()
    assert bench.names("new") == ["1_0.out"]


def test_priorities(bench: Bench) -> None:
    """Queue: a larger priority goes first, then the earlier call."""
    limits = [{"priority": 0}, {"priority": 5}, {"priority": 0}, {"priority": 5}]
    calls = [SpooledCall(n, "s.py", "ab", 1, own, 0, 0, "0") for n, own in enumerate(limits)]
    bench.emulator.create(calls, Limits())
    assert [bench.send()[0].details.sequence for _ in calls] == [1, 3, 0, 2]


def test_rows_that_do_not_fit_into_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory: rows beyond a number are read when their turn comes, and let go of afterwards."""
    monkeypatch.setattr(emulator_module, "_KEPT_ROWS", 2)
    bench.create(10)
    assert len(bench.emulator._rows) == 2
    bench.do(*range(10))
    assert len(bench.names("new")) == 10
    assert bench.emulator._rows == {}
    bench.emulator.forget(workunit_id(1, 3))


# ---------------------------------------------------------------- cancelled, done again


def test_cancelled_jobs_fail(bench: Bench) -> None:
    """Cancel: what is not finished is a failure that says so; what is finished stays."""
    bench.create(3)
    bench.do(1)
    bench.send()
    assert bench.emulator.cancel() == 2
    bench.emulator.commit()
    assert bench.names("new") == ["1_0.out", "1_1.error", "1_2.error"]
    assert bench.emulator.take_unsent() is None
    failure = failure_from_bytes((bench.path / "new/1_1.error").read_bytes())
    assert "cancelled" in failure.reason
    assert bench.tally() == (3, 1, 2, 0)


def test_what_runs_when_it_is_cancelled_is_aborted(bench: Bench) -> None:
    """Cancel: as on a real project, a running instance ends as one that its client aborted."""
    bench.create(2)
    bench.send()
    bench.emulator.cancel()
    bench.emulator.commit()
    (running,), (unsent,) = (bench.emulator.store.named(name).results for name in ("1_0", "1_1"))
    assert (running.outcome, running.exit_status) == (Outcome.CLIENT_ERROR, 202)
    assert running.client_state == ClientState.ABORTED
    assert unsent.outcome == Outcome.DIDNT_NEED
    assert bench.names("new") == ["1_0.error", "1_1.error"]
    assert bench.tally() == (2, 0, 2, 0)


def test_done_again(bench: Bench) -> None:
    """Rerun: finished jobs, good or failed, are done again; others are left alone."""
    bench.create(3, max_errors=1)
    bench.do(1)
    for _ in range(2):
        bench.fail(*bench.send())
    bench.emulator.commit()
    assert bench.tally() == (3, 1, 1, 1)
    bench.emulator.reissue([0, 1, 2])
    assert bench.tally()[:3] == (3, 0, 0)
    bench.do(5, 6, 7)
    assert bench.tally()[:3] == (3, 3, 0)
    assert bench.names("new") == ["1_0.out", "1_1.error", "1_1.out", "1_2.out"]


def test_done_again_only_if_it_is_gone(bench: Bench) -> None:
    """Losses: who asks for a lost outcome does not get one done again that is there, or coming."""
    bench.create(3)
    bench.do(1, 2)
    (bench.path / "new/1_0.out").rename(bench.path / "old/1_0.out")
    (bench.path / "new/1_1.out").unlink()
    bench.answer(*bench.send(), 3)
    bench.emulator.reissue([0, 1, 2], unless_there=True)
    assert bench.tally() == (3, 2, 0, 1)


# ---------------------------------------------------------------- after a kill


def test_what_was_not_committed_never_was(bench: Bench) -> None:
    """Recovery: killed before the commit, an instance is still running and is run again."""
    bench.create()
    rows, instance = bench.send()
    bench.emulator.commit()
    bench.answer(rows, instance, 5)
    left = bench.reopen()
    assert [(rows.workunit.name, one.instance) for rows, one in left] == [("1_0", 0)]
    bench.emulator.begin_turn_again(*left[0])
    bench.answer(left[0][0], 0, 5)
    bench.emulator.commit()
    assert (bench.names("upload"), bench.names("new")) == ([], ["1_0.out"])


def test_what_was_looked_at_is_looked_at_again(bench: Bench) -> None:
    """Recovery: killed with garbage that waits for a second opinion, the validator finds it out."""
    bench.create(quorum=2)
    bench.answer(*bench.send("host-1"), b"garbage")
    bench.send("host-2")
    bench.emulator.commit()
    ((rows, _),) = bench.reopen()
    bench.answer(rows, 1, 42)
    bench.do(42)
    assert [one.outcome for one in rows.results] == [
        Outcome.VALIDATE_ERROR,
        Outcome.SUCCESS,
        Outcome.SUCCESS,
    ]
    assert (bench.names("upload"), bench.names("new")) == ([], ["1_0.out"])


def test_what_was_committed_is_delivered(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery: killed between commit and delivery, outputs and failures are delivered later."""
    bench.create(2, max_errors=1)
    bench.do(5)
    for _ in range(2):
        bench.fail(*bench.send())
    with monkeypatch.context() as patch:
        patch.setattr(Uploads, "deliver", lambda *arguments: None)
        bench.emulator.commit()
    (bench.path / "new/1_0.out").rename(bench.path / "upload/1_0_0")
    (bench.path / "upload/1_1_0").write_bytes(b"of an instance that failed")
    (bench.path / "upload/nonsense").touch()
    (bench.path / "upload/1_x").touch()
    (bench.path / "upload/2_0_0").touch()
    assert bench.reopen() == []
    assert bench.names("new") == ["1_0.out", "1_1.error"]
    assert bench.names("upload") == []


def test_what_is_lost_is_done_again(bench: Bench) -> None:
    """Recovery: an outcome that is nowhere, as after a power cut, is had again."""
    bench.create(3)
    bench.do(1, 2, 3)
    (bench.path / "new/1_1.out").unlink()
    (bench.path / "new/1_2.out").rename(bench.path / "old/1_2.out")
    bench.reopen()
    assert bench.tally() == (3, 2, 0, 1)
    assert bench.send()[0].workunit.name == "1_1"


def test_the_clock_does_not_run_backwards(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Recovery: a clock that was set back while nobody worked does not move deadlines."""
    bench.create()
    before = bench.emulator.store.clock()
    monkeypatch.setattr(emulator_module.time, "time", lambda: 0.0)
    bench.reopen()
    assert bench.emulator.now() >= before


def test_a_failure_without_a_reason(bench: Bench) -> None:
    """Failures: a mask that says nothing is still a sentence."""
    bench.create()
    rows, _ = bench.send()
    assert failure_of(rows).reason == "given up"
    assert [one.outcome for one in failure_of(rows).attempts] == ["in progress"]


# ---------------------------------------------------------------- the database


def test_a_database_of_another_version(tmp_path: Path) -> None:
    """Database: one that another version wrote is left alone."""
    Store(tmp_path / "db").close()
    with sqlite3.connect(tmp_path / "db") as database:
        database.execute("update project set version = 99")
    database.close()
    with pytest.raises(DirectoryDamaged, match="written by another version of PyBOINC \\(99,"):
        Store(tmp_path / "db")


def test_a_database_that_is_none(tmp_path: Path) -> None:
    """Database: a damaged file is named, and so is one that can not be opened."""
    (tmp_path / "db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(DirectoryDamaged, match="db is damaged: file is not a database"):
        Store(tmp_path / "db")
    with pytest.raises(BackendError, match="can not be used: unable to open"):
        Store(tmp_path / "nowhere/db")
    with pytest.raises(BackendError, match="can not be used: unable to open"):
        Store(tmp_path / "none", read_only=True)


def test_a_database_that_fails_later(bench: Bench) -> None:
    """Database: an error while rows are written is explained."""
    bench.create()
    with sqlite3.connect(bench.path / "db") as database:
        database.execute("drop table result")
    database.close()
    bench.send()
    with pytest.raises(BackendError, match="can not be used: no such table: result; mend that"):
        bench.emulator.commit()


def test_looking_changes_nothing(bench: Bench) -> None:
    """Database: who only looks sees the rows and can not write."""
    bench.create(2)
    bench.do(5)
    rows, _ = bench.send()
    bench.emulator.commit()
    looking = Store(bench.path / "db", read_only=True)
    assert (looking.totals(1), looking.running(1)) == ((2, 1, 0, 0), 1)
    found = looking.named("1_1")
    assert found is not None
    assert found.results[0].server_state == ServerState.IN_PROGRESS
    assert looking.named("1_7") is None
    assert looking.retried(1) == []
    with pytest.raises(BackendError, match="readonly"):
        looking.set_bundle(1, "s.py", "cd")
    looking.close()
    bench.fail(rows, 0)
    bench.emulator.commit()
    assert bench.emulator.store.retried(1) == [workunit_id(1, 1)]


def test_batches_by_token(tmp_path: Path) -> None:
    """Database: a token is one batch; a number that is known from elsewhere is kept."""
    store = Store(tmp_path / "db")
    assert [store.batch(token) for token in ("a", "b", "a")] == [1, 2, 1]
    assert store.batch("c", 17) == 17
    assert store.batch("d") == 18
    store.close()


def test_another_archive_for_jobs_that_are_not_done(bench: Bench) -> None:
    """Database: a changed slave's archive replaces the old one in the rows of that slave."""
    bench.create(2)
    bench.emulator.store.set_bundle(1, "s.py", "cd")
    bench.emulator.store.set_bundle(1, "other.py", "ef")
    bench.reopen()
    assert bench.send()[0].details.bundle == "cd"


# ---------------------------------------------------------------- uploaded files


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    """An upload directory, with new/ and old/."""
    for name in ("new", "old", "slot"):
        (tmp_path / name).mkdir()
    return Uploads(tmp_path / "upload", tmp_path / "new", tmp_path / "old")


@pytest.mark.parametrize("number", [1, 20])
@pytest.mark.parametrize("all_at_once", [True, False])
def test_uploads_are_synced_one_by_one_or_all_at_once(
    uploads: Uploads, monkeypatch: pytest.MonkeyPatch, number: int, all_at_once: bool
) -> None:
    """Uploads: many files are flushed with their file system, where that can be asked for."""
    if not all_at_once:
        monkeypatch.setattr(uploads_module, "_syncfs", None)
    files: list[str] = []
    real = uploads_module._sync_file
    monkeypatch.setattr(uploads_module, "_sync_file", lambda path: (files.append(path), real(path)))
    for name in range(number):
        uploads.put(str(name), b"data")
    uploads.sync()
    asked = uploads_module._syncfs is not None
    assert len(files) == (0 if number > 1 and asked else number)
    uploads.sync()
    assert len(files) <= number


def _answer(monkeypatch: pytest.MonkeyPatch, number: int) -> list[str]:
    """Let the flush of a file system fail with *number*; return the files flushed by themselves."""

    def fail(descriptor: int) -> int:
        ctypes.set_errno(number)
        return -1

    files: list[str] = []
    monkeypatch.setattr(uploads_module, "_syncfs", fail)
    monkeypatch.setattr(uploads_module, "_sync_file", files.append)
    return files


def test_a_failed_flush_is_final(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads: what the disk has lost is not flushed again by a call that would succeed."""
    files = _answer(monkeypatch, errno.EIO)
    for name in range(20):
        uploads.put(str(name), b"data")
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        uploads.sync()
    assert files == []


def test_a_flush_that_there_is_not(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads: a system without syncfs, or one that forbids it, has each file flushed by itself."""
    files = _answer(monkeypatch, errno.ENOSYS)
    for name in range(20):
        uploads.put(str(name), b"data")
    uploads.sync()
    assert len(files) == 20


@pytest.mark.parametrize(
    ("system", "release", "tells"),
    [
        ("linux", "5.8.0", True),
        ("linux", "6.1.0-18-amd64", True),
        ("linux", "5.7.19", False),
        ("linux", "4.19-rc1", False),
        ("linux", "unknown", False),
        ("darwin", "23.1.0", False),
    ],
)
def test_which_systems_tell_of_a_failed_flush(system: str, release: str, tells: bool) -> None:
    """Uploads: before Linux 5.8 syncfs said nothing of lost data, so it is not used there."""
    assert uploads_module.tells_of_errors(system, release) is tells


def test_nothing_to_sync_is_no_step(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads: without a new file or a delivery the disk is left alone."""
    steps: list[str] = []
    monkeypatch.setattr(disk, "before_step", lambda step, about: steps.append(step))
    uploads.sync()
    uploads.put("a", b"data")
    uploads.delete("a")
    uploads.sync()
    assert steps == ["remove"]
    uploads.put("a", b"data")
    uploads.sync()
    uploads.deliver([("a", "1_0.out"), ("b", "1_1.out")])
    uploads.sync()
    uploads.sync()
    assert steps == ["remove", "sync uploads", "deliver", "deliver", "sync uploads"]


def test_a_file_that_can_not_be_written_is_not_half_there(
    uploads: Uploads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads: on a full disk nothing half written is left."""

    def full(path: str, mode: str) -> Any:
        Path(path).write_bytes(b"ha")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(uploads_module, "open", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        uploads.put("1_0.error", b"half")
    assert uploads.names() == []


def test_where_an_output_is_read_from(uploads: Uploads, tmp_path: Path) -> None:
    """Uploads: an output is found in upload/, in new/ or in old/; only a plain file is one."""
    (tmp_path / "slot/out").write_bytes(b"data")
    uploads.take(str(tmp_path / "slot"), "1_0_0")
    assert uploads.read("1_0_0", "1_0.out", 10) == b"data"
    assert uploads.read("1_0_0", "1_0.out", 3) is None
    uploads.deliver([("1_0_0", "1_0.out")])
    assert uploads.read("1_0_0", "1_0.out", 10) == b"data"
    assert uploads.is_there("1_0.out")
    (tmp_path / "new/1_0.out").rename(tmp_path / "old/1_0.out")
    assert uploads.read("1_0_0", "1_0.out", 10) == b"data"
    assert uploads.is_there("1_0.out")
    assert uploads.delivered() == {"1_0.out"}
    assert not uploads.is_there("1_1.out")
    (tmp_path / "upload/1_1_0").symlink_to("/etc/passwd")
    assert uploads.read("1_1_0", "1_1.out", 10**6) is None


def test_a_delivery_that_fails(uploads: Uploads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uploads: an error of the disk is explained, and the file stays where it is."""

    def fail(step: str, about: str) -> None:
        if step == "deliver":
            raise OSError(errno.ENOSPC, "")

    monkeypatch.setattr(disk, "before_step", fail)
    uploads.put("1_0_0", b"data")
    with pytest.raises(OSError, match="cannot move .*the disk is full; nothing is lost"):
        uploads.deliver([("1_0_0", "1_0.out")])
    assert uploads.names() == ["1_0_0"]


def test_a_client_state_for_what_was_not_uploaded(bench: Bench) -> None:
    """Reports: an output that was refused at its upload is a client error of its own."""
    bench.create()
    rows, instance = bench.send()
    bench.emulator.report(rows.workunit.id, Report.error(instance, 0, ClientState.UPLOAD_FAILED))
    assert rows.results[0].client_state == ClientState.UPLOAD_FAILED
    bench.do(5)
    assert bench.names("new") == ["1_0.out"]
