"""The documents say what is true: the map of the code, and where links lead."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from source import MAP, ROOT, Module, modules, with_map

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


def test_the_map_of_the_code_is_true() -> None:
    """Documents: CONTRIBUTING names every file with the first line of its docstring."""
    text = MAP.read_text()
    assert text == with_map(text), "python tests/source.py writes the map anew"


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_every_file_says_what_it_is(module: Module) -> None:
    """Documents: each module has a docstring, and its first line is a whole sentence or name."""
    first = (ast.get_docstring(module.tree) or "").partition("\n")[0]
    assert first.endswith((".", "?", '"'))
    assert len(first) < 100


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    """Documents: a relative link names a file of the repository, and a heading that is there."""
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (document.parent / name).resolve() if name else document
        assert linked.exists(), f"{document.name} links to {target}"
        if anchor:
            assert anchor in anchors(linked.read_text()), f"{document.name} links to {target}"


def anchors(text: str) -> set[str]:
    """The names by which the headings of a Markdown text are linked to."""
    headings = re.findall(r"^#+ +(.*?) *$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
