"""The keeper of real clients, with a stand-in for the client that takes its time to end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from masters import PATIENCE

CLIENT = """#!/bin/sh
[ "$1" = --version ] && { echo "7.20.5 x86_64-pc-linux-gnu"; exit; }
trap 'sleep 0.5; echo ends >> "$HOME/../log"; exit' TERM
echo begins >> "$HOME/../log"
while :; do sleep 0.05; done
"""


def keep(directory: Path, program: Path) -> subprocess.Popen[bytes]:
    """A keeper of one client; it stops it when its standard input is closed."""
    what = {
        "directory": str(directory),
        "program": str(program),
        "url": "http://127.0.0.1:1/pyboinc_0/",
        "keys": ["0" * 32],
    }
    command = [sys.executable, "-m", "pyboinc.backends.served.clients", json.dumps(what)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def waits_for_a_lock(process: int) -> bool:
    """Whether a process stands in line for a lock."""
    return bool(re.search(rf"-> FLOCK .* {process} ", Path("/proc/locks").read_text()))


def test_the_next_keeper_waits_for_the_clients_of_the_last(tmp_path: Path) -> None:
    """Real clients: killed and started again at once, a directory has one client at a time."""
    program = tmp_path / "boinc"
    program.write_text(CLIENT)
    program.chmod(0o755)
    log = tmp_path / "clients/log"

    def said() -> list[str]:
        return log.read_text().split() if log.exists() else []

    first = keep(tmp_path / "clients", program)
    until(said)
    second = keep(tmp_path / "clients", program)
    until(lambda: waits_for_a_lock(second.pid) or len(said()) > 1)
    assert said() == ["begins"]
    assert first.stdin is not None and second.stdin is not None
    first.stdin.close()
    until(lambda: len(said()) == 3)
    second.stdin.close()
    assert [first.wait(PATIENCE), second.wait(PATIENCE)] == [0, 0]
    assert said() == ["begins", "ends"] * 2
