"""How mutants are run: exchanged code runs at once, and what it can not show is known."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from mutants.alone import LEAST, TIMES, fair_limit, verdict
from mutants.places import Statements
from mutants.swapping import Functions, only_functions_differ

SOURCE = """
LIMIT = 5

def plain(value, more=1):
    return value + more

class Kind:
    size = 2

    @property
    def double(self):
        return 2 * self.size

def outer(value):
    def inner():
        return value + 1
    return inner

made = outer(1)
"""


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("value + more", "value - more"),
        ("2 * self.size", "3 * self.size"),
        ("value + 1", "value + 2"),
    ],
)
def test_exchanged_code_is_what_runs(tmp_path: Path, before: str, after: str) -> None:
    """Mutants: whoever holds a function, a method or a closure calls the changed one."""
    path = tmp_path / "changed.py"
    path.write_text(SOURCE)
    spec = importlib.util.spec_from_file_location("changed", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    held = [module.plain, module.Kind(), module.made, module.outer(1)]
    changed = SOURCE.replace(before, after)
    assert only_functions_differ(str(path), SOURCE, changed)

    Functions(str(tmp_path)).swap(str(path), SOURCE, changed)

    found = [held[0](7), held[1].double, held[2](), module.outer(1)()]
    expected = {"plain": [6, 4, 2, 2], "double": [8, 6, 2, 2], "inner": [8, 4, 3, 3]}
    name = {"value + more": "plain", "2 * self.size": "double", "value + 1": "inner"}[before]
    assert found == expected[name]


@pytest.mark.parametrize("before", ["LIMIT = 5", "more=1", "size = 2", "outer(1)"])
def test_what_exchanged_code_can_not_show_is_known(before: str) -> None:
    """Mutants: what was done when the module was imported is not undone by exchanging code."""
    changed = SOURCE.replace(before, before[:-1] + "9" + before[-1:] * (before[-1] == ")"))
    assert changed != SOURCE
    assert not only_functions_differ("changed.py", SOURCE, changed)


@pytest.mark.parametrize(
    ("codes", "slower", "expected"),
    [
        ([0], False, "survived"),
        ([1], False, "killed"),
        ([2], False, "killed"),
        ([None], False, "timeout"),
        ([None, 0], True, "survived"),
        ([None, 1], True, "killed"),
    ],
)
def test_only_a_fair_time_kills(codes: list[int | None], slower: bool, expected: str) -> None:
    """Mutants: one that takes long is tried again if the tests without it take longer by now."""
    limits, runs = [], iter(codes)

    def mutated(limit: float) -> int | None:
        limits.append(limit)
        return next(runs)

    found, by_now = verdict(mutated, lambda limit: 0, LEAST - 1 if slower else LEAST + TIMES)

    assert found == expected and next(runs, "none left") == "none left"
    assert by_now == limits[-1] and len(limits) == len(codes)


def test_tests_that_fail_anyway_kill_nothing() -> None:
    """Mutants: if the tests fail without any mutant, nothing is said of those with one."""
    with pytest.raises(SystemExit, match="fail in a process of their own, without any"):
        fair_limit(lambda limit: 1)


def test_a_statement_is_run_as_a_whole() -> None:
    """Mutants: the tests that reach any line of a statement reach a change in it."""
    function = "def f(\n    a=1,\n):\n"
    statements = Statements(
        function + "    x = (\n        a\n    )\n    if x:\n        return 2\n    return 3\n"
    )
    places = {1: (1, 9), 2: (1, 9), 4: (4, 6), 5: (4, 6), 7: (7, 7), 8: (8, 8), 9: (9, 9)}
    assert {line: statements.around(line) for line in places} == places
