"""BOINC's runtime interface for a slave: files, shared memory, the end of a task."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pyboinc import boinc_api, codec
from pyboinc.boinc_api import CHANNEL_SIZE, CHANNELS, Channels, InitData, Task
from pyboinc.errors import SlaveError

INIT_DATA = """<app_init_data>
<major_version>7</major_version>
<wu_name>pyb_12_1</wu_name>
<result_name>pyb_12_1_0</result_name>
<project_preferences>
<wu_cpu_time>666</wu_cpu_time> & <nonsense
</project_preferences>
<wu_cpu_time>100.5</wu_cpu_time>
<checkpoint_period>60.000000</checkpoint_period>
<slot>0</slot>
</app_init_data>
"""


@pytest.fixture
def slot(tmp_path: Path) -> Path:
    """A slot as a BOINC client makes it: soft links, init_data.xml, shared memory."""
    project = tmp_path / "projects" / "127.0.0.1_test"
    slot = tmp_path / "slots" / "0"
    project.mkdir(parents=True)
    slot.mkdir(parents=True)
    (slot / "init_data.xml").write_text(INIT_DATA)
    (slot / "boinc_mmap_file").write_bytes(bytes(len(CHANNELS) * CHANNEL_SIZE))
    for name in ("in", "out"):
        link = f"<soft_link>../../projects/127.0.0.1_test/pyb_12_1_{name}</soft_link>\n"
        (slot / name).write_text(link)
    (project / "pyb_12_1_in").write_bytes(codec.encode(7))
    return slot


def project_file(slot: Path, name: str) -> Path:
    return slot.parent.parent / "projects" / "127.0.0.1_test" / name


def message(slot: Path, channel: str) -> str | None:
    """Read *channel* as the client does, and free it."""
    memory = bytearray((slot / "boinc_mmap_file").read_bytes())
    start = CHANNELS.index(channel) * CHANNEL_SIZE
    if not memory[start]:
        return None
    text = memory[start + 1 : start + CHANNEL_SIZE].partition(b"\0")[0].decode()
    memory[start] = 0
    with open(slot / "boinc_mmap_file", "r+b") as file:
        file.write(memory)
    return text


def status(slot: Path) -> dict[str, float] | None:
    """Return the times and the fraction that the task has reported."""
    text = message(slot, "app_status")
    return None if text is None else {k: float(v) for k, v in re.findall(r"<(\w+)>([^<]*)<", text)}


# -- files


def test_a_soft_link_names_the_real_file(slot: Path) -> None:
    """Files: input and output are where the client's soft links say, relative to the link."""
    assert os.path.samefile(boinc_api.resolve(str(slot / "in")), project_file(slot, "pyb_12_1_in"))
    wanted = os.path.realpath(project_file(slot, "pyb_12_1_out"))
    assert os.path.realpath(Task(str(slot)).resolve("out")) == wanted


@pytest.mark.parametrize("content", [b"", b"data <soft_link>x</soft_link>", b"\xff" * 600, None])
def test_what_is_no_soft_link_is_meant_itself(tmp_path: Path, content: bytes | None) -> None:
    """Files: a real file, one that is not there yet and a directory are meant themselves."""
    path = tmp_path / "in"
    if content is not None:
        path.write_bytes(content)
    assert boinc_api.resolve(str(path)) == str(path)
    assert boinc_api.resolve(str(tmp_path)) == str(tmp_path)


def test_init_data_is_read_around_the_users_own_text() -> None:
    """Init data: the user's preferences, pasted in raw, do not count."""
    data = InitData(INIT_DATA)
    assert data["wu_name"] == "pyb_12_1"
    assert data.number("wu_cpu_time") == 100.5
    assert data["authenticator"] == ""
    assert data.number("authenticator") == data.number("wu_name") == 0.0


# -- the channels


def test_a_message_waits_until_it_is_read(slot: Path) -> None:
    """Channels: a message that the client has not read stays, unless it is overwritten."""
    channels = Channels(str(slot / "boinc_mmap_file"))
    assert channels.send("trickle_up", "first")
    assert not channels.send("trickle_up", "second")
    assert channels.send("app_status", "elsewhere")
    assert message(slot, "trickle_up") == "first"
    assert channels.send("trickle_up", "third, longer")
    assert channels.send("trickle_up", "last", overwrite=True)
    assert message(slot, "trickle_up") == "last"
    assert message(slot, "trickle_up") is None


