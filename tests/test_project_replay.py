"""The model does what a real BOINC server did: recorded histories, event by event."""

from __future__ import annotations

import copy
import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyboinc.errors import ConfigurationError
from pyboinc.project import NEVER, Result, ServerState, Workunit
from pyboinc.project.replay import main, next_transition, read_histories, replay

DATA = Path(__file__).parent / "data"
FILES = {"histories.jsonl.gz": 604, "histories_other_order.jsonl.gz": 59}

EVENTS = {
    "create",
    "send",
    "success",
    "error",
    "abort",
    "aborted_by_project",
    "timeout",
    "late_success",
    "late_error",
    "late_abort",
    "together",
    "cancel",
    "detach",
    "repeat_report",
    "report_unsent",
    "report_by_stranger",
}


def histories(name: str = "histories.jsonl.gz") -> list[dict]:
    return [history for _, history in read_histories(DATA / name)]


def history(name: str) -> dict:
    return next(each for each in histories() if each["id"] == name)


@pytest.mark.parametrize(("name", "count"), FILES.items())
def test_all_recorded_histories_agree(name: str, count: int) -> None:
    """Every field of every row after every step is what the real server had."""
    differences = [replay(each) for each in histories(name)]

    assert len(differences) == count
    assert [str(each) for each in differences if each] == []


def test_the_histories_show_every_kind_of_event() -> None:
    """Agreement means something: nothing that can happen is missing from the recordings."""
    steps = [step for each in histories() for step in each["steps"]]

    assert {step["event"]["kind"] for step in steps} == EVENTS
    assert {name for each in histories() for name in each["daemon_order"]} == {
        "transitioner",
        "validator",
        "assimilator",
        "file_deleter",
    }


def test_another_order_of_the_daemons_matters() -> None:
    """The histories of the other orders would not agree in the usual one."""
    others = histories("histories_other_order.jsonl.gz")
    usual = ["transitioner", "validator", "assimilator", "file_deleter"]

    agreeing = [each["id"] for each in others if not replay({**each, "daemon_order": usual})]

    assert agreeing == []


@pytest.mark.parametrize(
    ("row", "field", "wrong", "said"),
    [
        ("workunit", "error_mask", 2, "workunit: error_mask is 0, on the server 2"),
        ("workunit", "next_transition", "NEVER", 'is "SAFETY_NET", on the server "NEVER"'),
        ("workunit", "hr_class", 7, "workunit: hr_class is null, on the server 7"),
        ("result", "outcome", "SUCCESS", 'result 0: outcome is "INIT", on the server "SUCCESS"'),
        ("result", "instance", 5, "the list of instances is [0], on the server [5]"),
    ],
)
def test_a_difference_is_named(row: str, field: str, wrong: object, said: str) -> None:
    """The line says which history, step, event and field, what was expected and what came."""
    changed = history("one-success")
    after = changed["steps"][0]["after"]
    (after["workunit"] if row == "workunit" else after["results"][0])[field] = wrong

    line = str(replay(changed))

    assert line.startswith('one-success: step 0, {"kind": "create"}: ')
    assert said in line


def test_a_transition_time_is_shown_as_histories_say_it() -> None:
    """A time that none of their words fits would be a fault, and is shown as it is."""
    running = Result(1, "job", 0, ServerState.IN_PROGRESS, report_deadline=60.0)
    at = {NEVER: "NEVER", 60.0: "AT_DEADLINE", 864002.0: "SAFETY_NET", 864006.0: 864006.0, 5.0: 5.0}

    for time, word in at.items():
        workunit = Workunit(1, "job", delay_bound=60.0, transition_time=time)
        assert next_transition(workunit, (running,), now=4.0) == word


