"""Where a master is killed: points chosen by a seed, among the steps that the program has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyboinc.faults.draws import uniforms

Step = tuple[str, str, int]
"""What kind of step it is, what it is about, and how often the program came to it."""

Point = Mapping[str, Any]

LONGEST_DOWN = 86_400.0
"""Seconds that a killed master stays down, at most: a night and a morning."""

_START = 20
"""Steps of a start, more or less."""

_FIRST = ("remove", "make directory", "make calls", "end")
"""Steps of a first start alone, as is all that is about the slave's archive; and the last one."""


def chosen(seed: int, number: int, steps: Sequence[Step]) -> list[Point]:
    """Choose *number* points, one for each of so many lives of the master.

    Each is of a kind drawn first, so that the few steps of a commit are hit as often as the
    many of handling; then one of that kind's, further on in each life than in the one before.
    A life that does not come to its point is killed a little later, at whatever step that is.
    """
    points: list[Point] = []
    total = sum(times for _, _, times in steps)
    for life in range(number):
        u = uniforms(seed, "crash", life)
        kinds = _of_a_first(steps) if life == 0 else _of_a_later(steps)
        step, about, times = kinds[int(u[0] * len(kinds))]
        # Of what the lives before have handled, some is in old/; of all else this life does more.
        done = u[1] * life if step == "restore" else life + u[1]
        nth = 1 + int(times * done / number)
        latest = _START + int(total * (life + 1 + u[4]) / number)
        points.append({"step": step, "about": about, "number": nth, "latest": latest})
    return points


def _of_a_first(steps: Sequence[Step]) -> list[Step]:
    return [one for one in steps if one[0] != "end"]


def _of_a_later(steps: Sequence[Step]) -> list[Step]:
    """Return the kinds of steps of a master that goes on, as far as one can know."""
    handlers_call = any(step == "make jobs" and times > 1 for step, _, times in steps)
    found = [
        (step, about, times)
        for step, about, times in steps
        if step not in _FIRST
        and "bundles" not in about
        and (handlers_call or (step != "call" and about != ".pyboinc/spool"))
    ]
    handled = sum(times for step, _, times in steps if step == "handled")
    return [*found, ("restore", "old*", handled)]


def every(steps: Sequence[Step]) -> list[Point]:
    """Return each step of a life, in its order."""
    return [{"number": 1 + n} for n in range(sum(times for _, _, times in steps))]


def down(seed: int, life: int) -> float:
    """Return for how long the master stays down after its kill number *life* (s).

    For no time at all in one case of four; up to :data:`LONGEST_DOWN` else.
    """
    u = uniforms(seed, "crash", life)
    return 0.0 if u[2] < 0.25 else LONGEST_DOWN * u[3] ** 3
