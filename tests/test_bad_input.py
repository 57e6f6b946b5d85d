"""Bad input, each with one clear message and nothing lost: real masters, as a user meets them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from masters import MASTER, PROGRAM, Place, Run, crash, finish

TELLING = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total = 0

def make_calls():
    for number in range(4):
        pyboinc_call("app_slave.py", Input(number)LIMITS)

def handle_result(output, job):
    global total
    total += output.value
    print("handled", job.index, flush=True)

pyboinc_master(make_calls, handle_result)
print("The answer is", total)
"""
"""Says which jobs it has handled; LIMITS stands for the keywords of its calls."""


def telling(limits: str = "") -> str:
    return TELLING.replace("LIMITS", limits)


def handled(run: Run) -> list[int]:
    """The jobs that a telling program has handled, sorted."""
    return sorted(int(number) for number in re.findall(r"handled (\d+)", run.stdout))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A job directory with the simplest program."""
    return Place(tmp_path / "job")


def stops(run: Run, code: int, *texts: str) -> None:
    """Check that a run ended with one message that holds *texts*, and with no traceback."""
    assert run.code == code, run
    assert "Traceback" not in run.stderr, run
    messages = re.findall("^pyboinc: (?!this job directory was)", run.stderr, re.MULTILINE)
    assert len(messages) == 1, run
    for text in texts:
        assert text in run.stderr, run


def goes_on(place: Place, *flags: str, answer: int = 14) -> None:
    """Check that the program, run again, ends well."""
    run = place.run(*flags)
    assert run.code == 0, run
    assert run.stdout.endswith(f"The answer is {answer}\n"), run
    place.check()


# ---------------------------------------------------------------- slaves that misbehave


def test_no_slave_file(place: Place) -> None:
    """Bad input: a call of a file that is not there names it and its neighbour; nothing begins."""
    master = place / "app_master.py"
    right = master.read_text()
    master.write_text(right.replace("app_slave.py", "app_salve.py"))
    stops(place.run(), 2, "app_salve.py", "app_slave.py", "app_master.py, line")
    master.write_text(right)
    goes_on(place)


def test_a_slave_with_a_syntax_error(place: Place) -> None:
    """Bad input: a slave that is not Python is named with its line, before any job is made."""
    slave = place / "app_slave.py"
    right = slave.read_text()
    slave.write_text("import app_types\ndef wrong(:\n")
    stops(place.run(), 2, "app_slave.py", "line 2")
    slave.write_text(right)
    goes_on(place)


SLAVES = {
    "raises": ('raise ValueError(f"no convergence at {number}")', "no convergence at 2"),
    "exits without an output": ("import sys; sys.exit(0)", "without an output"),
    "ends without an output": ("pass", "without an output"),
    "leaves without a word": ("import os; os._exit(0)", "without an output"),
    "exits with a status": ("import sys; sys.exit(7)", "exit status 7"),
    "is killed": ("import os; os.kill(os.getpid(), 9)", "killed by SIGKILL"),
    "kills its group": ("import os; os.killpg(0, 9)", "killed by SIGKILL"),
    "hangs": ("import time\n    while True: time.sleep(60)", "no reply"),
    "floods stderr": ("import os\n    while True: os.write(2, b'x' * 65536)", "stderr flood"),
    "returns too much": ("returned(Output(bytes(2_000_000)))", "too big"),
    "returns a class of its own": ("returned(Own())", "Own"),
    "returns a function": ("returned(Output(lambda: 0))", "value"),
    "imports what is not there": ("import no_such_package", "no_such_package"),
    "takes too much memory": ("x = b'x' * 400_000_000; wait()", "memory limit"),
    "fills the disk": ("open('big', 'wb').write(bytes(30_000_000)); wait()", "disk limit"),
    "returns no pickle": ("forged(b'nonsense')", "validate error"),
    "returns hostile bytes": ("forged(b'cos\\nsystem\\n(Vtouch HACKED\\ntR.')", "validate error"),
}
"""What the slave does for input 2, and what the user is told of it."""

MISBEHAVING = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output as returned

class Own: pass

def wait():
    import time
    time.sleep(60)

def forged(data):
    import os
    with open("out", "wb") as file:
        file.write(data)
    os._exit(0)

number = pyboinc_get_input().number
if number == 2:
    WHAT
else:
    returned(Output(number ** 2))
"""


@pytest.mark.parametrize("what", SLAVES)
def test_a_slave_that_misbehaves(tmp_path: Path, what: str) -> None:
    """Bad input: the job fails with its reason and a command that replays it; the rest is done."""
    code, told = SLAVES[what]
    limits = ", delay_bound=0.2 if number == 2 else 60.0" if what == "hangs" else ""
    files = {
        "app_slave.py": MISBEHAVING.replace("WHAT", code),
        "app_master.py": telling(f", max_errors=1, memory=200e6, disk=20e6{limits}"),
    }
    place = Place(tmp_path / "job", files)
    run = place.run("--max-output=1000000")
    assert run.code == 1, run
    assert handled(run) == [0, 1, 3]
    assert "1 of 4 jobs can not be done; the other results were handled" in run.stderr
    assert told in run.stderr, run
    assert "pyboinc replay 2" in run.stderr
    assert "host-" in run.stderr
    assert "pyboinc rerun --failed" in run.stderr
    assert not list(tmp_path.rglob("HACKED"))
    assert sum(path.lstat().st_size for path in place.path.rglob("*")) < 2_000_000
    place.check()
    instances = place.select("select count(*) from result")
    again = place.run()
    assert (again.code, handled(again)) == (1, [0, 1, 3]), again
    assert told in again.stderr
    assert place.select("select count(*) from result") == instances


