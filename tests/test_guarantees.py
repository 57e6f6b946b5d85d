"""docs/guarantees.md: each promise names tests, and they exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from source import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text()


def promises() -> Iterator[tuple[str, list[str]]]:
    """Each promise of the tables, and the names of the tests that show it."""
    for line in PAGE.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| ") and len(cells) == 3 and cells[0] not in ("guaranteed", "---"):
            yield cells[0], re.findall(r"`(test_\w+)`", cells[2])


def existing_tests() -> set[str]:
    """The names of all tests there are."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "tests").rglob("test_*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


PROMISES = list(promises())
EXISTING = existing_tests()


@pytest.mark.parametrize(("promise", "named"), PROMISES, ids=[text[:60] for text, _ in PROMISES])
def test_every_promise_is_shown_by_tests_that_exist(promise: str, named: list[str]) -> None:
    """Said plainly: no sentence of docs/guarantees.md without a test, and no test that is gone."""
    assert named, f"no test is named for: {promise}"
    assert set(named) - EXISTING == set()
