"""Emulated computers: queue, limits, slots, environment, suspension, faults."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from computers import HEAD, PATIENCE, Computer, Signpost, pack

from pyboinc.backends.local import slots


@pytest.fixture(scope="module")
def computer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Computer]:
    """A computer that forks, and lives as long as these tests."""
    computer = Computer(tmp_path_factory.mktemp("computer"))
    yield computer
    computer.close()


@pytest.fixture
def signpost(tmp_path: Path) -> Iterator[Signpost]:
    """A pipe through which slaves tell the test where they are."""
    signpost = Signpost(tmp_path / "signpost")
    yield signpost
    signpost.close()


# In a slave: tell(words) writes a line to the signpost whose path is the input.
TELL = (
    HEAD
    + """
import os, signal, sys, time
def tell(*words):
    with open(pyboinc_get_input(), "w") as post:
        print(*words, file=post)
"""
)
STOP = """
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
tell(os.getpid())
signal.sigwait({signal.SIGUSR1})
pyboinc_return_output(1)
"""
WAIT = TELL + "tell(os.getpid())\nsignal.pause()\n"


# -- the queue


def test_instances_run_one_after_the_other(computer: Computer, signpost: Signpost) -> None:
    """Queue: runs that were started together run in order, one at a time."""
    program = TELL + "tell('begin'); tell('end'); pyboinc_return_output(os.getpid())\n"
    names = [
        computer.start(program, signpost.path, slot=computer.directory / f"slot_{number}")
        for number in range(4)
    ]
    assert [signpost.line() for _ in range(8)] == ["begin", "end"] * 4
    assert all(computer.wait(name).exit_status == 0 for name in names)


def test_each_instance_is_a_process_of_its_own(computer: Computer) -> None:
    """Isolation: every run has another process, which leads a group of its own."""
    program = "import os\nme = os.getpid()\n"
    program += "pyboinc_return_output([me, os.getpgid(0) == me])\n"
    first, second = computer.answer(program), computer.answer(program)
    assert first[0] != second[0]
    assert first[1:] == second[1:] == [True]


def test_large_inputs_may_wait_in_the_queue(computer: Computer, signpost: Signpost) -> None:
    """Queue: inputs of megabytes are taken while a run is under way, and do not hold it up."""
    first = computer.start(TELL + STOP, signpost.path)
    (pid,) = signpost.numbers()
    program = HEAD + "pyboinc_return_output(len(pyboinc_get_input()))\n"
    names = [computer.start(program, b"x" * 5_000_000) for _ in range(3)]
    os.kill(pid, signal.SIGUSR1)
    assert computer.wait(first).exit_status == 0
    assert [computer.wait(name).exit_status for name in names] == [0, 0, 0]
    assert computer.output() == 5_000_000


def test_what_waits_can_be_taken_back(computer: Computer, signpost: Signpost) -> None:
    """Queue: what has not begun comes back when that is asked for, and what runs goes on."""
    first = computer.start(TELL + STOP, signpost.path)
    (pid,) = signpost.numbers()
    waiting = [computer.start(HEAD + "pyboinc_return_output(1)\n") for _ in range(3)]
    computer.worker.take_back()
    reasons = {(computer.wait(name).reason, computer.ended[name].elapsed) for name in waiting}
    assert reasons == {("taken back", 0.0)}
    computer.worker.take_back()
    os.kill(pid, signal.SIGUSR1)
    assert computer.wait(first).reason is None
    assert computer.run(HEAD + "pyboinc_return_output(1)\n").reason is None


def test_what_is_next_is_not_taken_back(tmp_path: Path) -> None:
    """Queue: a worker that is just starting keeps one: it would else have nothing to do."""
    with closing(Computer(tmp_path)) as computer:
        one, other = (computer.start(HEAD + "pyboinc_return_output(1)\n") for _ in range(2))
        computer.worker.take_back()
        assert (computer.wait(other).reason, computer.wait(one).reason) == ("taken back", None)


def test_many_reports_may_be_collected_late(computer: Computer) -> None:
    """Queue: a master that looks seldom loses no report and holds nothing up."""
    archive = pack(computer.directory / "many.zip", {"app_slave.py": "x = 1\n"})
    names = [computer.start(archive=archive, slot=f"{computer.directory}/{'s' * 200}/slot")
             for _ in range(60)]  # fmt: skip
    assert [computer.wait(name).exit_status for name in names] == [1] * 60


def test_programs_take_turns(computer: Computer) -> None:
    """Isolation: a computer that runs two programs in turn does not mix their modules."""
    files = {
        "one.py": HEAD + "from app_types import name\npyboinc_return_output(['one', name])\n",
        "two.py": HEAD + "from app_types import name\npyboinc_return_output(['two', name])\n",
        "app_types.py": "name = 'first'\n",
    }
    first = pack(computer.directory / "first.zip", files)
    second = pack(computer.directory / "second.zip", {**files, "app_types.py": "name = 'second'\n"})
    for _ in range(2):
        for archive, name in ((first, "first"), (second, "second")):
            for slave in ("one", "two"):
                computer.run(archive=archive, slave=f"{slave}.py")
                assert computer.output() == [slave, name]


# -- killing, suspending


def test_a_running_instance_can_be_killed(computer: Computer, signpost: Signpost) -> None:
    """Kill: a running slave is killed, and says so; the next one runs."""
    name = computer.start(WAIT, signpost.path)
    signpost.line()
    computer.worker.kill(name)
    ended = computer.wait(name)
    assert (ended.exit_status, ended.signal, ended.reason) == (9, True, "killed")
    assert computer.answer("pyboinc_return_output(1)") == 1


def test_a_queued_instance_can_be_killed(computer: Computer, signpost: Signpost) -> None:
    """Kill: a slave that waits for its turn is taken out of the queue and never runs."""
    running = computer.start(WAIT, signpost.path)
    queued = computer.start(TELL + "tell('never')\n", signpost.path)
    signpost.line()
    computer.worker.kill(queued)
    ended = computer.wait(queued)
    assert (ended.exit_status, ended.signal, ended.reason) == (9, True, "killed")
    assert (ended.elapsed, ended.cpu) == (0.0, 0.0)
    assert running not in computer.ended
    computer.worker.kill("of no known name")
    computer.worker.kill(running)
    assert computer.wait(running).reason == "killed"


def state(pid: int) -> str:
    """Return the state of process *pid* as the kernel tells it."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def await_state(pid: int, wanted: str) -> None:
    """Return when process *pid* is in the state *wanted*: stopping has no other sign."""
    pause = select.poll()
    for _ in range(int(PATIENCE * 1000)):
        if state(pid) == wanted:
            return
        pause.poll(1)
    raise AssertionError(f"process {pid} is not in state {wanted}")


