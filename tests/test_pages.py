"""Pages with programs are true: their files are written, their commands typed, all compared.

As ``test_readme.py`` does it for the README.  ``python tests/test_pages.py`` types all of it and
writes what was printed into the pages.
"""

from __future__ import annotations

import difflib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from source import ROOT
from test_readme import blocks, environment_with_tools, masked, type_in

PAGES = {"docs/validation.md": ("pi", 4)}
"""Each page with the name of its job directory, and how many sessions it has."""


def sessions(page: str, place: Path, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Do what a page says in *place*; yield each session as it is shown, and as it was."""
    job = place / PAGES[page][0]
    job.mkdir()
    for language, content in blocks((ROOT / page).read_text()):
        name = re.match(r"# (\S+\.py)\n", content)
        if language == "python" and name:
            (job / name[1]).parent.mkdir(exist_ok=True)
            (job / name[1]).write_text(content)
        elif language == "console":
            printed = type_in(content, job, environment)
            yield content, printed.replace(str(place), "/home/ada")


@pytest.fixture
def tmp_path(on_disk: Path) -> Path:
    """A user's files are on a disk."""
    return on_disk


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page: str, tmp_path: Path) -> None:
    """Documents: every file and command on the page, in order, prints what it shows."""
    count = 0
    for shown, actual in sessions(page, tmp_path, environment_with_tools(tmp_path)):
        difference = list(difflib.unified_diff(masked(shown), masked(actual), page, "run"))
        assert not difference, "\n".join([*difference, "", "It printed:", actual])
        count += 1
    assert count == PAGES[page][1]


if __name__ == "__main__":
    for page in PAGES:
        with tempfile.TemporaryDirectory() as directory:
            text = (ROOT / page).read_text()
            for shown, actual in sessions(
                page, Path(directory), environment_with_tools(Path(directory))
            ):
                text = text.replace(shown, actual, 1)
            (ROOT / page).write_text(text)
