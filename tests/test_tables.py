"""The tables of the documents say what the source says."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from tables import DOCUMENT, with_table

from pyboinc.config import load
from pyboinc.config.limits import Limits
from pyboinc.faults import ACCOMPANYING, ENDING, MIX, SURROUNDING, Kind

FAULTS = (DOCUMENT.parent / "faults.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_true() -> None:
    """Documents: docs/configuration.md lists every setting as the program knows it."""
    text = DOCUMENT.read_text(encoding="utf-8")

    assert text == with_table(text), "python tests/tables.py writes the table anew"


def test_the_file_in_the_document_is_a_file(tmp_path: Path) -> None:
    """Documents: the pyboinc.toml shown there is read without complaint, and gives what it says."""
    block = re.search(r"^ {4}# pyboinc\.toml\n(?: {4}.*\n|\n)+", DOCUMENT.read_text(), re.MULTILINE)
    assert block is not None
    (tmp_path / "pyboinc.toml").write_text(re.sub("^ {4}", "", block[0], flags=re.MULTILINE))

    found = load(tmp_path, environ={})

    assert (found.seed, found.include, found.delay_bound) == (7, ("data/*.csv",), 3600)
    assert found.fault == {Kind.CRASH: 0.05, Kind.LATE: 0.02}


def test_the_message_in_the_document_is_the_message() -> None:
    """Documents: the message shown there is what a user reads."""
    with pytest.raises(ValueError, match="PYBOINC_FAILURE_RATE") as caught:
        load(Path("/nowhere"), environ={"PYBOINC_FAILURE_RATE": "1.5"})

    assert f"    {caught.value}\n" in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("kinds", [ENDING, ACCOMPANYING, SURROUNDING])
def test_the_tables_of_faults_are_complete(kinds: tuple[Kind, ...]) -> None:
    """Documents: docs/faults.md has a row for each kind of fault, in order, with its share."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", FAULTS, re.MULTILINE)
    shares = {kind: f"{MIX[kind]} %" if kind in MIX else "none" for kind in kinds}

    assert [(name, share) for name, share in rows if name in kinds] == list(shares.items())
    assert len(rows) == len(Kind)


def test_retries_outlast_the_mix_as_documented() -> None:
    """Documents: how many jobs fail for good at the defaults, worked out from the mix."""
    row = Limits().workunit()
    counted = {Kind.CRASH, Kind.ERROR, Kind.GARBAGE, Kind.LOST_UPLOAD}
    errors = sum(MIX[kind] for kind in counted) / 100

    @functools.cache
    def fails(rate: float, failed: int = 0, total: int = 0) -> float:
        if failed > row["max_error_results"] or total == row["max_total_results"]:
            return 1.0
        again = fails(rate, failed, total + 1)
        return rate * (errors * fails(rate, failed + 1, total + 1) + (1 - errors) * again)

    assert fails(0.5) == pytest.approx(1 / 7_000, rel=0.05)
    assert fails(0.9) == pytest.approx(1 / 5, rel=0.1)
    assert "one job in 7,000\nfails for good at a failure rate of 0.5, and one in five" in FAULTS
