"""bin/pyboinc_assimilate: outputs go into new/, and nothing ends the daemon."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from project_directory import COMPILED, Assimilator

SHELLS = ["sh", *(["bash"] if shutil.which("bash") else [])]
WAYS = [*SHELLS, COMPILED]
"""The script under two shells, and the compiled program, which calls the script if need be."""

NOBODY = 65534


@pytest.fixture(params=WAYS)
def assimilator(tmp_path: Path, request: pytest.FixtureRequest) -> Assimilator:
    return Assimilator(tmp_path / "project", tmp_path / "job", request.param)


by_the_script = pytest.mark.parametrize("assimilator", SHELLS, indirect=True)
"""For what the compiled program leaves to the script: its own `link` has no stand-in."""


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., str]:
    """Put programs before the real ones; returns the PATH that finds them."""

    def make(**programs: str) -> str:
        place = tmp_path / "stand-ins"
        place.mkdir(exist_ok=True)
        for name, text in programs.items():
            (place / name).write_text(f"#!/bin/sh\n{text}\n")
            (place / name).chmod(0o755)
        return f"{place}:/usr/bin:/bin"

    return make


# What succeeded


@pytest.mark.parametrize("job", ["pyb_7_3", "pyb_7_3_1"])
def test_an_output_is_in_new_when_the_script_ends(assimilator: Assimilator, job: str) -> None:
    """Assimilation: one call puts the output into new/, by the name of its job, in any shell."""
    path = assimilator.uploaded(f"{job}_0_r123456_0", b"\x80\x04whatever.")
    done = assimilator.call(12, path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert assimilator.delivered() == {"7_3.out": b"\x80\x04whatever."}
    (assimilator.daemon / path).unlink()  # the file deleter, seconds later
    assert assimilator.delivered() == {"7_3.out": b"\x80\x04whatever."}


def test_the_daemon_calls_it_by_a_shell(assimilator: Assimilator) -> None:
    """Assimilation: the bare form of --script, as system() runs it, with several outputs."""
    command = f"../bin/{assimilator.program} 12 {assimilator.uploaded()} ../upload/1a/other"
    assert subprocess.run(command, shell=True, cwd=assimilator.daemon).returncode == 0
    assert assimilator.delivered() == {"7_3.out": b"output"}


def test_it_is_found_by_its_own_path(assimilator: Assimilator) -> None:
    """Assimilation: the project is that of the script, wherever it is called from."""
    name = assimilator.uploaded().rpartition("/")[2]
    script = assimilator.project / "bin" / assimilator.program
    subprocess.run([script, "12", assimilator.upload / name], cwd="/", check=True)
    assert assimilator.delivered() == {"7_3.out": b"output"}


def test_called_again_it_changes_nothing(assimilator: Assimilator) -> None:
    """Idempotent: a daemon that died before it wrote down what it did calls again."""
    path = assimilator.uploaded()
    assert assimilator.call(12, path).returncode == 0
    again = assimilator.call(12, path)
    assert (again.returncode, again.stderr) == (0, "")
    assert assimilator.delivered() == {"7_3.out": b"output"}
    (assimilator.new / "7_3.out").rename(assimilator.new.parent / "old" / "7_3.out")
    again = assimilator.call(12, path)
    assert (again.returncode, again.stderr) == (0, "")
    assert assimilator.delivered() == {}


def test_the_first_output_of_a_job_stays(assimilator: Assimilator) -> None:
    """Replay: what a master may have read already is never another file under the same name."""
    assimilator.call(12, assimilator.uploaded())
    second = assimilator.call(13, assimilator.uploaded("pyb_7_3_1_0_r9_0", b"second"))
    assert second.returncode == 0
    assert "the first one stays" in second.stderr
    assert assimilator.delivered() == {"7_3.out": b"output"}


def test_a_copy_of_the_same_bytes_is_the_same_output(assimilator: Assimilator) -> None:
    """Idempotent: also where the first call had to copy."""
    path = assimilator.uploaded()
    (assimilator.new / "7_3.out").write_bytes(b"output")
    again = assimilator.call(12, path)
    assert (again.returncode, again.stderr) == (0, "")


# What can not be put into new/


def gone(assimilator: Assimilator) -> None:
    shutil.rmtree(assimilator.new.parent)


def no_directory(assimilator: Assimilator) -> None:
    gone(assimilator)
    assimilator.new.parent.write_text("a file")


def a_directory_of_its_name(assimilator: Assimilator) -> None:
    (assimilator.new / "7_3.out").mkdir()


def relative(assimilator: Assimilator) -> None:
    (assimilator.ours / "batches/7").write_text("job/new\n")


def empty(assimilator: Assimilator) -> None:
    (assimilator.ours / "batches/7").write_text("")


def not_registered_at_all(assimilator: Assimilator) -> None:
    shutil.rmtree(assimilator.ours / "batches")


HARMS = [gone, no_directory, a_directory_of_its_name, relative, empty, not_registered_at_all]


@pytest.mark.parametrize("harm", HARMS)
def test_an_output_without_a_place_is_kept(
    assimilator: Assimilator, harm: Callable[[Assimilator], None]
) -> None:
    """Never ends the daemon: a job directory that takes nothing, and the output is not lost."""
    path = assimilator.uploaded()
    harm(assimilator)
    for _ in range(2):
        done = assimilator.call(12, path)
        assert done.returncode == 0
        assert assimilator.kept() == {"7/7_3.out": b"output"}
    assert (assimilator.ours / "kept/7").stat().st_mode & 0o7777 == 0o2775


def test_a_directory_of_another_user_is_no_end(assimilator: Assimilator) -> None:
    """Never ends the daemon: new/ without permission for the project's user."""
    path = assimilator.uploaded()
    assimilator.new.chmod(0o555)
    for directory in [assimilator.project, *assimilator.project.rglob("*")]:
        directory.chmod(0o777)
    done = as_nobody(assimilator, 12, path)
    assert done.returncode == 0, done.stderr
    assert "Permission denied" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert assimilator.kept() == {"7/7_3.out": b"output"}


