"""A master at work with real BOINC clients, and the hands of their volunteers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from masters import Place, Run, finish
from starter import Process

BOINC = [
    pytest.mark.skipif(shutil.which("boinc") is None, reason="needs boinc-client (apt)"),
    pytest.mark.xdist_group("boinc"),
]
"""The marks of a test with real clients: all in one process, or they would starve each other."""


class Lab:
    """A master at work with real clients, and the hands of a volunteer."""

    def __init__(self, place: Place, process: Process) -> None:
        self.place = place
        self.process = process

    def until(self, what: str, condition: Callable[[], object]) -> None:
        """Wait until *condition* holds; fail if the master ends first, or it takes for ever."""
        end = time.monotonic() + self.place.patience
        while not condition():
            assert time.monotonic() < end, f"waits in vain until {what}\n{self.logs()}"
            try:
                self.process.wait(0.25)
            except subprocess.TimeoutExpired:
                continue
            raise AssertionError(f"ended before {what}: {self.process.communicate()}")

    def starts(self, number: int) -> list[int]:
        """With how many steps done each process of a job began."""
        try:
            return [int(line) for line in (self.place / f"starts-{number}").read_text().split()]
        except FileNotFoundError:
            return []

    def clients(self) -> list[Path]:
        """Their directories; none if emulated hosts do the work."""
        directory = self.place / ".pyboinc/local/clients"
        return sorted(directory.iterdir()) if directory.exists() else []

    def command(self, directory: Path, *arguments: str) -> str:
        """What ``boinccmd`` says to the client in *directory*."""
        port, key = (directory / "port").read_text(), (directory / "gui_rpc_auth.cfg").read_text()
        command = ["boinccmd", "--host", f"127.0.0.1:{port.strip()}", "--passwd", key.strip()]
        return subprocess.run(
            [*command, *arguments], capture_output=True, text=True, cwd=directory, check=False
        ).stdout

    def task(self, name: str) -> dict[str, str]:
        """What a client tells of the task *name*; nothing if none has it."""
        for directory in self.clients():
            for block in re.split(r"\n[0-9]+\) -+\n", self.command(directory, "--get_tasks"))[1:]:
                fields = dict(re.findall(r"^ +(.*?): (.*)$", block, re.MULTILINE))
                if fields["name"] == name:
                    return {**fields, "client": str(directory)}
        return {}

    def do(self, name: str, operation: str) -> None:
        """Suspend, resume or abort a task, as its volunteer would."""
        task = self.task(name)
        self.command(Path(task["client"]), "--task", task["project URL"], name, operation)

    def update(self) -> None:
        """Let all clients ask for work now, as their volunteers can."""
        for directory in self.clients():
            self.command(directory, "--project", self.url(), "update")

    def url(self) -> str:
        """Where the clients find the project."""
        return (self.clients()[0] / "attached").read_text().split()[0]

    def find(self, word: str) -> int:
        """The process of this place whose command has *word* in it."""
        (found,) = [
            one
            for one in self.place.processes()
            if word.encode() in Path(f"/proc/{one}/cmdline").read_bytes()
        ]
        return found

    def logs(self) -> str:
        return "\n".join(
            (one / "stdoutdae.txt").read_text()[-3000:]
            for one in self.clients()
            if (one / "stdoutdae.txt").exists()
        )


def command(clients: int, *flags: str) -> tuple[str, ...]:
    """The program, with real clients and no emulated worker."""
    return (sys.executable, "app_master.py", f"--boinc-clients={clients}", *flags)


def ended(lab: Lab) -> Run:
    """How the master ended; no process is left behind."""
    run = finish(lab.process, 240)
    assert run.code == 0, f"{run}\n{lab.logs()}"
    lab.place.wait_for_processes()
    return run