def test_a_suspended_instance_stands_still(computer: Computer, signpost: Signpost) -> None:
    """Suspend: processes stop, and with them the clock of the time limit; resume goes on."""
    name = computer.start(TELL + STOP, signpost.path, time_limit=0.5)
    (pid,) = signpost.numbers()
    computer.worker.suspend(name)
    computer.worker.suspend(name)
    await_state(pid, "T")
    select.select([computer.worker], [], [], 0.6)
    assert computer.worker.reports() == []
    computer.worker.resume(name)
    computer.worker.resume(name)
    os.kill(pid, signal.SIGUSR1)
    ended = computer.wait(name)
    assert (ended.exit_status, ended.reason) == (0, None)
    assert ended.elapsed < 0.5


def test_a_queued_instance_may_be_suspended(computer: Computer, signpost: Signpost) -> None:
    """Suspend: one that waits for its turn starts, and stands still at once."""
    first = computer.start(WAIT, signpost.path)
    signpost.line()
    second = computer.start(HEAD + "pyboinc_return_output(2)\n")
    computer.worker.suspend(second)
    computer.worker.kill(first)
    computer.wait(first)
    computer.worker.resume(second)
    assert computer.wait(second).exit_status == 0
    third = computer.start(WAIT, signpost.path)
    computer.worker.suspend(third)
    computer.worker.resume(third)
    signpost.line()
    computer.worker.suspend(third)
    computer.worker.kill(third)
    assert computer.wait(third).reason == "killed"


# -- limits


def test_the_time_limit_is_of_wall_time(computer: Computer) -> None:
    """Limits: a slave that hangs is killed when its time is over."""
    ended = computer.run("import signal\nsignal.pause()\n", time_limit=0.2)
    assert (ended.exit_status, ended.signal, ended.reason) == (9, True, "time limit")
    assert ended.elapsed >= 0.2


def test_a_time_limit_that_is_over_at_once(computer: Computer) -> None:
    """Limits: no time at all is no time at all."""
    assert computer.run("import signal\nsignal.pause()\n", time_limit=0.0).reason == "time limit"


FILL = "import signal\nblock = bytearray(b'x') * {size}\n"


