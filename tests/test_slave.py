"""What a slave program calls: input, output, progress, checkpoints; and a slave run by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pyboinc
from pyboinc import codec, slave
from pyboinc.errors import EncodeError, RejectedResult, SlaveError

NOTHING = codec.Registry({})


@pytest.fixture
def slot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A slot of which this process is the slave, with the input 7; no class is the user's."""
    monkeypatch.setattr(slave, "_instance", slave.Instance(str(tmp_path), slave.Classes([])))
    (tmp_path / "in").write_bytes(codec.encode(7))
    return tmp_path


def output(slot: Path) -> Any:
    return codec.decode((slot / "out").read_bytes(), NOTHING)


def test_the_input_is_read_once(slot: Path) -> None:
    """Slave: every pyboinc_get_input() returns the same object."""
    (slot / "in").write_bytes(codec.encode([1, 2]))
    first = pyboinc.pyboinc_get_input()
    (slot / "in").unlink()
    assert first == [1, 2]
    assert pyboinc.pyboinc_get_input() is first


def test_an_output_is_put_in_place(slot: Path) -> None:
    """Slave: the output is in the slot, and no temporary file beside it."""
    pyboinc.pyboinc_return_output({"value": 49})
    assert output(slot) == {"value": 49}
    assert sorted(os.listdir(slot)) == ["in", "out"]


