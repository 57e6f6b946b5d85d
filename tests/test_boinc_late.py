"""A real project's answers that come twice: a job given up or cancelled, and done after all."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from boinc_project import mariadb
from boinc_project.place import StandIn
from boinc_project.world import World
from click.testing import CliRunner

from pyboinc import bundle, codec, config
from pyboinc.backends import Backend, failure_from_bytes, find_backend
from pyboinc.backends.boinc import rows
from pyboinc.cli import main
from pyboinc.jobdir import ERROR, OUTPUT, JobDirectory, RunRecord

SLAVE = "from pyboinc import pyboinc_get_input, pyboinc_return_output\n"
PATIENCE = 60.0


class Side:
    """A job directory with three jobs at a project whose volunteers have not come back yet."""

    def __init__(self, path: Path) -> None:
        self.project = StandIn(path / "project")
        self.world = World(self.project, lambda name: "vanish")
        self.world.compute = lambda data: data
        job = path / "job"
        job.mkdir()
        (job / "app_slave.py").write_text(SLAVE)
        given = {"project_dir": self.project.root, "signing_key": self.project.key}
        self.settings = config.load(job, arguments={"backend": "boinc", **given}, environ={})
        self.directory = JobDirectory(job)
        self.directory.lock()
        limits = self.settings.limits.asdict()
        self.directory.begin(RunRecord("0123456789abcdef", "boinc", 1, "m.py", limits=limits))
        packed = bundle.pack(job, "app_slave.py")
        self.directory.keep_bundle(packed.digest, packed.data)
        for number in range(3):
            self.directory.spool.append("app_slave.py", packed.digest, 1, {}, codec.encode(number))
        self.directory.spool.sync()
        self.directory.journal.commit_calls(1, 3)
        self.backend = self.open()
        self.backend.submit(0, 3)
        self.directory.write_checkpoint()
        self.world.settle()

    def open(self) -> Backend:
        """Open the backend, as a new master does."""
        backend = find_backend("boinc")(self.directory, self.settings)
        record = self.directory.record
        assert record is not None
        record.batch = backend.begin_batch("0123456789abcdef")
        self.directory.save(record)
        return backend

    def name(self, sequence: int) -> str:
        """The name of the first workunit of a job."""
        assert self.directory.record is not None
        return f"pyb_{self.directory.record.batch}_{sequence}"

    def outcomes(self) -> list[str]:
        """What lies in new/, without the batch."""
        names = (path.name for path in self.directory.new.iterdir())
        return sorted(name.partition("_")[2] for name in names if not name.startswith("."))

    def until(self, condition: Callable[[], bool]) -> None:
        """Let backend and project go on until something is so."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.world.step()
            self.backend.wait(0.1)
            assert time.monotonic() < deadline, (self.outcomes(), self.backend.counts())

    def cancelled_and_done_and_lost(self, sequence: int) -> None:
        """Let a job be cancelled and done after all, and the file deleter be the first to come.

        All this while no master runs.  It deletes outputs of jobs that are given up at once.
        """
        self.backend.close()
        name = self.name(sequence)
        self.cancel(sequence)
        self.world.settle()
        self.world.late(name)
        self.world.settle()
        for place in (self.project.root / "upload", self.directory.new):
            for path in [*place.rglob(f"{name}_*"), *place.glob(f"*_{sequence}.out")]:
                path.unlink()
        number = self.project.select("select id from workunit where name=%s", name)[0][0]
        with (self.project.ours / "failed" / name.split("_")[1]).open("a") as told:
            told.write(f"{name} {number} 0\n")

    def cancel(self, sequence: int) -> None:
        """Cancel a job that a host is at work on."""
        self.project.execute(
            "update workunit set error_mask=16, transition_time=1 where name=%s",
            self.name(sequence),
        )


@pytest.fixture
def side(tmp_path: Path) -> Iterator[Side]:
    mariadb.require()
    side = Side(tmp_path)
    yield side
    side.backend.close()
    side.directory.close()
    side.world.close()
    side.project.close()