def test_a_failed_job_is_done_again_when_its_slave_is_mended(tmp_path: Path) -> None:
    """Bad input: mended, and told rerun --failed, it ends well; no good job is done twice."""
    bad = MISBEHAVING.replace("WHAT", "raise ValueError(number)")
    files = {"app_slave.py": bad, "app_master.py": telling(", max_errors=1")}
    place = Place(tmp_path / "job", files)
    assert place.run().code == 1
    good = "select count(*) from result where outcome = 1"
    assert place.select(good) == [(3,)]
    (place / "app_slave.py").write_text(bad.replace("number == 2", "False"))
    rerun = place.run(command=[sys.executable, "-m", "pyboinc", "rerun", "--failed"])
    assert rerun.code == 0, rerun
    goes_on(place, "--accept-changes")
    assert place.select(good) == [(4,)]


def test_a_slave_that_forks(tmp_path: Path) -> None:
    """Bad input: children that a slave leaves behind are ended, daemons of its own session too."""
    slave = """
import os, time
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

for new_session in (False, True):
    if os.fork() == 0:
        if new_session:
            os.setsid()
            if os.fork():
                os._exit(0)
        while True:
            time.sleep(60)
pyboinc_return_output(Output(pyboinc_get_input().number ** 2))
"""
    goes_on(Place(tmp_path / "job", {"app_slave.py": slave}))


# ---------------------------------------------------------------- handlers that raise


def test_a_handler_that_raises_on_the_seventh_result(tmp_path: Path) -> None:
    """Bad input: the six results before are kept, and the mended program goes on after them."""
    program = MASTER.format(calls=12).replace(
        "    global total\n",
        "    global total, count\n    count += 1\n    if count == 7: open('no such file')\n",
    )
    program = program.replace("total = 0\n", "total = count = 0\n")
    place = Place(tmp_path / "job", {"app_master.py": program})
    for _ in range(2):  # run again unmended, it replays the six and stops at the same place
        run = place.run()
        assert (run.stdout, run.code) == ("", 1)
        assert (
            "FileNotFoundError: [Errno 2] No such file or directory: 'no such file'" in run.stderr
        )
        assert "while handling the output of job" in run.stderr
        assert "--accept-changes; nothing is lost" in run.stderr
        assert len(place.handled()) == 6
        assert len(place.names("old")) == 6
    first_six = place.handled()
    (place / "app_master.py").write_text(program.replace("count == 7", "False"))
    stops(place.run(), 4, "app_master.py changed")
    goes_on(place, "--accept-changes", answer=sum(n * n for n in range(12)))
    assert place.handled()[:6] == first_six


def test_make_calls_that_raises(place: Place) -> None:
    """Bad input: calls made before make_calls raised are no jobs; the next run makes them all."""
    master = place / "app_master.py"
    right = master.read_text()
    wrong = right.replace("\ndef handle", "    raise ValueError('half-way')\n\ndef handle", 1)
    master.write_text(wrong)
    run = place.run()
    assert run.code == 1
    assert "ValueError: half-way" in run.stderr
    assert place.calls() == 0
    master.write_text(right)
    goes_on(place)


# ---------------------------------------------------------------- the job directory


def test_a_second_master(tmp_path: Path) -> None:
    """Bad input: a second master in the directory ends at once and leaves the first alone."""
    program = MASTER.format(calls=4).replace(
        "    global total\n", "    global total\n    open('first').read()\n", 1
    )
    place = Place(tmp_path / "job", {"app_master.py": program})
    os.mkfifo(place / "first")
    first = place.start()
    with open(place / "first", "w"):  # opens when the first master handles its first result
        stops(place.run(), 3, f"process {first.pid}", "is running", str(place.path))
        (place / "first").unlink()
        (place / "first").touch()
    run = finish(first)
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    place.check()


NOT_WRITABLE = {
    "EROFS": "read-only; copy the job directory",
    "EACCES": "you may not write there",
    "ENOSPC": "the disk is full; nothing is lost",
    "EDQUOT": "quota is used up; nothing is lost",
    "EMFILE": "too many open files",
    "EIO": "Input/output error; mend that and run the same command",
}
STOPPED_AT = [
    ("make directory", ".pyboinc"),
    ("lock", "*"),
    ("write", ".pyboinc/run.json"),
    ("append", ".pyboinc/spool"),
    ("fsync", ".pyboinc/journal"),
    ("publish", "pyboinc_checkpoint"),
    ("retire", "*"),
]