def test_a_message_stays_in_its_channel(slot: Path) -> None:
    """Channels: text that is too long is cut, and the next channel left alone."""
    Channels(str(slot / "boinc_mmap_file")).send("heartbeat", "x" * 5000)
    memory = (slot / "boinc_mmap_file").read_bytes()
    assert message(slot, "heartbeat") == "x" * (CHANNEL_SIZE - 2)
    assert memory[CHANNELS.index("app_status") * CHANNEL_SIZE :].strip(b"\0") == b""


# -- the task


def test_progress_carries_all_three_numbers(slot: Path) -> None:
    """Status: every message has both CPU times, those of earlier episodes included."""
    task = Task(str(slot))
    task.report_progress(0.25)
    told = status(slot)
    assert told is not None
    assert told["fraction_done"] == 0.25
    assert told["checkpoint_cpu_time"] == 100.5
    assert told["current_cpu_time"] > 100.5


def test_a_checkpoint_moves_the_checkpoints_cpu_time(slot: Path) -> None:
    """Status: a checkpoint is told even if the message before was not read."""
    task = Task(str(slot))
    task.report_progress(0.5)
    task.report_checkpoint()
    told = status(slot)
    assert told is not None
    assert told["checkpoint_cpu_time"] > 100.5
    assert told["fraction_done"] == 0.5


def test_the_finish_file_is_written_last(slot: Path) -> None:
    """End: after the last status, a file with the exit status tells that the task has finished."""
    Task(str(slot)).finish()
    assert (slot / "boinc_finish_called").read_text() == "0\n"
    assert status(slot) is not None


def test_a_task_without_shared_memory_works(slot: Path) -> None:
    """Status: an app version without an API version has no shared memory; its tasks still run."""
    (slot / "boinc_mmap_file").unlink()
    task = Task(str(slot))
    task.report_progress(0.5)
    task.finish()
    assert (slot / "boinc_finish_called").exists()


def test_an_end_that_can_not_be_told_is_an_error(slot: Path) -> None:
    """End: if the finish file can not be written, the slave says so."""
    (slot / "boinc_finish_called").mkdir()
    with pytest.raises(SlaveError, match="can not tell the BOINC client"):
        Task(str(slot)).finish()


# -- whole slaves in a client's slot

PROGRAM = """
from pyboinc import pyboinc_fraction_done, pyboinc_get_input, pyboinc_return_output
from pyboinc import pyboinc_save_checkpoint
value = pyboinc_get_input()
pyboinc_fraction_done(0.5)
pyboinc_save_checkpoint(value)
if value != 7:
    raise SystemExit(3)
pyboinc_return_output(value ** 2)
"""


def run(slot: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=slot, capture_output=True, text=True, check=False
    )


def install(slot: Path, archived: bool) -> list[str]:
    """Put the program where a client has it; return how it is started."""
    if not archived:
        project_file(slot, "app_slave.py").write_text(PROGRAM)
        return ["../../projects/127.0.0.1_test/app_slave.py"]
    with zipfile.ZipFile(project_file(slot, "archive_1.zip"), "w") as members:
        members.writestr("app_slave.py", PROGRAM)
    link = "<soft_link>../../projects/127.0.0.1_test/archive_1.zip</soft_link>"
    (slot / "archive.zip").write_text(link)
    return ["-m", "pyboinc.slave_runner", "archive.zip", "app_slave.py"]


@pytest.mark.parametrize("archived", [False, True], ids=["by itself", "in an archive"])
def test_a_slave_under_a_client(slot: Path, archived: bool) -> None:
    """Volunteers: a slave under a client reads and writes through soft links and finishes."""
    ended = run(slot, *install(slot, archived))
    assert (ended.returncode, ended.stderr) == (0, "")
    written = project_file(slot, "pyb_12_1_out").read_bytes()
    assert codec.decode(written, codec.Registry({})) == 49
    assert (slot / "out").read_text().startswith("<soft_link>")
    assert (slot / "boinc_finish_called").read_text() == "0\n"
    told = status(slot)
    assert told is not None
    assert told["fraction_done"] == 0.5
    assert told["checkpoint_cpu_time"] > 100.5


@pytest.mark.parametrize("archived", [False, True], ids=["by itself", "in an archive"])
def test_a_slave_that_fails_under_a_client(slot: Path, archived: bool) -> None:
    """Volunteers: a slave that fails does not tell the client that it has finished."""
    project_file(slot, "pyb_12_1_in").write_bytes(codec.encode(8))
    ended = run(slot, *install(slot, archived))
    assert ended.returncode == 3
    assert not (slot / "boinc_finish_called").exists()