def test_a_slave_over_its_memory_is_killed(computer: Computer) -> None:
    """Limits: a slave that has too much memory is killed while it runs."""
    program = FILL.format(size=300_000_000) + "signal.pause()\n"
    ended = computer.run(program, memory=200e6)
    assert (ended.signal, ended.reason) == (True, "memory limit")


def test_memory_of_children_counts(computer: Computer) -> None:
    """Limits: what a slave's own children use is the slave's."""
    program = "import os, signal\nif not os.fork():\n    " + FILL.format(size=300_000_000).replace(
        "\n", "\n    "
    )
    ended = computer.run(program + "signal.pause()\nos.wait()\n", memory=200e6)
    assert ended.reason == "memory limit"


def test_a_short_peak_of_memory_counts(computer: Computer) -> None:
    """Limits: one that had too much for a moment has failed, too: it is not left to chance."""
    ended = computer.run(HEAD + FILL.format(size=300_000_000) + "del block\n", memory=200e6)
    assert ended.reason == "memory limit"


WRITE = "open('large', 'wb').write(b'x' * 3_000_000)\n"


def test_a_slave_over_its_disk_is_killed(computer: Computer) -> None:
    """Limits: a slave whose slot is too full is killed while it runs; directories count."""
    program = "import os, signal\nos.mkdir('d'); os.chdir('d')\n" + WRITE + "signal.pause()\n"
    ended = computer.run(program, disk=2e6)
    assert (ended.signal, ended.reason) == (True, "disk limit")


def test_a_slot_too_full_at_the_end_counts(computer: Computer) -> None:
    """Limits: one that ended before anyone looked has failed, too."""
    assert computer.run(HEAD + WRITE + "pyboinc_return_output(1)\n", disk=2e6).reason == (
        "disk limit"
    )


@pytest.mark.parametrize(
    "program",
    [
        HEAD + "pyboinc_return_output(b'x' * 2000)\n",
        HEAD + "pyboinc_return_output(1)\nopen('out', 'ab').write(b'x' * 2000)\n",
    ],
    ids=["returned", "by hand"],
)
def test_an_output_too_big_is_told(computer: Computer, program: str) -> None:
    """Limits: too big an output is the reason, whether it was refused or written by hand."""
    ended = computer.run(program, max_output=1000)
    assert ended.reason == "output too big"
    assert not ended.signal


def test_a_flood_of_stderr_is_stopped(computer: Computer) -> None:
    """Limits: a slave that writes to stderr for ever is killed, and its slot not filled."""
    ended = computer.run("import sys\nwhile True:\n    sys.stderr.write('flood\\n' * 1000)\n")
    assert (ended.signal, ended.reason) == (True, "stderr flood")
    assert (computer.slot / "stderr.txt").stat().st_size < 2 * slots.KEPT + 100


def test_stderr_keeps_its_two_ends(computer: Computer) -> None:
    """Stderr: of much text the beginning and the end are kept, and how much is not."""
    program = "import sys\nfor i in range(100_000):\n    print(i, file=sys.stderr)\n1 / 0\n"
    computer.run(program)
    text = computer.stderr()
    size = sum(len(f"{i}\n") for i in range(100_000))
    left_out = int(text.partition("[... ")[2].partition(" ")[0])
    assert text.startswith("0\n1\n2\n")
    assert text.endswith("ZeroDivisionError: division by zero\n")
    assert 0 < size - left_out < 2 * slots.KEPT
    assert len(text) < 2 * slots.KEPT + 100


def test_stderr_in_the_middle_is_whole(computer: Computer) -> None:
    """Stderr: text that fits is kept to the byte, and can be read while the slave runs."""
    program = f"import sys\nsys.stderr.write('x' * {slots.KEPT + 10_000} + 'end')\n"
    computer.run(HEAD + program + "pyboinc_return_output(1)\n")
    assert computer.stderr() == "x" * (slots.KEPT + 10_000) + "end"


# -- the slot and what a slave sees


def test_a_slave_sees_nothing_of_the_users(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Environment: a few variables, the slot as home, empty stdin, no open descriptors."""
    program = """
import os, sys, site
environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
descriptors = [d for d in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + d)]
pyboinc_return_output([environment, os.getcwd(), sys.stdin.read(), len(descriptors)])
"""
    environment, directory, text, descriptors = computer.answer(program)
    slot = str(computer.slot)
    assert environment == {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "HOME": slot,
        "TMPDIR": slot,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }
    assert (directory, text) == (slot, "")
    assert descriptors <= 3 + 1 + 1  # its stdio, its lifeline, /proc/self/fd; coverage's if any


def test_a_slave_can_not_import_the_masters_neighbours(computer: Computer) -> None:
    """Environment: modules beside the master are not found."""
    program = """
