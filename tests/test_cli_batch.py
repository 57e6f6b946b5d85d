"""``pyboinc status`` and ``errors``: looking at a batch, beside its master or without one."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_apps import MASTER, copy_of, make_app, master_at_work, python, typed, verb

from pyboinc import locks, progress
from pyboinc.backends import Counts
from pyboinc.cli import status as module
from pyboinc.cli.batch import Batch
from pyboinc.cli.status import Status
from pyboinc.errors import ConfigurationError
from pyboinc.jobdir import Arrival


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch that was run to its end: job 3 failed, job 5 was retried; not to be changed."""
    app = make_app(tmp_path_factory.mktemp("batch") / "app")
    run = python("app_master.py", "--max-errors", "1", "--seed", "1", cwd=app)
    assert run.returncode == 1, run.stderr
    return app


@pytest.fixture
def half(done: Path, tmp_path: Path) -> Path:
    """A copy of it in which job 0 is to be done again."""
    app = copy_of(done, tmp_path / "app")
    assert verb("rerun", "--job", "0", app).exit_code == 0
    return app


# status


def test_status_of_a_finished_batch(done: Path) -> None:
    """status: how far, which batch, backend and seed, and what to do about failures; exit 1."""
    result = verb("status", done)
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        f"app_master.py in {done} (not running)",
        "  batch 1, backend local, seed 1, started once",
        "  8 of 8 handled: 7 done, 1 failed, 2 retries",
        f"  what failed:  pyboinc errors {os.path.relpath(done)}",
    ]


