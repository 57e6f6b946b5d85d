"""Job directories that are moved, copied, or restored from a backup: whose batch is it?"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest
import scripted
from masters import Place, Run, crash, finish
from scripted import Project, names, run

from pyboinc import disk, pyboinc_call
from pyboinc.copies import original_of
from pyboinc.errors import CheckpointMismatch, JobDirectoryError
from pyboinc.jobdir import JobDirectory

ITSELF = {"PYBOINC_ACCEPT_COPY": ""}
"""The environment of a user, whom the tests' own do not help."""


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project that all masters of the test talk to: shared, as a real one is."""
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


def half_done(directory: Path) -> None:
    """Run a master that is stopped at its first result."""

    def stop(output: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(directory, two_calls, stop)


def copy(directory: Path, name: str) -> Path:
    """``cp -a``"""
    return Path(shutil.copytree(directory, directory.with_name(name), symlinks=True))


# ---------------------------------------------------------------- one batch, one directory


def test_a_copy_leaves_the_batch_of_its_original_alone(project: Project, directory: Path) -> None:
    """Copies: a master in one stops before it says a word to the project, and changes nothing."""
    half_done(directory)
    other = copy(directory, "copy")
    before = {path: path.read_bytes() for path in other.rglob("*") if path.is_file()}
    project.log.clear()
    with pytest.raises(CheckpointMismatch) as caught:
        run(other, two_calls, ignore)
    message = str(caught.value)
    assert message.startswith(f"{other} is a copy of {directory}, which is still there")
    for choice in ("--accept-copy ", "--fresh ", "or stop here, and go on in the original"):
        assert choice in message
    assert project.log == []
    assert {path: path.read_bytes() for path in before if path.name != "lock"} == {
        path: data for path, data in before.items() if path.name != "lock"
    }
    run(directory, two_calls, ignore)
    assert names(directory / "old") == ["1_0.out", "1_1.out"]


def test_a_copy_can_be_gone_on_with_when_that_is_meant(project: Project, directory: Path) -> None:
    """Copies: --accept-copy goes on here, once and for all."""
    half_done(directory)
    other = copy(directory, "copy")
    shutil.rmtree(directory)
    with pytest.raises(CheckpointMismatch, match=r"is a copy of .*, or was moved from there"):
        run(other, two_calls, ignore)
    run(other, two_calls, ignore, accept_copy=True)
    run(other, two_calls, ignore)
    assert names(other / "old") == ["1_0.out", "1_1.out"]


def test_a_copy_can_begin_anew(project: Project, directory: Path) -> None:
    """Copies: --fresh begins a batch of its own, and cancels nothing of the original."""
    half_done(directory)
    other = copy(directory, "copy")
    project.log.clear()
    run(other, two_calls, ignore, fresh=True)
    assert ("cancel",) not in project.log
    assert names(other / "old") == ["2_0.out", "2_1.out"]
    run(directory, two_calls, ignore)
    assert names(directory / "old") == ["1_0.out", "1_1.out"]


def test_fresh_in_an_accepted_copy_cancels(project: Project, directory: Path) -> None:
    """Copies: where the original is gone, --accept-copy --fresh gives its jobs up as well."""
    half_done(directory)
    other = copy(directory, "copy")
    project.log.clear()
    run(other, two_calls, ignore, fresh=True, accept_copy=True)
    assert ("cancel",) in project.log


def test_a_copy_in_the_place_of_its_original(project: Project, directory: Path) -> None:
    """Copies: of an original that was moved and a copy at its old path, one goes on."""
    half_done(directory)
    moved = directory.rename(directory.with_name("moved"))
    shutil.copytree(moved, directory)
    with pytest.raises(CheckpointMismatch, match=r"which is still there"):
        run(moved, two_calls, ignore)
    run(directory, two_calls, ignore)
    assert names(directory / "old") == ["1_0.out", "1_1.out"]


def test_a_directory_that_is_moved_and_moved_again(project: Project, directory: Path) -> None:
    """Moves: what was only renamed goes on without a question, also under another path."""
    half_done(directory)
    moved = directory.rename(directory.with_name("moved"))
    half_done(moved)
    parent = moved.parent / "below"
    parent.mkdir()
    again = moved.rename(parent / "job")
    (parent / "link").symlink_to("job")
    half_done(parent / "link")
    run(again, two_calls, ignore)
    assert names(again / "old") == ["1_0.out", "1_1.out"]


def test_a_restored_backup_goes_on(project: Project, directory: Path) -> None:
    """Backups: restored where it was, a directory goes on, older than the project or not."""
    half_done(directory)
    backup = copy(directory, "backup")
    run(directory, two_calls, ignore)
    shutil.rmtree(directory)
    shutil.copytree(backup, directory)
    handled: list[int] = []
    run(directory, two_calls, handled.append)
    assert handled == [0, 1]
    assert list(project.batches.values()) == ["1"]


def test_what_lies_at_the_old_path_may_be_anything(project: Project, directory: Path) -> None:
    """Moves: a file, another batch or a damaged one at the old path is no original."""
    half_done(directory)
    moved = directory.rename(directory.with_name("moved"))
    looked = JobDirectory(moved, read_only=True)
    looked.load()
    for text in ("{", "[]", "{}", '{"token": 3}'):
        (directory / ".pyboinc").mkdir(parents=True, exist_ok=True)
        (directory / ".pyboinc/run.json").write_text(text)
        assert original_of(looked) is None
    shutil.rmtree(directory)
    directory.write_text("a file")
    assert original_of(looked) is None


# ---------------------------------------------------------------- real masters


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A batch of 4 that was killed when it had handled something; to be copied, not used."""
    place = Place(tmp_path_factory.mktemp("prepared") / "job")
    assert place.run(environ=crash("retire")).killed
    place.wait_for_processes()
    return place


