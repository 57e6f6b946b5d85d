"""Whatever makes the simulator quicker changes nothing of what happens in it.

The traces of random small scenarios were recorded by the first engine, which went the general way
for each result.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import scenarios

import simulator
from pyboinc.errors import ConfigurationError
from simulator import compiled, engine, world
from simulator.clock import Clock
from simulator.policies import Policies
from simulator.world import World

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here

AT_A_TIME = 16


@pytest.mark.parametrize(
    ("first", "crowd"),
    [(0, 0), (16, 10_000), (32, 1_000_000), (48, 1_000), (64, 0)],
)
def test_all_happens_as_in_the_first_engine(
    first: int, crowd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DESIGN 3.6: the same seed gives the same trace to the byte, also after the engine changed."""
    assert simulator.ENGINE == "Python"
    if crowd:  # time is cut into slices as if for so many hosts
        monkeypatch.setattr(world, "Clock", lambda _: Clock(crowd))
    numbers = range(first, first + AT_A_TIME)
    assert list(map(scenarios.digest, numbers)) == scenarios.recorded()[first : first + AT_A_TIME]


def test_the_usual_turn_is_the_general_one(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a host does in its usual turn is what it does in the general one, for any scenario."""
    first = 1000 + seed
    usual = {number: scenarios.digest(number) for number in range(first, first + 20)}
    monkeypatch.setattr(World, "plain", False)
    assert {number: scenarios.digest(number) for number in usual} == usual


def test_the_engine_of_this_environment_does_the_same() -> None:
    """The compiled engine, if there is one here, gives the traces of the first one, to the byte."""
    made = engine.place() / "stamp"
    if made.exists() and made.read_text() == engine.stamp():
        traces = _told(scenarios.__file__, "--digests")
        assert traces == ["compiled", *scenarios.recorded()]
    else:  # the traces of that one are looked at above
        assert _told("-c", "import simulator; print(simulator.ENGINE)") == ["Python"]


def _told(*arguments: str) -> list[str]:
    """What Python prints, where nothing says which engine is to play."""
    environment = {**os.environ, engine.VARIABLE: ""}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


# The compiled engine comes and goes.


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a compiled engine would be."""
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.delenv(engine.VARIABLE)
    path, modules = list(simulator.__path__), set(sys.modules)
    yield engine.place()
    simulator.__path__[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def test_two_modules_compiled(place: Path, tmp_path: Path) -> None:
    """Where there is a compiler of C the sources become a library, and Python takes that."""
    header = Path(sysconfig.get_path("include"), "Python.h")
    if not (shutil.which("cc") or shutil.which("gcc")) or not header.exists():
        with pytest.raises(ConfigurationError, match="is there a compiler of C"):
            compiled.build(["network", "trust"])
        return
    compiled.build(["network", "trust"])
    program = f"import sys; sys.prefix = {str(tmp_path)!r}; import simulator; "
    program += (
        "from simulator import trust; print(simulator.ENGINE, trust.__file__, trust.after_error(7))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    name, file, quota = done.stdout.split()
    assert (name, quota) == ("compiled", "6")
    assert Path(file).parent == place / "simulator"
    compiled.remove()
    assert not place.exists()


def test_a_compiled_engine_of_other_sources_is_not_used(place: Path) -> None:
    """A library that was made of other sources, or by another Python, is as if not there."""
    assert compiled.show() == "Python; python -m simulator.compiled makes a compiled engine"
    place.mkdir()
    (place / "stamp").write_text("of other sources")
    assert not engine.use()
    assert "python -m simulator.compiled makes it anew" in compiled.show()


def test_python_plays_if_one_wants(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYBOINC_SIMULATOR=python does without the compiled engine."""
    place.mkdir()
    (place / "stamp").write_text(engine.stamp())
    monkeypatch.setenv(engine.VARIABLE, "python")
    assert not engine.use()
    assert compiled.show().startswith("Python, as PYBOINC_SIMULATOR says")


def test_nothing_to_compile_with(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without mypyc the command says what to install, and exits with 2."""
    monkeypatch.setattr(compiled, "find_spec", lambda name: None)
    assert compiled.main([]) == 2
    assert "python -m pip install 'pyboinc[compiled]'" in capsys.readouterr().err
    assert not place.exists()


def test_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--show says which engine plays, --remove takes the compiled one away."""
    place.mkdir()
    assert compiled.main(["--show"]) == 0
    assert "of other sources" in capsys.readouterr().out
    assert compiled.main(["--remove"]) == 0
    assert not place.exists()


def test_policies_are_of_their_types() -> None:
    """A policy that counts is a whole number, and one that is yes or no is a bool."""
    server = Policies().changed(daily_result_quota=3.0, deadline_check=0).server
    assert (type(server.daily_result_quota), server.deadline_check) == (int, False)
    for value in (2.5, float("inf"), float("nan")):
        with pytest.raises(ConfigurationError, match="feeder_slots: .* is not a whole number"):
            Policies().changed(feeder_slots=value)
