"""The README is true: its files are written, its commands typed, and what they print compared.

The README's code is run in the order of the page, in one empty directory:

* a ``python`` block that begins with a comment ``# NAME`` is the file NAME;
* a ``console`` block is one shell session: lines with ``$`` are typed, the others are all
  that it prints, on stdout and stderr alike;
* ``make`` is typed in a copy of the repository, whose environment is already installed.

What differs from run to run is compared by its shape, as ``VARIES`` says; the rest exactly.
``python tests/test_readme.py`` types all of it and writes what was printed into the README.
"""

from __future__ import annotations

import difflib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from measuring import unmeasured
from source import ROOT

README = ROOT / "README.md"

VARIES = [
    (r"seed(=|:? )\d+", "seed N"),
    (r"\bresume: \d+ of", "resume: N of"),
    (r"in \d+(\.\d+)? s$|in \d+(:\d\d)+$", "in TIME"),
    (r"host-\d+(, host-\d+)*( and \d+ more)?", "HOSTS"),
    (r"(/[\w.-]+)+/squares", "squares"),
    (r"Linux \w+|macOS [\w.]+", "PLATFORM"),
    (r"Python 3\.\d+\.\d+", "PYTHON"),
    (r"\d+ retries", "N retries"),
    (r"\d+(\.\d+)? days, killed", "N days, killed"),
    (
        r"^(finished|last 10 %|throughput|jobs|instances|wasted|server) {2,}\S.*",
        r"\1: what tests/test_sim_planning.py looks at",
    ),
]
"""What is masked in what was printed and in what the README shows, and by which word."""

PROGRESS = re.compile(r"pyboinc: \d+ of \d+ handled: .* left$")
"""A line of progress, which a quick machine may not print: left out on both sides."""


SLEEP = """
import pathlib, time
journal = pathlib.Path(".pyboinc/journal")
while not journal.exists() or journal.read_text().count("\\nhandled ") < 10:
    time.sleep(0.05)
"""
"""``sleep`` on the page: here it lasts until ten results are handled, however slow that is."""


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a Markdown text, in order: language and content."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def masked(output: str) -> list[str]:
    lines = [line.rstrip() for line in output.splitlines() if not PROGRESS.match(line)]
    for pattern, word in VARIES:
        lines = [re.sub(pattern, word, line) for line in lines]
    return lines


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """A user's files are on a disk."""
    return on_disk


@pytest.fixture
def tools(tmp_path: Path) -> dict[str, str]:
    return environment_with_tools(tmp_path)


def environment_with_tools(place: Path) -> dict[str, str]:
    """An environment in which ``python`` and ``pyboinc`` are those that are being tested."""
    tools = place / "tools"
    tools.mkdir()
    for name, command in {"python": "", "pyboinc": " -m pyboinc"}.items():
        (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n')
        (tools / name).chmod(0o755)
    (tools / "sleep").write_text(f"#!{sys.executable}\n{SLEEP}")
    (tools / "sleep").chmod(0o755)
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return {**unmeasured(), "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def type_in(session: str, directory: Path, environment: dict[str, str]) -> str:
    """Type the lines of *session* with a ``$`` into a shell; return them with what it prints."""
    typed = [line for line in session.splitlines() if line.startswith("$ ")]
    script = "\n".join(f"echo {shlex.quote(line)}\n{line[2:]}" for line in typed)
    run = subprocess.run(
        ["bash", "-c", script],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )
    return re.sub(r"bash: line \d+: +\d+ Killed .*\n", "", run.stdout)


def sessions(text: str, place: Path, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Do what the README says in *place*; yield each session as it is shown, and as it was."""
    job = place / "squares"
    job.mkdir()
    for language, content in blocks(text):
        name = re.match(r"# (\S+\.py)\n", content)
        if language == "python" and name:
            (job / name[1]).parent.mkdir(exist_ok=True)
            (job / name[1]).write_text(content)
        elif language == "console":
            directory = installed_copy(place) if "$ make" in content else job
            yield content, type_in(content, directory, environment)


def installed_copy(place: Path) -> Path:
    """What ``make demo`` needs of the repository, with an environment that is there already."""
    copy = place / "pyboinc"
    (copy / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, copy)
    shutil.copytree(ROOT / "examples", copy / "examples")
    shutil.copy(place / "tools" / "python", copy / ".venv" / "bin")
    (copy / ".venv" / "installed").touch()
    return copy


def test_the_readme_does_what_it_says(tmp_path: Path, tools: dict[str, str]) -> None:
    """README: every file and command on it, in order, prints what it shows."""
    count = 0
    for shown, actual in sessions(README.read_text(), tmp_path, tools):
        difference = list(difflib.unified_diff(masked(shown), masked(actual), "README", "run"))
        assert not difference, "\n".join([*difference, "", "It printed:", actual])
        count += 1
    assert count == 7


def test_the_app_has_thirteen_lines() -> None:
    """README: the app on the first screen is as short as it says, imports not counted."""
    files = {}
    for language, content in blocks(README.read_text()):
        name = re.match(r"# (app_\w+\.py)\n", content)
        if language == "python" and name:
            files[name[1]] = content
    assert sorted(files) == ["app_master.py", "app_slave.py", "app_types.py"]
    lines = [line.strip() for content in files.values() for line in content.splitlines()]
    program = [line for line in lines if line and not line.startswith(("#", "from", "import"))]
    assert len(program) == 13


def rewrite(text: str, place: Path) -> str:
    """The README's text with what its commands print now."""
    for shown, actual in sessions(text, place, environment_with_tools(place)):
        text = text.replace(shown, re.sub(r"(/[\w.-]+)+/squares", "/home/ada/squares", actual), 1)
    return text


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        README.write_text(rewrite(README.read_text(), Path(directory)))
