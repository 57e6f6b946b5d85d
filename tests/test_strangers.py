"""What strangers control beside a result's content: names, kinds, sizes and text of files."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_apps import make_app, typed, verb
from masters import PROGRAM, Place, crash
from test_emulator import Bench
from test_progress import Clock, Terminal, counts, display

from pyboinc import codec, disk, quarantine, removal
from pyboinc.backends import Attempt, Failure, failure_from_bytes, failure_to_bytes
from pyboinc.errors import DirectoryDamaged, JobsFailed, RejectedResult
from pyboinc.jobdir import JobDirectory, check_archive
from pyboinc.quarantine import KEPT, Quarantine
from pyboinc.report import by_cause, describe_failures, ending, own_frames, printable_line

NOBODY = 65_534


def unprivileged(action: Callable[[], object]) -> None:
    """Do *action* in a child process that may not do everything, as root may."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            action()
            status = 0
        except BaseException:  # noqa: BLE001  # nothing may return into the test
            sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]  # there is one
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A directory that everybody may use."""
    path = Path(tempfile.mkdtemp(prefix="pyboinc-strangers-"))
    path.chmod(0o777)
    yield path
    removal.remove(str(path))


def looks_harmless(text: str) -> None:
    """Check that nothing in *text* can deceive a terminal or a reader."""
    for one in text:
        assert one in "\n\t" or unicodedata.category(one)[0] != "C", ascii(one)


# ---------------------------------------------------------------- the quarantine is bounded


def test_ten_thousand_foreign_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quarantine: very many at once cost a few syncs and a few lines, and each has its reason."""
    steps: list[str] = []
    monkeypatch.setattr(disk, "before_step", lambda step, subject: steps.append(step))
    prefix = "n" * 230
    names = [f"foreign {n}" for n in range(9_000)] + [f"{prefix}{n}" for n in range(1_000)]
    for name in names:
        (tmp_path / name).touch()
    place = Quarantine(tmp_path / "quarantine")
    place.take([tmp_path / name for name in names], "foreign")
    kept = os.listdir(tmp_path / "quarantine")
    assert len(kept) == 2 * len(names)
    assert sum(name.endswith(".reason") for name in kept) == len(names)
    assert steps.count("fsync") == 1
    assert len(capsys.readouterr().err.splitlines()) == 11
    assert (tmp_path / "quarantine/foreign 17.reason").read_text() == "'foreign'\n"


