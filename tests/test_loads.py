"""Who of the emulator's workers gets what: nothing waits behind a long job while one is idle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyboinc.backends.local import loads, runs
from pyboinc.backends.local.hosts import Plan
from pyboinc.backends.local.loads import AHEAD_SECONDS, Loads
from pyboinc.backends.local.runs import Runs, Turned
from pyboinc.backends.local.workers import Ended


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loads, "time", clock)
    return clock


def give(them: Loads) -> list[int]:
    """Give instances while there is room; return who got them."""
    got = []
    while (worker := them.with_room()) is not None:
        them.give(worker)
        got.append(worker)
    return got


def test_workers_get_as_much_as_they_do_in_a_moment(clock: Clock) -> None:
    """Emulator: all get as many; of short ones many, of long ones the one that runs."""
    short, long = Loads(2), Loads(2)
    assert give(short) == give(long) == [0, 1] * 4
    for _ in range(100):
        for one, elapsed in ((short, 1e-4), (long, 3.0)):
            one.end(0, elapsed)
            one.give(0)
    assert set(give(short)) == {0, 1} and give(short) == []
    short.end(1, 1e-4)
    assert give(short) == [1]
    assert give(long) == []
    for _ in range(3):
        long.end(1, 3.0)
    assert give(long) == []
    long.end(1, 3.0)
    assert give(long) == [1]


def test_a_worker_is_held_up_when_it_is_late_and_another_one_idle(clock: Clock) -> None:
    """Emulator: what waits is asked for once, when it is late, and only if somebody can do it."""
    them = Loads(2)
    give(them)
    clock.now += 2 * AHEAD_SECONDS
    assert (them.held_up(), them.timeout(1.0)) == ([], 1.0), "nobody is idle"
    for _ in range(4):
        them.end(1, 0.001)
    assert them.held_up() == [0]
    assert (them.held_up(), them.timeout(1.0)) == ([], 1.0), "it was asked"
    assert [them.move(0) for _ in range(3)] == [1, 1, 1]
    assert set(give(them)) == {1}, "it gets no more while it is late"
    them.end(0, 0.5)
    assert give(them)[0] == 0

    alone = Loads(1)
    give(alone)
    clock.now += 2 * AHEAD_SECONDS
    assert alone.held_up() == [], "there is nobody else"


def test_a_worker_is_waited_for_as_long_as_all_it_has_should_take(clock: Clock) -> None:
    """Emulator: the loop sleeps until a worker is late, and no longer."""
    late = Loads(2)
    give(late)
    clock.now += AHEAD_SECONDS / 2
    for _ in range(4):
        late.end(1, 0.001)
    assert late.held_up() == [], "it is not late yet"
    assert late.timeout(1.0) == pytest.approx(AHEAD_SECONDS / 2)
    late.go_on(0)
    assert late.timeout(1.0) == pytest.approx(AHEAD_SECONDS)
    assert late.timeout(0.01) == 0.01


class Recorder:
    """Stands in for a worker: what it is told, and what it is to report."""

    def __init__(self, *how: Any) -> None:
        self.told: list[tuple[str, Any]] = []
        self.ended: list[Ended] = []

    def start(self, run: Any) -> None:
        self.told.append(("start", run.name))

    def kill(self, name: str) -> None:
        self.told.append(("kill", name))

    def reports(self) -> list[Ended]:
        return self.ended

    def alive(self) -> bool:
        return True


@pytest.mark.parametrize("missed", ["", "given_up", "restarting"])
def test_a_kill_follows_an_instance_that_moves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missed: str
) -> None:
    """Emulator: a kill that comes while an instance is on its way is not lost with its worker."""
    monkeypatch.setattr(runs, "Worker", Recorder)
    nothing: Any = None
    them = Runs(nothing, nothing, nothing, tmp_path, nothing, 2, "fork", (), 1000)
    run: Any = SimpleNamespace(name="1_0_0", slot="")
    turn = them._turns["1_0_0"] = Turned(1, 0, Plan("host-1"), 0, 0, run)
    if missed:
        setattr(turn, missed, True)
    them._loads.give(0)
    them._loads.give(0)
    old, new = them.workers
    assert isinstance(old, Recorder) and isinstance(new, Recorder)
    old.ended = [Ended("1_0_0", 0, False, "taken back", 0.0, 0.0)]
    them.collect(0)
    assert turn.worker == 1 and old.told == []
    assert new.told == [("start", "1_0_0"), *([("kill", "1_0_0")] if missed else [])]
