"""What a batch was begun with: the record in ``.pyboinc/run.json``, and its format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyboinc.errors import CheckpointMismatch, DirectoryDamaged

FORMAT = 1
"""The version of everything written here; a newer one is refused, never guessed at."""


@dataclass(slots=True)
class RunRecord:
    """What a batch was begun with (``.pyboinc/run.json``).

    ``token`` is drawn at random and names this batch to its backend before there is a
    batch ID; ``files`` maps each file of the program to its sha256; ``batch`` is None
    until the backend has given an ID; ``directory`` and ``place`` say which directory it
    belongs to (:mod:`pyboinc.copies`); ``abandoned`` says that --fresh has given this batch
    up, and that what is left of it is to be set aside.
    """

    token: str
    backend: str
    seed: int
    program: str
    files: dict[str, str] = field(default_factory=dict)
    slaves: list[str] = field(default_factory=list)
    modules: list[str] = field(default_factory=list)
    include: list[str] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    directory: str = ""
    place: str = ""
    batch: str | None = None
    starts: int = 0
    abandoned: bool = False
    format: int = FORMAT


def check_format(path: Path, found: object) -> None:
    """Raise unless *found*, read from *path*, is the format that this version knows."""
    if str(found) == str(FORMAT):
        return
    newer = str(found).isascii() and str(found).isdigit()
    if newer and int(str(found)[:9]) > FORMAT:
        raise CheckpointMismatch(
            f"{path} was written by a newer PyBOINC (format {found}; this one knows {FORMAT}); "
            "upgrade PyBOINC, or start a new batch with --fresh"
        )
    raise DirectoryDamaged(
        f"{path} is not a checkpoint of PyBOINC; restore it, or start a new batch with --fresh"
    )


def parse_record(path: Path, text: bytes) -> RunRecord:
    """Read the text of ``run.json``; raises if it is damaged, or of a newer version."""
    record = None
    try:
        found: Mapping[str, Any] = json.loads(text)
        form = found["format"]
        if str(form) == str(FORMAT):
            record = RunRecord(**found)
    except (ValueError, KeyError, TypeError):
        form = "damaged"
    check_format(path, form)
    assert record is not None
    return record
