"""The calls that a program makes: numbered, packed once, recognised when they come again."""

from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyboinc import bundle, codec
from pyboinc.calls import Calls
from pyboinc.errors import EncodeError, RejectedResult, ReplayMismatch
from pyboinc.jobdir import JobDirectory, RunRecord

TYPES = """
class Input:
    def __init__(self, number):
        self.number = number
"""


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[JobDirectory]:
    """A locked job directory whose batch has no calls yet, with two slaves and a class."""
    (tmp_path / "types_of_calls.py").write_text(TYPES)
    for name in ("one_slave.py", "two_slave.py"):
        (tmp_path / name).write_text("from types_of_calls import Input\nimport pyboinc\n")
    opened = JobDirectory(tmp_path)
    opened.lock()
    opened.begin(RunRecord("t", "scripted", 7, "app_master.py"))
    yield opened
    opened.close()
    sys.modules.pop("types_of_calls", None)
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


@pytest.fixture
def calls(directory: JobDirectory) -> Calls:
    """The calls of a run in that directory."""
    return Calls(directory, ())


def test_calls_count_from_0_in_phase_1(calls: Calls, directory: JobDirectory) -> None:
    """Calls: each gets the next number, and stands in the spool with its phase."""
    assert [calls.call("one_slave.py", value, {}) for value in (5, 6)] == [0, 1]
    calls.begin(2, 2)
    assert calls.call("two_slave.py", 7, {"quorum": 2}) == 2
    assert [directory.spool.phase_of(number) for number in range(3)] == [1, 1, 2]
    assert [calls.input(number) for number in range(3)] == [5, 6, 7]
    assert (calls.slaves, calls.modules) == (["one_slave.py", "two_slave.py"], ["types_of_calls"])
    assert (directory.spool.call(2).slave, directory.spool.call(2).limits) == (
        "two_slave.py",
        {"quorum": 2},
    )


def test_a_slave_is_packed_once(
    calls: Calls, directory: JobDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives: a thousand calls of a slave pack it once, by either way to write its name."""
    packed: list[str] = []
    pack = bundle.pack
    monkeypatch.setattr(
        bundle,
        "pack",
        lambda path, slave, *more: (packed.append(slave), pack(path, slave, *more))[1],
    )
    for value in range(10):
        calls.call("./one_slave.py", value, {})
        calls.call("one_slave.py", value, {})
    assert packed == ["./one_slave.py"]
    digest = directory.spool.call(0).bundle
    assert directory.bundle_path(digest).read_bytes() == calls.bundle("one_slave.py").data


def test_included_files_travel(directory: JobDirectory) -> None:
    """Archives: what the settings include is in every slave's archive."""
    (directory.path / "data.csv").write_text("1,2\n")
    packed = Calls(directory, ("*.csv",)).bundle("one_slave.py")
    with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
        assert {"one_slave.py", "data.csv"} <= set(archive.namelist())


def test_calls_taken_back_are_made_anew(calls: Calls, directory: JobDirectory) -> None:
    """Calls: after a handler that raised the numbers go on from where they were; what is
    committed stays."""
    for value in range(3):
        calls.call("one_slave.py", value, {})
    directory.spool.sync()
    directory.journal.commit_calls(1, 2)
    calls.back_to(1)
    assert (calls.position, len(directory.spool)) == (1, 2)
    assert calls.call("one_slave.py", 1, {}) == 1, "the one that was recorded"
    assert calls.call("one_slave.py", 20, {}) == 2, "a new one"
    assert calls.input(2) == 20


def test_an_input_that_the_slave_does_not_know(calls: Calls) -> None:
    """Calls: a class that the slave can not import is refused at once, with the call's number."""

    class Mine:
        pass

    calls.call("one_slave.py", 1, {})
    with pytest.raises(EncodeError, match="^the input of call 1"):
        calls.call("one_slave.py", Mine(), {})
    with pytest.raises(EncodeError, match="^the input of call 1"):
        calls.call("one_slave.py", RunRecord("t", "b", 7, "p"), {})


def test_a_class_that_the_slave_knows(calls: Calls, directory: JobDirectory) -> None:
    """Calls: classes of the slave's own modules travel, and come back as what they are."""
    sys.path.insert(0, str(directory.path))
    from types_of_calls import Input  # type: ignore[import-not-found]  # made by the fixture

    calls.call("one_slave.py", Input(5), {})
    assert type(calls.input(0)) is Input
    assert calls.decode(codec.encode(Input(6)), codec.Budget(bytes=1000)).number == 6
    again = Calls(directory, ())
    other = Input(5)
    other.number = int("5")
    assert again.call("one_slave.py", other, {}) == 0
    with pytest.raises(ReplayMismatch, match="call 0 differs .* its input has another value now"):
        Calls(directory, ()).call("one_slave.py", Input(6), {})


def test_how_large_an_output_may_be(calls: Calls) -> None:
    """Outputs: what is loaded is as large as the caller allows, less or more than usually."""
    data = codec.encode("x" * 100)
    assert calls.decode(data, codec.Budget(bytes=len(data))) == calls.decode(data) == "x" * 100
    with pytest.raises(RejectedResult):
        calls.decode(data, codec.Budget(bytes=len(data) - 1))
    large = bytes(68_000_000)
    more = codec.Budget(bytes=69_000_000)
    data = codec.encode(large, "large", codec.Registry({}), more)
    assert calls.decode(data, more) == large
    with pytest.raises(RejectedResult):
        calls.decode(data)