def test_status_in_the_directory_itself(done: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """status: without DIR it is the current directory, and the advice names none."""
    monkeypatch.chdir(done)
    assert verb("status").stdout.splitlines()[-1] == "  what failed:  pyboinc errors"


def test_status_as_json_has_the_documented_keys(done: Path) -> None:
    """status --json: exactly what docs/command_line.md lists."""
    result = verb("status", done, "--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data == {
        "directory": str(done),
        "program": "app_master.py",
        "backend": "local",
        "batch": "1",
        "seed": 1,
        "starts": 1,
        "process": None,
        "running": False,
        "finished": True,
        "jobs": {"total": 8, "queued": 0, "running": 0, "done": 7, "failed": 1, "handled": 8},
        "retries": 2,
        "rate": None,
        "time_left": None,
        "quarantined": 0,
        "trickle": None,
    }
    document = Path(__file__).parent.parent / "docs" / "command_line.md"
    for key in [*data, *data["jobs"]]:
        assert f"`{key}`" in document.read_text("utf-8"), f"{key} is not documented"


def test_status_of_an_unfinished_batch_says_how_to_go_on(half: Path) -> None:
    """status: exit code 3, and the command."""
    result = verb("status", half)
    assert result.exit_code == 3
    assert "  7 of 8 handled: 6 done, 1 failed, 0 running, 1 queued" in result.stdout
    assert "  to go on:     python app_master.py" in result.stdout


def test_status_names_the_command_that_a_printed_program_needs(half: Path) -> None:
    """status: a program that imports nothing from pyboinc goes on with pyboinc run."""
    (half / "app_master.py").write_text("print(1)")
    assert "  to go on:     pyboinc run app_master.py" in verb("status", half).stdout
    (half / "app_master.py").unlink()
    assert "  to go on:     python app_master.py" in verb("status", half).stdout


def test_status_of_a_batch_without_jobs(half: Path) -> None:
    """status: a master that was killed in make_calls has begun, and made nothing."""
    for name in ("journal", "spool"):
        (half / ".pyboinc" / name).unlink()
    record = json.loads((half / ".pyboinc" / "run.json").read_text())
    (half / ".pyboinc" / "run.json").write_text(json.dumps({**record, "batch": None}))
    result = verb("status", half)
    assert result.exit_code == 3
    assert "  batch -, backend local" in result.stdout
    assert "  0 of 0 handled" in result.stdout


def test_status_of_a_finished_batch_without_jobs(tmp_path: Path) -> None:
    """status: when make_calls has made no calls, all is done; its exit code is the master's, 0."""
    app = make_app(tmp_path / "app", master=MASTER.replace("range(8)", "range(0)"))
    assert python("app_master.py", cwd=app).returncode == 0
    result = verb("status", app)
    assert (result.exit_code, "to go on" in result.stdout) == (0, False), result.stdout
    assert json.loads(verb("status", app, "--json").stdout)["finished"] is True


def test_status_counts_refused_files(half: Path) -> None:
    """status: what was set aside in quarantine is not a secret."""
    place = half / ".pyboinc" / "quarantine"
    place.mkdir(exist_ok=True)
    (place / "x.reason").write_text("'odd'")
    assert "  1 file was refused: see .pyboinc/quarantine" in verb("status", half).stdout
    (place / "y.reason").write_text("'odd'")
    assert "  2 files were refused" in verb("status", half).stdout
    assert json.loads(verb("status", half, "--json").stdout)["quarantined"] == 2


def test_status_measures_the_rate_of_the_last_minute(half: Path) -> None:
    """status: jobs that got their outcome since the master started, at most a minute ago."""
    now = time.time()
    lock = locks.take_lock(half / ".pyboinc" / "lock")
    try:
        os.utime(half / ".pyboinc" / "lock", (now - 30, now - 30))
        for n, path in enumerate(sorted((half / "old").iterdir())):
            age = 10 if n < 6 else 40  # six of them by this master
            os.utime(path, (now - age, now - age))
        with_rate = module.status_of(Batch(half), now)
        os.utime(half / ".pyboinc" / "lock", (now - 0.5, now - 0.5))
        too_early = module.status_of(Batch(half), now)
    finally:
        os.close(lock)
    assert with_rate.process == os.getpid()
    assert with_rate.rate == pytest.approx(6 / 30)
    assert with_rate.time_left == pytest.approx(1 / (6 / 30))
    assert (too_early.rate, too_early.time_left) == (None, None)
    shown = module.describe(with_rate, Batch(half), now)
    assert f"(running, process {os.getpid()})" in shown
    assert "  12.0 jobs/min, 5.0 s left" in shown


def test_a_file_that_is_moved_while_we_look_counts_as_old(tmp_path: Path) -> None:
    """status: beside a master at work a listing is never quite true, and no error."""
    assert module._written(tmp_path / "gone") == 0.0


def test_status_and_errors_beside_a_real_master(tmp_path: Path) -> None:
    """Beside a master: status and errors read; what would change is refused and says who."""
    app = make_app(tmp_path / "app")
    with master_at_work(app) as master:
        data = json.loads(verb("status", app, "--json").stdout)
        assert (data["running"], data["process"]) == (True, master.pid)
        assert (data["jobs"]["total"], data["jobs"]["handled"]) == (8, 0)
        assert data["jobs"]["queued"] + data["jobs"]["running"] == 8
        assert verb("errors", app).stdout == "No job has failed.\n"
        for words in (
            ["rerun", "--failed"],
            ["rerun", "--job", "1"],
            ["cancel"],
            ["clean", "--yes"],
        ):
            result = verb(*words, app)
            assert result.exit_code == 3, result.output
            assert f"process {master.pid} is at work in {app}" in result.stderr
            assert f"kill -INT {master.pid}" in result.stderr
        assert typed("run", "app_master.py", cwd=app).returncode == 3
        assert master.poll() is None


# status --watch


def a_status(handled: int, **more: object) -> Status:
    facts: dict[str, object] = {
        "directory": "/d",
        "program": "app_master.py",
        "backend": "local",
        "batch": "1",
        "seed": 1,
        "starts": 1,
        "process": 7,
        "jobs": Counts(total=10, done=handled, queued=10 - handled),
        "handled": handled,
        "rate": None,
        "time_left": None,
        "quarantined": 0,
        "trickle": None,
    }
    return Status(**{**facts, **more})  # type: ignore[arg-type]


@pytest.fixture
def passing_time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Ten looks until all is handled, and no waiting between them; returns the pauses."""
    looks = iter(range(11))
    pauses: list[float] = []
    monkeypatch.setattr(module, "status_of", lambda batch, now: a_status(next(looks)))
    monkeypatch.setattr(module.time, "sleep", pauses.append)
    return pauses


def test_watch_ends_when_all_is_handled(done: Path, passing_time: list[float]) -> None:
    """status --watch: looks each second or less often, ends with the last word and exit code 0."""
    result = verb("status", done, "--watch")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "  10 of 10 handled: 10 done, 0 failed, 0 retries"
    assert len(passing_time) == 10
    assert min(passing_time) >= module.PERIOD


def test_watch_as_json_is_a_line_a_look(done: Path, passing_time: list[float]) -> None:
    """status --watch --json: one object a line, the last of them finished."""
    result = verb("status", done, "--watch", "--json")
    looks = [json.loads(line) for line in result.stdout.splitlines()]
    assert [look["jobs"]["handled"] for look in looks] == list(range(11))
    assert [look["finished"] for look in looks] == [False] * 10 + [True]


def test_watch_on_a_terminal_is_live(half: Path) -> None:
    """status --watch: on a terminal a live display, and ^C ends it with 130, silently."""
    terminal, end = pty.openpty()
    program = (
        "from pyboinc import progress; from pyboinc.cli import main; "
        "progress.PATIENCE = 0; from pyboinc.cli import status; status.PERIOD = 0.05; "
        "main(prog_name='pyboinc')"
    )
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "CI": ""}
    with subprocess.Popen(
        [sys.executable, "-c", program, "status", "--watch"],
        cwd=half,
        env=environ,
        stdout=end,
        stderr=subprocess.PIPE,
    ) as watch:
        os.close(end)
        shown = b""
        while b"left" not in shown:
            assert select.select([terminal], [], [], 30)[0], shown
            shown += os.read(terminal, 65536)
        watch.send_signal(signal.SIGINT)
        # Read on, or it could not write its last words.
        while select.select([terminal], [], [], 30)[0]:
            try:
                shown += os.read(terminal, 65536)
            except OSError:
                break
        assert watch.wait(30) == 130
        assert watch.stderr is not None
        assert watch.stderr.read() == b""
    os.close(terminal)
    plain = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", shown).decode()
    assert "7 of 8 handled" in plain
    assert "6 done  1 failed  0 running  1 queued" in plain
    assert progress.PATIENCE > 0


# errors


def test_errors_shows_each_cause_with_the_slaves_own_lines_first(done: Path) -> None:
    """errors: cause, own lines, traceback, host and versions, jobs and how to replay; exit 1."""
    result = verb("errors", done)
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    where = os.path.relpath(done)
    assert lines[0] == "1 of 8 jobs can not be done."
    assert lines[2].startswith("1 x json.decoder.JSONDecodeError: Expecting value")
    assert lines[3:5] == [
        "  at app_slave.py, line 7, in <module>",
        '       json.loads("no JSON")',
    ]
    assert "  jobs:    3" in lines
    assert f"  replay:  pyboinc replay 3 {where}" in lines
    assert lines[-1] == f"Mend the cause, then: pyboinc rerun --failed {where}"
    assert re.search(
        r"  where:   host-\d+.*; Linux.*, Python 3\.\d+.*; at most 2 attempts", result.stdout
    )
    assert "only once" not in result.stdout


def test_errors_all_also_shows_what_was_made_good(done: Path) -> None:
    """errors --all: job 5 failed once; its message can not play tricks with the terminal."""
    result = verb("errors", done, "--all")
    assert result.exit_code == 1
    assert "1 error was made good by a retry." in result.stdout
    assert "1 x OSError: only once \\x1b[2J" in result.stdout
    assert "\x1b" not in result.stdout


def test_errors_as_json(done: Path) -> None:
    """errors --json: the same as data."""
    data = json.loads(verb("errors", done, "--json").stdout)
    assert (data["directory"], data["failed"]) == (str(done), 1)
    assert [cause["jobs"] for cause in data["causes"]] == [[3]]
    assert data["causes"][0]["frames"][0]["line"] == 7
    assert "retried" not in data
    data = json.loads(verb("errors", done, "--json", "--all").stdout)
    assert [cause["jobs"] for cause in data["retried"]] == [[5]]


def test_without_failures_there_is_nothing_to_show(done: Path, tmp_path: Path) -> None:
    """errors: exit code 0, one sentence; a report that is none is left to the master."""
    app = copy_of(done, tmp_path / "app")
    (app / "old" / "1_3.error").write_text("no report")
    result = verb("errors", app)
    assert (result.exit_code, result.stdout) == (0, "No job has failed.\n")
    (app / "old" / "1_3.error").unlink()
    assert verb("errors", app).stdout == "No job has failed.\n"
    assert Batch(app)._failure(Arrival("1_3.error", 3, "error")) is None


def test_errors_of_a_batch_that_never_failed(tmp_path: Path) -> None:
    """errors --all: says so when not even a retry was needed."""
    app = make_app(tmp_path / "app", slave=GOOD_SLAVE)
    assert python("app_master.py", cwd=app).returncode == 0
    result = verb("errors", app, "--all")
    assert result.exit_code == 0
    assert result.stdout == (
        "No job has failed.\n\nNo job that is done had to be retried after an error.\n"
    )
    assert verb("status", app).exit_code == 0


GOOD_SLAVE = """\
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output
pyboinc_return_output(Output(pyboinc_get_input().number ** 2))
"""


# Which job is meant


@pytest.mark.parametrize("given", ["3", "1_3", "1_3.out", "new/1_3.error", "03"])
def test_a_job_is_named_by_index_name_or_file(given: str, done: Path) -> None:
    """JOB: whatever is on the screen can be copied."""
    assert Batch(done).job(given) == 3


@pytest.mark.parametrize("given", ["", "x", "-1", "2_3", "1_", "_3x", "3.5", "\u0663", "8", "1_8"])
def test_what_names_no_job_is_refused(given: str, done: Path) -> None:
    """JOB: another batch, a number too large, or no number at all, each named in a sentence."""
    with pytest.raises(ConfigurationError, match=r"names no job of batch 1|there is no job 8"):
        Batch(done).job(given)


def test_a_moved_directory_is_still_readable(
    done: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looking: a copy elsewhere, without write permission, is as good, and stays as it is."""
    # Root may write everywhere; to SQLite and us it shall look as it does to others.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    app = copy_of(done, tmp_path / "elsewhere")
    for top, _, names in os.walk(app, topdown=False):
        for name in names:
            os.chmod(Path(top, name), 0o444)
        os.chmod(top, 0o555)
    before = sorted(str(path) for path in app.rglob("*"))
    try:
        assert verb("status", app).exit_code == 1
        assert verb("errors", app, "--all").exit_code == 1
        assert sorted(str(path) for path in app.rglob("*")) == before
    finally:
        for top, _, _ in os.walk(app):
            os.chmod(top, 0o755)
        shutil.rmtree(app)
