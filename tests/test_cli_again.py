"""``pyboinc replay``, ``rerun``, ``cancel`` and ``clean``: doing again, and doing away with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest
from cli_apps import ANSWER, SLAVE, copy_of, make_app, master_at_work, python, typed, verb
from click.testing import CliRunner, Result

from pyboinc import disk, locks
from pyboinc.cli import clean, main, post_mortem, replay
from pyboinc.jobdir import JobDirectory

GOOD_SLAVE = SLAVE.replace("work.number == 3", "work.number == 33")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch that was run to its end, in which job 3 failed; not to be changed."""
    app = make_app(tmp_path_factory.mktemp("batch") / "app")
    run = python("app_master.py", "--max-errors", "1", "--seed", "1", cwd=app)
    assert run.returncode == 1, run.stderr
    return app


@pytest.fixture
def app(done: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return copy_of(done, tmp_path / "app")


def files(directory: Path) -> dict[str, bytes]:
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in paths}


def killed_before_each_step(
    monkeypatch: pytest.MonkeyPatch, *words: object
) -> Iterator[Result | None]:
    """Type a command again and again, killed before one step later each time, until it is done."""

    class Killed(BaseException):
        pass

    for last in count(1):
        steps = count(1)

        def crash(*_: str, steps: Iterator[int] = steps, last: int = last) -> None:
            if next(steps) == last:
                raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(disk, "before_step", crash)
            try:
                result = verb(*words)
            except Killed:
                result = None
        yield result
        if result is not None:
            assert result.exit_code == 0, result.output
            assert last > 5
            return


# replay


def test_replay_shows_a_failure_as_it_was(done: Path) -> None:
    """replay: the exact input, the slave's own traceback, its exit status; no file is touched."""
    before = files(done)
    run = typed("replay", 3, cwd=done)
    assert run.returncode == 1
    assert run.stdout == ""
    assert 'File "app_slave.py", line 7, in <module>' in run.stderr
    assert "JSONDecodeError" in run.stderr
    assert run.stderr.splitlines()[-1] == "pyboinc: the slave failed with exit status 1"
    assert files(done) == before


@pytest.mark.parametrize("job", ["4", "1_4", "old/1_4.out"])
def test_replay_prints_the_output_of_a_job_that_works(job: str, done: Path) -> None:
    """replay: exit code 0, and the output alone on stdout."""
    run = typed("replay", job, cwd=done)
    assert (run.returncode, run.stdout) == (0, "Output(square=16)\n")
    assert "it worked here; its output:" in run.stderr


def test_replay_leaves_nothing_behind(done: Path, tmp_path: Path) -> None:
    """replay: its scratch slot is removed, also when the slave made a mess of it."""
    run = typed("replay", 3, cwd=done, TMPDIR=str(tmp_path))
    assert run.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_replay_in_another_directory(done: Path, tmp_path: Path) -> None:
    """replay JOB DIR: from anywhere."""
    run = typed("replay", "2", done, cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "Output(square=4)\n")


def test_replay_with_the_debugger_opens_it_where_the_slave_fails(done: Path) -> None:
    """replay --pdb: post mortem in the slave's frames, with its variables."""
    run = typed("replay", 3, "--pdb", cwd=done, stdin="up\nup\nup\np work.number * 1000\nq\n")
    assert run.returncode == 1
    assert "3000" in run.stdout
    assert "JSONDecodeError" in run.stderr


def test_replay_with_the_debugger_of_a_job_that_works_just_works(done: Path) -> None:
    """replay --pdb: nothing to debug, no debugger."""
    run = typed("replay", 4, "--pdb", cwd=done)
    assert (run.returncode, run.stdout) == (0, "Output(square=16)\n")


def test_an_error_without_a_frame_needs_no_debugger(capsys: pytest.CaptureFixture[str]) -> None:
    """replay --pdb: what went wrong before the slave's first line is just shown."""
    post_mortem.debug(ValueError, ValueError("no line of the slave's"), None)
    assert "no line of the slave's" in capsys.readouterr().err


