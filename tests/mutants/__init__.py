"""Mutation testing: the code is changed in one place, and some test has to notice.

``make mutants`` changes the code of four targets in every way that mutmut knows, one at a time,
and runs the tests that reach the changed lines until one fails.  A mutant that no test
kills is a survivor: a promise that nothing holds the code to, or code that nothing needs.
docs/mutants.md has the scores and the survivors.

The mutants are mutmut's (``mutating.py``); running them is not.  mutmut puts all mutants of a
function behind a switch, in a package that imports mutmut.  Ours has to work for slaves, which
have the standard library and nothing else, and for masters in processes of their own.  So each
mutant is a file in a copy of the project (``copies.py``), as it would be had somebody written
it so, and in the process with the tests the changed functions are given their new code
(``swapping.py``).  That process has collected the tests once and forks for each mutant
(``running.py``): most mutants take a tenth of a second.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """Files to be mutated, and the tests that concern them.

    ``quick`` are mostly tests within one process, ``slow`` those that start real masters: they
    are run only on what survives the quick ones.
    """

    files: tuple[str, ...]
    quick: tuple[str, ...]
    slow: tuple[str, ...] = ()


TARGETS = {
    "project": Target(
        files=("pyboinc/project/*.py",),
        quick=("tests/test_project*.py",),
    ),
    "codec": Target(
        files=("pyboinc/codec/*.py",),
        quick=("tests/test_codec*.py",),
    ),
    "jobdir": Target(
        files=("pyboinc/jobdir.py", "pyboinc/records.py", "pyboinc/disk.py", "pyboinc/locks.py"),
        quick=(
            "tests/test_jobdir.py",
            "tests/test_records.py",
            "tests/test_disk.py",
            "tests/test_opening.py",
            "tests/test_master.py",
            "tests/test_calls.py",
        ),
        slow=("tests/test_recovery.py",),
    ),
    "master": Target(
        files=(
            "pyboinc/master.py",
            "pyboinc/opening.py",
            "pyboinc/outcomes.py",
            "pyboinc/calls.py",
        ),
        quick=(
            "tests/test_master.py",
            "tests/test_opening.py",
            "tests/test_jobdir.py",
            "tests/test_calls.py",
        ),
        slow=("tests/test_handlers.py", "tests/test_recovery.py"),
    ),
}
"""What is mutated, by the name that ``make mutants ONLY=...`` takes."""

KILLED = ("killed", "timeout")
"""The verdicts on a mutant that some test has noticed."""
