"""The job directory on disk: what lies where, and what is done with what does not belong."""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from pyboinc import disk, locks
from pyboinc.errors import (
    CheckpointMismatch,
    DirectoryBusy,
    DirectoryDamaged,
    JobDirectoryError,
    PyboincError,
    RejectedResult,
)
from pyboinc.jobdir import Arrival, JobDirectory, RunRecord


@pytest.fixture
def directory(tmp_path: Path) -> JobDirectory:
    """A locked job directory with a batch of three calls, called 1."""
    opened = JobDirectory(tmp_path)
    opened.lock()
    opened.load()
    opened.begin(record())
    for _ in range(3):
        opened.spool.append("app_slave.py", "ab" * 32, 1, {}, b"input")
    opened.spool.sync()
    opened.journal.commit_calls(1, 3)
    opened.save(record(batch="1"))
    opened.write_checkpoint()
    return opened


def record(**more: object) -> RunRecord:
    fields: dict[str, object] = {"token": "t", "backend": "local", "seed": 7, "program": "m.py"}
    return RunRecord(**{**fields, **more})  # type: ignore[arg-type]  # as a test says


def put(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text(name)


def names(path: Path) -> set[str]:
    return set(os.listdir(path))


def quarantined(directory: JobDirectory) -> set[str]:
    return names(directory.state / "quarantine")


# ---------------------------------------------------------------- opening


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    """Opening: a job directory must be there."""
    with pytest.raises(JobDirectoryError, match="nowhere is not a directory; name the job's"):
        JobDirectory(tmp_path / "nowhere").lock()


def test_only_one_opens_it(directory: JobDirectory) -> None:
    """Opening: one master at a time; the next one when that has closed it."""
    with pytest.raises(DirectoryBusy):
        JobDirectory(directory.path).lock()
    directory.close()
    directory.close()
    other = JobDirectory(directory.path)
    other.lock()
    other.close()


def test_what_was_saved_is_loaded(directory: JobDirectory) -> None:
    """Opening: record, calls and journal come back."""
    directory.journal.add_handled(2, "out", 3)
    directory.journal.sync()
    directory.close()
    again = JobDirectory(directory.path)
    again.lock()
    again.load()
    assert again.record == record(batch="1")
    assert (len(again.spool), [one.sequence for one in again.journal.handled]) == (3, [2])
    again.close()


def test_the_checkpoint_is_for_people(directory: JobDirectory) -> None:
    """Opening: the first line is the batch, then key and value; anybody can read it."""
    assert directory.checkpoint.read_text().splitlines() == [
        "1",
        "format: 1",
        "backend: local",
        "jobs: 3",
        "seed: 7",
        "program: m.py",
    ]


def test_locking_removes_what_killed_masters_were_writing(directory: JobDirectory) -> None:
    """Opening: temporary files go, files of the user's own stay."""
    directory.close()
    for name in ("quarantine", "bundles"):
        (directory.state / name).mkdir()
    left = [
        directory.path / ".pyboinc_checkpoint.17.tmp",
        directory.state / ".run.json.17.tmp",
        directory.new / ".1_0.error.17.tmp",
        directory.state / "quarantine/.x.reason.17.tmp",
        directory.state / "bundles/.x.zip.17.tmp",
    ]
    own = directory.path / ".mine.17.tmp"
    for path in (*left, own):
        path.touch()
    directory.lock()
    assert not any(path.exists() for path in left)
    assert own.exists()


def test_every_file_has_its_place(directory: JobDirectory) -> None:
    """Opening: the state of a batch lies where the head of jobdir.py says, in plain files."""
    directory.keep_bundle("ab" * 32, b"zip")
    put(directory.new, "foreign")
    directory.quarantine("as a test", "foreign")
    assert directory.put_by({}) == directory.state / "previous/1"
    found = {str(path.relative_to(directory.path)) for path in directory.path.rglob("*")}
    assert found == {
        "pyboinc_checkpoint",
        "new",
        "old",
        ".pyboinc",
        *(f".pyboinc/{name}" for name in ("lock", "run.json", "spool", "journal")),
        *(f".pyboinc/{name}" for name in ("bundles", "quarantine", "previous", "previous/1")),
        f".pyboinc/bundles/{'ab' * 32}.zip",
        ".pyboinc/quarantine/foreign",
        ".pyboinc/quarantine/foreign.reason",
    }
    assert locks.lock_holder(directory.path / ".pyboinc/lock") == os.getpid()


def test_the_record_is_for_people(directory: JobDirectory) -> None:
    """Opening: run.json has one field in a line, sorted, and ends like any text file."""
    text = (directory.state / "run.json").read_text()
    names_of_fields = re.findall(r'^ "(\w+)": .*,?$', text, re.MULTILINE)
    assert names_of_fields == sorted(asdict(record()))
    assert text.endswith("\n}\n")


def looked_at(path: Path) -> JobDirectory:
    """What somebody sees who only looks."""
    seen = JobDirectory(path, read_only=True)
    seen.load()
    return seen


def test_nothing_is_there_yet(tmp_path: Path) -> None:
    """Opening: an empty directory has no record, and looking makes nothing."""
    assert looked_at(tmp_path).record is None
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "null", '"format"', '{"format": 1}', '{"format": 1, "x": 2}']
)
def test_a_damaged_record(directory: JobDirectory, text: str) -> None:
    """Opening: a run.json that is not one of ours is damage."""
    (directory.state / "run.json").write_text(text)
    with pytest.raises(DirectoryDamaged, match="run.json is not a checkpoint of PyBOINC"):
        looked_at(directory.path)