def test_replay_of_a_changed_slave_runs_the_one_of_the_batch(app: Path) -> None:
    """replay: reproduces with the recorded archive; --current tries the repair."""
    (app / "app_slave.py").write_text(GOOD_SLAVE)
    run = typed("replay", 3, cwd=app)
    assert run.returncode == 1
    assert "as it was when it was called (--current runs it as it is now)" in run.stderr
    run = typed("replay", 3, "--current", cwd=app)
    assert (run.returncode, run.stdout) == (0, "Output(square=9)\n")
    assert "app_slave.py as it is now" in run.stderr


def test_replay_of_a_broken_slave_runs_the_one_of_the_batch(app: Path) -> None:
    """replay: a slave that is gone or no Python any more can still be reproduced."""
    (app / "app_slave.py").write_text("print(")
    run = typed("replay", 3, cwd=app)
    assert run.returncode == 1
    assert "app_slave.py as it was when it was called, in" in run.stderr
    run = typed("replay", 3, "--current", cwd=app)
    assert run.returncode == 2
    assert "not valid Python" in run.stderr


def test_replay_without_the_archive(app: Path) -> None:
    """replay: an archive that was removed by hand is named, with what still works."""
    (app / "app_slave.py").write_text(GOOD_SLAVE)
    shutil.rmtree(app / ".pyboinc" / "bundles")
    run = typed("replay", 3, cwd=app)
    assert run.returncode == 2
    assert ".zip is gone" in run.stderr
    assert "--current" in run.stderr


def test_replay_of_no_job_is_refused(done: Path) -> None:
    """replay: how many jobs there are is said."""
    result = verb("replay", "8", done)
    assert result.exit_code == 2
    assert "there is no job 8; the batch in" in result.stderr


KILLED = "import os, app_types\nos.kill(os.getpid(), 11)\n"
WAITING = "import app_types, time\nprint('ready', flush=True)\ntime.sleep(60)\n"


def test_replay_of_a_slave_that_kills_itself(app: Path) -> None:
    """replay: the signal is named."""
    (app / "app_slave.py").write_text(KILLED)
    run = typed("replay", 3, "--current", cwd=app)
    assert run.returncode == 1
    assert run.stderr.endswith("pyboinc: the slave was killed by SIGSEGV\n")


def test_an_interrupted_replay_ends_with_its_slave(app: Path, tmp_path: Path) -> None:
    """replay: ^C reaches the slave, 130 comes back, the scratch slot is removed."""
    (app / "app_slave.py").write_text(WAITING)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = [sys.executable, "-m", "pyboinc", "replay", "3", "--current"]
    with subprocess.Popen(
        command,
        cwd=app,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == b"ready\n"
        os.killpg(run.pid, signal.SIGINT)
        assert run.wait(60) == 130
    assert list(scratch.iterdir()) == []


def test_an_output_that_a_master_would_refuse_is_said_to_be_one(app: Path) -> None:
    """replay: what works in the slave and fails at the master is found here."""
    (app / "pyboinc.toml").write_text("max_output = 10\n")
    run = typed("replay", 4, cwd=app)
    assert run.returncode == 2
    assert "a master would refuse this output" in run.stderr


def test_a_long_output_is_cut(app: Path) -> None:
    """replay: an output of a megabyte does not fill the terminal."""
    slave = GOOD_SLAVE.replace("Output(work.number ** 2)", "Output([work.number] * 5000)")
    (app / "app_slave.py").write_text(slave)
    run = typed("replay", 4, "--current", cwd=app)
    assert run.returncode == 0
    assert len(run.stdout) < 2_100
    assert "characters)" in run.stdout or "..." in run.stdout


class Plain:
    def __init__(self) -> None:
        self.value = [1, 2]
        self.inside = Slotted()


class Slotted:
    __slots__ = ("never_set", "x")

    def __init__(self) -> None:
        self.x = "y"


@dataclass
class Data:
    x: int = 1


class Named(NamedTuple):
    x: int = 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Plain(), "Plain(inside=Slotted(x='y'), value=[1, 2])"),
        (Data(), "Data(x=1)"),
        (Named(), "Named(x=1)"),
        (3.5, "3.5"),
        ([Data()], "[Data(x=1)]"),
    ],
)
def test_a_value_is_shown_with_what_is_in_it(value: object, text: str) -> None:
    """replay: a plain class without a repr of its own shows its attributes."""
    shown = replay.describe_value(value)
    assert "".join(sorted(shown)) == "".join(sorted(text))