@pytest.mark.parametrize("step", STOPPED_AT, ids="{0[0]} {0[1]}".format)
@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
def test_the_disk_fails_at_a_step(place: Place, step: tuple[str, str], error: str) -> None:
    """Bad input: one message that says what to do, and the same command goes on afterwards."""
    stops(place.run(environ=crash(*step, what=error)), 2, NOT_WRITABLE[error])
    goes_on(place)


@pytest.mark.parametrize("error", NOT_WRITABLE)
def test_a_directory_that_can_not_be_written(place: Place, error: str) -> None:
    """Bad input: read-only, forbidden, full, over quota: each has its own advice."""
    run = place.run(environ=crash("make directory", ".pyboinc", what=error))
    stops(run, 2, NOT_WRITABLE[error], "cannot make the directory")
    assert place.names(".") == {"app_master.py", "app_slave.py", "app_types.py", "crashed"}
    goes_on(place)


@pytest.mark.parametrize("step", ["sync uploads", "write rows", "deliver"])
def test_the_disk_fails_for_the_project(place: Place, step: str) -> None:
    """Bad input: a full disk under the emulated project is one message, and no job has failed."""
    run = place.run(environ=crash(step, who="server", what="ENOSPC"))
    stops(run, 2, "the disk is full; nothing is lost")
    goes_on(place)


def in_own_mounts(place: Place, script: str) -> Run | None:
    """Run a shell script that mounts file systems for itself; None where that is not allowed."""
    flags = "-m" if os.geteuid() == 0 else "-rm"
    allowed = ["unshare", flags, "sh", "-c", "mount -t tmpfs none /mnt"]
    if shutil.which("unshare") is None or subprocess.run(allowed, capture_output=True).returncode:
        return None
    script = f"set -e\nprogram() {{ {' '.join(PROGRAM)} ; }}\n{script}"
    return place.run(command=["unshare", flags, "sh", "-c", script])


def test_a_read_only_file_system(place: Place) -> None:
    """Bad input: on a read-only file system nothing is begun, and the message says what to do."""
    run = in_own_mounts(
        place, 'mount --bind "$PWD" "$PWD" && mount -o remount,bind,ro "$PWD" && cd "$PWD"\nprogram'
    )
    if run is None:
        run = place.run(environ=crash("make directory", ".pyboinc", what="EROFS"))
    stops(run, 2, "read-only; copy the job directory")
    assert not (place / ".pyboinc").exists()
    goes_on(place)


def test_a_full_disk(tmp_path: Path) -> None:
    """Bad input: on a disk that is really full the master stops, and goes on when there is room."""
    types = "from typing import Any, NamedTuple\n" + "".join(
        f"class {name}(NamedTuple):\n    {field}: Any\n"
        for name, field in (("Input", "number"), ("Output", "value"))
    )
    slave = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output
pyboinc_return_output(Output(bytes(200_000)))
"""
    program = MASTER.format(calls=12).replace("output.value", "len(output.value)")
    files = {"app_types.py": types, "app_slave.py": slave, "app_master.py": program}
    place = Place(tmp_path / "job", files)
    script = """
