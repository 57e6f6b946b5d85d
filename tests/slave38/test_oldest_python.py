"""The slave half on the oldest Python that a volunteer may have.

`tox -e slave38` runs this file by itself with Python 3.8 and pytest alone; the ordinary
run has it too, on its own Python.
"""

from __future__ import annotations

import datetime
import enum
import os
import shutil
import subprocess
import sys
import typing
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pyboinc import codec, errors
from pyboinc.errors import EncodeError, RejectedResult

PACKAGE = Path(errors.__file__).parent

DATA = Path(__file__).parents[1] / "data"
"""With slave.signed, an archive whose key was thrown away: what was signed once opens for ever."""

APP_TYPES = """
class Number:
    def __init__(self, value):
        self.value = value
"""


class Colour(enum.Enum):
    RED = 1


class Point(typing.NamedTuple):
    x: int
    y: float


@dataclass
class Everything:
    point: Point
    colour: Colour
    when: datetime.datetime
    parts: typing.List[object] = field(default_factory=list)


HERE = codec.Registry.from_modules([sys.modules[__name__]])


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    """A slot with an input, the number 7, as the master encodes it."""
    (tmp_path / "app_types.py").write_text(APP_TYPES)
    make = "import sys; sys.path.insert(0, ''); from app_types import Number; "
    write = "from pyboinc import codec; open('in', 'wb').write(codec.encode(Number(7)))"
    python(tmp_path, "-c", make + write)
    return tmp_path


def python(slot: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE.parent)}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=str(slot),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def run(slot: Path, program: str) -> subprocess.CompletedProcess[str]:
    """Run *program* in *slot* as a volunteer's computer would."""
    with zipfile.ZipFile(str(slot / "archive.zip"), "w") as archive:
        archive.writestr("app_types.py", APP_TYPES)
        archive.writestr("app_slave.py", program)
    return python(slot, "-m", "pyboinc.slave_runner", "archive.zip", "app_slave.py")


def output(slot: Path) -> str:
    """What the output is, read with the slave half's own loader."""
    read = "import app_types as t; from pyboinc import codec; data = open('out', 'rb').read(); "
    show = "print(codec.decode(data, codec.Registry.from_modules([t])).value)"
    return python(slot, "-c", read + show).stdout.strip()


@pytest.mark.parametrize(
    "name",
    sorted(
        ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        for pattern in ("slave*.py", "boinc_api.py", "codec/*.py", "errors.py")
        for path in PACKAGE.glob(pattern)
    ),
)
def test_every_module_of_the_slave_half_can_be_imported(name: str, tmp_path: Path) -> None:
    """Volunteers: each module that travels is importable by itself on this Python."""
    imported = python(tmp_path, "-W", "error", "-c", "import pyboinc." + name)
    assert (imported.stderr, imported.returncode) == ("", 0)


def test_a_value_goes_there_and_back() -> None:
    """Codec: dataclasses, named tuples, enums, dates and containers come back equal."""
    when = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc)
    parts: typing.List[object] = [None, True, 2**70, b"x", {1: (2, 3)}, {"a"}, 1j, 0.5]
    value = Everything(Point(1, 2.5), Colour.RED, when, parts)
    assert codec.decode(codec.encode(value), HERE) == value


def test_what_app_types_may_name() -> None:
    """Volunteers: ``from pyboinc import close_to`` in app_types.py works there, and compares."""
    from pyboinc import bitwise, close_to

    point, near, other = Point(1, 2.0), Point(1, 2.0 + 1e-12), Point(1, 2.1)
    values = [Everything(each, Colour.RED, datetime.datetime.min) for each in (point, near, other)]
    assert close_to()(values[0], values[1]) and not close_to()(values[0], values[2])
    assert bitwise(values[0], values[0]) and not bitwise(values[0], values[1])


def test_what_is_hostile_is_refused() -> None:
    """Codec: a pickle that names anything else is refused, on this Python too."""
    with pytest.raises(RejectedResult):
        codec.decode(b"\x80\x04cos\nsystem\n(S'true'\ntR.", HERE)


