"""docs/project_model.md says what is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import test_project_daemons
import test_project_replay
import test_project_rules
import test_project_scheduler

from pyboinc.project import states

DOCUMENT = (Path(__file__).parent.parent / "docs" / "project_model.md").read_text()

COLUMNS = {
    "server_state": states.ServerState,
    "outcome": states.Outcome,
    "client_state": states.ClientState,
    "validate_state": states.ValidateState,
    "assimilate_state": states.AssimilateState,
    "file_delete_state": states.FileDeleteState,
    "error_mask": states.ErrorMask,
}


@pytest.mark.parametrize("column", COLUMNS)
def test_the_numbers_of_the_states(column: str) -> None:
    """The table of states is that of the source."""
    members = ", ".join(f"{one.value} {one.name}" for one in COLUMNS[column])

    assert f"| `{column}` | {members} |" in DOCUMENT


def test_the_example_runs() -> None:
    """The first thing that a reader copies works."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT, flags=re.DOTALL)

    exec(compile(example, "docs/project_model.md", "exec"), {})


def test_each_rule_has_tests_and_each_test_a_rule() -> None:
    """The numbers in the names of tests are those of the document."""
    stated = re.findall(r"^\*\*(\d+)\. ", DOCUMENT, flags=re.MULTILINE)
    modules = (test_project_rules, test_project_scheduler, test_project_daemons)
    tested = {name.split("_")[2] for module in modules for name in vars(module) if "_rule_" in name}

    assert set(stated) == tested
    assert stated == [str(number) for number in range(1, len(stated) + 1)]


@pytest.mark.parametrize("name", test_project_replay.FILES)
def test_the_counts(name: str) -> None:
    """How many histories there are, and how many steps."""
    histories = test_project_replay.histories(name)
    steps = sum(len(each["steps"]) for each in histories)

    assert f"{name}: {len(histories)} of {len(histories)} histories agree" in DOCUMENT
    assert re.search(rf"\b{steps}\b", DOCUMENT)


def test_every_event_of_a_history_is_described() -> None:
    """Somebody else can record one."""
    for event in test_project_replay.EVENTS:
        assert f"`{event}`" in DOCUMENT
