"""The sweep's frame: what is tried is counted, what fails is said, and the page has the counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from sweep import Part, __main__
from sweep.__main__ import BEGINS, ENDS, PARTS, main, record


def stand_in(monkeypatch: pytest.MonkeyPatch, failures: list[str]) -> None:
    """Let every part have tried one thing."""
    done = Part({"things": 1}, failures)
    monkeypatch.setattr(__main__, "run", lambda name, seed, only: (done, 0.0))


def test_a_sweep_without_failures_ends_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sweep: it prints its seed, the counts of each part, and the number of failures."""
    stand_in(monkeypatch, [])
    assert main(["--seed", "7"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("seed 7\n") and printed.endswith("0 failures\n")
    assert all(f"| `{name}` | things | 1 | 0 |" in printed for name in PARTS)


def test_a_failure_is_shown_and_is_the_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Sweep: one failure of one part is printed, and the command fails."""
    stand_in(monkeypatch, ["write 3, EIO: hangs"])
    assert main(["fuzz"]) == 1
    assert "  write 3, EIO: hangs\n" in capsys.readouterr().out


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Sweep: a part that does not exist runs nothing; the message has those that do."""
    with pytest.raises(SystemExit):
        main(["fuzzy"])
    assert "no such part: fuzzy; there are " in capsys.readouterr().err


def test_counts_are_recorded_part_by_part(tmp_path: Path) -> None:
    """Sweep: a part's counts replace its earlier ones, and leave those of others alone."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGINS}{ENDS}after\n")
    record("pairs", Part({"pairs": 3}), 1, page)
    record("fuzz", Part({"files": 30_000}, ["one"]), 2, page)
    record("pairs", Part({"pairs": 4}), 3, page)
    lines = page.read_text().splitlines()
    assert [line.split("|")[1:5] for line in lines if line.startswith("| `")] == [
        [" `pairs` ", " pairs ", " 4 ", " 0 "],
        [" `fuzz` ", " files ", " 30,000 ", " 1 "],
    ]
    assert (lines[0], lines[-1]) == ("before", "after")