@pytest.mark.parametrize("text", ["", "1", "1\n", "1\nformat: x\n", "1\nformat: 0\n", "\n\n"])
def test_a_damaged_checkpoint(directory: JobDirectory, text: str) -> None:
    """Opening: a pyboinc_checkpoint that is not one of ours is damage."""
    directory.checkpoint.write_text(text)
    with pytest.raises(DirectoryDamaged, match="pyboinc_checkpoint is not a checkpoint"):
        looked_at(directory.path)


def test_what_a_newer_version_wrote(directory: JobDirectory) -> None:
    """Opening: a newer format is refused in both files, never guessed at."""
    fields = json.loads((directory.state / "run.json").read_text())
    (directory.state / "run.json").write_text(json.dumps({**fields, "format": 2, "new": 3}))
    with pytest.raises(CheckpointMismatch, match="run.json was written by a newer PyBOINC"):
        looked_at(directory.path)
    directory.checkpoint.write_text("1\nformat: 2\n")
    with pytest.raises(CheckpointMismatch, match="checkpoint was written by a newer PyBOINC"):
        looked_at(directory.path)


def test_a_link_in_the_place_of_the_record(directory: JobDirectory) -> None:
    """Opening: a file of PyBOINC's own that became a link is damage."""
    (directory.state / "run.json").rename(directory.state / "real")
    (directory.state / "run.json").symlink_to("real")
    with pytest.raises(DirectoryDamaged, match="not as PyBOINC left it: a symbolic link"):
        looked_at(directory.path)


def test_a_record_that_is_gone(directory: JobDirectory) -> None:
    """Opening: a checkpoint or a journal without run.json is damage, not a new batch."""
    (directory.state / "run.json").unlink()
    with pytest.raises(DirectoryDamaged, match="pyboinc_checkpoint tells of a batch, but .* gone"):
        looked_at(directory.path)
    directory.checkpoint.unlink()
    with pytest.raises(DirectoryDamaged, match="journal tells of a batch, but .* is gone"):
        looked_at(directory.path)


def test_a_journal_that_is_too_short(directory: JobDirectory) -> None:
    """Opening: fewer calls than the checkpoint says, or none of a batch that was begun."""
    directory.close()
    journal = directory.state / "journal"
    whole = journal.read_bytes()
    journal.write_bytes(b"")
    seen = looked_at(directory.path)
    with pytest.raises(DirectoryDamaged, match="journal counts 0 calls, and more were committed"):
        _ = seen.spool
    directory.checkpoint.unlink()
    seen = looked_at(directory.path)
    with pytest.raises(DirectoryDamaged, match="journal counts 0 calls, and more were committed"):
        _ = seen.spool
    journal.write_bytes(whole)
    assert len(looked_at(directory.path).spool) == 3


def test_a_journal_shorter_than_the_checkpoint_says(directory: JobDirectory) -> None:
    """Opening: jobs that the checkpoint counts have calls, or the journal is damaged."""
    text = directory.checkpoint.read_text()
    directory.checkpoint.write_text(text.replace("jobs: 3", "jobs: 4"))
    with pytest.raises(DirectoryDamaged, match="journal counts 3 calls, and more were committed"):
        _ = looked_at(directory.path).spool