def test_what_can_not_travel_is_said_at_once() -> None:
    """Codec: an output that can not travel names the attribute at fault."""
    with pytest.raises(EncodeError, match="parts"):
        codec.encode(Everything(Point(1, 2), Colour.RED, datetime.datetime.min, [lambda: 0]))


def test_a_slave_returns_its_output(slot: Path) -> None:
    """Slave: a program of an archive reads its input and leaves its output."""
    ended = run(
        slot,
        "from app_types import Number\n"
        "from pyboinc import pyboinc_fraction_done, pyboinc_get_input, pyboinc_return_output\n"
        "pyboinc_fraction_done(0.5)\n"
        "pyboinc_return_output(Number(pyboinc_get_input().value ** 2))\n",
    )
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert output(slot) == "49"


def test_a_slave_that_imports_nothing_is_given_the_names(slot: Path) -> None:
    """Design document: a slave that never imports pyboinc finds the functions and its types."""
    program = "import app_types\npyboinc_return_output(Number(pyboinc_get_input().value))\n"
    ended = run(slot, program)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert output(slot) == "7"


def test_a_slave_goes_on_from_its_checkpoint(slot: Path) -> None:
    """Slave: what was saved before the computer went down is there when it is up again."""
    program = (
        "from app_types import Number\n"
        "import os\n"
        "from pyboinc import pyboinc_load_checkpoint, pyboinc_save_checkpoint\n"
        "from pyboinc import pyboinc_return_output\n"
        "state = pyboinc_load_checkpoint()\n"
        "if state is None:\n"
        "    pyboinc_save_checkpoint(Number(40))\n"
        "    os._exit(9)\n"
        "pyboinc_return_output(Number(state.value + 2))\n"
    )
    assert run(slot, program).returncode == 9
    assert run(slot, program).returncode == 0
    assert output(slot) == "42"


def test_a_slave_that_raises_shows_its_own_frames(slot: Path) -> None:
    """Slave: an error ends with status 1 and the traceback of the slave, none of ours."""
    ended = run(slot, "def fails():\n    raise ValueError('seven')\n\nfails()\nimport pyboinc\n")
    assert ended.returncode == 1
    assert ended.stderr.startswith("Traceback")
    assert ended.stderr.endswith("ValueError: seven\n")
    assert "slave_runner" not in ended.stderr


def test_a_slave_without_an_output_is_an_error(slot: Path) -> None:
    """Slave: a program that ends without an output has failed, and is told what to call."""
    ended = run(slot, "import pyboinc\n")
    assert ended.returncode == 1
    assert "pyboinc_return_output" in ended.stderr


def volunteer(slot: Path) -> subprocess.CompletedProcess[str]:
    key = str(DATA / "slave.public_key")
    return python(slot, "-W", "error", "-m", "pyboinc.slave_volunteer", "--public-key", key)


def test_what_was_signed_runs(slot: Path) -> None:
    """Signatures: an archive that was signed by another version of Python is opened and run."""
    shutil.copy(str(DATA / "slave.signed"), str(slot / "slave.zip"))
    ended = volunteer(slot)
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert output(slot) == "49"


@pytest.mark.parametrize("place", [20, 100, 500, 900, -1])
def test_what_was_changed_does_not_run(slot: Path, place: int) -> None:
    """Signatures: one other bit, in key, signature, program or zip, and nothing is run."""
    changed = bytearray((DATA / "slave.signed").read_bytes())
    changed[place] ^= 1
    (slot / "slave.zip").write_bytes(bytes(changed))
    ended = volunteer(slot)
    assert (ended.returncode, ended.stderr[:9]) == (2, "pyboinc: ")
    assert not (slot / "program").exists()


def test_a_client_is_heard(slot: Path) -> None:
    """Client: a slave in a slot hears that it must quit, and ends without a word."""
    (slot / "init_data.xml").write_text(f"<client_pid>{os.getpid()}</client_pid>")
    memory = bytearray(8 * 1024)
    memory[0:9] = b"\1<quit/>\0"
    (slot / "boinc_mmap_file").write_bytes(bytes(memory))
    ended = run(slot, "while True:\n    pass\n")
    assert (ended.stderr, ended.returncode) == ("", 0)
    assert not (slot / "boinc_finish_called").exists()
