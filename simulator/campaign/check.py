"""``pyboinc simulate app_master.py``: which runs there are, and what became of each.

The fault-free run comes first; every other is compared with it.  A :class:`Case` is one run:
a seed, and where the master is killed.  Its command repeats it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from shlex import join
from typing import Any

from pyboinc import config
from pyboinc.backends.local import choose_isolation
from pyboinc.backends.simulated.masters import Point, Program
from pyboinc.config import Settings
from pyboinc.config.limits import READERS
from pyboinc.config.values import text_of
from pyboinc.errors import ConfigurationError, PyboincError
from pyboinc.faults import ACCOMPANYING, ENDING, FaultPlan, Kind
from pyboinc.program import source_of
from pyboinc.report import printable
from simulator.campaign import Campaign, Population, Run, crashes
from simulator.campaign.processes import each
from simulator.campaign.verdict import differences, tail

SUPPORTED = (*ENDING, *ACCOMPANYING, Kind.SERVER_OUTAGE, Kind.MASTER_KILLED)
"""The faults that virtual time can bring about."""

FOR_PROGRAM = (*READERS, "max_output", "include")
"""The settings that the master itself needs."""

OWN_SETTINGS = (*FOR_PROGRAM, "failure_rate", "fault", "workers", "isolation")
"""The settings that a simulation listens to."""

FAILED = range(1, 5)
"""Exit codes that say that a master has failed: others are a program's own."""

DAY = 86_400.0


@dataclass(frozen=True)
class Case:
    """One run: its seed, how often its master is killed at points of that seed, or at which."""

    seed: int
    kills: int = 0
    at: tuple[int, ...] = ()

    def flags(self) -> list[str]:
        """Return the flags that ask for this one."""
        kills = ["--master-crashes", str(self.kills)] if self.kills else []
        at = [word for number in self.at for word in ("--crash-at", str(number))]
        return ["--seed", str(self.seed), *kills, *at]

    def __str__(self) -> str:
        at = f", killed at step {', '.join(map(str, self.at))}" if self.at else ""
        return f"seed {self.seed}{at}"


@dataclass(frozen=True)
class Verdict:
    """What became of one run, and what in it was other than without faults."""

    case: Case
    run: Run
    differences: tuple[str, ...]
    repeat: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as ``--json`` prints it."""
        run = self.run
        return {
            "seed": self.case.seed,
            "same": not self.differences,
            "exit_code": run.last.code,
            "days": round(run.time / DAY, 6),
            "jobs": len(run.calls),
            "failed": run.failed,
            "retries": run.retries,
            "killed_before": [life.point for life in run.lives[:-1]],
            "differences": list(self.differences),
            "repeat": self.repeat,
        }


@dataclass(frozen=True)
class Options:
    """What is to be checked, as the command line says it."""

    program: Path
    settings: Settings
    flags: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    seed: int = 0
    seeds: int = 1
    kills: int = 0
    at: tuple[int, ...] = ()
    every: bool = False
    processes: int = 1

    def __post_init__(self) -> None:
        source_of(self.program)
        faults = self.settings.fault_plan(self.seed)
        if Kind.DISK_FULL in faults.kinds:
            raise ConfigurationError(
                "disk_full has no meaning in virtual time: a master whose disk is full ends with "
                "exit code 2 until a person has made room; try that on the local emulator: python "
                f"{self.program.name} --fault disk_full=..."
            )
        faults.require(SUPPORTED, "simulated")

    @property
    def master(self) -> Program:
        """The program with the settings that it needs itself."""
        values = {name: getattr(self.settings, name) for name in FOR_PROGRAM}
        flags = tuple(config.as_argv(values))
        return Program(self.program.absolute(), self.arguments, flags)

    def repeat(self, case: Case) -> str:
        """Return the command that repeats one run."""
        rest = ["--", *self.arguments] if self.arguments else []
        words = ["pyboinc", "simulate", str(self.program), *self.flags, *case.flags(), *rest]
        return join(words)


def campaign_of(options: Options) -> Campaign:
    """Return the campaign of a program; it is to be closed."""
    settings = options.settings
    return Campaign(
        options.master, settings.workers, choose_isolation(settings.isolation), settings.max_output
    )


class Check:
    """The runs of one program in its *campaign*, which is not closed with it, for *volunteers*."""

    def __init__(self, options: Options, campaign: Campaign, volunteers: Population) -> None:
        self._options = options
        self._volunteers = volunteers
        self.campaign = campaign

    def calm(self) -> Run:
        """Return the fault-free run; raise if the program does not do as a master does."""
        self._calm = run = self.campaign.calm(self._options.seed)
        name = self._options.program
        if not run.asked:
            raise ConfigurationError(
                f"{name} ended with exit code {run.last.code} and never called pyboinc_master (or "
                "asks for another backend itself), so there is nothing to simulate; it said:\n"
                + (tail(run.last.stderr) or "nothing")
            )
        if run.last.code in FAILED or run.last.code < 0:
            raise PyboincError(
                f"without faults it ends with exit code {run.last.code}: mend that first. It said:"
                "\n" + printable(tail(run.last.stderr))
            )
        return run

    def cases(self) -> list[Case]:
        """Return every run that was asked for."""
        options = self._options
        seeds = range(options.seed, options.seed + options.seeds)
        cases = [Case(seed, options.kills, options.at) for seed in seeds]
        if options.every:
            cases = [one for case in cases for one in self._every(case)]
        return cases

    def _every(self, case: Case) -> Iterator[Case]:
        """Yield a case for each step that the master takes with these faults."""
        steps = self._run(case).last.steps
        for number in range(len(crashes.every(steps))):
            yield replace(case, at=(1 + number,))

    def verdicts(self, cases: Sequence[Case]) -> Iterator[Verdict]:
        """Do these runs, some at a time, and yield what became of each, as it comes."""
        tasks: list[Callable[[], Verdict]] = [partial(self._verdict, case) for case in cases]
        for _, verdict in each(
            tasks, self._options.processes, self.campaign.leave, self.campaign.close
        ):
            yield verdict

    def _verdict(self, case: Case) -> Verdict:
        run = self._run(case)
        found = differences(self._calm, run)
        return Verdict(case, run, tuple(found), self._options.repeat(case))

    def _run(self, case: Case) -> Run:
        faults: FaultPlan = self._options.settings.fault_plan(case.seed)
        points: list[Point] = [{"number": number} for number in case.at]
        points += crashes.chosen(case.seed, case.kills, self._calm.last.steps)
        return self.campaign.run(self._volunteers, faults, points)

    def unsteady(self) -> str:
        """Say what differs between two fault-free runs; nothing if that is nothing."""
        again = self.campaign.calm_again(self._options.seed)
        found = differences(self._calm, again)
        if not found:
            return ""
        return (
            "even without faults it does something else each time (the clock, random numbers "
            "without a seed, the order of a set?):\n" + "\n".join(found)
        )


def settings_for(program: Path, flags: Sequence[str]) -> Settings:
    """Return the settings for a program: flags, environment, its ``pyboinc.toml``."""
    return config.load(program.absolute().parent, argv=flags)


def summary(run: Run) -> str:
    """Return how a run went, in a few words."""
    jobs = f"{len(run.calls)} jobs"
    failed = f", {run.failed} failed" if run.failed else ""
    kills = f", killed {len(run.lives) - 1} times" if len(run.lives) > 1 else ""
    days = text_of(round(run.time / DAY, 1))
    return f"{jobs}{failed}, {run.retries} retries, {days} days{kills}"
