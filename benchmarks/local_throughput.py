"""How many jobs a second the local emulator does, beside what else there is.

    python benchmarks/local_throughput.py [--jobs 10000] [--rounds 3] [--breakdown]

The same no-op jobs, in one run, taking turns: this emulator (a fork server, or a fresh
interpreter for each job), a plain loop of ``subprocess.run([python, slave])``,
``ProcessPoolExecutor(max_tasks_per_child=1)``, and Parsl's HighThroughputExecutor where
it is installed.  The slow ones get fewer jobs, and the table says how many.  Time is
taken from the first call to the last handled result, and so contains the start of the
emulator's processes; Parsl's workers are up before.

Then jobs that keep a core busy for a second: what part of the cores' time is theirs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from typing import Any

from measuring import NoAnswer, cores, in_turns, median, run, verdict

FORK, SPAWN = "pyboinc, fork server", "pyboinc, spawn"
LOOP, POOL = "plain loop", "process pool"
PARSL, TUNED = "Parsl HTEX", "Parsl HTEX, tuned"

SHARE = {FORK: 1.0, SPAWN: 0.03, LOOP: 0.05, POOL: 0.02, PARSL: 1.0, TUNED: 1.0}
"""Which part of the jobs each one gets: all would take the slow ones many minutes."""

PROMISES = {
    FORK: "durable; a process for each job",
    SPAWN: "durable; an interpreter for each job",
    LOOP: "not durable; an interpreter for each job",
    POOL: "not durable; an interpreter for each job",
    PARSL: "not durable; workers that live on",
    TUNED: "the same; prefetching, unencrypted",
}


@dataclass
class Race:
    """The settings of one run of this benchmark, and the last answer of each contestant."""

    jobs: int
    workers: int
    time_limit: float
    parsl: str | None
    answers: dict[str, Any] = field(default_factory=dict)

    def share(self, name: str) -> int:
        """Return how many jobs a contestant gets."""
        return max(2 * self.workers, round(self.jobs * SHARE[name]))

    def rate(self, name: str) -> float:
        """Let one contestant do its jobs; return how many it did in a second."""
        answer = run(self.command(name), self.time_limit, self.python(name))
        self.answers[name] = answer
        return float(answer["jobs"] / answer["seconds"])

    def python(self, name: str) -> str:
        """Return the interpreter of a contestant."""
        return self.parsl or sys.executable if name in (PARSL, TUNED) else sys.executable

    def command(self, name: str) -> list[str]:
        """Return the program of a contestant and its arguments."""
        jobs, workers = str(self.share(name)), str(self.workers)
        ours = ["app_master.py", jobs, "--quiet", "--backend", "local", "--workers", workers]
        return {
            FORK: [*ours, "--isolation", "fork"],
            SPAWN: [*ours, "--isolation", "spawn"],
            LOOP: ["plain_loop.py", jobs],
            POOL: ["process_pool.py", jobs, workers],
            PARSL: ["parsl_executor.py", jobs, workers],
            TUNED: ["parsl_executor.py", jobs, workers, "tuned"],
        }[name]

    def contestants(self) -> dict[str, Callable[[], float]]:
        """Return those that can run here, each as a measurement."""
        names = [name for name in SHARE if name not in (PARSL, TUNED) or self.parsl]
        return {name: partial(self.rate, name) for name in names}


def table(race: Race, rates: dict[str, list[float]], gone: dict[str, str]) -> list[str]:
    """Return the lines of the comparison, and of the bars that it is to meet."""
    lines = [f"{'':22} {'jobs':>7} {'jobs/s':>8} {'least..most':>15}  ours is"]
    middle = {name: median(found) for name, found in rates.items() if found}
    ours = middle.get(FORK)
    for name, found in rates.items():
        if name in gone or ours is None:
            lines.append(f"{name:22} {gone.get(name, 'no figure to compare with')}")
            continue
        spread = f"{min(found):.0f}..{max(found):.0f}"
        ratio = f"{ours / middle[name]:.2f} x"
        row = f"{name:22} {race.share(name):7} {middle[name]:8.0f} {spread:>15}"
        lines.append(f"{row} {ratio:>8}  {PROMISES[name]}")
    if PARSL not in rates:
        lines.append(f"{PARSL:22} not installed: pip install parsl, or name --parsl-python")
    if ours is None:
        return lines
    lines += ["", verdict("jobs a second", ours, "jobs/s", 1000, True)]
    if LOOP in middle:
        lines.append(verdict("beside the plain loop", ours / middle[LOOP], "times", 10, True))
    if PARSL in middle:
        lines.append(verdict("beside Parsl", ours / middle[PARSL], "times", 1, True))
    if TUNED in middle:
        lines.append(verdict("beside Parsl, tuned", ours / middle[TUNED], "times", 1, True))
    return lines


def breakdown(answer: dict[str, Any]) -> list[str]:
    """Return where the CPU time of the emulator's last round went."""
    jobs, cpu = answer["jobs"], answer["costs"]["cpu"]
    lines = ["", f"CPU of the last round with a fork server, {jobs} jobs:"]
    for name, seconds in {**cpu, "all": sum(cpu.values())}.items():
        lines.append(f"  {name:14} {seconds:7.2f} s {seconds / jobs * 1e6:8.0f} us a job")
    lines.append(f"first result after {answer['until_first']:.2f} s")
    return lines


