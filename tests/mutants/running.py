"""A plug-in of pytest that runs mutants instead of the tests: collect once, fork for each.

The process that has collected the tests never runs one.  A first child runs all of them
and measures which test reaches which line, and how long it takes; then there is a child for
each mutant, which runs the tests that reach it, those first that have killed before.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import coverage
import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from mutants import KILLED
from mutants.swapping import Functions, only_functions_differ

PASSED, FAILED = 77, 1  # a mutant may well end its process with 0
PR_SET_CHILD_SUBREAPER = 36


class Reach(NamedTuple):
    """Which tests reach which line of which file, how long each takes, what imports reach."""

    tests: dict[str, dict[int, list[str]]]
    seconds: dict[str, float]
    imported: dict[str, list[int]]


class Runner:
    """Runs the mutants of a plan in the current directory, a copy of the project."""

    def __init__(self, plan: Path) -> None:
        self.plan: dict[str, Any] = json.loads(plan.read_text())
        self.root = Path.cwd()
        self.results = plan.with_suffix(".results")
        self.told = plan.with_suffix(".told")
        self.measured = Path(self.plan["measured"])
        self.kills: Counter[str] = Counter()
        self.coverage = coverage.Coverage(
            data_file=None, config_file=False, source=[str(self.root / "pyboinc")]
        )

    # What pytest calls.

    def pytest_configure(self) -> None:
        """Measure from the first import on; die with nothing left behind."""
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        if not self.measured.exists():
            self.coverage.start()

    def pytest_collection(self) -> None:
        """Draws that are the same in each run, and no time spent on the smallest example."""
        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        parent = hypothesis.settings.get_profile("ci")
        hypothesis.settings.register_profile("mutants", parent=parent, phases=phases)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the mutants; the tests themselves are run only in children."""
        import pyboinc

        assert Path(pyboinc.__file__).is_relative_to(self.root), "another package is under test"
        self.items = {item.nodeid: item for item in session.items}
        reach = self._reach()
        self.functions = Functions(str(self.root / "pyboinc"))
        with self.results.open("a") as results:
            for mutant in self.plan["mutants"]:
                verdict = self._try(mutant, reach)
                results.write(json.dumps({"name": mutant["name"], **verdict}) + "\n")
                results.flush()
        return True

    # The tests as they are.

    def _reach(self) -> Reach:
        if not self.measured.exists():
            code = self._in_child(self._measure, limit=3600)
            self.coverage.stop()
            if code != PASSED:
                pytest.exit(f"fails without any mutant: {self.told.read_text()}", returncode=1)
        told = json.loads(self.measured.read_text())
        tests = {
            file: {int(line): names for line, names in lines.items()}
            for file, lines in told["tests"].items()
        }
        return Reach(tests, told["seconds"], told["imported"])

    def _measure(self) -> int:
        seconds = {}
        for name, item in self.items.items():
            self.coverage.switch_context(name)
            self.told.write_text(name)
            started = time.process_time()
            if not _passes(item, None):
                return FAILED
            seconds[name] = time.process_time() - started
        self.coverage.stop()
        data = self.coverage.get_data()
        tests: dict[str, dict[int, list[str]]] = {}
        imported: dict[str, list[int]] = {}
        for path in data.measured_files():
            file = str(Path(path).relative_to(self.root))
            lines = data.contexts_by_lineno(path)
            tests[file] = {line: sorted(set(names) - {""}) for line, names in lines.items()}
            imported[file] = [line for line, names in lines.items() if "" in names]
        told = {"tests": tests, "seconds": seconds, "imported": imported}
        self.measured.write_text(json.dumps(told))
        return PASSED

    # One mutant.

    def _try(self, mutant: dict[str, Any], reach: Reach) -> dict[str, Any]:
        """Run one mutant; it is to be run again where this process can not tell."""
        path, started = self.root / mutant["file"], time.monotonic()
        original, changed = path.read_text(), mutant["text"]
        if not only_functions_differ(str(path), original, changed):
            return {"verdict": "survived", "again": True}
        lines = range(mutant["statement"][0], mutant["statement"][1] + 1)
        tests = reach.tests.get(mutant["file"], {})
        names = {name for line in lines for name in tests.get(line, ())}
        order = sorted(names, key=lambda name: (-self.kills[name], reach.seconds[name], name))
        path.write_text(changed)
        # Bytecode is found by time and size: no mutant has the time of another.
        os.utime(path, (mutant["number"] + 10**9,) * 2)
        try:
            verdict = self._verdict(path, original, changed, order, reach)
        finally:
            path.write_text(original)
            os.utime(path, (10**9 - 1,) * 2)
        alive = verdict["verdict"] not in KILLED
        again = alive and any(line in reach.imported.get(mutant["file"], ()) for line in lines)
        seconds = round(time.monotonic() - started, 2)
        return {**verdict, "tests": len(order), "again": again, "seconds": seconds}

    def _verdict(
        self, path: Path, before: str, after: str, order: list[str], reach: Reach
    ) -> dict[str, Any]:
        self.told.write_text("")

        def run() -> int:
            self.functions.swap(str(path), before, after)
            for name, following in zip(order, [*order[1:], None], strict=True):
                self.told.write_text(name)
                _limit_cpu(4 + 4 * reach.seconds[name])
                if not _passes(self.items[name], self.items[following] if following else None):
                    return FAILED
            return PASSED

        limit = sum(reach.seconds[name] for name in order)
        code = self._in_child(run, limit=120 + 20 * limit)
        if code == PASSED:
            return {"verdict": "survived" if order else "unreached"}
        by = self.told.read_text()
        self.kills[by] += 1
        return {"verdict": "killed" if code == FAILED else "timeout", "by": by}

    # Children.

    def _in_child(self, run: Callable[[], int], limit: float) -> int | None:
        """The code that *run* returns in a child process; None if that took too long."""
        place = self.root.parent / f"{self.root.name}.tmp"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        child = os.fork()
        if child == 0:
            _be_child(run, place)
        waiting = os.pidfd_open(child)
        ended, _, _ = select.select([waiting], [], [], limit)
        os.close(waiting)
        if not ended:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        _end_orphans()
        shutil.rmtree(place, ignore_errors=True)
        code = os.waitstatus_to_exitcode(status)
        if not ended or code == -signal.SIGXCPU:
            return None
        return PASSED if code == PASSED else FAILED


def _be_child(run: Callable[[], int], place: Path) -> NoReturn:
    code = FAILED
    try:
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30,) * 2)
        os.environ.update(TMPDIR=str(place), PYTEST_DEBUG_TEMPROOT=str(place))
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        code = run()
    finally:
        os._exit(code)


def _limit_cpu(more: float) -> None:
    """End this process when it has used *more* seconds from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + more) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def _passes(item: pytest.Item, following: pytest.Item | None) -> bool:
    reports = runtestprotocol(item, log=False, nextitem=following)
    return not any(report.failed for report in reports)


def _end_orphans() -> None:
    """End what a mutant's tests have started and left: whoever loses its parent is ours."""
    while left := list(_children()):
        for process in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(process, 0)


def _children() -> Iterable[int]:
    for thread in os.listdir("/proc/self/task"):
        yield from map(int, Path(f"/proc/self/task/{thread}/children").read_text().split())


def pytest_configure(config: pytest.Config) -> None:
    """Become the plug-in that the plan in the environment asks for."""
    runner = Runner(Path(os.environ["PYBOINC_TEST_MUTANTS"]))
    runner.pytest_configure()
    config.pluginmanager.register(runner)