mkdir disk && mount -t tmpfs -o size=2m none disk && cp *.py disk && cd disk
PYBOINC_TEST_DIRECTORY=$PWD
if program > ../full.out 2> ../full.err; then exit 9; else echo $? > ../full.code; fi
mount -o remount,size=20m "$PWD"
program
"""
    run = in_own_mounts(place, script)
    if run is None:
        full = place.run(environ=crash("append", ".pyboinc/journal", 2, what="ENOSPC"))
        run = place.run()
    else:
        out, err, code = ((place / f"full.{what}").read_text() for what in ("out", "err", "code"))
        full = Run(out, err, int(code))
    assert full.code in (2, 3), full
    assert "full" in full.stderr, full
    assert "Traceback" not in full.stderr, full
    assert (run.stdout, run.code) == ("The answer is 2400000\n", 0), run


def test_a_directory_in_the_place_of_a_file(place: Place) -> None:
    """Bad input: a file where new/ should be is named, and nothing is begun."""
    (place / "new").write_text("")
    stops(place.run(), 2, str(place / "new"), "mend that and run the same command")
    (place / "new").unlink()
    goes_on(place)


def test_a_job_directory_that_was_moved(place: Place) -> None:
    """Bad input: moved elsewhere in the middle of a batch, it says so and goes on."""
    assert place.run(environ=crash("handled")).killed
    place.wait_for_processes()
    moved = Place(place.path.rename(place.path.with_name("elsewhere")))
    moved.crashed()
    run = moved.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    assert f"this job directory was {place.path} before" in run.stderr
    moved.check()
    assert "before" not in moved.run().stderr


def test_a_job_directory_that_is_not_there(place: Place) -> None:
    """Bad input: a directory that does not exist is named."""
    master = place / "app_master.py"
    text = master.read_text()
    master.write_text(text.replace("handle_result)", "handle_result, directory='nowhere')"))
    stops(place.run(), 2, str(place / "nowhere"), "is not a directory")


# ---------------------------------------------------------------- strange files in new/

STRANGE: dict[str, Callable[[Path], object]] = {
    "torn": lambda path: path.write_bytes(path.read_bytes()[:-3]),
    "empty": lambda path: path.write_bytes(b""),
    "foreign": lambda path: path.write_bytes(b"cos\nsystem\n(Vtouch HACKED\ntR."),
    "huge": lambda path: os.truncate(path, 10**12),
    "link": lambda path: (path.unlink(), path.symlink_to("/etc/passwd")),
    "loop": lambda path: (path.unlink(), path.symlink_to(path.name)),
    "directory": lambda path: (path.unlink(), path.mkdir(), (path / "file").touch()),
    "pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}
"""What becomes of the outcome of job 1 between its arrival and its handling."""


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_file_instead_of_an_outcome(place: Place, what: str) -> None:
    """Bad input: it is set aside with its reason, and the job is done again."""
    assert place.run(environ=crash("load", "*_1.out")).killed
    place.wait_for_processes()
    STRANGE[what](place / "new/1_1.out")
    goes_on(place)
    assert list(place.quarantined()) == ["1_1.out"]
    assert os.path.lexists(place / ".pyboinc/quarantine/1_1.out")
    assert not list(place.path.rglob("HACKED"))


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_file_in_old(place: Place, what: str) -> None:
    """Bad input: an outcome that was handled before is had again if its file is not what it was."""
    goes_on(place)
    STRANGE[what](place / "old/1_1.out")
    order = place.handled()
    goes_on(place)
    assert place.handled() == order
    assert list(place.quarantined()) == ["1_1.out"]


def test_strange_names_in_new(place: Place) -> None:
    """Bad input: files that are no outcomes of this batch are set aside, whatever their names."""
    assert place.run(environ=crash("load", "*")).killed
    place.wait_for_processes()
    names = [
        "README",
        "1_4.out",
        "2_0.out",
        "1_01.out",
        "1_0.OUT",
        "n" * 255,
        "a b;$(c)",
        "\x1b[2J",
    ]
    for name in names:
        (place / "new" / name).write_text("not an outcome")
    (place / "new" / os.fsdecode(b"\xff\xfe")).write_text("not UTF-8")
    run = place.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    assert "\x1b" not in run.stderr
    place.check()
    assert len(place.quarantined()) == len(names) + 1


def test_a_strange_file_before_the_outcome(place: Place) -> None:
    """Bad input: what lies in new/ under the name of an outcome before that comes does no harm."""
    assert place.run(environ=crash("make jobs")).killed
    place.wait_for_processes()
    (place / "new/1_0.out").write_bytes(b"nonsense")
    (place / "new/1_1.out").symlink_to("/etc/passwd")
    (place / "new/1_2.out").mkdir()
    (place / "new/1_3.out").write_bytes(b"nonsense")
    goes_on(place)


def test_a_file_that_is_always_refused(place: Place) -> None:
    """Bad input: a job whose outcome is refused again and again fails; it is not tried for ever."""
    place = Place(place.path, {"app_master.py": telling()})
    spoil = "import os, sys; " + "sys.dont_write_bytecode = True\n"
    (place / "spoil.py").write_text(
        spoil
        + "from pyboinc import disk\n"
        + "real = disk.read_bounded\n"
        + "disk.read_bounded = lambda path, limit: b'x' if '_1.out' in str(path) else "
        + "real(path, limit)\n"
    )
    master = place / "app_master.py"
    master.write_text("import spoil\n" + master.read_text())
    run = place.run()
    assert (run.code, handled(run)) == (1, [0, 2, 3]), run
    assert "its output was refused 3 times" in run.stderr
    assert len(place.quarantined()) == 3


def test_an_outcome_that_is_taken_away(place: Place) -> None:
    """Bad input: an outcome that disappears is noticed and had again; the master does not hang."""
    assert place.run(environ=crash("load", "*_1.out")).killed
    place.wait_for_processes()
    (place / "new/1_1.out").unlink()
    goes_on(place)
    for path in (place / "old").iterdir():
        path.unlink()
    goes_on(place)


# ---------------------------------------------------------------- files of PyBOINC that are damaged


def flip(path: Path, position: int) -> None:
    """Damage one byte of a file; *position* may count from the end."""
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A batch of 4 that was killed when two results were handled; to be copied, not used."""
    place = Place(tmp_path_factory.mktemp("half") / "job")
    for _ in range(2):
        assert place.run(environ=crash("retire")).killed
        assert place.crashed()
        place.wait_for_processes()
    return place


@pytest.fixture
def half_done(half: Place, tmp_path: Path) -> Place:
    """A batch of 4 that was killed when one result or more was handled."""
    shutil.copytree(half.path, tmp_path / "job")
    return Place(tmp_path / "job")