@pytest.mark.parametrize("jobs", ["", "jobs: many\n", "jobs: -1\n"])
def test_a_checkpoint_without_a_number_of_jobs(directory: JobDirectory, jobs: str) -> None:
    """Opening: the number of jobs is a check more; without it the journal alone says."""
    directory.close()
    (directory.state / "journal").unlink()
    (directory.state / "spool").unlink()
    directory.checkpoint.write_text(f"1\nformat: 1\n{jobs}")
    seen = looked_at(directory.path)
    assert (seen.record is not None, len(seen.spool)) == (True, 0)


def test_a_checkpoint_of_strange_bytes(directory: JobDirectory) -> None:
    """Opening: a checkpoint that is no text is damage, told like any other."""
    directory.checkpoint.write_bytes(b"\xff\nformat: \xfe\n")
    with pytest.raises(DirectoryDamaged, match="pyboinc_checkpoint is not a checkpoint"):
        looked_at(directory.path)


def test_what_a_user_reads_of_damage(directory: JobDirectory) -> None:
    """Opening: each message names the file, what is wrong with it, and both ways out."""
    state, path = directory.state, directory.path
    directory.close()
    told = {}

    def see(name: str) -> None:
        with pytest.raises(PyboincError) as caught:
            _ = looked_at(path).spool
        told[name] = str(caught.value)

    whole = {name: (state / name).read_bytes() for name in ("journal", "run.json")}
    (state / "journal").write_bytes(b"")
    see("short journal")
    (state / "journal").write_bytes(whole["journal"])
    (state / "run.json").write_text("{}")
    see("damaged record")
    (state / "run.json").write_text('{"format": 7}')
    see("newer record")
    (state / "run.json").unlink()
    see("no record")
    (state / "run.json").symlink_to("real")
    see("link")
    assert told == {
        "short journal": f"{state}/journal counts 0 calls, and more were committed; "
        "restore it from a backup, or start a new batch with --fresh",
        "damaged record": f"{state}/run.json is not a checkpoint of PyBOINC; "
        "restore it, or start a new batch with --fresh",
        "newer record": f"{state}/run.json was written by a newer PyBOINC (format 7; this one "
        "knows 1); upgrade PyBOINC, or start a new batch with --fresh",
        "no record": f"{path}/pyboinc_checkpoint tells of a batch, but {state}/run.json is gone; "
        "restore it, or start a new batch with --fresh",
        "link": f"{state}/run.json is not as PyBOINC left it: a symbolic link, not a plain file; "
        "restore it, or start a new batch with --fresh",
    }


def test_a_format_that_is_no_number(directory: JobDirectory) -> None:
    """Opening: only a greater number is a newer version; a fraction or a word is damage."""
    for form in ("1.5", "-2", "two", "0", "true"):
        directory.checkpoint.write_text(f"1\nformat: {form}\n")
        with pytest.raises(DirectoryDamaged, match="pyboinc_checkpoint is not a checkpoint"):
            looked_at(directory.path)


# ---------------------------------------------------------------- beginning anew


def test_beginning_sets_outcomes_of_before_aside(directory: JobDirectory) -> None:
    """Beginning: outcomes that lie about belong to no job of the new batch; other files stay."""
    put(directory.new, "1_0.out", "notes.txt")
    put(directory.old, "1_1.out", "1_2.error")
    directory.begin(record())
    assert not names(directory.state) & {"spool", "journal"}
    assert (names(directory.new), names(directory.old)) == ({"notes.txt"}, set())
    reason = (directory.state / "quarantine/1_0.out.reason").read_text()
    assert reason == "'left by an earlier batch'\n"
    assert quarantined(directory) >= {"1_0.out", "1_1.out", "1_2.error"}
    assert (len(directory.spool), directory.journal.phases) == (0, {})


def test_setting_aside_keeps_everything(directory: JobDirectory) -> None:
    """--fresh: everything of the batch lies in previous/N, and nothing where it was."""
    put(directory.new, "1_0.out")
    put(directory.old, "1_1.out")
    directory.keep_bundle("ab" * 32, b"zip")
    (directory.state / "quarantine").mkdir()
    directory.abandon()
    assert directory.record is not None and directory.record.abandoned
    kept = directory.set_aside()
    assert kept == directory.state / "previous/1"
    assert names(kept) == {
        *("journal", "spool", "pyboinc_checkpoint", "run.json", "new", "old", "bundles"),
        "quarantine",
    }
    assert directory.record is None
    assert names(directory.path) == {".pyboinc", "new", "old"}
    assert names(directory.new) == names(directory.old) == set()
    (directory.state / "previous/notes").mkdir()
    (directory.state / "previous/7").mkdir()
    put(directory.new, "1_0.out")
    assert directory.set_aside() == directory.state / "previous/8", "nothing is written over"