def breakages() -> dict[str, dict]:
    good = history("detach-q1")
    broken = {
        name: copy.deepcopy(good)
        for name in ("order", "params", "kind", "field", "second creation", "instance", "steps")
    }
    broken["order"]["daemon_order"] = ["transitioner", "feeder"]
    broken["params"]["params"]["quorum"] = 2
    broken["kind"]["steps"][1]["event"]["kind"] = "explode"
    del broken["field"]["steps"][0]["after"]["workunit"]["error_mask"]
    broken["second creation"]["steps"][1]["event"] = {"kind": "create"}
    broken["instance"]["steps"][1]["event"]["instance"] = 17
    broken["steps"]["steps"] = 5
    return broken


@pytest.mark.parametrize("name", breakages())
def test_a_history_that_is_not_of_the_format_is_refused(name: str) -> None:
    """It is named, rather than counted among those that differ or agree."""
    with pytest.raises(ConfigurationError, match="history detach-q1 is not of the format"):
        replay(breakages()[name])


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("order", "ValueError: 'feeder' is not a valid Daemon"),
        ("second creation", "ValueError: the first step, and no other, is the creation"),
        ("kind", "KeyError: 'explode'"),
    ],
)
def test_what_is_not_of_the_format_is_said(name: str, cause: str) -> None:
    """The message ends with what was found."""
    with pytest.raises(ConfigurationError) as caught:
        replay(breakages()[name])
    assert str(caught.value) == f"history detach-q1 is not of the format: {cause}"


def test_the_command_line_helps(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--help says what it does, what it takes and what its exit status means."""
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        main(["--help"])
    told = capsys.readouterr().out
    for line in (
        "usage: python -m pyboinc.project.replay [-h] FILE [FILE ...]",
        "Hold the project model against recorded histories of a real BOINC server.",
        "  FILE        .jsonl or .jsonl.gz",
        "Exit status: 0 all agree, 1 some differ, 2 a file that can not be read.",
    ):
        assert f"{line}\n" in told


def test_the_command_line_all_agree(capsys: pytest.CaptureFixture[str]) -> None:
    """Both forms of file are read; exit status 0 says that all agree."""
    assert main([str(DATA / name) for name in FILES]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines] == [
        "604 of 604 histories agree",
        "59 of 59 histories agree",
    ]


def test_the_command_line_some_differ(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit status 1, a line for each that differs, and how many agree."""
    good, bad = history("one-success"), history("one-success")
    bad["id"], bad["steps"][-1]["after"]["workunit"]["need_validate"] = "odd", True
    path = tmp_path / "some.jsonl"
    path.write_text(f"{json.dumps(bad)}\n{json.dumps(good)}\n\n{json.dumps(bad)}\n")

    assert main([str(path)]) == 1

    first, second, last = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("odd: step 2, ")
    assert first.endswith(": workunit: need_validate is false, on the server true")
    assert last == f"{path}: 1 of 3 histories agree"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": 1}\n', "line 1: history 1 is not of the format: KeyError"),
        (b"\n{oops\n", "line 2: can not be read"),
        (b"\n\n[]\n", "line 3: can not be read: a history is a JSON object, this is list"),
        (b"\xff\xfe\n", "line 1: can not be read"),
    ],
)
def test_the_command_line_bad_file(
    content: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit status 2, and the message names the file and the line."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(content)

    assert main([str(path)]) == 2
    assert f"{path}, {message}" in capsys.readouterr().err


def test_the_command_line_damaged_or_missing_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A truncated archive, something that is no archive, and nothing at all."""
    whole = gzip.compress(json.dumps(history("one-success")).encode() + b"\n")
    torn, plain = tmp_path / "torn.jsonl.gz", tmp_path / "plain.jsonl.gz"
    torn.write_bytes(whole[: len(whole) // 2])
    plain.write_bytes(b"{}")

    for path in (torn, plain, tmp_path / "nothing.jsonl"):
        assert main([str(path)]) == 2
        assert f"{path}: can not be read: " in capsys.readouterr().err


def test_the_command_as_users_type_it(tmp_path: Path) -> None:
    """python -m pyboinc.project.replay FILE ends with the exit status."""
    path = tmp_path / "none.jsonl"
    path.write_bytes(b"")
    command = [sys.executable, "-m", "pyboinc.project.replay", str(path)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, f"{path}: 0 of 0 histories agree\n")
