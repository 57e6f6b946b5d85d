"""The clock lets everything happen at its time, in its turn, however it keeps what is to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf
from random import Random

import pytest
from simpy.events import Event

from simulator.clock import Alarm, Clock

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here

CROWDS = (1, 300, 10_000, 10_000_000)


class Bell(Alarm):
    """Says when it rings."""

    def __init__(self, name: int, heard: Callable[[Bell], None]) -> None:
        self.name = name
        self.heard = heard

    def ring(self) -> None:
        self.heard(self)


def story(crowd: int, seed: int) -> list[tuple[float, int]]:
    """Bells that are set again, to all kinds of times, while they ring."""
    random, clock, rung = Random(seed), Clock(crowd), list[tuple[float, int]]()

    def time() -> float:
        now = clock.now
        return random.choice(
            [
                now,
                now - 1.0,
                float(random.randrange(0, 2000, 10)),
                now + random.expovariate(1 / 60),
                now + random.expovariate(1e-4),
                now + random.choice([1e9, 2.0**40, 2.0**40 + 1, 1e15, 1e300]),
            ]
        )

    def heard(bell: Bell) -> None:
        rung.append((clock.now, bell.name))
        if len(rung) < 2000:
            clock.set(bell, time())

    for name in range(60):
        clock.set(Bell(name, heard), time())
    for until in (0.0, 7.5, 1000.0, 1000.0, 50_000.0):
        clock.run_on(until)
        clock.rest(until)
        clock.set(Bell(1000, lambda bell: rung.append((clock.now, bell.name))), until + 3.0)
    clock.run_on(inf)
    assert clock.idle
    return rung


@pytest.mark.parametrize("crowd", CROWDS)
def test_all_rings_in_order(crowd: int, seed: int) -> None:
    """What rings at the same time rings in the order in which it was set, for any crowd."""
    rung = story(crowd, seed)
    assert [time for time, _ in rung] == sorted(time for time, _ in rung)
    assert rung == story(1, seed)


@pytest.mark.parametrize("crowd", CROWDS)
@pytest.mark.parametrize("rings", [True, False])
def test_events_of_simpy_have_their_turn(crowd: int, rings: bool) -> None:
    """A process of SimPy's own lives on the same clock, and sees the same times."""
    clock = Clock(crowd)
    environment, told = clock.environment, list[tuple[float, float | str]]()

    def process() -> Iterator[Event]:
        for delay in (1.0, 0.0, 100.0, 86_400.0):
            yield environment.timeout(delay)
            told.append((clock.now, environment.now))

    environment.process(process())
    bells = (86_501.0, 86_501.5, 0.5, 1.0, 50.0, 1e9) if rings else ()
    for time in bells:
        clock.set(Bell(0, lambda _: told.append((clock.now, "bell"))), time)
    for until in (0.7, 90_000.0, inf):
        clock.run_on(until)
        clock.rest(until)
    events = [(time, time) for time in (1.0, 1.0, 101.0, 86_501.0)]
    # The bells were set before these events.
    assert told == sorted([*events, *((time, "bell") for time in bells)], key=_turn)


def _turn(one: tuple[float, float | str]) -> tuple[float, bool]:
    return one[0], one[1] != "bell"


def test_nothing_more_happens_than_was_asked_for() -> None:
    """Time stops as soon as there is enough, and goes on from there."""
    clock, rung = Clock(10_000), list[int]()
    for name in range(50):
        clock.set(Bell(name, lambda bell: rung.append(bell.name)), 0.1 * name)
    clock.run_on(inf, rung)
    assert (rung, clock.now) == ([0], 0.0)
    clock.run_on(1.0)
    assert (rung, clock.idle) == (list(range(11)), False)
