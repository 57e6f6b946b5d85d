"""docs/guarantees.md: each promise names tests, and they exist."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from source import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text()


def promises() -> Iterator[tuple[str, list[str]]]:
    """Each promise of the tables, and the names of the tests that show it."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] not in ("guaranteed", "---"):
            yield cells[0], re.findall(r"`(test_\w+)`", cells[2])


@functools.cache
def texts() -> dict[Path, str]:
    """Every file with tests."""
    return {path: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}


@functools.cache
def functions(path: Path) -> set[str]:
    """The names of all functions in a file."""
    nodes = ast.walk(ast.parse(texts()[path]))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


def exists(name: str) -> bool:
    """Whether there is a test of this name; only files that may have it are looked through."""
    return any(name in functions(path) for path, text in texts().items() if f"def {name}(" in text)


PROMISES = list(promises())


@pytest.mark.parametrize(("promise", "named"), PROMISES, ids=[text[:60] for text, _ in PROMISES])
def test_every_promise_is_shown_by_tests_that_exist(promise: str, named: list[str]) -> None:
    """Said plainly: no sentence of docs/guarantees.md without a test, and no test that is gone."""
    assert named, f"no test is named for: {promise}"
    assert [name for name in named if not exists(name)] == []
