"""A kill in the recovery from a kill: a slice of what ``make sweep`` does in full."""

from __future__ import annotations

import subprocess
import sys

from measuring import unmeasured
from source import ROOT


def test_killed_in_the_recovery_from_a_kill_it_ends_well(seed: int) -> None:
    """Recovery: killed at any step, and again at any step of the next run, nothing is lost."""
    run = subprocess.run(
        [sys.executable, "-m", "sweep.pairs", str(seed)],
        env={**unmeasured(), "PYTHONPATH": str(ROOT / "tests")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout)
    assert "rows of 2 kills by lot" in run.stdout
