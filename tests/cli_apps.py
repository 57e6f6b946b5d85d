"""What the tests of the command line share: a small app, and ways to type commands."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import starter
from click.testing import CliRunner, Result

from pyboinc.cli import main

TYPES = """\
from dataclasses import dataclass

@dataclass
class Input:
    number: int
    marker: str

@dataclass
class Output:
    square: int
"""

SLAVE = """\
import json, os
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

work = pyboinc_get_input()
if work.number == 3:
    json.loads("no JSON")
if work.number == 5 and not os.path.exists(work.marker):
    open(work.marker, "w").close()
    raise OSError("only once \\x1b[2J")
pyboinc_return_output(Output(work.number ** 2))
"""
"""Job 3 fails every time, in a library; job 5 the first time, with an escape in its message."""

MASTER = """\
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

total = 0

def make_calls():
    for number in range(8):
        pyboinc_call("app_slave.py", Input(number, os.path.abspath("marker")))

def handle_result(output):
    global total
    total += output.square

pyboinc_master(make_calls, handle_result)
print("The answer is", total)
"""

ANSWER = "The answer is 140\n"


def make_app(directory: Path, *, slave: str = SLAVE, master: str = MASTER) -> Path:
    """Write the three files into *directory* and return it."""
    directory.mkdir(exist_ok=True)
    texts = {"app_types.py": TYPES, "app_slave.py": slave, "app_master.py": master}
    for name, text in texts.items():
        (directory / name).write_text(text)
    return directory


def verb(*words: object) -> Result:
    """Type ``pyboinc WORDS`` within this process."""
    return CliRunner().invoke(main, [str(word) for word in words], prog_name="pyboinc")


def typed(
    *words: object, cwd: Path, stdin: str = "", **environ: str
) -> subprocess.CompletedProcess[str]:
    """Type ``pyboinc WORDS`` in *cwd*, as a process."""
    command = [sys.executable, "-m", "pyboinc", *map(str, words)]
    return starter.run(command, cwd, {**os.environ, **environ}, stdin)


def python(*words: object, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Type ``python WORDS`` in *cwd*, as a process."""
    return starter.run([sys.executable, *map(str, words)], cwd, {**os.environ, **environ})


def copy_of(directory: Path, target: Path) -> Path:
    """Return a copy of a job directory, to be changed; it says of itself that it is no copy."""
    shutil.copytree(directory, target)
    run_json = target / ".pyboinc/run.json"
    run_json.write_text(run_json.read_text().replace(str(directory), str(target)))
    return target


@contextmanager
def master_at_work(directory: Path, *flags: str) -> Iterator[starter.Process]:
    """A real master whose results are a minute on their way; stopped by ^C at the end."""
    command = [sys.executable, "-m", "pyboinc", "run", "--latency", "60", *flags, "app_master.py"]
    with starter.start(command, directory, os.environ) as master:
        try:
            wait_for(directory / "pyboinc_checkpoint", master)
            yield master
        finally:
            master.send_signal(signal.SIGINT)
            master.wait(60)


def wait_for(path: Path, master: starter.Process) -> None:
    """Return when *path* is there."""
    while not path.exists():
        assert master.poll() is None, master.communicate()[1]
        time.sleep(0.01)  # between two looks; what is waited for is the file
