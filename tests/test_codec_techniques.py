"""The techniques of the literature, and files that nobody has thought of: a slice of the sweep."""

from __future__ import annotations

import random
import subprocess
from collections import Counter

import pytest
from codec_bites import bites, toothless
from codec_fuzzing import grown, mutated
from codec_techniques import INERT, TECHNIQUES
from codec_watch import complaint, forget_combinations, is_inert
from sweep import fuzz

from pyboinc.codec import RejectedResult

SLOW = ("memory", "time")


def test_there_are_enough_techniques() -> None:
    """Breadth: many more different techniques than 150, and most do harm under `pickle`."""
    harmful = [name for name, each in TECHNIQUES.items() if "nothing" not in each.sees]

    assert len(TECHNIQUES) > 300 and len(harmful) > 280
    assert len({each.data for each in TECHNIQUES.values()}) == len(TECHNIQUES)


def test_the_techniques_bite(seed: int) -> None:
    """The corpus is real: in processes that may die of it, `pickle` does what each one wants."""
    quick = [name for name, each in TECHNIQUES.items() if not set(SLOW) & set(each.sees.split("|"))]

    assert toothless(bites(random.Random(seed).sample(quick, 40))) == []


@pytest.mark.parametrize("name", TECHNIQUES)
def test_no_technique_does_anything(name: str) -> None:
    """Data never runs: each is refused, or is an inert value that the table lists."""
    forget_combinations()
    technique = TECHNIQUES[name]
    wrong, result = complaint(technique.data)

    assert wrong == ""
    if technique.inert:
        assert is_inert(result)
    else:
        assert type(result) is RejectedResult


def test_what_is_said_to_be_inert_is_a_technique() -> None:
    """The table: every reason belongs to a technique."""
    assert INERT.keys() <= TECHNIQUES.keys()


@pytest.mark.unmeasured
def test_fuzzed_files_are_values_or_refusals(seed: int) -> None:
    """Fuzzing: nothing runs, nothing else is raised, and honest values are those of `pickle`."""
    counts, failures = fuzz.some(seed, 0, 5_000)

    assert failures == []
    assert counts["of the grown, with a value"] > 600
    assert counts["of the mutated, with a value"] > 20
    assert counts["of the arrays, with a value"] > 300


def test_a_fuzzed_file_is_made_anew_from_its_number() -> None:
    """Reproduction: a file's number and the seed give the same bytes again."""
    for source in (grown, mutated):
        assert source(random.Random(7)) == source(random.Random(7))
    assert fuzz.read(7, 3, Counter()) == ""


def test_a_crash_of_the_fuzzer_is_a_failure() -> None:
    """Fuzzing: a process that dies is told, with where its files began."""
    part = fuzz.Part()
    fuzz._finish(part, 12, subprocess.Popen(["false"], stdout=subprocess.PIPE, text=True))

    assert part.failures == ["files from 12 on: the process ended with 1"]
