"""A BOINC client for tests: its slots, its end of the shared memory, and real processes."""

from __future__ import annotations

import mmap
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from computers import PATIENCE

from pyboinc.boinc_api import CHANNEL_SIZE, CHANNELS

PROJECT = "127.0.0.1_test"


def until(happens: Callable[[], Any]) -> Any:
    """Return what *happens* returns, when it is true at last."""
    deadline = time.monotonic() + PATIENCE
    while not (found := happens()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)
    return found


class Client:
    """A client whose data directory is *data*, with one slot."""

    def __init__(self, data: Path) -> None:
        self.slot = data / "slots" / "0"
        self.project = data / "projects" / PROJECT
        self.slot.mkdir(parents=True)
        self.project.mkdir(parents=True)
        self.started: list[subprocess.Popen[str]] = []
        memory = self.slot / "boinc_mmap_file"
        memory.write_bytes(bytes(len(CHANNELS) * CHANNEL_SIZE))
        with open(memory, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.tell()

    def tell(self, **fields: object) -> None:
        """Write init_data.xml with *fields*."""
        told = {"wu_name": "pyb_1_0", "client_pid": os.getpid(), "slot": 0, **fields}
        lines = [f"<{name}>{value}</{name}>\n" for name, value in told.items()]
        text = "<app_init_data>\n" + "".join(lines) + "</app_init_data>\n"
        (self.slot / "init_data.xml").write_text(text)

    def give(self, name: str, data: bytes | None, physical: str | None = None) -> Path:
        """Give the task the file *name*, None for one that it is to make; return its place."""
        place = self.project / (physical or f"pyb_1_0_{name}")
        if data is not None:
            place.write_bytes(data)
        link = f"<soft_link>../../projects/{PROJECT}/{place.name}</soft_link>\n"
        (self.slot / name).write_text(link)
        return place

    def start(
        self, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """Start the task."""
        self._memory[:] = bytes(len(self._memory))
        process = subprocess.Popen(
            command,
            cwd=self.slot,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def ended(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """Return exit status and stderr of *process*, when it has ended."""
        _, stderr = process.communicate(timeout=PATIENCE)
        return process.returncode, stderr

    def send(self, text: str, channel: str = "process_control_request") -> None:
        """Say *text* to the task, when it has heard what was said before."""
        start = CHANNELS.index(channel) * CHANNEL_SIZE
        until(lambda: not self._memory[start])
        data = text.encode() + b"\0"
        self._memory[start + 1 : start + 1 + len(data)] = data
        self._memory[start] = 1

    def hears(self, channel: str = "app_status") -> str | None:
        """Take what the task has said, if anything."""
        start = CHANNELS.index(channel) * CHANNEL_SIZE
        if not self._memory[start]:
            return None
        text = self._memory[start + 1 : start + CHANNEL_SIZE].partition(b"\0")[0].decode()
        self._memory[start] = 0
        return text

    def is_unread(self, channel: str) -> bool:
        """Say whether the task has not taken the last message yet."""
        return bool(self._memory[CHANNELS.index(channel) * CHANNEL_SIZE])

    def status(self) -> dict[str, float] | None:
        """Return the times and the fraction that the task has reported, if it has."""
        text = self.hears()
        return None if text is None else {k: float(v) for k, v in re.findall("<(.*?)>(.*?)<", text)}

    def close(self) -> None:
        """End what is still running."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate(timeout=PATIENCE)


def state_of(pid: int) -> str:
    """Return the letter for what process *pid* does: R, S, T for stopped, Z; "" if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of process *pid* so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
