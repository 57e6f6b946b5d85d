"""Names at the project: of jobs and of their files, and what is read out of them again.

A job is the workunit ``pyb_<batch>_<sequence>``; done again for the n-th time it is another
workunit, ``pyb_<batch>_<sequence>_<n>``, because a name at a BOINC project is used once.  Outcomes
in new/ are named after the job alone.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import NamedTuple

_WORKUNIT = re.compile(r"pyb_([0-9]{1,12})_(0|[1-9][0-9]{0,11})(?:_([1-9][0-9]{0,8}))?")


class JobName(NamedTuple):
    """Which job a workunit is: its batch, its number, and how often it was made before."""

    batch: int
    sequence: int
    issue: int


def workunit_name(batch: int, sequence: int, issue: int = 0) -> str:
    """Return the name of the workunit."""
    return f"pyb_{batch}_{sequence}_{issue}" if issue else f"pyb_{batch}_{sequence}"


def parse_workunit(name: str) -> JobName | None:
    """Return which job the workunit *name* is, or None if it is none of ours."""
    match = _WORKUNIT.fullmatch(name)
    return match and JobName(int(match[1]), int(match[2]), int(match[3] or 0))


def archive_name(signed: bytes) -> str:
    """Return the file name of a signed slave archive: the same bytes, the same name."""
    return f"pyb_slave_{sha256(signed).hexdigest()[:32]}.zip"


def pattern(batch: int, sequence: int) -> str:
    """Return what the names of all later issues of a job are like, in SQL."""
    return f"pyb\\_{batch}\\_{sequence}\\_%"
