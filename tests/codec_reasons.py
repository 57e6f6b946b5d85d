"""Why each hostile payload is refused, in the words that stand beside it in quarantine.

``python tests/codec_reasons.py`` writes tests/data/refused.txt anew: a line for each reason in
each group, with the number of payloads refused for it, one of them, and where in that one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import codec_traps
import codec_types
from codec_hostile import PAYLOADS

from pyboinc.codec import Registry, RejectedResult, decode

REASONS = Path(__file__).parent / "data" / "refused.txt"


def known(group: str) -> list[str]:
    """The lines of the file for one group of payloads."""
    lines = REASONS.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line.startswith(f"{group}: ")]


def lines(refusals: Mapping[str, RejectedResult]) -> list[str]:
    """The lines of the file for what these payloads, by their labels, are refused for."""
    found = defaultdict(list)
    for label, error in sorted(refusals.items()):
        reason, _, place = _in_our_words(str(error)).rpartition(" (at ")
        if "too many combinations" in reason:
            place = "it depends on how many this process has seen"
        found[f"{label.partition(':')[0]}: {reason}"].append((label, place.removesuffix(")")))
    return [
        f"{reason}\t{len(refused)}\t{refused[0][0]}\t{refused[0][1]}"
        for reason, refused in sorted(found.items())
    ]


def _in_our_words(reason: str) -> str:
    """Without what Python and numpy say in words of their own, which change."""
    return re.sub(r"^(\w+(?:Error|Exception)): .*( \(at byte .*)", r"\1\2", reason)


def _refusals() -> dict[str, RejectedResult]:
    classes, found = Registry.from_modules([codec_traps, codec_types]), {}
    for label, data in PAYLOADS.items():
        try:
            decode(data, classes)
        except RejectedResult as error:
            found[label] = error
    return found


if __name__ == "__main__":
    REASONS.write_text("\n".join(lines(_refusals())) + "\n", encoding="utf-8")
