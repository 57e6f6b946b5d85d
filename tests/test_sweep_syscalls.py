"""A slice of the sweep of system calls, and the points of it that once found something.

``make sweep PARTS=syscalls`` tries all of them.
"""

from __future__ import annotations

import random
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from masters import Run
from sweep.stages import Point, Stage
from sweep.syscalls import Trial, check_message
from sweep.tracing import ROLES, STRACE, Call, Fault

pytestmark = pytest.mark.skipif(STRACE is None, reason="needs strace: apt-get install strace")

DRAWN = 6
"""Points that are drawn for each run of the tests."""

_stages: list[Stage] = []


@pytest.fixture
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    """A first run; made ready, and watched, once in this process."""
    if not _stages:
        _stages.append(Stage("first", tmp_path_factory.mktemp("stage")))
    return _stages[0]


def test_faults_at_some_system_calls(stage: Stage, seed: int) -> None:
    """Every crash: at calls that are drawn, a fault is survived or told, and nothing is lost."""
    draw = random.Random(seed)
    for _ in range(DRAWN):
        point = draw.choice(stage.points_of(draw.choice(ROLES)))
        print(point)
        Trial(point, stage).run()


FOUND = {
    "a look that failed was told as a traceback": (
        "master",
        "newfstatat JOB JOB/.pyboinc",
        "EIO, ever after",
    ),
    "a close that failed was fatal, and a traceback": (
        "master",
        "close JOB/.pyboinc",
        "EINTR, again and again",
    ),
    "a killed fork server left its rehearsal": (
        "fork server",
        "write */scratch/*/in",
        "SIGKILL",
    ),
    "a rehearsal that failed was shown to the user": (
        "fork server",
        "openat */scratch/*/in",
        "ENOSPC",
    ),
    "a rehearsal that found no module ended the fork server": (
        "fork server",
        "openat * */scratch/pyboinc-rehearsal-N",
        "ENOSPC, ever after",
    ),
    "a killed server left a half unpacked archive": (
        "server",
        "write JOB/.pyboinc/bundles/.unpacked.N.tmp",
        "SIGKILL",
    ),
    "a keeper whose disk fails made jobs fail": (
        "keeper",
        "close JOB/.pyboinc/local/slots/0/in",
        "EIO, ever after",
    ),
    "a command that could not be written to the server was waited for": (
        "master",
        "write pipe:",
        "EIO",
    ),
    "a server that could not be waited for was a traceback": ("master", "wait4", "EIO"),
    "a lock that could not be looked at was taken again and again": (
        "master",
        "newfstatat JOB/.pyboinc/lock",
        "EIO, ever after",
    ),
    "a fork server that could not fork was a traceback": (
        "fork server",
        "clone",
        "ENOSPC",
    ),
    "a fork server that could not list a program made jobs fail, which named no class": (
        "fork server",
        "getdents64 JOB/.pyboinc/bundles/DIGEST",
        "EINTR",
    ),
    "so did one whose every look failed": (
        "fork server",
        "newfstatat /proc/N/task",
        "EIO, ever after",
    ),
}
"""What the sweep has found: the role, the call and the fault that show it."""


@pytest.mark.parametrize("what", FOUND)
def test_what_the_sweep_has_found(stage: Stage, what: str) -> None:
    """Every crash: what was found once stays mended."""
    role, call, kind = FOUND[what]
    point = the_first(stage.points_of(role), call, kind)
    assert Trial(point, stage).run(), f"{point} did not strike"


def the_first(points: list[Point], call: str, kind: str) -> Point:
    """The first point at a call like *call* with this kind of fault."""
    for point in points:
        if fnmatchcase(point.call, call) and point.kind == f"injection points: {kind}":
            return point
    raise AssertionError(f"no {kind} at {call}: {sorted({point.call for point in points})}")


# ---------------------------------------------------------------- the sweep itself


def test_calls_are_named_as_in_any_run() -> None:
    """The sweep: a call has the same name in each run and each directory."""
    text = 'AT_FDCWD</a/job>, "/a/job/.pyboinc/.run.json.17.tmp", O_WRONLY) = 5</a/job/x>'
    assert Call("openat", text, False).about("/a/job") == "openat JOB JOB/.pyboinc/.run.json.N.tmp"
    text = "7</a/job/.pyboinc/bundles/" + "0f" * 32 + '/.a.py.8.tmp>, "/tmp/a", 6) = 6'
    name = "write JOB/.pyboinc/bundles/DIGEST/.a.py.N.tmp"
    assert Call("write", text, False).about("/a/job") == name
    assert Call("read", '3<pipe:[1234]>, "x", 1) = 1', False).about("/a/job") == "read pipe:"
    assert Call("write", '1<pipe:[1234]>, "x", 1) = 1', False).standard
    assert not Call("write", '11<pipe:[1234]>, "x", 1) = 1', False).standard


def test_faults_as_strace_is_told() -> None:
    """The sweep: once, some times in a row, and ever after."""
    assert Fault("master", "fsync", 3, "KILL").injection == "inject=fsync:signal=KILL:when=3"
    assert Fault("master", "read", 3, "EINTR", 10).injection == "inject=read:error=EINTR:when=3..12"
    assert Fault("server", "read", 3, "EIO", 0).injection == "inject=read:error=EIO:when=3+"


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (Run("", "pyboinc: cannot write x: full; run the same command\n", 1), "exit code 1"),
        (Run("", "Traceback (most recent call last):\n...\nOSError: full\n", 2), "a traceback"),
        (Run("", "pyboinc 0.1  a new batch\n", 2), "no message"),
        (Run("", "pyboinc: cannot write x: full\n", 2), "no next step"),
        (Run("", "pyboinc: full; mend that\npyboinc: full; mend that\n", 2), "said twice"),
    ],
)
def test_a_message_that_is_not_clear(run: Run, told: str) -> None:
    """The sweep: it takes nothing for a clear error that is none."""
    with pytest.raises(AssertionError, match=told):
        check_message(run)


def test_without_strace_the_sweep_says_so(tmp_path: Path) -> None:
    """The sweep: what it needs is named, and it does not seem to have found nothing."""
    run = subprocess.run(
        [sys.executable, "-m", "sweep", "syscalls"],
        env={"PATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "apt-get install strace" in run.stderr