def copied(prepared: Place, path: Path) -> Place:
    shutil.copytree(prepared.path, path)
    return Place(path)


def pyboinc(place: Place, *words: str) -> Run:
    """Type ``pyboinc WORDS``."""
    return place.run(command=[sys.executable, "-m", "pyboinc", *words], environ=ITSELF)


def test_the_verbs_leave_the_batch_of_an_original_alone(prepared: Place, tmp_path: Path) -> None:
    """Copies: what changes a batch is refused, what looks at it is not, and clean is local."""
    place = copied(prepared, tmp_path / "copy")
    for words in (["cancel"], ["rerun", "--job", "0"]):
        refused = pyboinc(place, *words)
        assert (refused.code, "is a copy of" in refused.stderr) == (4, True), refused
        assert refused.stdout == ""
    assert pyboinc(place, "status").code == 3
    assert pyboinc(place, "errors").code == 0
    told = pyboinc(place, "doctor", "--no-trial")
    assert f"this directory is a copy of {prepared.path}" in told.stdout
    before = place.select("select name, error_mask from workunit")
    assert {mask for _, mask in before} == {0}
    cleaned = pyboinc(place, "clean", "--yes")
    assert f"they stay those of {prepared.path}" in cleaned.stdout, cleaned
    assert not (place / ".pyboinc").exists()


def test_a_real_copy(prepared: Place, tmp_path: Path) -> None:
    """Copies: exit code 4 and the choices; accepted, it ends with the right answer."""
    place = copied(prepared, tmp_path / "copy")
    refused = place.run(environ=ITSELF)
    assert (refused.code, refused.stdout) == (4, ""), refused
    assert "python app_master.py --accept-copy" in refused.stderr
    run = place.run("--accept-copy", environ=ITSELF)
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    place.check()
    assert place.run(environ=ITSELF).code == 0


SLOW = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output
from pathlib import Path

number = pyboinc_get_input().number
if number == 3 and Path("PLACE/pipe").exists():
    Path("PLACE/pipe").read_text()
pyboinc_return_output(Output(number ** 2))
"""


@pytest.mark.parametrize("replaced", [False, True])
def test_a_directory_is_moved_under_a_running_master(tmp_path: Path, replaced: bool) -> None:
    """Moves: the master at work ends with one message, no job suffers, and it goes on there.

    Also if a copy was put in its place, of which it must not touch anything.
    """
    files = {"app_slave.py": SLOW.replace("PLACE", str(tmp_path / "job"))}
    place = Place(tmp_path / "job", files)
    place.mkfifo("pipe")
    master = place.start("--max-errors=1", environ=ITSELF)
    with open(place / "pipe", "w"):  # opens when the slave of job 3 is at work
        place.path.rename(tmp_path / "moved")
        moved = Place(tmp_path / "moved", files)
        (moved / "pipe").unlink()
        if replaced:
            shutil.copytree(moved.path, place.path)
            before = {str(path): path.stat().st_mtime_ns for path in place.path.rglob("*")}
        ended = finish(master)
    assert (ended.code, ended.stdout) == (2, ""), ended
    assert "was moved or replaced while a master was at work in it" in ended.stderr
    assert "Traceback" not in ended.stderr
    place.wait_for_processes()
    moved.wait_for_processes()
    if replaced:
        after = {str(path): path.stat().st_mtime_ns for path in place.path.rglob("*")}
        assert after == before
        shutil.rmtree(place.path)
    assert not place.path.exists()
    run = moved.run(environ=ITSELF)
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    moved.check()
    assert moved.select("select count(*) from workunit where error_mask != 0") == [(0,)]


def test_a_directory_is_moved_in_the_midst_of_a_step(
    project: Project, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moves: whatever of the disk fails then, it is said why."""

    sync = disk.sync_directory

    def move(path: Path) -> None:
        if path == directory / "new" and names(directory / "old"):
            directory.rename(directory.with_name("moved"))
        sync(path)

    monkeypatch.setattr(disk, "sync_directory", move)
    with pytest.raises(JobDirectoryError, match="was moved or replaced while a master was at"):
        run(directory, two_calls, ignore)
    monkeypatch.undo()
    scripted.install(project, monkeypatch)
    run(directory.with_name("moved"), two_calls, ignore)
    assert names(directory.with_name("moved") / "old") == ["1_0.out", "1_1.out"]


def test_the_lock_is_removed_under_a_running_master(tmp_path: Path) -> None:
    """Lock: without its file it would keep nobody out, so the master at work stops."""
    place = Place(tmp_path / "job", {"app_slave.py": SLOW.replace("PLACE", str(tmp_path / "job"))})
    place.mkfifo("pipe")
    master = place.start()
    with open(place / "pipe", "w"):
        os.unlink(place / ".pyboinc/lock")
        ended = finish(master)
    assert (ended.code, ended.stdout) == (2, ""), ended
    (place / "pipe").unlink()
    run = place.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    place.check()