def as_nobody(
    assimilator: Assimilator, *words: object, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run the script without the rights of root, for which no permission is missing."""
    command = [*assimilator.command, *map(str, words)]
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        open_the_way(assimilator.project)
        user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    return subprocess.run(
        command,
        cwd=assimilator.daemon,
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        **user,
    )


def open_the_way(path: Path) -> None:
    """Let everybody through to *path*: pytest keeps the directories of its tests to itself."""
    for parent in path.parents:
        parent.chmod(parent.stat().st_mode | 0o011)


@by_the_script
def test_where_links_are_not_allowed_it_is_copied(
    assimilator: Assimilator, stand_in: Callable[..., str]
) -> None:
    """Assimilation: another file system, or a file of another user that may only be read."""
    path = stand_in(ln="echo 'ln: Invalid cross-device link' >&2; exit 1")
    done = assimilator.call(12, assimilator.uploaded(), PATH=path)
    assert done.returncode == 0
    assert done.stderr == (
        "pyboinc_assimilate: 7_3.out is kept in ../bin/../pyboinc/kept/7: "
        "ln: Invalid cross-device link\n"
    )
    assert assimilator.kept() == {"7/7_3.out": b"output"}


NO_LINK = "exit 1"


@by_the_script
@pytest.mark.parametrize("step", ["cp", "sync", "mv"])
@pytest.mark.parametrize("harm", ["exit 1", "kill -9 $PPID"])
def test_a_copy_that_is_cut_short_is_made_anew(
    assimilator: Assimilator, stand_in: Callable[..., str], step: str, harm: str
) -> None:
    """Never torn, never lost: where even kept/ takes nothing, the daemon ends and tries again."""
    path = assimilator.uploaded()
    done = assimilator.call(12, path, PATH=stand_in(ln=NO_LINK, **{step: harm}))
    assert done.returncode != 0
    assert "7/7_3.out" not in assimilator.kept()
    shutil.rmtree(assimilator.project.parent / "stand-ins")
    done = assimilator.call(12, path, PATH=stand_in(ln=NO_LINK))
    assert done.returncode == 0
    assert assimilator.kept() == {"7/7_3.out": b"output"}


def test_a_project_without_room_tries_again(assimilator: Assimilator) -> None:
    """Never lost: no directory can be made in kept/, so the output waits where it is."""
    path = assimilator.uploaded()
    gone(assimilator)
    shutil.rmtree(assimilator.ours / "kept")
    (assimilator.ours / "kept").write_text("no directory")
    done = assimilator.call(12, path)
    assert done.returncode == 1
    (assimilator.ours / "kept").unlink()
    assert assimilator.call(12, path).returncode == 0
    assert assimilator.kept() == {"7/7_3.out": b"output"}


@pytest.mark.parametrize("name", ["batches/7", "batches"])
def test_a_registration_that_may_not_be_read(assimilator: Assimilator, name: str) -> None:
    """Never lost: a master with a narrow umask wrote it, and the daemon is another user."""
    path = assimilator.uploaded()
    for directory in [assimilator.project, *assimilator.project.rglob("*")]:
        directory.chmod(0o777)
    (assimilator.ours / name).chmod(0)
    done = as_nobody(assimilator, 12, path)
    (assimilator.ours / name).chmod(0o700)
    assert done.returncode == 0, done.stderr
    assert "can not be read" in done.stderr
    assert assimilator.kept() == {"7/7_3.out": b"output"}


def test_the_first_line_of_a_registration_counts(assimilator: Assimilator) -> None:
    """Assimilation: later lines are for others, and blanks in a path are part of it."""
    odd = assimilator.new.parent / " new "
    odd.mkdir()
    for text in (f"{odd}\n/somewhere/else\n", f"{odd}"):
        (assimilator.ours / "batches/7").write_text(text)
        assert assimilator.call(12, assimilator.uploaded()).stderr == ""
        assert (odd / "7_3.out").read_bytes() == b"output"
        (odd / "7_3.out").unlink()


# What is dropped, with a line


def test_an_unknown_batch_is_dropped(assimilator: Assimilator) -> None:
    """Never ends the daemon: a late result of a batch that is retired, and one that never was."""
    done = assimilator.call(12, assimilator.uploaded("pyb_8_3_0_r1_0"))
    assert done.returncode == 0
    assert done.stderr == (
        "pyboinc_assimilate: job 12: there is no batch 8 here (any more); nothing is done\n"
    )
    done = assimilator.call("--error", 2, "pyb_8_3", 12, 8)
    assert done.returncode == 0
    assert "job 12 (pyb_8_3): there is no batch 8 here" in done.stderr
    assert (assimilator.delivered(), assimilator.kept(), assimilator.failed()) == ({}, {}, {})


FOREIGN = [
    "example_12_0_r1_0",
    "pyb_7_3_0_r1",
    "pyb_7_3_0_1_2_r1_0",
    "pyb__3_0_r1_0",
    "pyb_7__0_r1_0",
    "pyb_7_3x_0_r1_0",
    "pyb_7_3_x_r1_0",
    "pyb_7_3_0_0_rx_0",
    "pyb_.._3_0_r1_0",
    "pyb_7_3_0_r_0",
    "pyb_7777777777777777777777_3_0_r1_0",
    "PYB_7_3_0_r1_0",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_an_output_of_another_name_is_left_alone(assimilator: Assimilator, name: str) -> None:
    """Never ends the daemon: what is no output of ours is not for us."""
    done = assimilator.call(12, assimilator.uploaded(name))
    assert done.returncode == 0
    assert "is no output of a job of PyBOINC" in done.stderr
    assert (assimilator.delivered(), assimilator.kept(), assimilator.failed()) == ({}, {}, {})


def missing(path: Path) -> None:
    path.unlink()


def a_link(path: Path) -> None:
    path.rename(path.with_name("secret"))
    path.symlink_to("secret")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [missing, a_link, a_pipe])
def test_a_success_without_its_file_is_told_of(
    assimilator: Assimilator, harm: Callable[[Path], None]
) -> None:
    """Nothing hidden: a line says which job succeeded and has no output that can be taken."""
    path = assimilator.uploaded()
    harm(assimilator.daemon / path)
    done = assimilator.call(12, path)
    assert done.returncode == 0
    assert "is not there or can not be read" in done.stderr
    assert assimilator.failed() == {"7": "pyb_7_3 12 0\n"}
    assert assimilator.delivered() == {}


def test_an_output_that_may_not_be_read_is_told_of(assimilator: Assimilator) -> None:
    """Nothing hidden: mode 600 of another user; it will not be better when it is tried again."""
    path = assimilator.uploaded()
    for directory in [assimilator.project, assimilator.new, *assimilator.project.rglob("*")]:
        directory.chmod(0o777)
    (assimilator.daemon / path).chmod(0o000)
    done = as_nobody(assimilator, 12, path)
    assert done.returncode == 0, done.stderr
    assert assimilator.failed() == {"7": "pyb_7_3 12 0\n"}


def test_a_success_without_any_output(assimilator: Assimilator) -> None:
    """Nothing hidden: a template with an optional output names no file, and so no batch."""
    assert assimilator.call(12).returncode == 0
    assert assimilator.failed() == {"0": "- 12 0\n"}


def test_an_empty_output_is_an_output(assimilator: Assimilator) -> None:
    """Never opened: what is in the file is for the master's loader to judge."""
    assimilator.call(12, assimilator.uploaded(data=b""))
    assert assimilator.delivered() == {"7_3.out": b""}


# What failed


def test_the_error_form_is_a_line(assimilator: Assimilator) -> None:
    """Failures: both forms of the call append a line to failed/, and lines stay whole."""
    for words in (
        ("--error", 2, "pyb_7_3", 12, 7),
        ("--error", 16, "pyb_7_4_1", 13, 7),
        ("--error", 8, 14),
        ("--error", 8, "hostile name; rm -rf /", 15, 7),
    ):
        done = assimilator.call(*words)
        assert (done.returncode, done.stderr) == (0, "")
    assert assimilator.failed() == {"7": "pyb_7_3 12 2\npyb_7_4_1 13 16\n- 15 8\n", "0": "- 14 8\n"}


def test_a_line_that_can_not_be_written_is_said(assimilator: Assimilator) -> None:
    """Never ends the daemon: what failed is in the database too."""
    shutil.rmtree(assimilator.ours / "failed")
    done = assimilator.call("--error", 2, "pyb_7_3", 12, 7)
    assert done.returncode == 0
    assert "job 12 (pyb_7_3): no line in" in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("",),
        ("--error",),
        ("--error", 2),
        ("--error", "x", "pyb_7_3", 12, 7),
        ("--error", 2, "pyb_7_3", 12, "../../x"),
        ("--error", 2, "pyb_7_3", "../x", 7),
        ("--help",),
        ("wu_id", "files"),
    ],
)
def test_a_call_of_another_form_does_nothing(
    assimilator: Assimilator, words: tuple[object, ...]
) -> None:
    """Never ends the daemon: nor is it ended by a server that calls in a way not known yet."""
    done = assimilator.call(*words)
    assert done.returncode == 0
    assert done.stderr.startswith("pyboinc_assimilate: no call that is known: ")
    assert assimilator.failed() == {}