# rerun


def test_rerun_of_failed_jobs_after_a_repair(app: Path) -> None:
    """rerun --failed: the mended slave does them, and the answer is whole."""
    (app / "app_slave.py").write_text(GOOD_SLAVE)
    result = verb("rerun", "--failed", app)
    assert result.exit_code == 0
    assert result.stdout == (
        "1 job will be done again.  Now type: "
        "python app_master.py --accept-changes  (app_slave.py changed)\n"
    )
    assert (app / ".pyboinc" / "previous" / "1" / "1_3.error").exists()
    run = python("app_master.py", "--accept-changes", cwd=app)
    assert (run.returncode, run.stdout) == (0, ANSWER), run.stderr
    assert verb("status", app).exit_code == 0
    assert verb("rerun", "--failed", app).stdout.startswith("No job has failed")
    # What jobs run since then is what a replay runs.
    run = typed("replay", 3, cwd=app)
    assert (run.returncode, run.stdout) == (0, "Output(square=9)\n")
    assert "as it was changed and accepted" in run.stderr


def test_rerun_of_chosen_jobs(app: Path) -> None:
    """rerun --job: any job that has an outcome, by index or name, several at once."""
    result = verb("rerun", "--job", "0", "--job", "1_4", "--failed", app)
    assert result.exit_code == 0
    assert result.stdout == "3 jobs will be done again.  Now type: python app_master.py\n"
    assert sorted(path.name for path in (app / ".pyboinc" / "previous" / "1").iterdir()) == [
        "1_0.out",
        "1_3.error",
        "1_4.out",
    ]
    assert len(list((app / "old").iterdir())) == 5
    again = verb("rerun", "--job", "0", app)
    assert again.exit_code == 0
    assert again.stdout == "Job 0 has no outcome yet: it is still to be done.\n"


def test_rerun_tells_what_is_still_broken(app: Path) -> None:
    """rerun: a slave that is no Python is named together with the command."""
    (app / "app_slave.py").write_text("print(")
    result = verb("rerun", "--failed", app)
    assert result.exit_code == 0
    assert "python app_master.py  (but first: " in result.stdout
    assert "not valid Python" in result.stdout


