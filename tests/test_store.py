"""The emulated project's database: batches and their numbers."""

from __future__ import annotations

from pathlib import Path

from pyboinc.backends.local.store import Store


def test_batches_are_numbered_and_found_again(tmp_path: Path) -> None:
    """A token has one batch, however often it is asked for; numbers follow each other."""
    store = Store(tmp_path / "project.sqlite")

    assert [store.batch(token) for token in ("one", "two", "one")] == [1, 2, 1]


def test_a_batch_keeps_its_number_when_the_database_was_lost(tmp_path: Path) -> None:
    """Outcomes in new/ and old/ are named by the batch: a new database goes on with it."""
    store = Store(tmp_path / "project.sqlite")

    assert store.batch("one", known=7) == 7
    assert store.batch("two") == 8
