"""The simulator against another one: measured days of ComBoS, with its client's habits.

All cases in their full size are in ``benchmarks/combos.py``, with the figures in
``docs/simulator_validation.md``; here are smaller ones.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
from dataclasses import replace
from typing import Any

import pytest
from source import ROOT

from simulator.world import World

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here


def load() -> Any:
    """The benchmark, as a module."""
    spec = importlib.util.spec_from_file_location("combos", ROOT / "benchmarks/combos.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["combos"] = module  # dataclasses look for it
    spec.loader.exec_module(module)
    return module


combos = load()


def test_a_day_of_a_hundred_hosts(seed: int) -> None:
    """D3-a: results sent for each GFLOPS within 10 % of the mean of its runs."""
    case = combos.CASES["a"]
    runs = [combos.run(case, seed + n)[1] for n in range(4)]
    mean = statistics.mean(one["sent for each GFLOPS"] for one in runs)
    assert mean == pytest.approx(case.sent / 100 / combos.MEAN_SPEED, rel=0.10)


def test_a_day_of_hosts_with_small_files(seed: int) -> None:
    """D3-b': results, messages, successes, availability as measured; validity as in BOINC."""
    case = combos.CASES["b'"]
    world, found = combos.run(case, seed)
    theirs = case.sent / case.hosts / combos.MEAN_SPEED
    # One day of 1,000 hosts varies by some 2 % beside the sum of their speeds.
    assert found["sent for each GFLOPS"] == pytest.approx(theirs, rel=0.06)
    assert found["messages a result"] == pytest.approx(case.messages / case.sent, rel=0.01)
    assert found["success"] == pytest.approx(0.95, abs=0.005)
    assert found["availability"] == pytest.approx(case.availability, rel=0.06)
    assert 0.9025 * 0.96 < found["valid"] < 0.9025
    assert isinstance(world, World) and world.measures.wrong == 0


def test_a_saturated_data_server(seed: int) -> None:
    """D3-c, a tenth of it: the disk is busy all day, and the results are what it lets through."""
    case = combos.CASES["c"]
    _, found = combos.run(replace(case, hosts=1000), seed, disk=combos.DISK / 10)
    assert found["busy"] > 0.995
    assert found["sent"] / 1000 == pytest.approx(case.sent / case.hosts, rel=0.05)
    assert found["messages a result"] == pytest.approx(1.940, rel=0.01)