# Hostile words


def everything(place: Path) -> list[str]:
    return sorted(str(path.relative_to(place)) for path in place.rglob("*"))


HOSTILE = st.one_of(
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40),
    st.sampled_from(
        [
            "$(touch owned)",
            "`touch owned`",
            "'; touch owned; '",
            "../../../owned",
            "*",
            "-f",
            "--target-directory=..",
            "pyb_7_3_0_r1_0\nowned",
            "~",
            "pyb_7_$(touch owned)_0_r1_0",
            "%s%n",
            "\\c",
        ]
    ),
)


@settings(max_examples=40)
@given(
    words=st.lists(HOSTILE, max_size=4),
    error=st.booleans(),
    number=st.sampled_from(["12", ""]),
    compiled=st.booleans(),
)
def test_hostile_words_do_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    words: list[str],
    error: bool,
    number: str,
    compiled: bool,
) -> None:
    """Hostile names: no file comes to be that should not, and the daemon goes on."""
    place = tmp_path_factory.mktemp("hostile")
    assimilator = Assimilator(place / "project", place / "job", COMPILED if compiled else "sh")
    before = everything(place)
    arguments = ["--error", "2", *words] if error else [*filter(None, [number]), *words]
    done = assimilator.call(*arguments)
    assert done.returncode == 0
    assert {path for path in everything(place) if "pyboinc/failed/" not in path} == set(before)
    assert {*assimilator.failed()} <= {"0", "7"}


NAMES = st.one_of(
    st.from_regex(r"\Apyb_[0-9]{1,3}_[0-9]{1,3}(_[0-9]{1,3})?_[0-9]_r[0-9]{1,5}_[0-9]\Z"),
    st.from_regex(r"\A(pyb|x)(_r?[0-9x]{0,21}){3,7}\Z"),
)


@settings(max_examples=30)
@given(name=NAMES)
def test_both_read_names_alike(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """The compiled half delivers what the script would deliver, and leaves it the rest."""
    found = []
    for way in ("sh", COMPILED):
        place = tmp_path_factory.mktemp("name")
        assimilator = Assimilator(place / "project", place / "job", way)
        batch = name.split("_")[1] or "none"
        if batch.isdigit():
            assimilator.register(int(batch))
            (assimilator.ours / "batches" / batch).write_text(f"{assimilator.new}\n")
        done = assimilator.call(12, assimilator.uploaded(name))
        found.append((done.returncode, done.stderr, assimilator.delivered()))
    assert found[0] == found[1]
