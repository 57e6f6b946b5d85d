"""Opening a job directory: a new batch, an earlier one, or a clear refusal; the first line."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import scripted
from scripted import Project, names, run

from pyboinc import __version__, disk, mishaps, pyboinc_call
from pyboinc.backends import find_backend
from pyboinc.errors import BackendError, CheckpointMismatch, ConfigurationError
from pyboinc.jobdir import JobDirectory, RunRecord


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project that all masters of the test talk to."""
    return scripted.install(Project(), monkeypatch)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A job directory with a slave program."""
    return scripted.place(tmp_path / "job")


def two_calls() -> None:
    for value in range(2):
        pyboinc_call("app_slave.py", value)


def ignore(output: object) -> None:
    """Handle a result by forgetting it."""


def record(directory: Path) -> RunRecord:
    seen = JobDirectory(directory, read_only=True)
    seen.load()
    assert seen.record is not None
    return seen.record


class Stop(BaseException):
    """Ends a run as a kill would: nothing that could catch it does."""


def stop_at(monkeypatch: pytest.MonkeyPatch, step: str, about: str = "", number: int = 1) -> None:
    """Let the next runs end at a step."""
    left = [number]

    def count(reached: str, subject: str) -> None:
        if reached == step and subject.endswith(about):
            left[0] -= 1
            if not left[0]:
                raise Stop

    monkeypatch.setattr(disk, "before_step", count)


# ---------------------------------------------------------------- the first line


def test_the_first_line(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """First line: version, backend and who chose it, seed, and how far a resumed run is."""
    run(directory, two_calls, ignore)
    first = capsys.readouterr().err.splitlines()[0]
    begins = re.escape(f"pyboinc {__version__}  backend=scripted (argument)  seed=")
    match = re.fullmatch(rf"{begins}(\d+)  a new batch", first)
    assert match
    run(directory, two_calls, ignore)
    again = capsys.readouterr().err.splitlines()[0]
    assert again.endswith(f"seed={match[1]}  resume: 2 of 2 handled")


@pytest.mark.parametrize(
    ("flags", "environ", "origin"),
    [
        (["--backend=scripted"], {}, "--backend"),
        ([], {"PYBOINC_BACKEND": "scripted"}, "PYBOINC_BACKEND"),
        (["--backend", "scripted"], {"PYBOINC_BACKEND": "local"}, "--backend"),
    ],
)
def test_who_chose_the_backend(
    project: Project,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    flags: list[str],
    environ: dict[str, str],
    origin: str,
) -> None:
    """First line: a flag wins over the environment, and the line says which it was."""
    monkeypatch.setattr(sys, "argv", ["app_master.py", *flags])
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    run(directory, two_calls, ignore, backend=None)
    assert f"backend=scripted ({origin})" in capsys.readouterr().err


def test_a_flag_that_is_nearly_one(
    project: Project,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """First line: before it stands what may be a mistake in the command line."""
    monkeypatch.setattr(sys, "argv", ["app_master.py", "--seeds=5"])
    run(directory, two_calls, ignore)
    assert "--seeds is not a flag of PyBOINC" in capsys.readouterr().err.splitlines()[0]


# ---------------------------------------------------------------- seeds


def test_the_seed_is_drawn_once(project: Project, directory: Path) -> None:
    """Seed: drawn for a job directory and kept; a given one is recorded and replaces it."""
    run(directory, two_calls, ignore)
    drawn = record(directory).seed
    run(directory, two_calls, ignore)
    assert record(directory).seed == drawn
    run(directory, two_calls, ignore, seed=drawn + 1)
    run(directory, two_calls, ignore)
    assert record(directory).seed == drawn + 1


def test_the_seed_outlives_a_run_without_calls(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seed: a run that is killed in make_calls leaves its seed, and a token of its own."""
    stop_at(monkeypatch, "make calls")
    with pytest.raises(Stop):
        run(directory, two_calls, ignore)
    first = record(directory)
    stop_at(monkeypatch, "make calls")
    with pytest.raises(Stop):
        run(directory, two_calls, ignore)
    second = record(directory)
    assert (second.seed, second.starts) == (first.seed, 1)
    assert second.token != first.token


