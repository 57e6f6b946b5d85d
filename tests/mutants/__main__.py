"""``make mutants``: run the mutants of some targets, print the scores, write docs/mutants.md.

    python -m mutants [--sample N] [--seed N] [--jobs N] [--keep] [--quick] [--record] [TARGET ...]

--sample N runs N mutants of each target, drawn at random from the printed seed.  --keep believes
what an earlier run has killed: for work on the survivors.  --quick leaves out the slow tests.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from source import ROOT

from mutants import KILLED, TARGETS, Target, alone, copies, report
from mutants.mutating import Mutant, mutants_of
from mutants.places import Statements
from mutants.report import Score, equivalents

Verdicts = dict[str, dict[str, Any]]


def main(arguments: list[str] | None = None) -> int:
    """Run what was asked for; 0 if every target has the score that it should."""
    parser = argparse.ArgumentParser(prog="python -m mutants", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="0: all of them")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--record", action="store_true", help="write docs/mutants.md")
    options = parser.parse_args(arguments)
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {[*TARGETS]}")
    copies.PLACE.mkdir(exist_ok=True)
    # Tests of ^C need it, and what a shell runs in the background is started without it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(f"seed {options.seed}", flush=True)
    scores = []
    for name in options.targets or TARGETS:
        score = _run(name, options)
        print(report.section(score), flush=True)
        scores.append(score)
        if options.record:
            report.record(score)
    return 1 if any(score.killed_share < report.GOAL for score in scores) else 0


def _run(name: str, options: argparse.Namespace) -> Score:
    target = TARGETS[name]
    everything = [
        mutant
        for pattern in target.files
        for path in sorted(ROOT.glob(pattern))
        for mutant in mutants_of(ROOT, str(path.relative_to(ROOT)))
    ]
    chosen = everything
    if 0 < options.sample < len(everything):
        draw = random.Random(f"{options.seed} {name}")
        numbers = sorted(draw.sample(range(len(everything)), options.sample))
        chosen = [everything[number] for number in numbers]
    known = _known(name) if options.keep else {}
    todo = [each for each in chosen if known.get(each.name, {}).get("verdict") not in KILLED]
    counts = f"{len(everything)} mutants, {len(chosen)} chosen, {len(todo)} to run"
    print(f"{name}: {counts}", flush=True)
    if options.quick:
        target = dataclasses.replace(target, slow=())
    verdicts = {**known, **_try_all(name, target, todo, options.jobs)}
    (copies.PLACE / f"{name}.json").write_text(json.dumps(verdicts, indent=0))
    alive = [each for each in chosen if verdicts[each.name]["verdict"] not in KILLED]
    late = sum(1 for each in chosen if verdicts[each.name]["verdict"] == "timeout")
    seed = options.seed if chosen is not everything else None
    return Score(name, len(everything), len(chosen), late, alive, equivalents(), seed)


def _known(name: str) -> Verdicts:
    path = copies.PLACE / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _try_all(name: str, target: Target, todo: list[Mutant], jobs: int) -> Verdicts:
    """Run mutants in some processes at once, then those again that need a process of their own."""
    if not todo:
        return {}
    _finish(*_start(f"{name}-0", target, []))  # it measures which test reaches what
    jobs = min(jobs, len(todo))
    running = [_start(f"{name}-{job}", target, todo[job::jobs]) for job in range(jobs)]
    verdicts: Verdicts = {}
    for process, plan in running:
        verdicts |= _finish(process, plan)
    again = [
        each
        for each in todo
        if verdicts[each.name]["verdict"] not in KILLED
        and (verdicts[each.name]["again"] or target.slow)
        and not report.is_equivalent(each)
    ]
    print(f"{name}: {len(again)} again, each in a process of its own", flush=True)
    for mutant, verdict in alone.verdicts(name, target, again, jobs).items():
        verdicts[mutant] = {"verdict": verdict, "by": "a process of its own"}
    return verdicts


def _start(name: str, target: Target, mutants: list[Mutant]) -> tuple[subprocess.Popen[str], Path]:
    copy = copies.fresh(name)
    plan = copies.PLACE / f"{name}.plan"
    plan.with_suffix(".results").unlink(missing_ok=True)
    measured = copies.PLACE / f"{copies.digest(copy, target)}.measured"
    plan.write_text(json.dumps({"mutants": list(_planned(mutants)), "measured": str(measured)}))
    tests = alone.tests(copy, target.quick)
    started = copies.pytest(
        copy, "-s", "-p", "mutants.running", *tests, PYBOINC_TEST_MUTANTS=str(plan)
    )
    return started, plan


def _finish(process: subprocess.Popen[str], plan: Path) -> Verdicts:
    output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{output}\n{plan}: pytest ended with {process.returncode}")
    results = plan.with_suffix(".results")
    lines = results.read_text().splitlines() if results.exists() else []
    return {each["name"]: each for each in map(json.loads, lines)}


def _planned(mutants: list[Mutant]) -> Iterator[dict[str, Any]]:
    statements: dict[str, Statements] = {}
    for number, mutant in enumerate(mutants):
        if mutant.file not in statements:
            statements[mutant.file] = Statements((ROOT / mutant.file).read_text())
        statement = statements[mutant.file].around(mutant.lines[0])
        yield {**dataclasses.asdict(mutant), "number": number, "statement": statement}


if __name__ == "__main__":
    sys.exit(main())