def test_rerun_that_is_cut_short_can_be_repeated(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rerun: killed before any step and typed again, it loses no job and makes none twice."""
    (app / "app_slave.py").write_text(GOOD_SLAVE)
    for _ in killed_before_each_step(monkeypatch, "rerun", "--job", "3", "--job", "0", app):
        outcomes = [path for path in app.rglob("1_[03].*") if path.suffix in (".out", ".error")]
        assert len(outcomes) == 2, "each outcome is in old/ or in previous/"
    run = python("app_master.py", "--accept-changes", cwd=app)
    assert (run.returncode, run.stdout) == (0, ANSWER), run.stderr
    status = json.loads(verb("status", app, "--json").stdout)
    assert (status["jobs"]["total"], status["jobs"]["handled"]) == (8, 8)


PARENTS = """\
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

def make_calls():
    pyboinc_call("app_slave.py", Input(1, ""))

def handle_result(output):
    if output.square == 1:
        pyboinc_call("app_slave.py", Input(2, ""))

pyboinc_master(make_calls, handle_result)
"""


def test_a_job_whose_handling_made_calls_is_not_undone(tmp_path: Path) -> None:
    """rerun: its children would be orphans; that is refused, and nothing has changed."""
    app = make_app(tmp_path / "app", master=PARENTS)
    assert python("app_master.py", cwd=app).returncode == 0
    before = files(app)
    result = verb("rerun", "--job", "0", app)
    assert result.exit_code == 2
    assert "handling job 0 made calls of its own" in result.stderr
    assert "--fresh" in result.stderr
    after = files(app)
    assert {name for name in before if before[name] != after[name]} <= {".pyboinc/lock"}
    assert verb("rerun", "--job", "1", app).exit_code == 0


def test_rerun_of_a_job_that_does_not_exist(app: Path) -> None:
    """rerun: the number of jobs is said, and nothing is done to the others named with it."""
    result = verb("rerun", "--job", "3", "--job", "8", app)
    assert result.exit_code == 2
    assert "there is no job 8" in result.stderr
    assert (app / "old" / "1_3.error").exists()


# cancel


def test_cancelled_jobs_are_failures_that_can_be_undone(tmp_path: Path) -> None:
    """cancel: what was not done is failed, says why, and rerun brings it back."""
    app = make_app(tmp_path / "app", slave=GOOD_SLAVE)
    with master_at_work(app) as master:
        master.send_signal(signal.SIGINT)
        assert master.wait(60) == 130
    result = verb("cancel", app)
    assert result.exit_code == 0
    assert result.stdout.startswith("8 jobs were cancelled.\n")
    assert verb("cancel", app).stdout == "0 jobs were cancelled.\n"
    run = python("app_master.py", cwd=app)
    assert run.returncode == 1
    assert "8 x cancelled" in run.stderr
    assert verb("rerun", "--failed", app).stdout.startswith("8 jobs will be done again.")
    run = python("app_master.py", cwd=app)
    assert (run.returncode, run.stdout) == (0, ANSWER), run.stderr


def test_a_batch_without_jobs_has_nothing_to_cancel(app: Path) -> None:
    """cancel: a master that was killed before it made jobs."""
    record = JobDirectory(app)
    record.load()
    assert record.record is not None
    record.record.batch = None
    record.save(record.record)
    for path in (app / "pyboinc_checkpoint", *(app / "old").iterdir()):
        path.unlink()
    result = verb("cancel", app)
    assert (result.exit_code, result.stdout) == (
        0,
        "The batch has no jobs yet: there is nothing to cancel.\n",
    )


# clean


def test_clean_removes_what_is_ours_and_nothing_else(app: Path) -> None:
    """clean --yes: programs, settings, and files of the user's in new/ and old/ stay."""
    (app / "pyboinc.toml").write_text("seed = 3\n")
    (app / "new" / "notes.txt").write_text("mine")
    (app / "data").mkdir()
    (app / "data" / "1_3.out").write_text("mine")
    result = verb("clean", "--yes", app)
    assert result.exit_code == 0, result.output
    assert "batch 1: 8 jobs, 8 of them handled" in result.stdout
    assert "pyboinc_checkpoint, and 8 outcomes in new/ and old/" in result.stdout
    assert result.stdout.endswith("Removed.\n")
    assert f"{app / 'new'} holds files of your own and stays" in result.stderr
    left = {name for name in files(app) if "__pycache__" not in name}
    assert left == {
        "app_master.py",
        "app_slave.py",
        "app_types.py",
        "data/1_3.out",
        "marker",
        "new/notes.txt",
        "pyboinc.toml",
    }
    assert not (app / "old").exists()
    assert verb("clean", "--yes", app).exit_code == 2
    run = python("app_master.py", "--max-errors", "1", cwd=app)
    assert "a new batch" in run.stderr


@pytest.mark.parametrize(
    ("answer", "code"), [("y\n", 0), ("n\n", 130), ("\n", 130), ("", 130)], ids="ynd0"
)
def test_clean_asks(app: Path, answer: str, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """clean: whoever does not say yes keeps everything; the question is on the terminal."""
    monkeypatch.setattr(clean, "_asks_nobody", lambda: False)
    result = CliRunner().invoke(main, ["clean", str(app)], input=answer)
    assert result.exit_code == code
    assert "Remove it?" in result.stdout
    assert (app / "pyboinc_checkpoint").exists() == (code != 0)
    assert ("Nothing was removed." in result.stdout) == (code != 0)


def test_clean_does_not_ask_where_nobody_is(app: Path) -> None:
    """clean: in a script it removes nothing without --yes."""
    result = verb("clean", app)
    assert result.exit_code == 2
    assert "pyboinc clean --yes" in result.stderr
    assert (app / "pyboinc_checkpoint").exists()


def test_clean_says_what_is_lost(app: Path) -> None:
    """clean: jobs not handled, refused files and earlier batches are named before it asks."""
    assert verb("rerun", "--job", "0", app).exit_code == 0
    (app / ".pyboinc" / "quarantine").mkdir(exist_ok=True)
    (app / ".pyboinc" / "quarantine" / "x.reason").write_text("'odd'")
    result = verb("clean", "--yes", app)
    assert "1 jobs are NOT handled yet: they are cancelled" in result.stdout
    assert "refused files in .pyboinc/quarantine" in result.stdout
    assert "set aside in .pyboinc/previous" in result.stdout
    assert result.exit_code == 0
    assert not (app / ".pyboinc").exists()


def test_clean_of_a_damaged_batch(app: Path) -> None:
    """clean: what PyBOINC can not read any more it can still remove."""
    (app / ".pyboinc" / "run.json").write_text("nonsense")
    result = verb("clean", "--yes", app)
    assert result.exit_code == 0
    assert "run.json" in result.stderr
    assert not (app / ".pyboinc").exists()


def test_clean_of_a_directory_in_which_a_batch_was_just_begun(app: Path) -> None:
    """clean: a .pyboinc without any record is removed like every other."""
    for name in (".pyboinc/run.json", ".pyboinc/journal", "pyboinc_checkpoint"):
        (app / name).unlink()
    result = verb("clean", "--yes", app)
    assert result.exit_code == 0
    assert not (app / ".pyboinc").exists()


def test_clean_that_is_cut_short_can_be_repeated(
    app: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """clean: killed before any step, it has removed no file of the user's, and finishes later."""

    mine = {name: text for name, text in files(app).items() if "/" not in name}
    del mine["pyboinc_checkpoint"]
    for _ in killed_before_each_step(monkeypatch, "clean", "--yes", app):
        assert {name: (app / name).read_bytes() for name in mine} == mine
    assert {name for name in files(app) if "/" not in name} == set(mine)


# The lock


@pytest.mark.parametrize(
    "words", [["rerun", "--failed"], ["cancel"], ["clean", "--yes"]], ids=lambda words: words[0]
)
def test_a_directory_that_is_held_is_not_changed(words: list[str], app: Path) -> None:
    """Lock: whoever holds it is named; exit code 3; also when the number is not known."""
    lock = locks.take_lock(app / ".pyboinc" / "lock")
    before = files(app)
    try:
        result = verb(*words, app)
        assert result.exit_code == 3
        assert f"process {os.getpid()} is at work in {app}" in result.stderr
        os.ftruncate(lock, 0)
        assert "process unknown is at work" in verb(*words, app).stderr
    finally:
        os.close(lock)
    assert {name: text for name, text in files(app).items() if name != ".pyboinc/lock"} == {
        name: text for name, text in before.items() if name != ".pyboinc/lock"
    }
    shown = verb("status", app)
    assert "(not running)" in shown.stdout
