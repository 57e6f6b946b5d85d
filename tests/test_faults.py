"""Faults: one vocabulary, the documented mix, and the same faults from the same seed."""

from __future__ import annotations

import pickle
import pickletools
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.codec import Registry, decode
from pyboinc.errors import ConfigurationError, RejectedResult
from pyboinc.faults import (
    ACCOMPANYING,
    ENDING,
    MIX,
    SURROUNDING,
    FaultPlan,
    Kind,
    format_faults,
    parse_faults,
)
from pyboinc.faults.garbage import EVIDENCE, VARIANTS, garbage, hostile_samples, variant

# At most 1 in all, whatever the kinds: there are eight ending ones.
SMALL = st.dictionaries(st.sampled_from(list(Kind)), st.floats(1e-9, 0.12))


def draws_of(plan: FaultPlan, jobs: int) -> Counter[Kind]:
    return Counter(kind for i in range(jobs) for kind in plan.draw(i, i % 3))


def test_faults_of_a_seed_are_frozen() -> None:
    """A run can be repeated years later from the seed that it printed."""
    plan = FaultPlan(0.3, {Kind.WRONG: 0.1, Kind.DUPLICATE: 0.2, Kind.RESTART: 0.1}, seed=7)

    drawn = " ".join("+".join(plan.draw(i, 0)) or "-" for i in range(20))

    assert drawn == (
        "vanish - lost_upload - vanish - crash - vanish vanish - - - error wrong+duplicate error"
        " garbage error+restart duplicate restart"
    )


def test_every_kind_belongs_to_one_group() -> None:
    """Each kind ends an instance, accompanies it, or strikes around it."""
    assert sorted(ENDING + ACCOMPANYING + SURROUNDING) == sorted(Kind)


def test_the_mix_keeps_the_right_answer() -> None:
    """A failure rate costs time, never the answer: no wrong results, which quorum 1 lets pass."""
    assert Kind.WRONG not in MIX
    assert set(MIX) <= set(ENDING)
    assert sum(MIX.values()) == 100


def test_the_failure_rate_is_the_share_of_instances_that_fail() -> None:
    """--failure-rate 0.4 means 40 %, shared out as documented."""
    counts = draws_of(FaultPlan(0.4, seed=11), 20_000)

    assert set(counts) == set(MIX)
    assert sum(counts.values()) / 20_000 == pytest.approx(0.4, abs=0.015)
    for kind, share in MIX.items():
        assert counts[kind] / 20_000 == pytest.approx(0.4 * share / 100, abs=0.01)


def test_each_probability_is_the_share_of_its_kind() -> None:
    """--fault kind=p means that p of the instances suffer that kind, on top of the rate."""
    asked = {Kind.WRONG: 0.2, Kind.LATE: 0.1, Kind.DUPLICATE: 0.3, Kind.SUSPEND: 0.05}

    counts = draws_of(FaultPlan(0.0, asked, seed=12), 20_000)

    assert set(counts) == set(asked)
    for kind, p in asked.items():
        assert counts[kind] / 20_000 == pytest.approx(p, abs=0.015)


def test_a_higher_failure_rate_only_adds_failures() -> None:
    """What failed at 0.1 fails in the same way at 0.3, so two rates can be compared."""
    wrong = {Kind.WRONG: 0.2}
    low, high = FaultPlan(0.1, wrong, seed=3), FaultPlan(0.3, wrong, seed=3)

    failed = [i for i in range(2_000) if low.draw(i, 0)]

    assert failed
    assert all(low.draw(i, 0) == high.draw(i, 0) for i in failed)


@given(SMALL, st.floats(0, 0.04), st.integers(0, 10**9), st.integers(0, 30))
def test_an_instance_ends_once(
    faults: dict[Kind, float], rate: float, sequence: int, attempt: int
) -> None:
    """At most one ending kind, in front; and only kinds that were asked for."""
    plan = FaultPlan(rate, faults, seed=1)

    drawn = plan.draw(sequence, attempt)

    assert drawn == plan.draw(sequence, attempt)
    assert sum(kind in ENDING for kind in drawn) <= 1
    assert all(kind in ACCOMPANYING for kind in drawn[1:])
    assert set(drawn) <= plan.kinds


@pytest.mark.parametrize("kind", [*ENDING, *ACCOMPANYING])
def test_a_certain_fault_strikes_every_instance(kind: Kind) -> None:
    """A probability of 1 leaves no instance out; that of 0 strikes none."""
    assert all(FaultPlan(0, {kind: 1.0}).draw(i, 0) == (kind,) for i in range(50))
    assert not any(FaultPlan(0, {kind: 0.0}).draw(i, 0) for i in range(50))


def test_retries_are_drawn_anew() -> None:
    """A job whose first instance fails is not doomed."""
    plan = FaultPlan(0.5, seed=2)

    assert any(plan.draw(i, 0) and not plan.draw(i, 1) for i in range(20))


def test_a_plan_without_faults_is_quiet() -> None:
    """An emulator without faults need not ask, and asking draws nothing."""
    assert FaultPlan().quiet
    assert FaultPlan(0, {Kind.SERVER_OUTAGE: 0.5}).quiet
    assert not FaultPlan(0.1).quiet
    assert not FaultPlan(0, {Kind.DUPLICATE: 0.1}).quiet
    assert FaultPlan().draw(0, 0) == ()
    assert FaultPlan().kinds == set()


def test_a_fault_that_a_backend_lacks_is_refused() -> None:
    """Nothing is silently not injected: the program would seem to stand what it never met."""
    plan = FaultPlan(0.1, {Kind.DISK_FULL: 0.1, Kind.LATE: 0.1})

    plan.require([*MIX, Kind.DISK_FULL], "local")
    with pytest.raises(ConfigurationError, match="backend local can not inject late, disk_full;"):
        plan.require(set(MIX) - {Kind.LATE}, "local")