def occupation(jobs: int, busy: float, workers: int, time_limit: float) -> list[str]:
    """Return how much of the cores' time jobs of *busy* seconds got."""
    command = ["app_master.py", str(jobs), str(busy), "--quiet", "--backend", "local"]
    answer = run([*command, "--isolation", "fork", "--workers", str(workers)], time_limit)
    seconds, first = answer["seconds"], answer["until_first"]
    part = 100 * jobs * busy / (workers * seconds)
    cpu = 100 * answer["costs"]["cpu"]["slaves"] / (workers * seconds)
    head = (
        f"{jobs} jobs of {busy:g} s on {workers} workers: {seconds:.2f} s from first call to last"
    )
    return [
        "",
        f"{head} result, {first:.2f} s of it to the first result",
        verdict("part of the cores' time that slaves had", part, "%", 97, True),
        f"        as CPU time, with whatever else this computer did meanwhile: {cpu:.1f} %",
    ]


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000, help="no-op jobs (10000)")
    parser.add_argument("--rounds", type=int, default=3, help="turns for each (3)")
    parser.add_argument("--workers", type=int, default=cores(), help="default: the cores")
    parser.add_argument("--busy-jobs", type=int, default=20, help="long jobs (20); 0: none")
    parser.add_argument("--busy", type=float, default=1.0, help="seconds of a long job (1)")
    parser.add_argument("--time-limit", type=float, default=300.0, help="s for one turn (300)")
    parser.add_argument("--parsl-python", help="an interpreter that has Parsl (default: this one)")
    parser.add_argument("--breakdown", action="store_true", help="where the CPU time goes")
    return parser.parse_args()


def main() -> int:
    """Run the comparison, then the long jobs; print what was found."""
    options = arguments()
    parsl = options.parsl_python or (sys.executable if find_spec("parsl") else None)
    race = Race(options.jobs, options.workers, options.time_limit, parsl)
    print(
        f"{options.jobs} no-op jobs, {options.workers} workers, Python {sys.version.split()[0]}; "
        f"medians of {options.rounds} interleaved rounds",
        flush=True,
    )
    rates, gone = in_turns(race.contestants(), options.rounds)
    print("\n".join(table(race, rates, gone)), flush=True)
    if options.breakdown and FORK in race.answers:
        print("\n".join(breakdown(race.answers[FORK])), flush=True)
    if options.busy_jobs:
        try:
            lines = occupation(options.busy_jobs, options.busy, options.workers, options.time_limit)
        except NoAnswer as error:
            lines = [str(error)]
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
