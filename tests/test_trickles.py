"""Trickles: what slaves say while they run is kept, and shown to people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from clients import Client
from masters import Place
from served_bench import ServedBench

from pyboinc import slave
from pyboinc.backends.local import trickles
from pyboinc.backends.local.store import Store
from pyboinc.backends.served.survey import Survey
from pyboinc.boinc_api import Task
from pyboinc.errors import SlaveError

SLAVE = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output, pyboinc_send_trickle_up

number = pyboinc_get_input().number
pyboinc_send_trickle_up("begun")
pyboinc_send_trickle_up(f"<{number}> & \\x1b[31m more\\nthan that")
pyboinc_return_output(Output(number ** 2))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServedBench]:
    """A served project with two clients of its own."""
    bench = ServedBench(tmp_path, clients=2)
    yield bench
    bench.check()
    bench.emulator.store.close()


def said(bench: ServedBench, sequence: int = 0) -> list[tuple[int, float, str]]:
    """Instance, time and text of what is shown of a job's trickles."""
    job = Survey(bench.emulator.store.path, 1).job(sequence)
    assert job is not None
    return [
        (one["instance"], each["time"], each["text"])
        for one in job["instances"]
        for each in one["trickles"]
    ]


def test_what_a_task_says_is_kept_before_it_is_acknowledged(bench: ServedBench) -> None:
    """Trickles: durable when it is acknowledged; a repeated request changes nothing."""
    bench.create()
    client = bench.client(1)
    client.ask()
    client.trickles = {
        100: ("1_0_0", "<variety>v</variety>\nhalf &lt; way"),
        200: ("1_0_0", "more"),
    }
    request = client.request(seconds=0)
    assert "<message_ack/>" in client.ask(seconds=0)
    bench.post("cgi", request)
    assert "<message_ack/>" not in client.ask(seconds=0)
    bench.reopen()

    assert said(bench) == [(0, 100, "half < way"), (0, 200, "more")]
    assert trickles.of_workunit(bench.emulator.store, 1 << 40)[0].variety == "v"


def test_nobody_speaks_for_another(bench: ServedBench) -> None:
    """Strangers: a trickle of somebody else's result, or of none, is acknowledged and dropped."""
    bench.create(2)
    client, stranger = bench.client(1), bench.client(2)
    client.ask()
    for name in ("1_0_0", "1_1_0", "1_7_0", "2_0_0", "../x", ""):
        stranger.trickles = {100: (name, "a lie")}
        assert "<message_ack/>" in stranger.ask(seconds=0)
    bench.reopen()

    assert said(bench) == [] and said(bench, 1) == []


def test_the_last_ones_are_kept(bench: ServedBench) -> None:
    """Strangers: however much a task says, no more than some of it is kept."""
    bench.create()
    client = bench.client(1)
    client.ask()
    for start in (0, 1000):
        client.trickles = {start + n: ("1_0_0", "x" * 10_000) for n in range(200)}
        client.ask(seconds=0)

    kept = said(bench)
    assert [time for _, time, _ in kept] == [1180 + n for n in range(trickles.KEPT)]
    assert {len(text) for _, _, text in kept} == {slave.MOST_TRICKLE}


def test_an_emulated_host_brings_the_last_one(tmp_path: Path) -> None:
    """Trickles: on the laptop what a slave said last is there when it has ended, also in status."""
    place = Place(tmp_path / "app", {"app_slave.py": SLAVE}, calls=3)
    run = place.run()
    assert run.code == 0, run.stderr
    texts = place.select("select text from trickle order by workunit")
    assert texts == [(f"<{number}> & \x1b[31m more\nthan that",) for number in range(3)]

    status = place.run(command=(sys.executable, "-m", "pyboinc", "status", "--json"))
    told = json.loads(status.stdout)["trickle"]
    assert told["name"] in {"1_0_0", "1_1_0", "1_2_0"} and "than that" in told["text"]


def test_status_says_what_was_said() -> None:
    """Trickles: one line, of characters that a terminal shows and does not obey."""
    from pyboinc.backends import Counts
    from pyboinc.cli.status import Status, describe

    trickle = ("1_7_0", 100.0, "step 3\n\x1b[31m of 9")
    counts = Counts(9, 9, 0, 0, 0, 0)
    status = Status(
        "/d", "app_master.py", "local", "1", 7, 1, 99, counts, 0, None, None, 0, trickle
    )
    lines = describe(status, SimpleNamespace(), now=112.0).splitlines()  # type: ignore[arg-type]  # not asked
    assert lines[-1] == "  1_7_0 said 0:12 ago: step 3 [31m of 9"


def test_an_earlier_database_has_none(tmp_path: Path) -> None:
    """Upgrades: a database from before there were trickles is looked at all the same."""
    store = Store(tmp_path / "project.sqlite")
    assert trickles.latest(store, 1) is None
    store.ask("drop table trickle")
    assert trickles.latest(store, 1) is None
    store.close()
    again = Store(tmp_path / "project.sqlite")
    assert trickles.of_workunit(again, 1) == []
    again.close()


def test_a_client_is_given_what_xml_can_hold(tmp_path: Path) -> None:
    """Trickles: a client pastes the text into its request, so markup is escaped."""
    client = Client(tmp_path)
    try:
        task = Task(str(client.slot))
        instance = slave.Instance(str(client.slot), slave.Classes([]), task)
        instance.send_trickle_up("</msg_from_host> & \udcff")
        written = (client.slot / "trickle_up.xml").read_text()
        assert written == "<variety>pyboinc</variety>\n&lt;/msg_from_host&gt; &amp; ?"
        assert client.hears("trickle_up") == "<have_new_trickle_up/>\n"
        with pytest.raises(SlaveError, match="8193 bytes; 8192 are the most"):
            instance.send_trickle_up("x" * 8193)
    finally:
        client.close()


@pytest.mark.parametrize(
    ("written", "variety", "text"),
    [
        ("", "", ""),
        ("plain", "", "plain"),
        ("<variety>v</variety>", "v", ""),
        ("<variety>v</variety>\n<a>1</a>", "v", "<a>1</a>"),
        ("<variety>never closed", "", "<variety>never closed"),
    ],
)
def test_whatever_a_file_holds(written: str, variety: str, text: str) -> None:
    """Trickles: other programs' are read, too."""
    assert trickles.parse(0, 1.0, written) == (0, 1.0, variety, text)


def test_what_a_slave_made_of_its_slot(tmp_path: Path) -> None:
    """Strangers: a slot without a trickle, or with something else in its place, says nothing."""
    assert trickles.read(str(tmp_path), 0) is None
    (tmp_path / "trickle_up.xml").mkdir()
    assert trickles.read(str(tmp_path), 0) is None
    (tmp_path / "trickle_up.xml").rmdir()
    (tmp_path / "trickle_up.xml").write_bytes(b"x" * 100_000)
    assert trickles.read(str(tmp_path), 0) is None
