"""The emulated project's database: batches and their numbers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pyboinc.backends.local.store import Store
from pyboinc.errors import DirectoryDamaged


def test_batches_are_numbered_and_found_again(tmp_path: Path) -> None:
    """A token has one batch, however often it is asked for; numbers follow each other."""
    store = Store(tmp_path / "project.sqlite")

    assert [store.batch(token) for token in ("one", "two", "one")] == [1, 2, 1]


def test_a_batch_keeps_its_number_when_the_database_was_lost(tmp_path: Path) -> None:
    """Outcomes in new/ and old/ are named by the batch: a new database goes on with it."""
    store = Store(tmp_path / "project.sqlite")

    assert store.batch("one", known=7) == 7
    assert store.batch("two") == 8


def test_a_database_of_the_first_version_is_brought_up_to_date(tmp_path: Path) -> None:
    """Upgrade: what an earlier PyBOINC wrote is gone on with; who only looks is told why not."""
    path = tmp_path / "project.sqlite"
    Store(path).close()
    with sqlite3.connect(path) as database:
        database.execute("alter table workunit drop column fpops")
        database.execute("update project set version = 1")
    database.close()

    with pytest.raises(DirectoryDamaged, match="written by an earlier PyBOINC"):
        Store(path, read_only=True)
    store = Store(path)
    assert store.ask("select fpops from workunit") == []
    store.close()
    Store(path, read_only=True).close()
