"""docs/volunteers.md is true: its commands are typed, against a stand-in of a BOINC project.

The stand-in has a real database, and programs, daemons and volunteers that behave as BOINC's.
``python tests/test_volunteers_page.py`` types all of it and writes what was printed into the page.
"""

from __future__ import annotations

import difflib
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boinc_project import mariadb
from boinc_project.place import StandIn
from boinc_project.world import World
from project_directory import PROGRAMS, PROJECT, UPDATE_VERSIONS, XADD, host, put_program
from source import ROOT
from test_readme import blocks, environment_with_tools, masked, type_in

PAGE = ROOT / "docs" / "volunteers.md"
HOME, THERE = "/home/ada", "/home/boincadm/projects/test"
"""Where the page's author works, and where the project is."""

SESSIONS = 5

_STOP = "#!/bin/sh\ntouch stop_daemons\n"
_START = "#!/bin/sh\nrm -f stop_daemons\n"
_DIGITS = [
    (r"\b[0-9a-f]{16,64}\b", "DIGEST"),
    (r"\b\d{1,3}(,\d{3})+ ", "N "),
    (r"\.xml\.\S+", ".xml.BACKUP"),
    (r" +", " "),
]


@contextmanager
def project(root: Path) -> Iterator[None]:
    """A project as ``make_project`` leaves it, in which everybody is at work."""
    stand_in = StandIn(root)
    config = (root / "config.xml").read_text()
    here = f"    <host>{host()}</host>\n  </config>"
    (root / "config.xml").write_text(config.replace("  </config>", here))
    shutil.rmtree(stand_in.ours)
    (root / "templates/pyboinc_out").unlink()
    (root / "bin/pyboinc_assimilate").unlink()
    for name in ("apps", "keys", "html/ops", "cgi-bin"):
        (root / name).mkdir(parents=True)
    for name in ("log", "pid", "tmp"):
        (root / f"{name}_{host()}").mkdir()
    (root / "project.xml").write_text(PROJECT)
    for name in ("code_sign_private", "code_sign_public"):
        (root / "keys" / name).write_text("a key\n")
    programs = dict.fromkeys(PROGRAMS, "#!/bin/sh\n")
    programs |= {"xadd": XADD.format(app="pyboinc"), "update_versions": UPDATE_VERSIONS}
    programs |= {"stop": _STOP, "start": _START}
    for name, text in programs.items():
        if not (root / "bin" / name).exists():
            put_program(root / "bin" / name, text)
    world = World(stand_in)
    try:
        with world.at_work():
            yield
    finally:
        world.close()
        stand_in.close()


def sessions(text: str, home: Path) -> Iterator[tuple[str, str]]:
    """Do what the page says; yield each session as it is shown, and as it was."""
    environment = {**environment_with_tools(home), "HOME": str(home)}
    root = home / "projects/test"
    with project(root):
        for language, content in blocks(text):
            if language == "console":
                printed = type_in(content.replace(THERE, str(root)), home, environment)
                yield content, printed.replace(str(root), THERE).replace(str(home), HOME)


def shape(output: str) -> list[str]:
    """What was printed, without what is another each time."""
    lines = masked(output)
    for pattern, word in _DIGITS:
        lines = [re.sub(pattern, word, line) for line in lines]
    return lines


def test_the_page_does_what_it_says(on_disk: Path) -> None:
    """Volunteers: the four steps, typed as they stand, print what the page shows."""
    mariadb.require()
    count = 0
    for shown, actual in sessions(PAGE.read_text(), on_disk):
        difference = list(difflib.unified_diff(shape(shown), shape(actual), "page", "run"))
        assert not difference, "\n".join([*difference, "", "It printed:", actual])
        count += 1
    assert count == SESSIONS


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        text = PAGE.read_text()
        for shown, actual in sessions(text, Path(directory)):
            sys.stderr.write(actual)
            text = text.replace(shown, actual, 1)
        PAGE.write_text(text)
