"""How many results a second the assimilator's script puts into new/, called as the daemon calls it.

    python benchmarks/boinc_assimilate.py [--results 1000] [--rounds 5]

`script_assimilator` calls `system()` once for each result, one after the other; so does this.
`pyboinc setup` compiles its quick half where there is a C compiler; without one the script does
it all.  Beside them, in the same rounds: the same by an interpreter of Python started for each
result, and a shell that does nothing at all, which nothing can be quicker than.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from measuring import NoAnswer, cores, in_turns, median, verdict

from pyboinc.administration import compiling, scripts

COMPILED, SHELL, PYTHON = "compiled", "the script alone", "an interpreter each"
NOTHING = "a shell alone"

IN_PYTHON = f"""\
#!{sys.executable}
import os, re, sys
path = sys.argv[2]
batch, sequence = re.match(r"pyb_(\\d+)_(\\d+)_", os.path.basename(path)).groups()
with open(f"../pyboinc/batches/{{batch}}") as file:
    new = file.readline().strip()
os.link(path, f"{{new}}/{{batch}}_{{sequence}}.out")
"""

_HOME = os.getcwd()


def rate(program: bytes | None, results: int) -> float:
    """Return how many results a second *program* delivers, into a fresh job directory."""
    with tempfile.TemporaryDirectory(prefix="pyboinc-") as place:
        new = _project(Path(place), program, results)
        os.chdir(f"{place}/project/tmp_host")
        try:
            took = _daemon(program is None, results)
        finally:
            os.chdir(_HOME)
        if program is not None and len(os.listdir(new)) != results:
            raise NoAnswer(f"{len(os.listdir(new))} of {results} results were delivered")
    return results / took


def _project(place: Path, program: bytes | None, results: int) -> Path:
    project, new = place / "project", place / "job" / "new"
    for path in (project / "bin", project / "pyboinc/batches", project / "tmp_host", new):
        path.mkdir(parents=True)
    (project / "pyboinc/batches/7").write_text(f"{new}\n")
    if program is not None:
        (project / "bin/assimilate").write_bytes(program)
        (project / "bin/assimilate").chmod(0o755)
    for number in range(results):
        path = project / f"upload/{number % 1024:x}/{_output(number)}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"an output")
    return new


def _output(number: int) -> str:
    return f"pyb_7_{number}_0_r123456789_0"


def _daemon(idle: bool, results: int) -> float:
    """Call a command for each result, and wait for each; return the seconds."""
    began = time.perf_counter()
    for number in range(results):
        path = f"../upload/{number % 1024:x}/{_output(number)}"
        command = f"../bin/assimilate {number + 1} {path}"
        if os.system(":" if idle else command):
            raise NoAnswer(f"{command} failed")
    return time.perf_counter() - began


def main() -> int:
    """Measure in turns; print rates, the ratio and the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--results", type=int, default=1000, help="in each round (1000)")
    parser.add_argument("--rounds", type=int, default=5, help="turns for each (5)")
    options = parser.parse_args()
    slow = max(options.results // 10, 1)
    contestants: dict[str, Callable[[], float]] = {
        SHELL: partial(rate, scripts.text(scripts.ASSIMILATE).encode(), options.results),
        PYTHON: partial(rate, IN_PYTHON.encode(), slow),
        NOTHING: partial(rate, None, options.results),
    }
    compiler = compiling.compiler()
    if compiler is not None and (program := compiling.compiled(compiler)) is not None:
        contestants = {COMPILED: partial(rate, program, options.results), **contestants}
    best = next(iter(contestants))
    found, gone = in_turns(contestants, options.rounds)
    shell = os.path.basename(os.path.realpath(shutil.which("sh") or "sh"))
    print(f"medians of {options.rounds} interleaved rounds, {cores()} cores, /bin/sh is {shell}")
    if gone:
        print("\n".join(gone.values()))
        return 1
    middle = {name: median(rates) for name, rates in found.items()}
    for name, results in middle.items():
        spread = f"({min(found[name]):.0f}..{max(found[name]):.0f})"
        print(f"{name:20} {results:7.0f} results/s {spread:>14}")
    print()
    for name in {best: 0, SHELL: 0}:
        # Neighbours in a round are alike: the median of ratios, not the ratio of medians.
        pairs = zip(found[name], found[PYTHON], strict=True)
        ratio = median([ours / python for ours, python in pairs])
        print(f"{name} beside an interpreter each: {ratio:.1f} x")
    print(verdict("results a second", middle[best], "results/s", 500, True))
    return 0


if __name__ == "__main__":
    sys.exit(main())