def test_what_a_batch_was_begun_with(project: Project, directory: Path) -> None:
    """Record: limits, included files, backend and place are those of the run that began it."""
    (directory / "data.csv").touch()
    run(directory, two_calls, ignore, quorum=2, include=["*.csv"], seed=11)
    found = record(directory)
    assert (found.backend, found.seed, found.include) == ("scripted", 11, ["*.csv"])
    assert found.limits["quorum"] == 2
    assert found.directory == str(directory)
    assert re.fullmatch("[0-9a-f]{32}", found.token)
    assert sorted(found.files) == ["app_slave.py", "data.csv"]


def test_every_start_is_counted(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starts: their number keeps injected mishaps from striking at the same step for ever."""
    told: list[int] = []
    monkeypatch.setattr(mishaps, "install", lambda plan, starts: told.append(starts))
    for number in range(3):
        run(directory, two_calls, ignore)
        assert record(directory).starts == number
    assert told == [0, 1, 2]


# ---------------------------------------------------------------- going on


def test_another_backend(project: Project, directory: Path) -> None:
    """Going on: a batch stays where it was begun."""
    run(directory, two_calls, ignore)
    with pytest.raises(CheckpointMismatch) as caught:
        run(directory, two_calls, ignore, backend="local")
    assert str(caught.value) == (
        "this batch was begun with the backend 'scripted', not with 'local': "
        "go on with --backend scripted, or start a new batch with --fresh"
    )


def test_a_moved_directory(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Going on: a directory that was moved is recognised, and says so once."""
    run(directory, two_calls, ignore)
    moved = directory.rename(directory.with_name("elsewhere"))
    run(moved, two_calls, ignore)
    assert f"this job directory was {directory} before; going on here" in capsys.readouterr().err
    run(moved, two_calls, ignore)
    assert "before" not in capsys.readouterr().err


def test_a_changed_program(project: Project, directory: Path) -> None:
    """Going on: a changed file stops the master, until it is told what is meant."""
    run(directory, two_calls, ignore)
    (directory / "app_slave.py").write_text("import pyboinc, json\n")
    with pytest.raises(CheckpointMismatch) as caught:
        run(directory, two_calls, ignore)
    cause, _, advice = str(caught.value).partition(". Choose:\n")
    assert cause == "the program is not the one that began this batch: app_slave.py changed"
    assert advice == (
        "  python app_master.py --accept-changes   go on: results handled so far are handled again "
        "by\n"
        "      the changed program, and jobs not yet done run the changed slave\n"
        "  python app_master.py --fresh            set this batch aside and begin a new one\n"
        "  or stop here, put the files back as they were, and run the same command"
    )
    project.log.clear()
    run(directory, two_calls, ignore, accept_changes=True)
    run(directory, two_calls, ignore)
    assert project.log == [("use program", "app_slave.py")] * 2


def test_a_slave_that_is_gone(project: Project, directory: Path) -> None:
    """Going on: a file of the program that is missing is named."""
    run(directory, two_calls, ignore)
    (directory / "app_slave.py").unlink()
    with pytest.raises(CheckpointMismatch, match=r"app_slave.py is gone"):
        run(directory, two_calls, ignore)
    with pytest.raises(ConfigurationError, match=r"app_slave.py does not exist"):
        run(directory, two_calls, ignore, accept_changes=True)


def test_another_master_beside_it(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Going on: two masters in one directory do not take each other's results."""
    for name in ("one.py", "two.py"):
        (directory / name).touch()
    main = sys.modules["__main__"]
    monkeypatch.setattr(main, "__file__", str(directory / "one.py"), raising=False)
    run(directory, two_calls, ignore)
    monkeypatch.setattr(main, "__file__", str(directory / "two.py"), raising=False)
    with pytest.raises(CheckpointMismatch) as caught:
        run(directory, two_calls, ignore)
    message = str(caught.value)
    assert "began this batch: that is one.py, this is two.py. Choose:\n" in message
    assert "  python two.py --accept-changes " in message
    assert message.endswith("the same command, or each master in a directory of its own")
    run(directory, two_calls, ignore, accept_changes=True)
    assert record(directory).program == "two.py"
    monkeypatch.setattr(main, "__file__", "/elsewhere/three.py", raising=False)
    run(directory, two_calls, ignore)
    assert record(directory).program == "two.py", "a program that lies elsewhere is none of these"


# ---------------------------------------------------------------- --fresh


def test_fresh(project: Project, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--fresh: the earlier batch is cancelled and kept, and a new one begins."""
    run(directory, two_calls, ignore)
    project.log.clear()
    run(directory, two_calls, ignore, fresh=True)
    assert project.log[:2] == [("begin batch",), ("cancel",)]
    kept = directory / ".pyboinc/previous/1"
    assert (
        f"the earlier batch is kept in {kept} (pyboinc clean removes it)" in capsys.readouterr().err
    )
    assert names(kept / "old") == ["1_0.out", "1_1.out"]
    assert names(directory / "old") == ["2_0.out", "2_1.out"]


def test_fresh_where_nothing_was(
    project: Project, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--fresh: in a new directory it is a first run."""
    run(directory, two_calls, ignore, fresh=True)
    assert "kept" not in capsys.readouterr().err
    assert names(directory / "old") == ["1_0.out", "1_1.out"]


def test_fresh_that_is_cut_short_is_finished(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--fresh: once it is decided, any next run finishes it, wherever it was stopped."""
    run(directory, two_calls, ignore)
    stop_at(monkeypatch, "set aside", "old")
    with pytest.raises(Stop):
        run(directory, two_calls, ignore, fresh=True)
    monkeypatch.undo()
    scripted.install(project, monkeypatch)
    handled: list[int] = []
    run(directory, two_calls, handled.append)
    assert handled == [0, 1]
    previous = directory / ".pyboinc/previous"
    assert names(previous) == ["1", "2"]
    assert names(previous / "2/old") == ["1_0.out", "1_1.out"]
    assert record(directory).abandoned is False


def test_fresh_over_what_is_damaged(project: Project, directory: Path) -> None:
    """--fresh: it works on a directory that can not be read any more."""
    run(directory, two_calls, ignore)
    (directory / ".pyboinc/run.json").write_text("nonsense")
    project.log.clear()
    run(directory, two_calls, ignore, fresh=True)
    assert ("cancel",) not in project.log
    assert names(directory / "old") == ["2_0.out", "2_1.out"]


def test_fresh_when_the_project_is_not_there(
    project: Project,
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--fresh: if the jobs can not be cancelled it says so, and goes on."""
    run(directory, two_calls, ignore)

    def fail(backend: object) -> int:
        raise BackendError("nobody answers")

    monkeypatch.setattr(scripted.Backend, "cancel", fail)
    run(directory, two_calls, ignore, fresh=True)
    told = capsys.readouterr().err
    assert "the unfinished jobs of batch 1 are not cancelled: nobody answers" in told
    run(directory, two_calls, ignore, fresh=True, quiet=True)
    assert "kept in" not in capsys.readouterr().err


def test_fresh_before_there_was_a_batch(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--fresh: a run that was killed before it had a batch has nothing to cancel."""
    stop_at(monkeypatch, "make calls")
    with pytest.raises(Stop):
        run(directory, two_calls, ignore)
    monkeypatch.undo()
    scripted.install(project, monkeypatch)
    run(directory, two_calls, ignore, fresh=True)
    assert ("cancel",) not in project.log


# ---------------------------------------------------------------- backends by name


def test_a_backend_of_a_third_party(
    tmp_path: Path, project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Backends: an installed package adds one by the entry point group pyboinc.backends."""
    metadata = tmp_path / "installed/theirs-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[pyboinc.backends]\ntheirs = theirs:open_it\n")
    (tmp_path / "installed/theirs.py").write_text("def open_it(directory, settings): return 42\n")
    monkeypatch.syspath_prepend(tmp_path / "installed")
    opener = find_backend("theirs")
    assert opener(JobDirectory(directory), None) == 42  # type: ignore[arg-type]  # it looks at neither
    with pytest.raises(ConfigurationError, match=r"no backend 'their'; did you mean 'theirs'"):
        find_backend("their")


def test_a_backend_that_is_not_there() -> None:
    """Backends: an unknown one is refused, with the names of those that there are."""
    with pytest.raises(ConfigurationError, match=r"no backend 'xyz' \(there is: boinc, local"):
        find_backend("xyz")
