"""A fault at each system call of master, emulator and recovery, one by one.

SIGKILL, EIO, ENOSPC and EINTR at each call that touches files, locks or processes, once and
ever after, in each process of a batch (:mod:`sweep.tracing`), from each beginning
(:mod:`sweep.stages`); and the death of other processes while one is stopped at a call.
After each: a run that survived it printed the right answer, one that did not said so in one
clear message, and in either case the next plain run ends with the right answer; the
invariants hold throughout.

A point counts only if strace says that it struck, and once for the same call of the same run.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from fnmatch import fnmatchcase
from pathlib import Path

from masters import Run

from pyboinc.errors import PyboincError
from sweep import Part, warm
from sweep.shared import memory
from sweep.stages import ANSWER, SCENARIOS, Point, Stage
from sweep.tracing import STRACE, Call, Tracer

CODES = (2, 3)
"""The documented exit codes of a run that met a fault which it could not survive."""

NEXT_STEP = re.compile(
    r"run (it again|the same command|it)|mend that|resume|restore|--fresh|go on|quota|copy|ulimit"
)
"""One of these stands in every message: what to do next."""


def sweep(seed: int, only: str) -> Part:
    """Try every point, or those whose description *only* matches, in an order drawn from *seed*."""
    if STRACE is None:
        sys.exit("the sweep of system calls needs strace: apt-get install strace")
    part = Part()
    with tempfile.TemporaryDirectory(prefix="pyboinc-sweep-", dir=memory()) as directory:
        warm.make_ready()
        stages = make_stages(Path(directory))
        known: set[tuple[str, str]] = set()
        points = [point for stage in stages.values() for point in stage.points(known)]
        points = [point for point in points if not only or fnmatchcase(str(point), only)]
        random.Random(seed).shuffle(points)
        print(f"  {len(points):,} points", flush=True)
        try_points(points, stages, part)
    return part


def make_stages(path: Path, names: Iterable[str] = SCENARIOS) -> dict[str, Stage]:
    """Make the scenarios of these names ready."""
    return {name: Stage(name, path) for name in names}


def try_points(points: Sequence[Point], stages: dict[str, Stage], part: Part) -> None:
    """Try *points* on every processor, count those that struck, and note what failed."""
    struck: set[tuple[str, ...]] = set()
    forks = multiprocessing.get_context("fork")
    number = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(number, forks, _begin, (stages,)) as pool:
        for point, (found, failure) in zip(points, pool.map(attempt, points), strict=True):
            if failure:
                part.failures.append(failure)
                print(f"  failed: {failure}", flush=True)
            key = point.scenario, point.fault.role, point.kind, found
            if found and key not in struck:
                struck.add(key)
                part.count(point.kind)
                if len(struck) % 100 == 0:
                    print(f"  {len(struck):,} struck, {len(part.failures)} failures", flush=True)


_stages: dict[str, Stage] = {}
"""The stages of this process, one of those that try points."""


def _begin(stages: dict[str, Stage]) -> None:
    _stages.update(stages)


def attempt(point: Point) -> tuple[str, str]:
    """Try *point*; return which call it struck, if any, and what failed, if anything did."""
    try:
        return Trial(point, _stages[point.scenario]).run(), ""
    except (AssertionError, OSError, PyboincError) as error:
        return point.what, f"{point}: {error}"


class Trial:
    """One disturbed run, and the plain run after it."""

    def __init__(self, point: Point, stage: Stage) -> None:
        self.point = point
        self.stage = stage
        self.place = stage.copy()
        self.tracer = Tracer(point.fault.role, point.fault, self.kill)
        self.killed: list[int] = []

    def run(self) -> str:
        """Try the point; return which call it struck, nothing if it did not strike."""
        run = self.stage.run(self.place, self.tracer)
        self.place.check_at_rest()
        found = self.found()
        if found and not any(call.standard for call in self.tracer.struck):
            self.check_end(run)
        recorded = self.place.recorded()
        self.check_answer(self.stage.run_plainly(self.place))
        order = self.place.handled()
        assert order[: len(recorded)] == recorded, f"I3: handled {order}, recorded {recorded}"
        shutil.rmtree(self.place.path)
        return found

    def found(self) -> str:
        """The call that was struck first, and which of its like that was."""
        root = str(self.place.path)
        same: dict[str, int] = {}
        for one in self.tracer.traced:
            for call in one.calls:
                about = call.about(root)
                same[about] = same.get(about, 0) + 1
                if call.struck and (not self.point.victims or self.killed):
                    return "" if self.is_impossible(call) else f"{about} #{same[about]}"
        return ""

    def is_impossible(self, call: Call) -> bool:
        """Whether strace has done what no kernel does: a pipe is closed, whatever close says."""
        piped = re.match(r"\d+<(pipe|socket):", call.text)
        return call.name == "close" and self.point.fault.what.startswith("E") and bool(piped)

    def check_end(self, run: Run) -> None:
        """Check how the disturbed run ended: well, killed, or with one clear message."""
        if run.code == 0:
            self.check_answer(run)
            return
        fatal = self.point.victims in ("the process group", "every process")
        killed = self.point.fault.what == "KILL"
        if fatal or (killed and self.point.fault.role == "master"):
            assert run.killed, f"it is killed and ends otherwise: {run}"
            return
        assert not killed and not self.point.victims, f"a death costs more than time: {run}"
        check_message(run)

    def check_answer(self, run: Run) -> None:
        """Check that a run ended well, with the right answer."""
        assert run.code == 0, f"I7: the run did not end well: {run}"
        handled = " ".join(map(str, self.place.handled()))
        self.place.check(run, f"handled {handled}\n{ANSWER}")
        assert "Traceback" not in run.stderr, f"a traceback: {run}"

    def kill(self, stopped: int) -> None:
        """Kill the point's victims, while the process *stopped* stands still."""
        processes = self.tracer.processes
        if self.point.victims == "the process group":
            self.killed = processes["master"][:1]
            os.killpg(processes["master"][0], signal.SIGKILL)
            return
        everybody = self.point.victims == "every process"
        for role in processes if everybody else [self.point.victims]:
            self.killed += [one for one in processes[role][-1:] if _kill(one)]


def _kill(process: int) -> bool:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def check_message(run: Run) -> None:
    """Check that *run* ended with one message that says what, why and what to do next."""
    assert run.code in CODES, f"exit code {run.code}: {run}"
    assert "Traceback" not in run.stderr, f"a traceback: {run}"
    last = list(messages(run.stderr))[-1:]
    assert last, f"no message: {run}"
    assert NEXT_STEP.search(last[0]), f"no next step: {run}"
    assert run.stderr.count(f"pyboinc: {last[0]}") == 1, f"said twice: {run}"


def messages(stderr: str) -> Iterator[str]:
    """The messages in what a run wrote to stderr, each with its further lines."""
    parts = re.split(r"^pyboinc: ", stderr, flags=re.MULTILINE)[1:]
    beside = re.compile(r"\d+ of \d+ handled|a worker of the emulator ends")
    yield from (part for part in parts if not beside.match(part))