def test_surrounding_faults_strike_by_occasion() -> None:
    """An outage depends on the occasion that is named, not on how often one asks."""
    plan = FaultPlan(0, {Kind.SERVER_OUTAGE: 0.3}, seed=4)

    outages = [plan.strikes(Kind.SERVER_OUTAGE, "poll", i) for i in range(3_000)]

    assert outages == [plan.strikes(Kind.SERVER_OUTAGE, "poll", i) for i in range(3_000)]
    assert sum(outages) / 3_000 == pytest.approx(0.3, abs=0.04)
    assert not plan.strikes(Kind.DISK_FULL, "poll", 1)


def test_details_are_independent_of_which_fault_it_is() -> None:
    """How far a slave gets does not tell whether it fails."""
    plan = FaultPlan(0.5, seed=5)
    failed = [plan.details(i, 0)[0] for i in range(4_000) if plan.draw(i, 0)]

    assert sum(failed) / len(failed) == pytest.approx(0.5, abs=0.03)
    assert all(0 <= u < 1 for u in plan.details(1, 1))


def test_a_plan_can_not_be_changed() -> None:
    """A plan shared between the parts of an emulator stays what it was; its repr tells all."""
    plan = FaultPlan(0.25, {Kind.LATE: 0.1}, seed=9)

    with pytest.raises(AttributeError, match="failure_rate"):
        plan.failure_rate = 0.0
    assert repr(plan) == "<FaultPlan seed=9 failure_rate=0.25 faults='late=0.1'>"


# ---------------------------------------------------------------- reading


def test_faults_are_read_from_text() -> None:
    """The form of --fault and PYBOINC_FAULT, with blanks, - for _, and capitals allowed."""
    assert parse_faults("crash=0.05,late=.02") == {Kind.CRASH: 0.05, Kind.LATE: 0.02}
    assert parse_faults(" Lost-Upload = 1 , ") == {Kind.LOST_UPLOAD: 1.0}
    assert parse_faults("") == {}


@given(SMALL)
def test_the_text_of_faults_reads_back(faults: dict[Kind, float]) -> None:
    """What is printed can be given again and means exactly the same."""
    assert parse_faults(format_faults(faults)) == faults


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crsh=0.1", "no fault 'crsh'; did you mean crash"),
        ("=0.1", "no fault ''; possible are crash, error"),
        ("crash", "fault crash: '' is not a probability; write crash=P"),
        ("crash=often", "'often' is not a probability"),
        ("crash=1.5", "fault crash: 1.5 is not a probability; give a number from 0 to 1"),
        ("crash=-0.1", "-0.1 is not a probability"),
        ("crash=nan", "nan is not a probability"),
        ("crash=0.1,crash=0.2", "crash is given twice"),
        ("crash=0.6,late=0.5", "crash, late sum to 1.1"),
    ],
)
def test_faults_that_can_not_be_are_refused(text: str, says: str) -> None:
    """A wrong fault is one clear message naming it and what is allowed."""
    with pytest.raises(ConfigurationError, match=says):
        parse_faults(text)


def test_a_plan_that_can_not_be_is_refused() -> None:
    """The rate and the endings are one instance's fate: together at most 1."""
    with pytest.raises(ConfigurationError, match=r"failure_rate, wrong sum to 1\.2"):
        FaultPlan(0.5, {Kind.WRONG: 0.7})
    with pytest.raises(ConfigurationError, match="failure_rate: 2 is not a probability"):
        FaultPlan(2)
    assert FaultPlan(0.1, {Kind.WRONG: 0.7, Kind.LATE: 0.2, Kind.DUPLICATE: 1}).kinds


# ---------------------------------------------------------------- garbage


OUTPUT = pickle.dumps({"value": list(range(20))}, protocol=4)


def test_every_variant_of_garbage_occurs() -> None:
    """Truncated, empty, oversized and hostile outputs are drawn about equally often."""
    counts = Counter(variant(1, i, 0) for i in range(2_000))

    assert set(counts) == set(VARIANTS)
    assert min(counts.values()) > 400


@given(st.integers(0, 10**6), st.integers(0, 10), st.binary(max_size=40))
def test_garbage_is_what_its_variant_says(sequence: int, attempt: int, output: bytes) -> None:
    """Each variant is wrong in its own way, and never the output itself."""
    drawn = garbage(3, sequence, attempt, output, max_output=100)

    assert drawn == garbage(3, sequence, attempt, output, max_output=100)
    match variant(3, sequence, attempt):
        case "truncated" if len(output) > 1:
            assert 0 < len(drawn) < len(output)
            assert output.startswith(drawn)
        case "oversized":
            assert len(drawn) == 101
        case "hostile":
            assert drawn in hostile_samples()
        case _:
            assert drawn == b""


def test_no_garbage_is_ever_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The safe loader refuses every piece of garbage, and none of it is run."""
    monkeypatch.chdir(tmp_path)
    pieces = {garbage(1, i, 0, OUTPUT, max_output=1_000) for i in range(300)}

    assert pieces >= set(hostile_samples())
    for piece in pieces:
        with pytest.raises(RejectedResult):
            decode(piece, Registry.from_modules([]))
    assert not Path(EVIDENCE).exists()


def test_the_hostile_pickles_are_real_ones() -> None:
    """Those that call something are well-formed: pickle itself would have run them."""
    for sample in hostile_samples()[:3]:
        assert [opcode.name for opcode, _, _ in pickletools.genops(sample)][-1] == "STOP"
