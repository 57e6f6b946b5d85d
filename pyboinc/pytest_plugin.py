"""The pytest plugin: emulated projects and simulated volunteers for the tests of one's own program.

It is there wherever PyBOINC is installed (entry point ``pytest11``)::

    @pytest.mark.pyboinc_seeds(20)
    def test_it_stands_everything(pyboinc_simulate):
        pyboinc_simulate("app_master.py", failure_rate=0.3, master_crashes=3)

What a failing test needs to be repeated stands in its report: its seed, and the commands.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from simulator.campaign.tested import Simulated

_COMMANDS = pytest.StashKey[list[str]]()
_MARK = "pyboinc_seeds"
_SEED = "pyboinc_seed"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--pyboinc-seed``."""
    parser.getgroup("pyboinc").addoption(
        "--pyboinc-seed",
        type=int,
        default=1,
        metavar="N",
        help="the (first) seed of tests that emulate or simulate volunteers (default: 1)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", f"{_MARK}(number): run the test with so many seeds of volunteers"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Have a marked test run with each of its seeds."""
    mark = metafunc.definition.get_closest_marker(_MARK)
    if mark is None:
        return
    if _SEED not in metafunc.fixturenames:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid}: pyboinc_seeds needs a test that uses pyboinc_simulate, "
            "pyboinc_project or pyboinc_seed"
        )
    first: int = metafunc.config.getoption("--pyboinc-seed")
    seeds = range(first, first + _number(mark))
    metafunc.parametrize(_SEED, seeds, ids=[f"seed{seed}" for seed in seeds])


def _number(mark: pytest.Mark) -> int:
    if len(mark.args) != 1 or not isinstance(mark.args[0], int) or mark.args[0] < 1:
        raise pytest.UsageError(f"pyboinc_seeds{mark.args}: write pyboinc_seeds(20)")
    return mark.args[0]


@pytest.fixture
def pyboinc_seed(request: pytest.FixtureRequest) -> int:
    """The seed of everything that goes wrong in this test."""
    seed: int = request.config.getoption("--pyboinc-seed")
    return seed


# ---------------------------------------------------------------- the emulator


@dataclass(frozen=True)
class Ran:
    """How a program ended: its exit code, and what it printed."""

    exit_code: int
    stdout: str
    stderr: str


class EmulatedProject:
    """A job directory, ``path``, with an emulated project of its own and a ``seed``."""

    def __init__(self, path: Path, seed: int, found: Callable[[str], Path]) -> None:
        self.path = path
        self.seed = seed
        self._found = found

    def add(self, program: str | os.PathLike[str]) -> Path:
        """Copy the directory of a master *program* here; return where the program is now.

        The name is one beside the test's own file, or below the directory that pytest was
        started in.
        """
        from pyboinc.backends.simulated.masters import Program

        path = self._found(os.fspath(program))
        Program(path).copy_to(self.path)
        return self.path / path.name

    def run(self, program: str | os.PathLike[str], *arguments: str) -> Ran:
        """Run a master *program* as ``python`` would, on the local emulator.

        It is added if it is not here.  Called again it goes on with its batch.
        """
        name = Path(program).name
        if not (self.path / name).exists():
            self.add(program)
        command = [sys.executable, "-m", "pyboinc", "run", f"--seed={self.seed}", name, *arguments]
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYBOINC_BACKEND": "local"}
        run = subprocess.run(
            command, cwd=self.path, env=environment, capture_output=True, text=True, check=False
        )
        return Ran(run.returncode, run.stdout, run.stderr)


@pytest.fixture
def pyboinc_project(
    tmp_path: Path, pyboinc_seed: int, request: pytest.FixtureRequest
) -> EmulatedProject:
    """A fresh job directory with an emulated project: see :class:`EmulatedProject`."""
    return EmulatedProject(tmp_path / "project", pyboinc_seed, lambda name: _beside(request, name))


# ---------------------------------------------------------------- the simulator


@pytest.fixture(scope="session")
def _simulations() -> Iterator[Any]:
    """What is dear to start, kept for the whole run of pytest."""
    from simulator.campaign.tested import Simulations

    simulations = Simulations()
    yield simulations
    simulations.close()


@pytest.fixture
def pyboinc_simulate(
    _simulations: Any, pyboinc_seed: int, request: pytest.FixtureRequest
) -> Callable[..., Simulated]:
    """A function that simulates a master program, and fails if that does not stand it.

    ``pyboinc_simulate("app_master.py", hosts=50, failure_rate=0.3, master_crashes=3)``: the
    keywords are flags of ``pyboinc simulate``.  It returns what became of the (last) run.
    """

    def simulate(program: str | os.PathLike[str], **flags: Any) -> Simulated:
        from pyboinc.errors import PyboincError
        from simulator.campaign.tested import Different

        __tracebackhide__ = True
        seed = flags.pop("seed", pyboinc_seed)
        try:
            runs = _simulations(_beside(request, os.fspath(program)), seed, **flags)
        except (Different, PyboincError) as error:
            pytest.fail(str(error), pytrace=False)
        last: Simulated = runs[-1]
        request.node.stash.setdefault(_COMMANDS, []).append(last.repeat)
        return last

    return simulate


def _beside(request: pytest.FixtureRequest, name: str) -> Path:
    """Return the program that *name* means: beside the test, or where pytest was started."""
    path = request.path.parent / name
    return path if path.exists() else request.config.invocation_params.dir / name


# ---------------------------------------------------------------- a failing test


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Say in the report of a failing test what repeats it."""
    report: pytest.TestReport = yield  # type: ignore[assignment]  # what the wrapped hooks made
    seed = getattr(item, "funcargs", {}).get(_SEED)
    if report.failed and seed is not None:
        mark = item.get_closest_marker(_MARK)
        number = seed if mark is None else item.config.getoption("--pyboinc-seed")
        lines = [f"seed {seed}", f"repeat:  pytest '{item.nodeid}' --pyboinc-seed {number}"]
        lines += [f"simulated:  {command}" for command in item.stash.get(_COMMANDS, [])]
        report.sections.append(("PyBOINC", "\n".join(lines)))
    return report  # type: ignore[return-value]  # as above