DAMAGES: dict[str, tuple[Callable[[Place], object], str]] = {
    "run.json": (lambda place: (place / ".pyboinc/run.json").write_text("{"), "run.json"),
    "run.json without": (lambda place: (place / ".pyboinc/run.json").unlink(), "run.json is gone"),
    "run.json other": (
        lambda place: (place / ".pyboinc/run.json").write_text('{"format": 1, "x": 2}'),
        "run.json",
    ),
    "checkpoint": (lambda place: (place / "pyboinc_checkpoint").write_text(""), "checkpoint"),
    "checkpoint foreign": (
        lambda place: (place / "pyboinc_checkpoint").write_text("1\nsomething else\n"),
        "is not a checkpoint of PyBOINC",
    ),
    "checkpoint link": (
        lambda place: (
            (place / "pyboinc_checkpoint").unlink(),
            (place / "pyboinc_checkpoint").symlink_to("/etc/passwd"),
        ),
        "a symbolic link",
    ),
    "journal first line": (lambda place: flip(place / ".pyboinc/journal", 7), "journal is damaged"),
    "journal emptied": (lambda place: os.truncate(place / ".pyboinc/journal", 0), "journal"),
    "journal without": (lambda place: (place / ".pyboinc/journal").unlink(), "journal"),
    "spool header": (lambda place: flip(place / ".pyboinc/spool", 20), "damaged at call 0"),
    "spool cut": (lambda place: os.truncate(place / ".pyboinc/spool", 300), "damaged at call"),
    "spool without": (lambda place: (place / ".pyboinc/spool").unlink(), "damaged at call 0"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_damage(half_done: Place, what: str) -> None:
    """Bad input: a damaged file is named, and nothing is changed; --fresh begins anew."""
    damage, told = DAMAGES[what]
    damage(half_done)
    before = contents(half_done)
    stops(half_done.run(), 2, told, "--fresh")
    assert contents(half_done).items() >= before.items()
    run = half_done.run("--fresh")
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    half_done.check()
    assert len(list((half_done / ".pyboinc/previous/1").glob("*/*.out"))) >= 1


def contents(place: Place) -> dict[str, bytes]:
    """Every file of the batch but those that tell who is there."""
    return {
        str(path.relative_to(place.path)): path.read_bytes()
        for path in place.path.rglob("*")
        if path.is_file() and path.name not in ("lock", "project.sqlite-shm", "project.sqlite-wal")
    }


def test_damaged_input(place: Place) -> None:
    """Bad input: an input that is not as it was called is never given to a slave."""
    assert place.run(environ=crash("make jobs")).killed
    place.wait_for_processes()
    flip(place / ".pyboinc/spool", -3)
    stops(place.run(), 2, "spool is damaged at call 3", "restore it from a backup")
    flip(place / ".pyboinc/spool", -3)
    goes_on(place)


def test_damaged_database(half_done: Place) -> None:
    """Bad input: a damaged database of the project is named, with what to do."""
    database = half_done / ".pyboinc/local/project.sqlite"
    for other in database.parent.glob("project.sqlite-*"):
        other.unlink()
    database.write_bytes(b"not a database, " * 1000)
    stops(half_done.run(), 2, "project.sqlite is damaged", "pyboinc clean")
    assert b"not a database" in database.read_bytes()


@pytest.mark.parametrize("name", ["pyboinc_checkpoint", ".pyboinc/run.json"])
def test_a_checkpoint_of_a_newer_version(half_done: Place, name: str) -> None:
    """Bad input: what a newer PyBOINC wrote is left alone: exit 4, and what to do."""
    path = half_done / name
    text = path.read_text()
    newer = re.sub(r'format("?): 1', r"format\1: 2", text)
    assert newer != text
    path.write_text(newer)
    stops(half_done.run(), 4, "newer PyBOINC (format 2; this one knows 1)", "upgrade PyBOINC")
    assert path.read_text() == newer
    path.write_text(text)
    goes_on(half_done)


# ---------------------------------------------------------------- the program


def test_a_changed_program(half_done: Place) -> None:
    """Bad input: a program that was changed on resume names the files and three choices."""
    slave = half_done / "app_slave.py"
    right = slave.read_text()
    slave.write_text(right + "# mended\n")
    (half_done / "app_types.py").write_text((half_done / "app_types.py").read_text() + "\n")
    run = half_done.run()
    stops(run, 4, "app_slave.py changed", "app_types.py changed")
    for choice in ("--accept-changes", "--fresh", "put the files back"):
        assert choice in run.stderr
    goes_on(half_done, "--accept-changes")
    assert half_done.run().code == 0


def test_another_program_in_the_directory(half_done: Place) -> None:
    """Bad input: the results of one master are not given to another one beside it."""
    shutil.copy(half_done / "app_master.py", half_done / "other_master.py")
    other = (sys.executable, "other_master.py", "--workers=1")
    stops(half_done.run(command=other), 4, "app_master.py", "other_master.py", "--fresh")
    run = half_done.run("--accept-changes", command=other)
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    stops(half_done.run(), 4, "other_master.py")


def test_accepted_changes_reach_the_jobs_that_are_not_made_yet(place: Place) -> None:
    """Bad input: with --accept-changes all jobs that are not done run the changed slave."""
    assert place.run(environ=crash("make jobs")).killed
    place.wait_for_processes()
    slave = place / "app_slave.py"
    slave.write_text(slave.read_text().replace("** 2", "** 3"))
    goes_on(place, "--accept-changes", answer=36)


def test_a_run_that_accepts_changes_is_killed(half_done: Place) -> None:
    """Bad input: accepted is accepted, even if the run that accepted was killed at once."""
    slave = half_done / "app_slave.py"
    slave.write_text(slave.read_text().replace("number ** 2", "number ** 2 + 0"))
    first = half_done.run("--accept-changes", environ=crash("handle"))
    assert first.killed, first
    half_done.wait_for_processes()
    goes_on(half_done)
    archives = half_done.select("select distinct bundle from workunit")
    assert len(archives) == 1


def test_a_program_with_spaces_in_its_name(half_done: Place) -> None:
    """Bad input: the command in a message can be typed as it stands."""
    (half_done / "app_master.py").rename(half_done / "my master.py")
    run = half_done.run(command=(sys.executable, "my master.py", "--workers=1"))
    stops(run, 4, "python 'my master.py' --accept-changes")


def test_fresh_says_nothing_when_it_is_to_be_quiet(half_done: Place) -> None:
    """Bad input: --quiet says nothing but errors, also of the batch that was there."""
    run = half_done.run("--fresh", "--quiet")
    assert (run.stdout, run.stderr, run.code) == ("The answer is 14\n", "", 0), run


def test_fresh_keeps_the_earlier_batch(half_done: Place) -> None:
    """Bad input: --fresh loses nothing: the earlier batch lies in .pyboinc/previous."""
    old = {path.name for path in half_done.path.glob("*/1_*.out")}
    run = half_done.run("--fresh")
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    assert str(half_done / ".pyboinc/previous/1") in run.stderr
    half_done.check()
    assert half_done.names("old") == {f"2_{number}.out" for number in range(4)}
    kept = {path.name for path in (half_done / ".pyboinc/previous/1").glob("*/*.out")}
    assert kept >= old


REPLAYED = """
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total = 0

def make_calls():
    pyboinc_call("app_slave.py", Input(2))

def handle_result(output):
    global total
    total += output.value
    if output.value < 10:
        CALL

pyboinc_master(make_calls, handle_result)
print("The answer is", total)
"""

DIFFERENT = {
    "another input": ("pyboinc_call('app_slave.py', Input(5))", "call 1 differs", "another value"),
    "another limit": (
        "pyboinc_call('app_slave.py', Input(4), priority=3)",
        "call 1 differs",
        "limits were {} then, and are {'priority': 3} now",
    ),
    "another slave": ("pyboinc_call('other.py', Input(4))", "call 1 differs", "other.py now"),
    "no call": ("pass", "job 0 made 1 calls", "and 0 now"),
    "two calls": (
        "[pyboinc_call('app_slave.py', Input(4)) for _ in 'ab']",
        "job 0 made 1 calls",
        "and 2 now",
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_a_master_that_replays_differently(tmp_path: Path, what: str) -> None:
    """Bad input: a replay that makes other calls is stopped, and the call is named."""
    call, *told = DIFFERENT[what]
    right = REPLAYED.replace("CALL", "pyboinc_call('app_slave.py', Input(4))")
    place = Place(tmp_path / "job", {"app_master.py": right})
    (place / "other.py").write_text((place / "app_slave.py").read_text())
    goes_on(place, answer=20)
    (place / "app_master.py").write_text(REPLAYED.replace("CALL", call))
    stops(place.run("--accept-changes"), 4, *told, "--fresh")
    (place / "app_master.py").write_text(right)
    goes_on(place, "--accept-changes", answer=20)


# ---------------------------------------------------------------- wrong calls and settings

CALLS = {
    "a lock": ("Input(__import__('threading').Lock())", 2, ["the input of call 0", "number"]),
    "an open file": ("Input(open(__file__))", 2, ["the input of call 0", "number"]),
    "a class of the master": ("Mine()", 2, ["the input of call 0", "Mine"]),
    "a function": ("Input([{'f': make_calls}])", 2, ["number[0]['f']"]),
    "no such limit": ("Input(1), qorum=2", 2, ["'qorum'", "quorum"]),
    "an impossible limit": ("Input(1), quorum=0", 2, ["quorum: 0"]),
    "a limit that is no number": ("Input(1), delay_bound='soon'", 2, ["delay_bound: 'soon'"]),
    "a quorum larger than the hosts": ("Input(1), quorum=21", 2, ["--hosts 21"]),
}


@pytest.mark.parametrize("what", CALLS)
def test_a_call_that_can_not_be(place: Place, what: str) -> None:
    """Bad input: what can not travel, or is no limit, is refused with its name."""
    value, code, told = CALLS[what]
    master = place / "app_master.py"
    right = master.read_text()
    wrong = right.replace("Input(number)", value)
    master.write_text(f"class Mine: pass\n{wrong}")
    stops(place.run(), code, *told)


FUNCTIONS = {
    "none": ("None, print", "make_calls is None"),
    "result": ("make_calls, make_calls()", "handle_result is 7"),
    "too few": ("make_calls, lambda: 0", "handle_result() can not be called with 1 arg"),
    "too many": (
        "make_calls, lambda a, b, c: 0",
        "handle_result(a, b, c) can not be called with 2",
    ),
    "error": ("make_calls, print, lambda: 0", "handle_error() can not be called with 1 arg"),
    "async": ("make_calls, coroutine", "handle_result would do nothing"),
    "yield": ("generator, print", "make_calls would do nothing"),
}


@pytest.mark.parametrize("what", FUNCTIONS)
def test_a_function_that_can_not_be_called(place: Place, what: str) -> None:
    """Bad input: what is given to pyboinc_master is looked at before any job is made."""
    given, message = FUNCTIONS[what]
    (place / "app_master.py").write_text(
        "from pyboinc import pyboinc_master\n"
        "def make_calls(): return 7\n"
        "def generator(): yield\n"
        "async def coroutine(output): pass\n"
        f"pyboinc_master({given})\n"
    )
    stops(place.run(), 2, message, "app_master.py, line 5")
    assert not (place / ".pyboinc").exists()


def test_a_call_outside(place: Place) -> None:
    """Bad input: pyboinc_call where nobody waits for results says where it belongs."""
    (place / "app_master.py").write_text(
        "from pyboinc import pyboinc_call\npyboinc_call('app_slave.py', 1)\n"
    )
    stops(place.run(), 2, "outside make_calls and handle_result", "app_master.py, line 2")


def test_a_master_inside_a_handler(place: Place) -> None:
    """Bad input: pyboinc_master in a handler says that phases follow each other."""
    text = (place / "app_master.py").read_text()
    nested = text.replace("    global total\n", "    pyboinc_master(make_calls, handle_result)\n")
    (place / "app_master.py").write_text(nested)
    stops(place.run(), 2, "inside make_calls or a handler", "as the next phase")


SETTINGS = {
    "backend": (["--backend", "lokal"], {}, ["there is no backend 'lokal'", "'local'"]),
    "backend by environment": ([], {"PYBOINC_BACKEND": "lokal"}, ["'lokal'"]),
    "fault": (["--fault", "crsh=0.1"], {}, ["there is no fault 'crsh'", "crash"]),
    "probability": (["--fault", "crash=1.5"], {}, ["1.5", "from 0 to 1"]),
    "no number": (["--fault", "crash=often"], {}, ["'often'", "from 0 to 1"]),
    "failure rate": (["--failure-rate", "-0.1"], {}, ["-0.1"]),
    "failure rate above": (["--failure-rate", "20"], {}, ["20"]),
    "too many": (["--fault", "crash=0.7,hang=0.7"], {}, ["sum to 1.4"]),
}


@pytest.mark.parametrize("what", SETTINGS)
def test_a_setting_that_can_not_be(place: Place, what: str) -> None:
    """Bad input: an unknown backend or fault, or no probability: exit 2, and nothing is begun."""
    flags, environ, told = SETTINGS[what]
    stops(place.run(*flags, environ=environ), 2, *told)
    assert not (place / ".pyboinc").exists()


def test_a_project_that_is_none(place: Place) -> None:
    """Bad input: the backend boinc without a project's directory names it, and begins no batch."""
    stops(
        place.run("--backend", "boinc"), 2, "give its directory with --project-dir, or PYBOINC_DIR"
    )
    stops(place.run("--project-dir", "."), 2, "is no BOINC project: it has no config.xml")
    assert not (place / ".pyboinc/run.json").exists()


def test_the_simulated_backend_alone(place: Place) -> None:
    """Bad input: the backend simulated is one end of a command, which is named."""
    stops(place.run("--backend", "simulated"), 2, "run: pyboinc simulate app_master.py")
    lost = place.run("--backend", "simulated", environ={"PYBOINC_SIMULATION": "99"})
    stops(lost, 3, "the socket to pyboinc simulate is closed")


def test_another_backend_on_resume(half_done: Place) -> None:
    """Bad input: a batch goes on where it was begun, and says so if it is asked otherwise."""
    run_json = half_done / ".pyboinc/run.json"
    text = run_json.read_text()
    run_json.write_text(text.replace('"backend": "local"', '"backend": "elsewhere"'))
    stops(half_done.run(), 4, "begun with the backend 'elsewhere'", "--backend elsewhere")
    run = half_done.run("--fresh")
    assert "are not cancelled: there is no backend 'elsewhere'" in run.stderr
    assert run.code == 0


# ---------------------------------------------------------------- none, and very many


def test_no_calls(tmp_path: Path) -> None:
    """Bad input: a program without calls says so and ends well, again and again."""
    place = Place(tmp_path / "job", {"app_master.py": MASTER.format(calls=0)})
    for _ in range(2):
        run = place.run()
        assert (run.stdout, run.code) == ("The answer is 0\n", 0), run
        assert "make_calls made no calls: there is nothing to do" in run.stderr
    (place / "app_master.py").write_text(MASTER.format(calls=4))
    goes_on(place)


MEMORY = """

import resource, sys
def peak():
    if sys.platform == "linux":  # where ru_maxrss begins with that of the process that started us
        with open("/proc/self/status") as status:
            return next(line.split()[1] for line in status if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def measure():
    with open("memory", "a") as file:
        print(peak(), file=file)
"""


def test_10_000_calls(tmp_path: Path) -> None:
    """Bad input: 10,000 calls are made, killed and gone on with, in 300 bytes of memory for each.

    ``make sweep PARTS=soak`` has 100,000.
    """
    few, many = peaks_of(tmp_path / "few", 20), peaks_of(tmp_path / "many", 10_000)
    assert len(few) == len(many) == 21
    assert max(many) - max(few) < 10_000 * 300


def peaks_of(path: Path, calls: int) -> list[int]:
    """The most memory of a master until it handles each result; two masters, both killed."""
    counting = MASTER.format(calls=calls)
    measuring = counting.replace("    global total\n", "    measure(); global total\n")
    place = Place(path, {"app_master.py": MEMORY + measuring})
    place.measured = False
    for number in (1, 20):
        assert place.run(environ=crash("handled", number=number)).killed
        place.wait_for_processes()
        assert place.crashed()
    assert place.calls() == len(place.workunits("1")) == calls
    unit = 1 if sys.platform == "darwin" else 1024
    return [int(line) * unit for line in (place / "memory").read_text().split()]


# ---------------------------------------------------------------- ^C


def test_interrupted_once(place: Place) -> None:
    """^C: pressed once, what is at hand is finished, and the last line says how to go on."""
    run = place.run(environ=crash("handle", what="interrupt"))
    assert run.code == 130, run
    assert "pyboinc: stopping; press ^C again to stop at once" in run.stderr
    last = run.stderr.splitlines()[-1]
    assert re.fullmatch(
        "pyboinc: stopped with 1 of 4 handled; to go on: python app_master.py", last
    )
    assert "Traceback" not in run.stderr
    assert len(place.handled()) == 1
    goes_on(place)


def test_interrupted_twice(place: Place) -> None:
    """^C: pressed twice, it stops now; what was at hand will be handled by the next run."""
    run = place.run(environ=crash("handle", what="interrupt twice"))
    assert run.code == 130, run
    assert "stopped with 0 of 4 handled; to go on: python app_master.py" in run.stderr
    assert "Traceback" not in run.stderr
    assert place.handled() == []
    goes_on(place)


def test_interrupted_in_make_calls(place: Place) -> None:
    """^C: in make_calls once is enough, and no job was made."""
    run = place.run(environ=crash("make calls", what="interrupt"))
    assert run.code == 130, run
    assert "stopped before any job was made; run python app_master.py to start" in run.stderr
    goes_on(place)


def test_interrupted_by_a_terminal(tmp_path: Path) -> None:
    """^C: a terminal sends it to the whole group, and the slaves are not hurt by it."""
    slave = """
from pathlib import Path
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output
(Path("PLACE") / "pipe").read_text()
pyboinc_return_output(Output(pyboinc_get_input().number ** 2))
"""
    place = Place(tmp_path / "job", calls=1)
    (place / "app_slave.py").write_text(slave.replace("PLACE", str(place.path)))
    os.mkfifo(place / "pipe")
    master = place.start()
    with open(place / "pipe", "w"):  # opens when the slave is at work
        os.killpg(master.pid, signal.SIGINT)
        run = finish(master)
    assert run.code == 130, run
    place.wait_for_processes()
    (place / "pipe").unlink()
    (place / "pipe").touch()
    goes_on(place, answer=0)
    assert place.select("select count(*) from result") == [(1,)]


# ---------------------------------------------------------------- a strange environment

STREAMS = ("2>&-", ">&- 2>&-", "<&- 2>&-", "2>/dev/full", "2>&1 >answer | true")
"""What a shell may do to stderr: closed, a full disk, a pipe that nobody reads."""


@pytest.mark.parametrize("streams", STREAMS)
def test_nobody_reads_stderr(place: Place, streams: str) -> None:
    """Bad input: without a stderr the batch is done as with one, and no file gets its lines."""
    line = f"{{ {shlex.join(PROGRAM)} --fault=error=0.3; echo $? >code; }} {streams}"
    run = place.run(command=("sh", "-c", line))
    assert (place / "code").read_text() == "0\n", run
    assert run.stderr == ""
    if streams.startswith(("2", "<")):
        answer = (place / "answer").read_text() if "answer" in streams else run.stdout
        assert answer == "The answer is 14\n"
    place.check()


@pytest.mark.parametrize("streams", STREAMS[:-1])
def test_nobody_reads_the_message(place: Place, streams: str) -> None:
    """Bad input: without a stderr a refusal still is in the exit code, and not on stdout."""
    run = place.run(command=("sh", "-c", f"{shlex.join(PROGRAM)} --backend=none {streams}"))
    assert (run.code, run.stdout) == (2, ""), run


def test_modules_in_the_current_directory(place: Place) -> None:
    """Bad input: a file of the directory that one happens to be in replaces no module."""
    elsewhere = place / "elsewhere"
    elsewhere.mkdir()
    for name in ("json", "queue", "select", "sqlite3", "pyboinc"):
        (elsewhere / f"{name}.py").write_text("raise SystemExit('not what was meant')\n")
    line = f"cd elsewhere; {sys.executable} ../app_master.py --workers=1"
    run = place.run(command=("sh", "-c", line))
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    place.check()
