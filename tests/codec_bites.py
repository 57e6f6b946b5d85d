"""What `pickle` does with the techniques, asked of processes that may die of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from codec_techniques import TECHNIQUES
from measuring import unmeasured
from source import ROOT


def bites(names: Sequence[str]) -> dict[str, list[str]]:
    """Run these techniques under plain `pickle`; return what was seen of each."""
    # Some would write coverage's files.
    environment = {**unmeasured(), "PYTHONPATH": f"{ROOT / 'tests'}{os.pathsep}{ROOT}"}
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, str(ROOT / "tests/codec_sacrifice.py"), *names]
        done = subprocess.run(
            command,
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        )
        return dict(json.loads(done.stdout.splitlines()[-1]))


def toothless(seen: dict[str, list[str]]) -> list[str]:
    """A line for each technique that did not show what the table says."""
    return [
        f"{name}: pickle shows {', '.join(seen[name])}, not {TECHNIQUES[name].sees}"
        for name in seen
        if not {"nothing", *seen[name]} & set(TECHNIQUES[name].sees.split("|"))
    ]
