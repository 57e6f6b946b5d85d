"""Many masters and verbs that start at the same moment in one job directory.

:func:`crowd` forks them from one process that has all of PyBOINC imported, so that a hundred
cost little and begin together; each is a program of its own from then on, with its own
standard streams and exit code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from masters import PATIENCE, Place

ROOT = Path(__file__).parent

FORKING = """
import json, os, sys, traceback
import pyboinc.master, pyboinc.cli.run, pyboinc.cli.clean, pyboinc.cli.cancel, pyboinc.cli.rerun
import pyboinc.cli.status, pyboinc.cli.errors, pyboinc.backends.local.store
from pyboinc.cli import main

commands, results, released = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
gate, opener = os.pipe()

def become(number, words):
    os.close(opener)
    for stream in (1, 2):
        path = f"{results}/{number}.{stream}"
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    os.read(gate, 1)  # ends when the parent closes the other end: for all at the same moment
    sys.argv = ["pyboinc", *words]
    try:
        main()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0 if exit_.code is None else 1
    except BaseException:
        traceback.print_exc()
        return 99
    return 0

children = {}
for number, words in enumerate(commands):
    child = os.fork()
    if child == 0:
        code = 98
        try:
            code = become(number, words)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
    children[child] = number
os.close(opener)
codes = {}
while children:
    if len(children) == released:
        open("gate", "w").close()  # the one that holds the directory may go on
        released = -1
    child, status = os.wait()
    codes[children.pop(child)] = os.waitstatus_to_exitcode(status)
print(json.dumps([codes[number] for number in range(len(commands))]))
"""

MASTER = ["run", "--workers=1", "app_master.py"]


@dataclass(frozen=True)
class Member:
    """How one of a crowd ended."""

    words: Sequence[str]
    code: int
    stdout: str
    stderr: str


def crowd(place: Place, commands: Sequence[Sequence[str]], held: bool = False) -> list[Member]:
    """Type ``pyboinc WORDS`` for each of *commands*, at the same moment; return how each ended.

    With *held* the program reads a pipe called "gate" when it handles its first result; that is
    opened when all others have ended.
    """
    results = place.path.with_name(f"{place.path.name}.results")
    results.mkdir(exist_ok=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", FORKING, json.dumps(commands), str(results), str(int(held))],
        cwd=place.path,
        env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done
    codes = json.loads(done.stdout.splitlines()[-1])
    return [
        Member(
            words,
            codes[number],
            (results / f"{number}.1").read_text(),
            (results / f"{number}.2").read_text(),
        )
        for number, words in enumerate(commands)
    ]