found = []
for name in ("computers", "test_workers"):
    try:
        __import__(name)
    except ImportError:
        continue
    found.append(name)
pyboinc_return_output(found)
"""
    assert computer.answer(program) == []


def test_a_slave_carries_nothing_of_the_masters(computer: Computer) -> None:
    """Environment: a forked slave has few modules loaded, and none that only a master needs."""
    names = computer.answer("import sys\npyboinc_return_output(sorted(sys.modules))")
    assert not {"json", "difflib", "subprocess", "threading", "typing", "re"} & set(names)
    assert "pyboinc.backends" not in names
    program = "import pyboinc.backends\npyboinc_return_output(pyboinc.backends.__name__)"
    assert computer.answer(program) == "pyboinc.backends"


def test_a_slot_is_emptied(computer: Computer) -> None:
    """Slots: nothing of the job before is found, whatever it left there."""
    spoil = """
import os
os.makedirs("deep/er/still"); os.symlink("/", "root"); os.mkfifo("pipe")
open("deep/er/file", "w").close(); open("checkpoint", "w").close()
os.remove("in"); os.mkfifo("in")
os.chmod("deep/er/still", 0); os.chmod("deep/er", 0); os.chmod("deep", 0)
os.chmod(".", 0)
pyboinc_return_output(1)
"""
    assert computer.run(HEAD + spoil).exit_status == 0
    program = "import os\nvalue = pyboinc_get_input()\n"
    program += "pyboinc_return_output([value, sorted(os.listdir('.')), os.stat('.').st_mode])\n"
    value, names, _ = computer.answer(program, 8)
    assert (value, names) == (8, ["in"])


def test_a_slot_with_a_deep_tree_is_emptied(tmp_path: Path) -> None:
    """Slots: directories nested deeper than Python can recurse are removed like any others."""
    computer = Computer(tmp_path)
    program = """
import os
for _ in range(1500):
    os.mkdir("d")
    os.chdir("d")
pyboinc_return_output(1)
"""
    try:
        assert computer.answer(program) == 1
        assert computer.answer("import os\npyboinc_return_output(os.listdir('.'))") == ["in"]
    finally:
        computer.close()
    assert list(tmp_path.glob("slot.spoilt-*")) == []


@pytest.mark.parametrize("spoil", ["os.symlink('/dev/full', 'in')", "os.mkdir('in')"])
def test_an_input_file_that_was_replaced(computer: Computer, spoil: str) -> None:
    """Slots: what a slave made of the input file does not reach the next job."""
    program = f"import os\nos.remove('in')\n{spoil}\npyboinc_return_output(1)\n"
    assert computer.answer(program) == 1
    assert computer.answer("pyboinc_return_output(pyboinc_get_input())", 9) == 9


def test_a_shorter_input_is_only_itself(computer: Computer) -> None:
    """Slots: the input file, which is written over, holds nothing of a longer one before."""
    program = "pyboinc_return_output(len(pyboinc_get_input()))"
    for size in (10_000, 10, 20_000):
        assert computer.answer(program, b"x" * size) == size


def test_a_restarted_job_goes_on(computer: Computer, signpost: Signpost) -> None:
    """Slots: a job that resumes has its checkpoint and files, and stderr goes on; no output."""
    program = (
        TELL
        + """
from pyboinc import pyboinc_load_checkpoint, pyboinc_save_checkpoint
state = pyboinc_load_checkpoint()
print("at", state, file=sys.stderr, flush=True)
if state is None:
    pyboinc_save_checkpoint(40)
    pyboinc_return_output("never handled")
    open("mine", "w").close()
    tell("saved")
    signal.pause()
pyboinc_return_output([state + 2, os.path.exists("mine")])
"""
    )
    name = computer.start(program, signpost.path)
    assert signpost.line() == "saved"
    computer.worker.kill(name)
    computer.wait(name)
    ended = computer.run(program, signpost.path, resume=True)
    assert ended.exit_status == 0
    assert computer.output() == [42, True]
    assert computer.stderr() == "at None\nat 40\n"


def test_a_slot_that_can_not_be_made_is_told(computer: Computer) -> None:
    """Slots: an instance without a slot ends with the reason, and the computer goes on."""
    (computer.directory / "file").write_text("in the way")
    ended = computer.run(slot=computer.directory / "file" / "slot")
    assert ended.exit_status == 1
    assert ended.reason is not None
    assert ended.reason.startswith("no slot: Not a directory")
    assert computer.answer("pyboinc_return_output(1)") == 1


# -- randomness and what is preloaded


def test_random_numbers_differ(tmp_path: Path) -> None:
    """Isolation: slaves of one server have different random numbers and temporary files."""
    computer = Computer(tmp_path, preload=["random", "numpy", "tempfile", "no_such_module"])
    program = """