def test_files_are_the_slots_wherever_the_slave_goes(
    slot: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slave: a program that changes its current directory still has its input and output."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    pyboinc.pyboinc_return_output(pyboinc.pyboinc_get_input())
    assert output(slot) == 7


def test_a_job_has_one_output(slot: Path) -> None:
    """Slave: the second pyboinc_return_output says what to do; the first output stays."""
    pyboinc.pyboinc_return_output(1)
    with pytest.raises(SlaveError, match=r"a second time.*one object"):
        pyboinc.pyboinc_return_output(2)
    assert output(slot) == 1


def test_an_output_that_is_too_big_says_so(slot: Path) -> None:
    """Limits: too big an output is named with its size and the limit, and is not there."""
    slave.current().max_output = 1000
    with pytest.raises(SlaveError, match=r"has \d{4} bytes; the limit is 1000"):
        pyboinc.pyboinc_return_output(b"x" * 1000)
    assert not (slot / "out").exists()
    pyboinc.pyboinc_return_output("a smaller one may follow")


def test_an_output_that_can_not_travel_is_named(slot: Path) -> None:
    """Codec: an output that the master could not load names the place in it."""
    with pytest.raises(EncodeError, match="output"):
        pyboinc.pyboinc_return_output({"key": lambda: 0})


def test_hostile_input_is_refused(slot: Path) -> None:
    """Data never runs: on the slave's side, too, a pickle that names anything else is refused."""
    (slot / "in").write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(RejectedResult):
        pyboinc.pyboinc_get_input()


def test_a_missing_input_says_what_to_do(slot: Path) -> None:
    """By hand: a slave in a directory without an input says how to try one job."""
    (slot / "in").unlink()
    with pytest.raises(SlaveError, match="pyboinc replay JOB"):
        pyboinc.pyboinc_get_input()


def test_files_are_read_and_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slave: large files, files of unknown length and writes cut short lose nothing."""
    data = bytes(range(256)) * 1000
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:70_000]))
    slave.write(str(tmp_path / "large"), data)
    assert slave.read(str(tmp_path / "large")) == data
    monkeypatch.setattr(slave, "_AT_ONCE", 16)
    assert slave.read("/proc/self/cmdline") == Path("/proc/self/cmdline").read_bytes()


# -- checkpoints and progress


def test_a_checkpoint_is_loaded_again(slot: Path) -> None:
    """Checkpoints: none at first, then the one saved last."""
    assert pyboinc.pyboinc_load_checkpoint() is None
    pyboinc.pyboinc_save_checkpoint({"step": 1})
    pyboinc.pyboinc_save_checkpoint({"step": 2})
    assert pyboinc.pyboinc_load_checkpoint() == {"step": 2}
    assert sorted(os.listdir(slot)) == ["checkpoint", "in"]


@pytest.mark.parametrize("length", [0, 10, -3, -1])
def test_a_torn_checkpoint_is_none(slot: Path, length: int) -> None:
    """Checkpoints: what a power cut left of one is not taken for a state."""
    pyboinc.pyboinc_save_checkpoint(list(range(100)))
    whole = (slot / "checkpoint").read_bytes()
    (slot / "checkpoint").write_bytes(whole[:length])
    assert pyboinc.pyboinc_load_checkpoint() is None


def test_a_checkpoint_of_classes_that_are_gone_is_none(
    slot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints: a whole one that the program can no longer load counts as none."""
    module = ModuleType("vanishing")
    exec("class State:\n    pass\n", module.__dict__)
    monkeypatch.setitem(sys.modules, "vanishing", module)
    monkeypatch.setattr(slave.current(), "classes", slave.Classes(["vanishing"]))
    pyboinc.pyboinc_save_checkpoint(module.State())
    assert type(pyboinc.pyboinc_load_checkpoint()) is module.State
    monkeypatch.setattr(slave.current(), "classes", slave.Classes([]))
    assert pyboinc.pyboinc_load_checkpoint() is None


def test_a_checkpoint_may_hold_the_programs_own_classes(
    slot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checkpoints: unlike an output, one may be of a class defined in the slave program."""
    main = ModuleType("__main__")
    exec("class State:\n    pass\n", main.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", main)
    pyboinc.pyboinc_save_checkpoint([main.State()])
    assert type(pyboinc.pyboinc_load_checkpoint()[0]) is main.State
    with pytest.raises(EncodeError, match=r"move it to app_types\.py"):
        pyboinc.pyboinc_return_output(main.State())


def test_progress_is_a_number_in_the_slot(slot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress: reports in an inner loop cost next to nothing; more than all is all."""
    clock = [0.0]
    monkeypatch.setattr(slave.time, "monotonic", lambda: clock[0])
    pyboinc.pyboinc_fraction_done(0.25)
    assert (slot / "fraction_done").read_text() == "0.250000\n"
    pyboinc.pyboinc_fraction_done(0.5)
    assert (slot / "fraction_done").read_text() == "0.250000\n"
    clock[0] += slave.PROGRESS_PERIOD
    pyboinc.pyboinc_fraction_done(1.0000001)
    assert (slot / "fraction_done").read_text() == "1.000000\n"


@pytest.mark.parametrize("fraction", [-0.1, float("nan")])
def test_progress_that_is_none_is_refused(slot: Path, fraction: float) -> None:
    """Progress: a number that says nothing is named."""
    with pytest.raises(SlaveError, match="between 0 and 1"):
        pyboinc.pyboinc_fraction_done(fraction)


# -- whose classes


def test_only_the_jobs_own_classes_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codec: a class is found in the slave's own modules only, and only under its own name."""
    module = ModuleType("own_types")
    exec(
        "from fractions import Fraction\n"
        "class Input:\n    class Inner:\n        pass\n"
        "class Odd:\n    def __del__(self):\n        pass\n"
        "alias = Input\nnumber = 7\n",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, "own_types", module)
    classes = slave.Classes(["own_types", "own_types_not_loaded"])
    shape = classes.shape("own_types", "Input")
    assert shape is not None
    assert shape is classes.shape("own_types", "Input")
    assert classes.shape("own_types", "Input.Inner") is not None
    assert classes.shape("own_types", "Odd") is not None
    for name in ("alias", "number", "Fraction", "Missing"):
        assert classes.shape("own_types", name) is None
    assert classes.shape("own_types_not_loaded", "Input") is None
    assert classes.shape("fractions", "Fraction") is None
    assert classes.for_object(module.Input()) is classes
    assert classes.for_object(7) is None


# -- by hand

PROGRAM = """
import sys
from pyboinc import pyboinc_get_input, pyboinc_return_output
from app_types import Output
assert "unneeded" not in sys.modules
pyboinc_return_output(Output(pyboinc_get_input().value ** 2))
assert "unneeded" not in sys.modules
"""
TYPES = """
class Input:
    def __init__(self, value):
        self.value = value

class Output(Input):
    pass
"""


def by_hand(slot: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=slot, capture_output=True, text=True, check=False
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A directory with a slave, its types and an input, 7."""
    (tmp_path / "app_types.py").write_text(TYPES)
    (tmp_path / "app_slave.py").write_text(PROGRAM)
    (tmp_path / "unneeded.py").write_text("")
    make = "from app_types import *; from pyboinc import codec; "
    write = "open('in', 'wb').write(codec.encode(Input(7)))"
    assert by_hand(tmp_path, "-c", make + write).stderr == ""
    return tmp_path


def test_a_slave_runs_by_hand(home: Path) -> None:
    """By hand: python app_slave.py in a directory with an input leaves the output there."""
    ended = by_hand(home, "app_slave.py")
    assert (ended.returncode, ended.stderr) == (0, "")
    show = "from app_types import *; import app_types; from pyboinc import codec; "
    read = "data = open('out', 'rb').read(); known = codec.Registry.from_modules([app_types]); "
    tell = "print(codec.decode(data, known).value)"
    assert by_hand(home, "-c", show + read + tell).stdout == "49\n"


def test_a_slave_by_hand_without_an_input_says_what_to_do(home: Path) -> None:
    """By hand: without an input the error names the directory and the command that helps."""
    (home / "in").unlink()
    ended = by_hand(home, "app_slave.py")
    assert ended.returncode == 1
    assert f"no file 'in' in {home}" in ended.stderr
    assert "pyboinc replay JOB" in ended.stderr


def test_the_inputs_module_need_not_be_imported_by_the_slave(home: Path) -> None:
    """Slave: the class of the input is found although the program never imports its module."""
    (home / "app_slave.py").write_text(
        "from pyboinc import pyboinc_get_input\nprint(type(pyboinc_get_input()))\n"
    )
    ended = by_hand(home, "app_slave.py")
    assert (ended.stdout, ended.stderr) == ("<class 'app_types.Input'>\n", "")


def test_an_error_in_a_local_module_is_the_users(home: Path) -> None:
    """Slave: a module that fails while the input is read shows its own error."""
    (home / "app_types.py").write_text("raise ValueError('seven')\n")
    (home / "app_slave.py").write_text("import pyboinc\npyboinc.pyboinc_get_input()\n")
    ended = by_hand(home, "app_slave.py")
    assert ended.stderr.endswith("ValueError: seven\n")