def test_a_success_after_a_failure_is_one_job_in_the_counts(side: Side) -> None:
    """The boinc backend: a job handled as failed that comes back good stands for no other one."""
    side.cancel(0)
    side.until(lambda: "0.error" in side.outcomes())
    side.directory.journal.add_handled(0, ERROR, 3)
    side.world.late(side.name(0))
    side.until(lambda: "0.out" in side.outcomes())
    side.backend.reissue([])
    counts = side.backend.counts()
    assert (counts.total, counts.done, counts.failed) == (3, 0, 1)
    assert counts.queued + counts.running == 2


def test_a_failure_after_a_success_was_handled_is_no_failure(side: Side) -> None:
    """The boinc backend: what a master has handled is what the counts say in the end.

    Aborting a batch from the project's web pages marks also those that are done.
    """
    for sequence in range(3):
        side.directory.journal.add_handled(sequence, OUTPUT, 3)
    side.cancel(1)
    side.world.settle()
    side.backend.reissue([])
    counts = side.backend.counts()
    assert (counts.total, counts.done, counts.failed) == (3, 3, 0)


def test_a_cancelled_job_whose_late_output_is_lost_stays_cancelled(side: Side) -> None:
    """The boinc backend: its row tells of a success and of an error, and its output is nowhere.

    Nobody asked for it to be done again.
    """
    side.cancelled_and_done_and_lost(1)
    side.backend = side.open()
    side.until(lambda: "1.error" in side.outcomes())
    side.backend.wait(0.1)
    assert side.project.workunits() == [side.name(one) for one in range(3)]
    (path,) = side.directory.new.glob("*_1.error")
    assert failure_from_bytes(path.read_bytes()).reason == "cancelled"


def test_a_master_that_misses_a_cancelled_job_is_told_of_it(side: Side) -> None:
    """The boinc backend: the same, where the lines of the assimilator are lost, too."""
    side.cancelled_and_done_and_lost(1)
    for lines in (side.project.ours / "failed").iterdir():
        lines.unlink()
    side.backend = side.open()
    side.backend.reissue([1], unless_there=True)
    assert side.outcomes() == ["1.error"]
    assert side.project.workunits() == [side.name(one) for one in range(3)]


def test_a_batch_that_is_cleaned_away_leaves_nothing_at_the_project(side: Side) -> None:
    """pyboinc clean: jobs are cancelled; no word of the batch is left, nor its slave's archive."""
    side.cancel(0)
    side.world.settle()
    number = side.name(0).split("_")[1]
    (side.project.ours / "kept" / number).mkdir()
    (side.project.ours / "kept" / number / f"{number}_2.out").write_bytes(b"late")
    side.backend.close()
    side.directory.close()
    keys = {"backend": "boinc", "project_dir": side.project.root, "signing_key": side.project.key}
    lines = [f'{name} = "{value}"' for name, value in keys.items()]
    (side.directory.path / "pyboinc.toml").write_text("\n".join(lines))
    done = CliRunner().invoke(main, ["clean", "--yes", str(side.directory.path)])
    assert done.exit_code == 0, done.output
    for place in ("batches", "failed", "kept"):
        assert not (side.project.ours / place / number).exists()
    assert not {name for name in side.project.downloads() if name.startswith("pyb_slave")}
    assert side.project.batch()["state"] == rows.ABORTED
    masks = side.project.select("select distinct error_mask & 16 from workunit")
    assert masks == [(16,)]


def test_the_row_of_the_batch_is_true_while_the_master_waits(side: Side) -> None:
    """The boinc backend: the web site shows how far a batch is, and no daemon writes that."""
    side.world.late(side.name(0))
    side.cancel(1)
    side.until(lambda: side.project.batch()["nerror_jobs"] == 1)
    side.until(lambda: abs(side.project.batch()["fraction_done"] - 2 / 3) < 1e-6)
    assert side.project.batch()["state"] == rows.IN_PROGRESS