import random, tempfile
import numpy
path = tempfile.mkdtemp()
pyboinc_return_output([random.random(), float(numpy.random.random()), path])
"""
    try:
        assert computer.worker.reports() == []
        answers = [computer.answer(program) for _ in range(2)]
    finally:
        computer.close()
    assert computer.worker.isolation == "fork"
    for first, second in zip(*answers, strict=True):
        assert first != second
    assert all(answer[2].startswith(str(computer.slot)) for answer in answers)


def test_a_server_with_threads_spawns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolation: a server that got threads by preloading does not fork, and says so."""
    library = tmp_path / "library"
    library.mkdir()
    (library / "threaded.py").write_text(
        "import threading\nend = threading.Event()\n"
        "threading.Thread(target=end.wait, daemon=True).start()\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(library)])
    computer = Computer(tmp_path, preload=["threaded"])
    try:
        assert computer.answer("import threaded\npyboinc_return_output(1)") == 1
    finally:
        computer.close()
    assert computer.worker.isolation == "spawn"


# -- faults


@pytest.mark.parametrize("isolation", ["fork", "spawn"])
@pytest.mark.parametrize(("salt", "number"), [(0, 9), (1, 11), (2, 9), (3, 11)])
def test_an_injected_crash_is_a_signal(
    computer: Computer, tmp_path: Path, isolation: str, salt: int, number: int
) -> None:
    """Faults: a crash is SIGKILL or SIGSEGV, before the program's first line or half-way."""
    other = Computer(tmp_path, isolation) if isolation == "spawn" else computer
    program = HEAD + "open('begun', 'w').close()\nx = pyboinc_get_input()\n"
    program += "open('got', 'w').close()\npyboinc_return_output(x)\n"
    try:
        ended = other.run(program, fault="crash", salt=salt)
    finally:
        if other is not computer:
            other.close()
    assert (ended.exit_status, ended.signal, ended.reason) == (number, True, None)
    assert not (other.slot / "got").exists()
    assert (other.slot / "begun").exists() == (salt < 2)


def test_an_injected_error_is_an_exception(computer: Computer) -> None:
    """Faults: an error is raised at the program's own line, and says that it is injected."""
    ended = computer.run(HEAD + "x = pyboinc_get_input()\n", fault="error")
    assert ended.exit_status == 1
    assert 'File "app_slave.py", line 2' in computer.stderr()
    assert "RuntimeError: injected error" in computer.stderr()


def test_an_injected_error_can_not_be_swallowed(computer: Computer) -> None:
    """Faults: a program that catches everything, or reads no input, fails all the same."""
    catch = "try:\n    pyboinc_get_input()\nexcept Exception:\n    pass\n"
    for program in (catch, ""):
        ended = computer.run(HEAD + program + "pyboinc_return_output(1)\n", fault="error")
        assert ended.exit_status == 1
        assert "injected error" in computer.stderr()


@pytest.mark.parametrize("salt", [0, 2])
def test_an_injected_hang_hangs(computer: Computer, salt: int) -> None:
    """Faults: a hang stands still until it is killed."""
    program = HEAD + "pyboinc_return_output(pyboinc_get_input())\n"
    ended = computer.run(program, fault="hang", salt=salt, time_limit=0.2)
    assert (ended.signal, ended.reason) == (True, "time limit")


def test_a_fault_strikes_a_slave_that_reads_nothing(computer: Computer) -> None:
    """Faults: a program that never reads its input crashes at its end."""
    ended = computer.run(HEAD + "pyboinc_return_output(1)\n", fault="crash", salt=1)
    assert (ended.exit_status, ended.signal) == (11, True)
    assert computer.run("raise SystemExit(3)", fault="crash").exit_status == 3


def test_an_injected_wrong_output_is_wrong(computer: Computer) -> None:
    """Faults: a wrong output is another value, the same one for the same salt."""
    program = HEAD + "x = pyboinc_get_input()\npyboinc_return_output(x)\nassert x == [7, 'a']\n"
    wrong = []
    for salt in (0, 1, 0):
        assert computer.run(program, [7, "a"], fault="wrong", salt=salt).exit_status == 0
        wrong.append(computer.output())
    assert wrong[0] == wrong[2]
    assert [7, "a"] not in wrong
    assert wrong[0] != wrong[1]
