"""Long and large, in small: the soak of ``make sweep`` with a few hundred jobs and a few kills."""

from __future__ import annotations

from pathlib import Path

from sweep import Part
from sweep.soak import BEHIND, ENDS, lives, soak


def test_kills_all_the_while_leave_nothing_and_nothing_grows(tmp_path: Path, seed: int) -> None:
    """Soak: no process, descriptor or temporary file is left, no memory grows, the answer right."""
    part = Part()
    one = soak(tmp_path, jobs=300, kills=8, seed=seed, part=part)
    assert part.counts["jobs"] == 300
    assert {"master", "server", "keeper"} <= set(one.growth)


def test_every_kind_of_kill_comes_and_half_of_the_jobs_are_one_life(seed: int) -> None:
    """Soak: the master is killed in the first half only, and measured in the second."""
    found = lives(1000, 16, seed)
    moments = [moment for life in found for moment in life.moments]
    assert {moment.kill for moment in moments} == {*ENDS, *BEHIND, ""}
    assert sum(moment.kill in ENDS for moment in moments) == len(found) - 1 == 8
    assert [life.measured for life in found] == [False] * 8 + [True]
    measured = [moment.handled for moment in found[-1].moments if not moment.kill]
    assert len(measured) == 2
    assert measured[1] - measured[0] >= 1000 * 0.7 / 2
