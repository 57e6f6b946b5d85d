"""docs/mutants.md: the score of each target, its survivors, and what no test could notice."""

from __future__ import annotations

import functools
import math
import re
import subprocess
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from source import ROOT

from mutants.mutating import Mutant

DOCUMENT = ROOT / "docs" / "mutants.md"
GOAL = 0.9
"""The share of the mutants that some test has to kill, equivalent ones not counted."""


@dataclass(frozen=True)
class Equivalent:
    """Mutants that behave as the code does, and why: no test can tell them apart."""

    file: str
    function: str  # as a regular expression, and so the changed line
    after: str
    reason: str

    def covers(self, mutant: Mutant) -> bool:
        """Whether *mutant* is one of them."""
        return (
            mutant.file == self.file
            and re.fullmatch(self.function, mutant.function) is not None
            and re.fullmatch(self.after, mutant.after) is not None
        )


@functools.cache
def equivalents() -> tuple[Equivalent, ...]:
    """Those that somebody has looked at, from equivalents.toml."""
    told = tomllib.loads((Path(__file__).parent / "equivalents.toml").read_text())
    return tuple(Equivalent(**each) for each in told["equivalent"])


def is_equivalent(mutant: Mutant) -> bool:
    """Whether somebody has found that *mutant* changes nothing."""
    return any(each.covers(mutant) for each in equivalents())


@dataclass(frozen=True)
class Score:
    """What became of the mutants of one target."""

    target: str
    all: int
    chosen: int
    late: int
    alive: Sequence[Mutant]
    known: Sequence[Equivalent]
    seed: int | None

    @property
    def survivors(self) -> list[Mutant]:
        """What no test has killed though one could."""
        return [each for each in self.alive if not is_equivalent(each)]

    @property
    def counted(self) -> int:
        """How many of them a test could kill."""
        return self.chosen - len(self.alive) + len(self.survivors)

    @property
    def killed_share(self) -> float:
        """The share of those that tests have killed."""
        return 1 - len(self.survivors) / self.counted if self.counted else 1.0


def section(score: Score) -> str:
    """What the document says of one target."""
    killed = score.counted - len(score.survivors)
    same = len(score.alive) - len(score.survivors)
    said = (
        f"{_drawn(score)}; {killed} of {score.counted} killed ({score.late} by the time they "
        f"took), {len(score.survivors)} survive, {same} more change nothing."
    )
    if score.seed is not None:
        low, high = wilson(killed, score.counted)
        said += f" 95 % confidence: {100 * low:.1f} to {100 * high:.1f} %."
    lines = [f"## {score.target}: {100 * score.killed_share:.1f} %", "", said, ""]
    lines += _listed("Survivors", score.survivors)
    lines += _listed("Nothing changes", [each for each in score.alive if is_equivalent(each)])
    return "\n".join(lines)


def _drawn(score: Score) -> str:
    if score.seed is None:
        return f"All {score.all} mutants"
    return f"A sample of {score.chosen} of {score.all} mutants (seed {score.seed})"


def _listed(title: str, mutants: Sequence[Mutant]) -> list[str]:
    if not mutants:
        return []
    return [f"{title}:", "", *(_line(each) for each in mutants), ""]


def _line(mutant: Mutant) -> str:
    reasons = [each.reason for each in equivalents() if each.covers(mutant)]
    because = f": {reasons[0]}" if reasons else ""
    after = mutant.after or "(nothing)"
    return f"* {mutant.file}, {mutant.function}: ``{mutant.before}`` → ``{after}``{because}"


def wilson(killed: int, counted: int) -> tuple[float, float]:
    """The 95 % confidence interval of a share, after Wilson."""
    if not counted:
        return 0.0, 1.0
    z, share = 1.96, killed / counted
    middle = share + z * z / (2 * counted)
    spread = z * math.sqrt(share * (1 - share) / counted + z * z / (4 * counted**2))
    scale = 1 + z * z / counted
    return (middle - spread) / scale, (middle + spread) / scale


def record(score: Score) -> None:
    """Write what is said of one target into the document."""
    begins, ends = f"<!-- {score.target} begins -->\n", f"<!-- {score.target} ends -->\n"
    head = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(head, cwd=ROOT, capture_output=True, text=True, check=True)
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(begins)
    _, _, after = rest.partition(ends)
    said = f"{section(score)}\nAt commit {commit.stdout.strip()}.\n"
    DOCUMENT.write_text(before + begins + said + ends + after, encoding="utf-8")
