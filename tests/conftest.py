"""What every test shares: one seed that is printed, a random order drawn from it, Hypothesis.

``PYBOINC_TEST_SEED=N`` repeats a run: the same order of tests and the same value of the
``seed`` fixture in each.  Under CI a skipped test fails the run, so that nothing that a
machine lacks is left out unseen.
"""

from __future__ import annotations

import gc
import hashlib
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import masters
import measuring
import pytest
import starter
from sweep.shared import memory

CI = os.environ.get("CI", "").lower() not in ("", "0", "false")

# A test sees no setting that the developer has made.
for name in list(os.environ):
    if name.startswith(("PYBOINC_", "BOINC_")) and not name.startswith("PYBOINC_TEST_"):
        del os.environ[name]

# Nor a compiled simulator that he has made: tests are of the sources as they are.
os.environ["PYBOINC_SIMULATOR"] = "python"

# What a shell runs in the background is started with ^C ignored, and so would be every
# program that a test starts and interrupts: it would wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)

# In the environment, so that the workers of pytest-xdist agree with their parent.
SEED = int(os.environ.setdefault("PYBOINC_TEST_SEED", str(secrets.randbelow(10**6))))

# Thousands of small files are synced here, and what is killed is never the computer: so the
# directories of tests are in memory, where there is room.  What is about a disk asks for one.
if (place := memory()) is not None and shutil.disk_usage(place).free > 2e9:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(place))

hypothesis.settings.register_profile("laptop", deadline=None, print_blob=True)
# A red CI speaks of the commit, never of the luck of the draw.
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("ci" if CI else "laptop")


LONG = {
    "test_bad_input",
    "test_boinc_client",
    "test_build",
    "test_disk_states",
    "test_examples",
    "test_pairs",
    "test_project_properties",
    "test_served_server",
    "test_soak",
}
"""Modules with a test that takes five seconds or more."""

# Tests that are collected stay; looking through them for garbage took half of the time.
gc.disable()

found = measuring.begin()


def pytest_unconfigure() -> None:
    """Give coverage, if it runs, what all other processes have seen."""
    starter.close()
    if found is not None:
        measuring.end(found)


def pytest_report_header() -> str:
    return f"PyBOINC: PYBOINC_TEST_SEED={SEED} repeats this order of tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle the modules, and the tests within each (module fixtures stay set up once).

    Those with long tests come first, or one of them would run alone at the end.
    """
    place = random.Random(SEED)
    modules = sorted({item.path for item in items})
    rank = {path: place.random() + (path.stem not in LONG) for path in modules}
    order = {id(item): place.random() for item in sorted(items, key=lambda item: item.nodeid)}
    items.sort(key=lambda item: (rank[item.path], order[id(item)]))


def pytest_collection_finish() -> None:
    """Look for garbage again, in what the tests make."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run tests that are marked so without coverage's tracer, in a third of the time."""
    tracer = sys.gettrace()
    if tracer is None or pyfuncitem.get_closest_marker("unmeasured") is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """End what a test that failed has left at work in its directory: others need the machine."""
    place = getattr(item, "funcargs", {}).get("tmp_path")
    if call.excinfo is not None and place is not None:
        for process in masters.processes_of(str(place)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI, a skipped test is a failure: CI installs what its tests need."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if CI and reporter is not None and reporter.stats.get("skipped"):
        reporter.write_line("under CI no test may be skipped (see -ra below)", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory where users have theirs: as `tmp_path`, but not in memory."""
    with tempfile.TemporaryDirectory(prefix="pyboinc-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of the test's own, drawn from the run's; printed, so that a failure shows it."""
    key = f"{SEED} {request.node.nodeid}".encode()
    drawn = int.from_bytes(hashlib.sha256(key).digest()[:4], "big")
    print(f"seed={drawn} (PYBOINC_TEST_SEED={SEED})")
    return drawn