def test_nothing_to_set_aside(tmp_path: Path) -> None:
    """--fresh: where there is nothing, nothing is kept."""
    directory = JobDirectory(tmp_path)
    (tmp_path / ".pyboinc").mkdir()
    directory.abandon()
    assert directory.set_aside() is None


def steps_of(directory: JobDirectory, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The steps from now on, each with its place in the directory; syncs of directories too."""
    done: list[tuple[str, str]] = []

    def place(path: object) -> str:
        return os.path.relpath(str(path), directory.path)

    monkeypatch.setattr(disk, "before_step", lambda step, about: done.append((step, place(about))))
    monkeypatch.setattr(disk, "sync_directory", lambda path: done.append(("sync", place(path))))
    return done


def test_setting_aside_goes_in_the_safe_order(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--fresh: what says that the batch is given up moves last, when all else is durable there."""
    put(directory.old, "1_0.out")
    steps = steps_of(directory, monkeypatch)
    directory.set_aside()
    moves = [about for step, about in steps if step == "set aside"]
    assert moves[0] == ".pyboinc/journal"
    assert moves[-1] == ".pyboinc/run.json"
    last = steps.index(("set aside", ".pyboinc/run.json"))
    synced = [("sync", name) for name in (".pyboinc/previous/1", ".", ".pyboinc")]
    assert steps[last - 3 : last] == synced
    assert steps[last + 1 : last + 4] == synced


def test_the_steps_of_moving_outcomes(
    directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outcomes: what has moved is durable in its new place first; nothing moved, nothing synced."""
    put(directory.new, "1_0.out", "x")
    steps = steps_of(directory, monkeypatch)
    directory.restore()
    directory.retire([])
    directory.retire([directory.outcome(1, "out")])
    assert steps == [("retire", "new/1_1.out")]
    del steps[:]
    directory.retire([directory.outcome(0, "out"), directory.outcome(2, "out")])
    assert steps == [
        ("retire", "new/1_0.out"),
        ("retire", "new/1_2.out"),
        ("sync", "old"),
        ("sync", "new"),
    ]
    del steps[:]
    directory.restore()
    assert steps == [("restore", "old/1_0.out"), ("sync", "new"), ("sync", "old")]
    del steps[:]
    directory.put_by(directory.outcomes())
    assert steps[-3:] == [
        ("set aside", "new/1_0.out"),
        ("sync", ".pyboinc/previous/1"),
        ("sync", "new"),
    ]
    del steps[:]
    directory.quarantine("as a test", "x")
    assert steps[-2:] == [("quarantine", "new/x"), ("sync", ".pyboinc/quarantine")]


# ---------------------------------------------------------------- outcomes


def test_arrivals_are_sorted_and_the_rest_is_set_aside(
    directory: JobDirectory, capsys: pytest.CaptureFixture[str]
) -> None:
    """Outcomes: those of this batch come in the order of jobs; what is foreign does not stay."""
    foreign = ["2_0.out", "1_3.out", "1_00.out", "x_1.out", "1_0.out.bak", "a\x1bb", "1_0.OUT"]
    put(directory.new, "1_2.out", "1_0.out", "1_1.error", "1_1.out", ".hidden", *foreign)
    assert directory.arrivals() == [
        Arrival("1_0.out", 0, "out"),
        Arrival("1_1.error", 1, "error"),
        Arrival("1_1.out", 1, "out"),
        Arrival("1_2.out", 2, "out"),
    ]
    assert names(directory.new) == {"1_2.out", "1_0.out", "1_1.error", "1_1.out", ".hidden"}
    assert {name for name in quarantined(directory) if not name.endswith(".reason")} == set(foreign)
    told = capsys.readouterr().err
    assert "\x1b" not in told
    assert (
        f"pyboinc: set '2_0.out' aside in {directory.state / 'quarantine'}: "
        "'no job of this batch has an outcome of this name'\n"
    ) in told


def test_outcomes_go_to_old_and_back(directory: JobDirectory) -> None:
    """Outcomes: retired they are in old/, restored in new/; both can be repeated."""
    put(directory.new, "1_0.out", "1_2.out")
    put(directory.old, "mine.txt")
    directory.retire([directory.outcome(0, "out"), directory.outcome(2, "out")])
    assert names(directory.old) == {"1_0.out", "1_2.out", "mine.txt"}
    directory.retire([directory.outcome(0, "out")])
    assert directory.outcomes() == {
        Arrival("1_0.out", 0, "out"): directory.old,
        Arrival("1_2.out", 2, "out"): directory.old,
    }
    for _ in range(2):
        directory.restore()
        assert names(directory.new) == {"1_0.out", "1_2.out"}
        assert names(directory.old) == {"mine.txt"}
    assert sorted(directory.outcome_files()) == [directory.new / n for n in ("1_0.out", "1_2.out")]


def test_a_second_outcome_that_came_meanwhile_is_kept(directory: JobDirectory) -> None:
    """Outcomes: the one handled before is handled again, the other one is set aside, not lost."""
    put(directory.new, "1_0.out")
    directory.retire([directory.outcome(0, "out")])
    (directory.new / "1_0.out").write_text("another")
    directory.restore()
    assert (directory.new / "1_0.out").read_text() == "1_0.out"
    kept = directory.state / "quarantine/1_0.out"
    assert (kept.read_text(), names(directory.old)) == ("another", set())
    assert "a second outcome" in kept.with_name("1_0.out.reason").read_text()


def test_an_outcome_that_is_in_both_places_is_one(directory: JobDirectory) -> None:
    """Power cuts: half of a move leaves a file in new/ and in old/, and nothing is set aside."""
    put(directory.old, "1_0.out")
    os.link(directory.old / "1_0.out", directory.new / "1_0.out")
    directory.restore()
    assert (names(directory.new), names(directory.old)) == ({"1_0.out"}, set())
    assert not (directory.state / "quarantine").exists()


def test_reading_is_bounded(directory: JobDirectory) -> None:
    """Outcomes: an output has the limit of the settings, a failure report its own."""
    directory.deliver(1, b"x" * 5000)
    put(directory.new, "1_0.out")
    assert directory.read(directory.outcome(0, "out"), 7) == b"1_0.out"
    with pytest.raises(RejectedResult, match="7 bytes; the limit is 6"):
        directory.read(directory.outcome(0, "out"), 6)
    assert len(directory.read(directory.outcome(1, "error"), 6)) == 5000


def test_outcomes_are_put_by(directory: JobDirectory) -> None:
    """Rerun: outcomes of jobs that are done again are kept in previous/N."""
    put(directory.new, "1_0.out")
    put(directory.old, "1_1.error")
    kept = directory.put_by(directory.outcomes())
    assert names(kept) == {"1_0.out", "1_1.error"}
    assert directory.outcomes() == {}


def test_quarantine_loses_nothing(directory: JobDirectory) -> None:
    """Quarantine: names that repeat, names as long as can be, links and directories: all kept."""
    for content in ("first", "second"):
        (directory.new / "same").write_text(content)
        directory.quarantine("twice", "same")
    aside = directory.state / "quarantine"
    assert [(aside / name).read_text() for name in ("same", "same.2")] == ["first", "second"]
    long = "n" * 255
    put(directory.new, long)
    directory.quarantine("too long", long)
    assert (aside / ("n" * 200)).read_text() == long
    (directory.new / "link").symlink_to("/nowhere")
    (directory.new / "tree/below").mkdir(parents=True)
    directory.quarantine("a link", "link")
    directory.quarantine("a directory", "tree")
    assert (aside / "link").is_symlink()
    assert (aside / "tree/below").is_dir()
    (directory.new / "link").symlink_to("/nowhere")
    directory.quarantine("another", "link")
    assert (aside / "link.2").is_symlink()
    assert (aside / "link.2.reason").read_text() == "'another'\n"
    assert names(directory.new) == set()


def test_quarantine_of_what_is_gone(directory: JobDirectory) -> None:
    """Quarantine: a file that somebody takes away in this moment leaves no reason behind."""
    directory.quarantine("it was there", "gone")
    assert quarantined(directory) == set()


def test_a_bundle_is_kept_once(directory: JobDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives: one file for each content, named by it."""
    directory.keep_bundle("ab" * 32, b"zip")
    steps: list[str] = []
    monkeypatch.setattr(disk, "before_step", lambda step, about: steps.append(step))
    directory.keep_bundle("ab" * 32, b"zip")
    assert steps == []
    assert directory.bundle_path("ab" * 32).read_bytes() == b"zip"
