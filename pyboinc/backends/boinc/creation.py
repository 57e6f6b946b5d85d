"""Making jobs: ``bin/create_work --stdin``, which is given a line for each job.

One process makes the jobs of a whole batch, a thousand in each INSERT; jobs with other limits
are made by one of their own, because old versions take one template for all lines.  What it
returns says little (0 with nothing made if the output template is missing), so whoever uses
this counts rows afterwards.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from pyboinc import disk
from pyboinc.backends.boinc.project import Project
from pyboinc.backends.boinc.staging import write
from pyboinc.backends.boinc.templates import input_template, template_name
from pyboinc.config.limits import Limits
from pyboinc.errors import BackendError

AT_ONCE = 8
"""Processes at work at the same time, each with the limits of its jobs."""

PATIENCE = 900.0
"""Seconds that a process may take for what it has not done when it was told all."""

_SAID = 300
"""Characters shown of what create_work says: after an error that is its whole SQL text."""


class Creator:
    """Makes jobs of one batch: :meth:`add` them, then :meth:`finish`."""

    def __init__(self, project: Project, batch: int, limits: Limits) -> None:
        self._project = project
        self._batch = batch
        self._limits = limits
        self._working: dict[str, _Process] = {}
        self._templates: dict[str, tuple[str, int]] = {}
        self.complaints: list[str] = []

    def add(self, own_limits: Mapping[str, Any], name: str, *files: str) -> None:
        """Have the job *name* made of *files*, which are staged."""
        key = repr(own_limits) if own_limits else ""
        process = self._working.get(key)
        if process is None:
            while len(self._working) >= AT_ONCE:
                self._end(next(iter(self._working)))
            process = self._working[key] = self._start(key, own_limits)
        process.say(f"--wu_name {name} {' '.join(files)}\n")

    def flush(self) -> None:
        """Hand on what was added so far."""
        for process in self._working.values():
            process.flush()

    def finish(self) -> None:
        """Wait until all is made that can be; ``complaints`` has what the processes said."""
        while self._working:
            self._end(next(iter(self._working)))

    def stop(self) -> None:
        """End the processes: something went wrong here."""
        for process in self._working.values():
            process.kill()
        self._working.clear()

    def _start(self, key: str, own_limits: Mapping[str, Any]) -> _Process:
        template, priority = self._template(key, own_limits)
        disk.reach("create work", template)
        command = [
            self._project.program("create_work"),
            *("--appname", self._project.app),
            *("--batch", str(self._batch)),
            *("--wu_template", template),
            *("--result_template", self._project.output_template),
            *("--priority", str(priority)),
            "--stdin",
        ]
        return _Process(command, self._project)

    def _template(self, key: str, own_limits: Mapping[str, Any]) -> tuple[str, int]:
        """Return the name of the template for these limits, and the priority."""
        found = self._templates.get(key)
        if found is None:
            limits = self._limits.replace(**own_limits) if own_limits else self._limits
            self._project.check_quorum(limits.quorum)
            text = input_template(limits)
            name = template_name(self._project.app, text)
            path = self._project.root / name
            if not path.exists():
                disk.reach("template", name)
                with disk.explained("write", path):
                    write(str(path), text.encode())
            found = self._templates[key] = name, limits.priority
        return found

    def _end(self, key: str) -> None:
        complaint = self._working.pop(key).end()
        if complaint:
            self.complaints.append(complaint)


class _Process:
    """One create_work, which reads lines."""

    def __init__(self, command: list[str], project: Project) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed in end()
        self._lines: list[str] = []
        self._broken = False
        try:
            self._process = subprocess.Popen(
                command,
                cwd=project.root,
                env={**os.environ, "BOINC_PROJECT_DIR": str(project.root)},
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._stderr,
                start_new_session=True,  # ^C is for the master, which sees its jobs made first
            )
        except OSError as error:
            self._stderr.close()
            raise BackendError(
                f"{command[0]} can not be started: {error.strerror}; mend that and run the same "
                "command"
            ) from error

    def say(self, line: str) -> None:
        self._lines.append(line)
        if len(self._lines) >= 1000:
            self.flush()

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        if not lines or self._broken:
            return
        assert self._process.stdin is not None
        try:
            self._process.stdin.write("".join(lines).encode())
            self._process.stdin.flush()
        except OSError:  # it has ended; what it said is heard in the end
            self._broken = True

    def end(self) -> str:
        """Wait for the end; return what it said if it was not content, or nothing."""
        self.flush()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            return f"it was not done after {PATIENCE:.0f} s, and was stopped"
        self._stderr.seek(0)
        said = self._stderr.read(1 << 16).decode("utf-8", "replace")
        self._stderr.close()
        return f"status {status}: {_brief(said)}" if status or said.strip() else ""

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            with suppress(OSError):
                self._process.stdin.close()
        self._stderr.close()


def _brief(said: str) -> str:
    """Return the beginning of what was said, without SQL."""
    text = re.split(r"insert into|INSERT INTO|values ?\(", said, maxsplit=1)[0]
    return " ".join(text.split())[:_SAID] or "it said nothing"