def test_a_host_that_sends_junk_for_ever(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quarantine: of one name a dozen files are kept; the rest is removed, and counted."""
    place = Quarantine(tmp_path / "quarantine")
    for number in range(KEPT + 120):
        (tmp_path / "1_7.out").write_text(str(number))
        place.take([tmp_path / "1_7.out"], "junk")
    (tmp_path / "1_8.out").write_text("another")
    place.take([tmp_path / "1_8.out"], "junk")
    assert not (tmp_path / "1_7.out").exists()
    files = [name for name in os.listdir(tmp_path / "quarantine") if "reason" not in name]
    assert len(files) == KEPT + 1
    told = re.findall(
        r"removed '1_7.out': 'junk'.*\((\d+) removed so far\)", capsys.readouterr().err
    )
    assert told == ["1", "10", "100"]
    again = Quarantine(tmp_path / "quarantine")  # in the next run of the master
    (tmp_path / "1_7.out").write_text("more")
    again.take([tmp_path / "1_7.out"], "junk")
    assert len(os.listdir(tmp_path / "quarantine")) == 2 * len(files)


def test_the_quarantine_does_not_fill_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Quarantine: bytes are counted over all names; what no host can have sent always stays."""
    monkeypatch.setattr(quarantine, "BYTES", 100_000)
    place = Quarantine(tmp_path / "quarantine")
    for number in range(30):
        (tmp_path / f"1_{number}.out").write_bytes(bytes(20_000))
        place.take([tmp_path / f"1_{number}.out"], "junk")
    (tmp_path / "thesis.tex").write_bytes(bytes(200_000))
    (tmp_path / "1_99.out").mkdir()
    os.truncate(
        os.open(tmp_path / "1_98.out", os.O_CREAT | os.O_WRONLY), 10**13
    )  # no bytes on disk
    names = ["thesis.tex", "1_99.out", "1_98.out"]
    place.take([tmp_path / name for name in names], "junk")
    kept = {name for name in os.listdir(tmp_path / "quarantine") if "reason" not in name}
    assert {"thesis.tex", "1_99.out", "1_98.out"} < kept
    assert 3 <= len(kept) - 3 <= 5


def test_a_directory_that_does_not_leave(open_place: Path) -> None:
    """Quarantine: one without permissions can not be moved elsewhere, and stops nothing."""

    def act() -> None:
        for name in ("1_0.out", "closed"):
            (open_place / name).mkdir()
            (open_place / name).chmod(0)
        place = Quarantine(open_place / "quarantine")
        place.take([open_place / "1_0.out", open_place / "closed"], "a directory")
        left = sorted(name for name in os.listdir(open_place) if name != "quarantine")
        assert left == [".refused-1_0.out", ".refused-closed"]

    unprivileged(act)


@pytest.mark.parametrize("what", ["fifo", "socket", "closed", "setuid", "linked", "dangling"])
def test_kinds_of_file(open_place: Path, what: str) -> None:
    """Names and kinds: whatever is called like an outcome is refused or read, without waiting."""

    def act() -> None:
        directory = JobDirectory(open_place)
        path = open_place / "1_0.out"
        if what == "fifo":
            os.mkfifo(path)
        elif what == "socket":
            socket.socket(socket.AF_UNIX).bind(str(path))
        elif what == "dangling":
            path.symlink_to("nowhere")
        else:
            path.write_bytes(b"data")
            path.chmod({"closed": 0, "setuid": 0o4755}.get(what, 0o644))
        if what == "linked":
            os.link(path, open_place / "other")
        try:
            assert disk.read_bounded(path, 100) == b"data"
            assert what in ("setuid", "linked")
        except RejectedResult:
            assert what not in ("setuid", "linked")
        directory.quarantine("strange", "1_0.out", where=open_place)
        assert not os.path.lexists(path)

    unprivileged(act)


NAMES = (
    *("line\nbreak", "carriage\rreturn", "tab\t", "\x1b]0;title\x07", "\u202egnp.exe", "\x9b31m"),
    *("-rf", "~", "$HOME", "$(touch HACKED)", "1_0.out ", " 1_0.out", "1_0.out\n"),
    *("1_00.out", "1_+1.out", "1_-1.out", "1_1e0.out", "1_\u0661.out", "1_\u00b2.out", "1__1.out"),
    *(
        "1_999999999999.out",
        f"1_{'9' * 200}.out",
        f"{'9' * 40}_0.out",
        "_0.out",
        "1_.out",
        "9_1.error",
    ),
)


def test_names_and_kinds_in_new(tmp_path: Path) -> None:
    """Names and kinds: none of them stops the batch, or gets a character onto the terminal."""
    place = Place(tmp_path / "job")
    assert place.run(environ=crash("load", "*")).killed
    place.wait_for_processes()
    new = place / "new"
    for name in NAMES:
        (new / name).write_text("not an outcome")
    for name in (b"\xff\xfe\n", b"\xc3(", b"\xed\xa0\x80", b"x" * 255):
        (new / os.fsdecode(name)).touch()
    os.mkfifo(new / "fifo")
    (new / "passwd").symlink_to("/etc/passwd")
    (new / "to a fifo").symlink_to("fifo")
    (new / "directory").mkdir()
    (new / "sparse").touch()
    os.truncate(new / "sparse", 10**10)
    os.link(place / "app_master.py", new / "linked")
    run = place.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    looks_harmless(run.stderr)
    place.check()
    assert not list(place.path.rglob("HACKED"))
    assert (place / "app_master.py").exists()


# ---------------------------------------------------------------- the emulated project


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """An empty project."""
    bench = Bench(tmp_path)
    yield bench
    bench.emulator.store.close()


def test_a_directory_where_an_outcome_is_to_go(bench: Bench) -> None:
    """Delivery: what lies in its way is moved aside, in new/ as in old/."""
    bench.create(1)
    (bench.path / "new/1_0.out").mkdir()
    (bench.path / "new/1_0.out/file").touch()
    bench.do(5)
    assert (bench.path / "new/1_0.out").is_file()
    (displaced,) = (bench.path / "new").glob("1_0.out.displaced-*")
    assert (displaced / "file").exists()


@pytest.mark.parametrize("place", ["new", "old"])
def test_a_directory_in_the_way_of_a_master(tmp_path: Path, place: str) -> None:
    """Delivery: a directory under an outcome's name costs no outcome, wherever it lies."""
    job = Place(tmp_path / "job")
    assert job.run(environ=crash("load", "*_3.out")).killed
    job.wait_for_processes()
    outcome = next(iter((job / "old").iterdir()), job / "old/1_9.out").name
    (job / place / outcome).mkdir(exist_ok=True) if place == "new" else None
    if place == "old":
        (job / "old/1_3.out").mkdir()
    run = job.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run


OUTPUTS: dict[str, Callable[[Path], object]] = {
    "fifo": lambda slot: os.mkfifo(slot / "out"),
    "directory": lambda slot: (slot / "out").mkdir(),
    "link": lambda slot: (slot / "out").symlink_to("/etc/passwd"),
    "link to a fifo": lambda slot: (os.mkfifo(slot / "f"), (slot / "out").symlink_to("f")),
    "closed": lambda slot: ((slot / "out").write_bytes(codec.encode(1)), (slot / "out").chmod(0)),
    "closed slot": lambda slot: ((slot / "out").write_bytes(codec.encode(1)), slot.chmod(0)),
    "slot is a file": lambda slot: (slot.rmdir(), slot.write_text("")),
    "no slot": lambda slot: slot.rmdir(),
    "slot is a link": lambda slot: (slot.rmdir(), slot.symlink_to("nowhere")),
    "setuid": lambda slot: (
        (slot / "out").write_bytes(codec.encode(1)),
        (slot / "out").chmod(0o4755),
    ),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_what_a_slave_leaves_for_an_output(open_place: Path, what: str) -> None:
    """Uploads: of what is no plain file nothing is taken, nothing waits, and the batch goes on."""

    def act() -> None:
        bench = Bench(open_place)
        bench.create(1)
        rows, instance = bench.send()
        OUTPUTS[what](open_place / "slot")
        name = f"{rows.workunit.name}_{instance}"
        output = bench.emulator.upload(str(open_place / "slot"), name)
        assert (output is not None) == (what in ("closed", "closed slot", "setuid"))
        bench.emulator.uploads.sync()
        if output is not None:
            mode = (open_place / "upload" / name).stat().st_mode
            assert stat.S_IMODE(mode) == 0o644 or what == "closed slot"
        bench.emulator.store.close()

    unprivileged(act)


def test_strange_files_among_the_uploads(bench: Bench) -> None:
    """Uploads: what a slave has put there is removed by the next server, or written over."""
    bench.create(2)
    upload = bench.path / "upload"
    for name in ("1_\u00b2_0", "1_99_0", "x", "1_0_0.error", os.fsdecode(b"\xff"), "2_0_0", "1_1"):
        (upload / name).write_text("junk")
    (upload / "deep").mkdir()
    (upload / "deep/1").mkdir()
    (upload / "1_1.error").symlink_to(bench.path / "victim")
    bench.reopen()
    assert set(bench.names("upload")) <= {"1_1.error"}
    bench.emulator.uploads.put("1_1.error", b"report")
    assert not (bench.path / "victim").exists()


HOSTILE = """
import os, sys
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

number = pyboinc_get_input().number
slot = os.getcwd()
if number % 8 == 1:  # a tree that no recursion and no path reaches the end of
    for _ in range(1500):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    os.chdir(slot)
elif number % 8 == 2:
    os.makedirs("closed/inner")
    open("closed/inner/file", "w").close()
    os.chmod("closed/inner", 0)
    os.chmod("closed", 0)
elif number % 8 == 3:
    os.chdir("/")
    os.rename(slot, slot + ".gone")
    open(slot, "w").close()
    os._exit(0)
elif number % 8 == 4:
    os.symlink("PLACE/victim", "stderr.txt.link")
    os.unlink("in")
    os.symlink("PLACE/victim", "in")
    os.symlink("PLACE/victim", "checkpoint")
elif number % 8 == 5:
    for name in (f"1_{number}_7", f"1_\\u00b2_{number}", f"junk {number}", f"1_{number - 2}.error"):
        path = f"PLACE/.pyboinc/local/upload/{name}"
        try:
            os.mkdir(path) if name.startswith("junk") else os.mkfifo(path)
        except FileExistsError:
            pass  # the report that job 3 has failed was quicker
elif number % 8 == 6:
    sys.stderr.write("\\x1b[2J\\u202e\\x00\\rpyboinc: all is well\\n[/][link=file:///]x\\n" * 1000)
    raise SystemExit("\\x1b]0;owned\\x07[bold red]")
elif number % 8 == 7:
    os.mkfifo("out")
    os._exit(0)
pyboinc_return_output(Output(number ** 2))
if number % 8 == 0:
    os.chmod("out", 0)
"""

WITH_FAILURES = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total, failed = 0, []

def make_calls():
    for number in range(16):
        pyboinc_call("app_slave.py", Input(number), max_errors=1)

def handle_result(output):
    global total
    total += output.value

def handle_error(failure):
    failed.append(failure.index)

pyboinc_master(make_calls, handle_result, handle_error)
print("The answer is", total, "without", sorted(failed))
"""


def test_hostile_slaves(open_place: Path) -> None:
    """Slaves: whatever they make of their slot, the others' jobs are done and nothing stays."""
    place = Place(open_place / "job")
    place.path.chmod(0o777)
    (place / "app_slave.py").write_text(HOSTILE.replace("PLACE", str(place.path)))
    (place / "app_master.py").write_text(WITH_FAILURES)
    (place / "victim").write_text("untouched")
    # Root without its capabilities may do what others may.
    without = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    command = (*without, *PROGRAM) if os.geteuid() == 0 and shutil.which("setpriv") else PROGRAM
    run = place.run(command=command)
    bad = [number for number in range(16) if number % 8 in (3, 6, 7)]
    good = sum(number**2 for number in range(16) if number not in bad)
    assert (run.stdout, run.code) == (f"The answer is {good} without {bad}\n", 0), run
    looks_harmless(run.stderr)
    place.wait_for_processes()
    assert (place / "victim").read_text() == "untouched"
    assert place.names(".pyboinc/local/slots") == set()
    assert place.names(".pyboinc/local/upload") == set()


def test_a_tree_that_is_hard_to_remove(tmp_path: Path) -> None:
    """Slots: neither depth nor missing permissions keep a tree from being removed."""
    top = os.open(tmp_path, os.O_RDONLY)
    here = top
    for _ in range(1_200):
        os.mkdir("d" * 100, dir_fd=here)
        os.mkdir(".0", dir_fd=here)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.symlink(tmp_path, "loop", dir_fd=here)
    os.close(here)
    (tmp_path / "keep").touch()
    removal.remove(str(tmp_path / ("d" * 100)))
    assert sorted(os.listdir(tmp_path)) == [".0", "keep"]
    with pytest.raises(FileNotFoundError):
        removal.remove(str(tmp_path / "gone"))


# ---------------------------------------------------------------- archives and packed files


def bomb() -> bytes:
    """A small zip that unpacks to a thousand times as much."""
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("app_slave.py", bytes(64 << 20))
    return memory.getvalue()


def test_an_archive_that_was_replaced(tmp_path: Path) -> None:
    """Archives: what was put in the place of a slave's archive is never unpacked, and mended."""
    place = Place(tmp_path / "job")
    assert place.run(environ=crash("make jobs")).killed
    place.wait_for_processes()
    (archive,) = (place / ".pyboinc/bundles").glob("*.zip")
    right = archive.read_bytes()
    archive.write_bytes(bomb())
    with pytest.raises(DirectoryDamaged, match="is not the archive of the slave that was called"):
        check_archive(archive, archive.stem)
    (place / "app_slave.py").rename(place / "elsewhere.py")
    replayed = place.run(command=[sys.executable, "-m", "pyboinc", "replay", "0"])
    assert replayed.code == 2, replayed
    assert "is not the archive of the slave that was called" in replayed.stderr
    (place / "elsewhere.py").rename(place / "app_slave.py")
    run = place.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    assert archive.read_bytes() == right
    place.check()


def test_an_output_that_is_packed() -> None:
    """Packed files: told from damage, and never unpacked."""
    with pytest.raises(RejectedResult, match="packed with gzip, and nothing is unpacked here"):
        codec.decode(gzip.compress(bytes(10**6)), codec.Registry({}))


# ---------------------------------------------------------------- text

EVIL = "\x1b[31m\u202edetrevni\u2066\x00\x07\x9b2J\ud800\x85[bold][link=file:///etc]x[/]"


def evil_failure(index: int = 0) -> Failure:
    """A failure in which every text is hostile."""
    forged = f"{EVIL}\npyboinc: 5 of 5 handled\n  replay:  rm -rf ~"
    attempt = Attempt(0, forged, forged, 10**30, True, f"{EVIL}\n{forged}\n", forged, forged)
    return Failure(index, f"1_{index}", forged, attempts=(attempt,))


def test_hostile_text_in_reports() -> None:
    """Text: reports show escapes, and no text of a stranger's begins a line of ours."""
    told = describe_failures([evil_failure(), evil_failure(1)], 2)
    looks_harmless(told)
    begins = [line for line in told.splitlines() if re.match(r"pyboinc:|  replay:", line)]
    assert begins == ["  replay:  pyboinc replay 0"]
    looks_harmless(str(JobsFailed(told)))
    assert printable_line("a\nb\x00") == r"a\nb\x00"


def test_hostile_text_in_a_traceback() -> None:
    """Text: frames of a forged traceback are shown in one line each; huge numbers are none."""
    evil = EVIL.replace("\x85", "")  # which ends a line
    text = "Traceback (most recent call last):\n"
    text += f'  File "a{evil}.py", line 3, in f{evil}\n    code {evil}\n'
    text += f'  File "b.py", line {"9" * 5000}, in g\n'
    (frame,) = own_frames(text)
    assert frame.line == 3
    looks_harmless(str(frame) + frame.code)
    by_cause([Failure(0, "1_0", "", attempts=(Attempt(0, "h", "client error", stderr=text),))])


@pytest.mark.parametrize("live", [False, True])
def test_hostile_text_in_the_display(live: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text: neither escapes nor rich's markup in a first error have any effect."""
    monkeypatch.delenv("CI", raising=False)
    stream, clock = Terminal(), Clock()
    shown = display(stream, clock)
    if live:
        shown.show(counts(1), 1)
        clock.now += 2
        shown.show(counts(2), 2)
    before = len(stream.getvalue())
    shown.first_errors([f"1_0_0: {EVIL}\nforged :smile:"])
    said = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue()[before:])
    assert "[bold][link=file:///etc]x[/]\\nforged :smile:" in said.replace("\r", "")
    assert "\u202e" not in said


WRONG_REPORTS = (
    b"[]",
    b"{}",
    b"null",
    b"\xff",
    b"[" * 100_000,
    b'{"index": 0, "name": "1_0", "reason": "r", "error_mask": 0, "attempts": 3}',
    b'{"index": 0, "name": "1_0", "reason": null, "error_mask": 0, "attempts": []}',
    b'{"index": "0", "name": "1_0", "reason": "r", "error_mask": 0, "attempts": []}',
    b'{"index": 0, "name": ["1_0"], "reason": "r", "error_mask": 0, "attempts": []}',
    b'{"index": 0, "name": "1_0", "reason": "r", "error_mask": %s, "attempts": []}' % (b"9" * 5000),
    b'{"index": 0, "name": "1_0", "reason": "r", "error_mask": 0, "attempts": [{"instance": 0}]}',
    b'{"index": 0, "name": "1_0", "reason": "r", "error_mask": 0, "x": 1, "attempts": []}',
)


@pytest.mark.parametrize("data", WRONG_REPORTS, ids=range(len(WRONG_REPORTS)))
def test_failure_reports_that_are_none(data: bytes) -> None:
    """Text: a report that is not what we write is refused, before a handler can stumble on it."""
    with pytest.raises(RejectedResult):
        failure_from_bytes(data)


@pytest.mark.parametrize("name", [*Attempt.__slots__])
def test_failure_reports_with_a_wrong_type(name: str) -> None:
    """Text: each field of an attempt has its type; with the right ones it comes back as it was."""
    right = evil_failure()
    assert failure_from_bytes(failure_to_bytes(right)) == right
    wrong = json.loads(failure_to_bytes(right))
    wrong["attempts"][0][name] = {"a": 1}
    with pytest.raises(RejectedResult, match=f"{name} is"):
        failure_from_bytes(json.dumps(wrong).encode())


def test_a_report_of_another_job(tmp_path: Path) -> None:
    """Text: a failure report that names another job than its file does is refused."""
    place = Place(tmp_path / "job")
    assert place.run(environ=crash("load", "*_3.out")).killed
    place.wait_for_processes()
    (place / "new/1_2.error").write_bytes(failure_to_bytes(evil_failure(1)))
    run = place.run()
    assert (run.stdout, run.code) == ("The answer is 14\n", 0), run
    looks_harmless(run.stderr)


@pytest.mark.parametrize("number", [-1, 0, 37, 64, 65, 10**30])
def test_numbers_of_signals(number: int) -> None:
    """Text: an exit status or signal that is out of range has no name, and is no error."""
    assert "killed by" in ending(Attempt(0, "h", "client error", number, True))


EXITS = """
import os, signal
from pyboinc import pyboinc_get_input, pyboinc_return_output
os.write(2, b"\\xff\\xc3 caf\\xc3\\xa9 \\x1b[2J\\n")
if pyboinc_get_input().number == 3:
    os.kill(os.getpid(), signal.SIGRTMIN + 3)
pyboinc_return_output(0)
"""


def test_verbs_show_any_text_on_any_terminal(tmp_path: Path) -> None:
    """Text: errors, status and replay work where stdout knows no letter but ASCII's."""
    master = """
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master
def make_calls():
    for number in range(4):
        pyboinc_call("app_slave.py", Input(number, ""), max_errors=1)
pyboinc_master(make_calls, print)
"""
    app = make_app(tmp_path / "app", slave=EXITS, master=master)
    assert subprocess.run([*PROGRAM], cwd=app, capture_output=True).returncode == 1
    for words in (["errors"], ["errors", "--json"], ["errors", "--all"], ["status"]):
        told = typed(*words, cwd=app, PYTHONIOENCODING="ascii")
        assert "Traceback" not in told.stderr, told
        assert told.stdout
        looks_harmless(told.stdout)
    assert "killed by signal 37" in verb("errors", app).output
    replayed = subprocess.run(
        [sys.executable, "-m", "pyboinc", "replay", "3"], cwd=app, capture_output=True
    )
    assert replayed.returncode == 1
    assert b"the slave was killed by signal 37" in replayed.stderr
