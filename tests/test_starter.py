"""A program that is forked from a warm process ends, prints and sees what a started one does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import starter
from masters import Place, Run, finish

SEEN = """
import atexit, os, signal, sys, threading
import pyboinc
print(__name__, __file__, sys.argv, sys.orig_argv, sys.path[0], os.getcwd())
print(type(__builtins__), __spec__, __cached__, type(__loader__), sorted(globals()))
print(sys.path.count(PLACE), "app_types" in sys.modules, "click" in dir())
print(sys.stdin.read(), sys.stdout.encoding, sys.stdout.errors, sys.stderr.errors)
print(sys.stdout.isatty(), sys.stdout.line_buffering, sys.stderr.line_buffering)
print(sorted(os.environ.items()), sys.dont_write_bytecode)
print(os.getpgrp() == os.getpid(), os.getsid(0) == os.getsid(os.getppid()))
print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGPIPE))
print(sorted(os.listdir("/proc/self/fd")) == ["0", "1", "2", "3"], threading.active_count())
"""
"""What a program can see of how it was started."""

ENDS = {
    "well": "print('well', end='')",
    "status": "import sys; print('x'); sys.exit(259)",
    "words": "import sys; sys.exit('no water')",
    "an error": "def fail():\n    raise ValueError('late')\nfail()",
    "a syntax error": "print('never'\n",
    "an error of PyBOINC": "from pyboinc import pyboinc_master\npyboinc_master(None, None)",
    "^C": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)",
    "a signal": "import os\nos.kill(os.getpid(), 15)",
    "at once": "import os\nprint('lost')\nos._exit(5)",
    "handlers": "import atexit\natexit.register(print, 'bye')\nprint('first')",
    "a thread": (
        "import threading, sys\n"
        "threading.Timer(0.05, lambda: print('from the thread')).start()\nprint('main')"
    ),
    "nobody reads": "import os\nos.close(1)\nprint('x')",
}


def both(place: Place, *flags: str, **how: str) -> Iterator[Run]:
    """Run the program by a fork, and by an interpreter of its own."""
    yield finish(started := place.start(*flags, environ=how))
    assert isinstance(started, starter.Started)
    whole = place.start(*flags, environ={**how, "ANOTHER": "variable"})
    assert isinstance(whole, subprocess.Popen)
    yield finish(whole)


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_as_a_started_one(tmp_path: Path, name: str) -> None:
    """The tests: stdout, stderr with its traceback, and exit code are those of an interpreter."""
    forked, whole = both(Place(tmp_path / "job", {"app_master.py": ENDS[name]}))
    assert forked == whole


def test_it_sees_what_a_started_one_sees(tmp_path: Path) -> None:
    """The tests: arguments, environment, streams, signals, descriptors and where imports look."""
    place = Place(tmp_path / "job")
    (place / "app_master.py").write_text(SEEN.replace("PLACE", repr(str(place.path))))
    forked, whole = both(place, "--flag", PYBOINC_SEED="7")
    assert forked.stdout == whole.stdout.replace("('ANOTHER', 'variable'), ", "")
    assert (forked.stderr, forked.code) == ("", 0)


def test_a_verb_is_called_as_a_started_one(tmp_path: Path) -> None:
    """The tests: ``python -m pyboinc`` has its words, its stdin and its environment."""
    command = [sys.executable, "-m", "pyboinc", "config", "--json"]
    forked = starter.run(command, tmp_path, {**os.environ, "PYBOINC_SEED": "7"})
    whole = starter.run(command, tmp_path, {**os.environ, "PYBOINC_SEED": "7", "ANOTHER": ""})
    assert '"origin": "PYBOINC_SEED"' in forked.stdout
    assert (forked.stdout, forked.stderr) == (whole.stdout, whole.stderr)


def test_it_is_a_process_that_can_be_waited_for(tmp_path: Path) -> None:
    """The tests: poll, wait with a limit, kill, and a number that is nobody else's meanwhile."""
    place = Place(tmp_path / "job", {"app_master.py": "import time\nprint('on', flush=True)\n" * 1})
    (place / "app_master.py").write_text("print('on', flush=True)\nopen('pipe').read()\n")
    place.mkfifo("pipe")
    with place.start() as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0)
        process.terminate()
        assert process.wait() == -15
        process.kill()  # of no consequence: its end is known
    assert process.poll() == -15


def test_a_zombie_until_it_was_asked_for(tmp_path: Path) -> None:
    """The tests: an ended process keeps its number until somebody has its exit code."""
    place = Place(tmp_path / "job", {"app_master.py": "print('x')"})
    process = place.start()
    assert process.stdout is not None
    assert process.stdout.read() == "x\n"
    with open(f"/proc/{process.pid}/stat") as file:
        assert file.read()  # it is there, at work or ended
    assert finish(process).code == 0
