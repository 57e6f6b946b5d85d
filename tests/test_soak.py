"""Long and large, in small: the soak of ``make sweep`` with a few hundred jobs and a few kills."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from measuring import unmeasured
from sweep import Part
from sweep.soak import BEHIND, ENDS, last_life, lives, soak


def test_kills_all_the_while_leave_nothing_and_nothing_grows(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Soak: no process, descriptor or temporary file is left, no memory grows, the answer right."""
    for name in set(os.environ) - set(unmeasured()):
        monkeypatch.delenv(name)
    part = Part()
    one = soak(tmp_path, jobs=300, kills=8, seed=seed, part=part)
    assert part.counts["jobs"] == 300
    assert {"master", "server", "keeper"} <= set(one.growth)


def test_every_kind_of_kill_comes_and_half_of_the_jobs_are_one_life(seed: int) -> None:
    """Soak: masters are killed in the first half of the jobs only; the last one is measured."""
    found = lives(1000, 16, seed)
    moments = [one for life in found for one in life.values()]
    assert {one.kill for one in moments} <= {*ENDS, *BEHIND}
    assert sum(one.kill in ENDS for one in moments) == len(found) == 8
    assert all(list(life.values())[-1].kill in ENDS for life in found)
    assert max(count for life in found for count in life) <= 500
    measured = [count for count, one in last_life(500, 1000).items() if one.measured]
    assert measured == [600, 950]
