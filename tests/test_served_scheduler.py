"""The scheduler and the upload handler, asked by fake clients; hostile ones among them."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_client import FakeClient, Report, names
from served_bench import INPUT, MAX_OUTPUT, ServedBench, output
from test_emulator import Bench

from pyboinc.backends.local.emulator import Emulator
from pyboinc.backends.served.scheduler import Policy
from pyboinc.config.limits import Limits
from pyboinc.errors import RejectedRequest
from pyboinc.project import Report as ProjectReport
from pyboinc.records import SpooledCall, checksum


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[ServedBench]:
    """A served project with two clients of its own and an account for others."""
    bench = ServedBench(tmp_path, clients=2)
    yield bench
    bench.check()
    bench.emulator.store.close()


OVER, SENT = "OVER", "IN_PROGRESS"


# ---------------------------------------------------------------- a job's life


def test_a_job_goes_out_comes_back_and_is_delivered(bench: ServedBench) -> None:
    """Protocol: sent, uploaded, reported, acknowledged, and the output lies in new/."""
    bench.create()
    client = bench.client(1)
    client.ask()

    assert list(client.tasks) == ["1_0_0"]
    client.finish("1_0_0", output(42))
    assert names(client.ask(), "result_ack") == ["1_0_0"]
    assert client.tasks == {}
    assert bench.states() == [(OVER, "SUCCESS")]
    assert (bench.path / "new/1_0.out").read_bytes() == output(42)
    assert bench.project.incoming.names() == []


def test_the_host_is_told_its_number_once(bench: ServedBench) -> None:
    """Protocol: a second <hostid> would make the client take another identity."""
    client = bench.client(1)

    assert "<hostid>1</hostid>" in client.ask()
    assert "<hostid>" not in client.ask()


def test_the_code_sign_key_is_sent_to_who_does_not_know_it(bench: ServedBench) -> None:
    """Protocol: the key comes with the first reply, and any later one would need the old key."""
    client = bench.client(1)

    assert "<code_sign_key>" in client.ask()
    assert "<code_sign_key>" not in client.ask()


def test_an_error_is_reported_with_its_traceback(bench: ServedBench) -> None:
    """Protocol: exit status and stderr of a failed task are kept, and another one is made."""
    bench.create()
    client = bench.client(1)
    client.ask()
    client.fail("1_0_0", stderr="Traceback\nValueError: seven")
    client.ask(seconds=0)

    assert bench.states() == [(OVER, "CLIENT_ERROR"), ("UNSENT", "INIT")]
    rows = bench.emulator.store.named("1_0")
    assert rows is not None and rows.turns[0].stderr == "Traceback\nValueError: seven\n"
    assert bench.project.scheduler.news == ["1_0_0: ValueError: seven"]


def test_success_takes_the_file_and_state_and_status(bench: ServedBench) -> None:
    """Protocol: exit status 0 is not enough: state 5 too, and the very file that was meant."""
    bench.create(4, max_errors=1)
    client = bench.client(1, cpus=4)
    client.ask()
    client.reports.append(Report("1_0_0", state=3))
    client.reports.append(Report("1_1_0", output=b"never uploaded"))
    client.upload("1_2_0", output(1))
    client.reports.append(Report("1_2_0", output=output(2)))
    client.finish("1_3_0", output(3))
    client.ask(seconds=0)

    outcomes = [bench.states(n)[0][1] for n in range(4)]
    assert outcomes == ["CLIENT_ERROR", "VALIDATE_ERROR", "VALIDATE_ERROR", "SUCCESS"]


def test_a_result_whose_deadline_passed_is_done_by_another_host(bench: ServedBench) -> None:
    """Deadlines: the instance is over, another one is made, and a late answer still counts."""
    bench.create()
    late, other = bench.client(1), bench.client(2)
    late.ask()
    bench.pass_deadlines()
    other.ask()

    assert bench.states() == [(OVER, "NO_REPLY"), (SENT, "INIT")]
    assert names(late.ask(seconds=0), "result_abort_if_not_started") == ["1_0_0"]
    late.finish("1_0_0", output(1))
    late.ask(seconds=0)
    assert bench.states()[0] == (OVER, "SUCCESS")
    assert (bench.path / "new/1_0.out").exists()


def test_a_quorum_goes_to_as_many_hosts(bench: ServedBench) -> None:
    """Quorum: two instances of a workunit never count on one host; a wrong one is outvoted."""
    bench.create(quorum=2)
    one, two = bench.client(1, cpus=8), bench.client(2, cpus=8)
    three = bench.client(0)
    one.ask()
    two.ask()
    assert (list(one.tasks), list(two.tasks)) == (["1_0_0"], ["1_0_1"])
    one.finish("1_0_0", output(1))
    two.finish("1_0_1", output(2))
    one.ask()
    two.ask()
    assert (one.tasks, two.tasks) == ({}, {})
    three.ask()
    three.finish("1_0_2", output(2))
    three.ask()

    assert (bench.path / "new/1_0.out").read_bytes() == output(2)


def test_what_failed_on_every_host_may_fail_on_one_again(bench: ServedBench) -> None:
    """No hang: with one host only, a job that fails ends as a failure, not as a wait."""
    bench.create(max_errors=2)
    client = bench.client(1)
    for _ in range(5):
        client.ask()
        for name in list(client.tasks):
            client.fail(name)
    assert bench.states() == [(OVER, "CLIENT_ERROR")] * 3
    assert (bench.path / "new/1_0.error").exists()


def test_lost_results_are_sent_again(bench: ServedBench) -> None:
    """Protocol: what the host should have and does not list comes again, with all its files."""
    bench.create(2)
    client = bench.client(1, cpus=2)
    client.ask()
    client.tasks.clear()
    client.ask(seconds=0)

    assert sorted(client.tasks) == ["1_0_0", "1_1_0"]
    assert bench.states() == [(SENT, "INIT")]


def test_a_cancelled_job_is_aborted_on_its_host(bench: ServedBench) -> None:
    """Cancel: the client is told to abort what it has, and its report is taken."""
    bench.create()
    client = bench.client(1)
    client.ask()
    bench.emulator.cancel()
    bench.emulator.commit()
    assert names(client.ask(seconds=0), "result_abort") == ["1_0_0"]
    client.ask(seconds=0)

    assert bench.states() == [(OVER, "CLIENT_ERROR")]
    assert client.tasks == {}


def test_a_client_that_begins_anew_loses_what_it_had(bench: ServedBench) -> None:
    """Hosts: a client of ours with an empty directory is a new host, and the work goes on."""
    bench.create()
    bench.client(1).ask()
    again = bench.client(1, cpid="f" * 32)
    again.ask()

    assert again.hostid == 2
    assert bench.states() == [(OVER, "CLIENT_DETACHED"), (SENT, "INIT")]


def test_a_copied_directory_makes_a_host_of_its_own(bench: ServedBench) -> None:
    """Hosts: a count of requests that goes back under another CPID is another computer."""
    first, copy = bench.client(0), bench.client(0, cpid="d" * 32)
    first.ask()
    first.ask()
    first.ask()
    copy.hostid = first.hostid
    copy.ask()
    assert (first.hostid, copy.hostid) == (1, 2)
    # A client that was killed before it wrote its state is the same one.
    first.seqno = 0
    first.ask()
    assert first.hostid == 1


def test_work_is_shared_evenly(tmp_path: Path) -> None:
    """Sharing: the first client to ask does not take all of it."""
    bench = ServedBench(tmp_path, Policy(clients=4), clients=4)
    bench.create(20)
    clients = [bench.client(n, cpus=8) for n in range(1, 5)]
    for client in clients:
        client.ask()

    assert [len(one.tasks) for one in clients] == [5, 5, 5, 5]


def test_limits_of_a_request_and_of_a_host(tmp_path: Path) -> None:
    """Limits: so many results in a reply, so many on a host, so many a day after errors."""
    bench = ServedBench(tmp_path, Policy(per_request=3, per_cpu=4, daily_quota=6))
    bench.create(50)
    client = bench.client(0)
    counts = []
    for _ in range(4):
        client.ask()
        counts.append(len(client.tasks))
    assert counts == [3, 4, 4, 4]
    for name in list(client.tasks):
        client.fail(name)
    client.ask()
    assert (len(client.tasks), client.said) == (0, ["No work available"])


def test_what_can_not_be_done_in_time_is_not_sent(bench: ServedBench) -> None:
    """Deadline check: a job estimated to take longer than its bound waits, and that is said."""
    bench.create(delay_bound=60, fpops=1e12)
    client = bench.client(1)
    client.ask()

    assert client.tasks == {}
    assert "give fpops" in bench.project.scheduler.news[0]
    bench.create()
    client.ask()
    assert list(client.tasks) == ["1_1_0"]


def test_a_project_that_is_down_changes_nothing(bench: ServedBench) -> None:
    """Outage: the client is told to come again, and what it reports waits for that."""
    bench.create()
    client = bench.client(1)
    client.ask()
    client.fail("1_0_0")
    bench.project.scheduler.down = True
    assert "<project_is_down/>" in client.ask()
    assert bench.states() == [(SENT, "INIT")]
    bench.project.scheduler.down = False
    client.ask(seconds=0)
    assert client.tasks == {}


# ---------------------------------------------------------------- kills of the server


def test_a_kill_before_the_commit_is_as_if_nothing_was_asked(bench: ServedBench) -> None:
    """Durability: work, uploads and reports that were not answered for come again."""
    bench.create(2)
    client = bench.client(1, cpus=2)
    lost = client.request()
    bench.project.scheduler.answer(_parsed(lost))
    bench.reopen()
    client.ask()
    assert sorted(client.tasks) == ["1_0_0", "1_1_0"]

    client.finish("1_0_0", output(1))
    # The file is moved, nothing is written down, and the server is killed.
    bench.project.scheduler.answer(_parsed(client.request()))
    bench.reopen()
    client.ask()
    assert bench.states() == [(OVER, "SUCCESS")]
    assert (bench.path / "new/1_0.out").read_bytes() == output(1)


def test_everything_is_there_after_a_restart(bench: ServedBench) -> None:
    """Durability: accounts, hosts, keys, the address and work in progress outlive the server."""
    bench.create(2)
    client = bench.client(1)
    client.ask()
    before = bench.keys, bench.project.url, bench.project.catalogue.code_sign.public
    bench.reopen()

    assert (bench.keys, bench.project.url, bench.project.catalogue.code_sign.public) == before
    assert "<hostid>" not in client.ask(seconds=0)
    client.finish("1_0_0", output(1))
    client.ask(seconds=0)
    assert bench.states() == [(OVER, "SUCCESS")]
    assert len(client.post("cgi", client.request())) > 0


def _parsed(body: bytes) -> object:
    from pyboinc.backends.served.messages import parse_request

    return parse_request(body)


# ---------------------------------------------------------------- uploads


def test_an_upload_is_resumed_where_it_was_cut(bench: ServedBench) -> None:
    """Uploads: the size is told, the rest is taken from there, a repetition changes nothing."""
    bench.create()
    client = bench.client(1)
    client.ask()
    data = output(bytes(range(256)) * 100)
    (bench.path / ".pyboinc/local/incoming/1_0_0_r0").write_bytes(data[:10_000] + b"torn")

    assert "<file_size>10004</file_size>" in client.size("1_0_0")
    assert "<status>0</status>" in client.upload("1_0_0", data, start=10_000)
    assert "<status>0</status>" in client.upload("1_0_0", data, start=10_000)
    client.reports.append(Report("1_0_0", output=data))
    client.ask(seconds=0)
    assert (bench.path / "new/1_0.out").read_bytes() == data
    client.tasks = {"1_0_0": bench.client(1).tasks.get("1_0_0", None) or _task(client)}
    assert "<status>0</status>" in client.upload("1_0_0", data), "reported already: said once more"


def _task(client: FakeClient) -> object:
    from fake_client import Task

    bench = client.post.__self__  # type: ignore[attr-defined]  # a bound method
    signature = bench.project.catalogue.certificates.of("1_0_0_r0", MAX_OUTPUT)
    return Task("1_0_0", "1_0", 0, "1_0_0_r0", MAX_OUTPUT, signature)


@pytest.mark.parametrize(
    ("lies", "status", "word"),
    [
        ({"name": "1_1_0_r0"}, -1, "invalid signature"),
        ({"name": "../../../new/1_0.out"}, -1, "no name of an output"),
        ({"name": "1_0_0_r0/../x"}, -1, "no name of an output"),
        ({"name": "/etc/passwd"}, -1, "no name of an output"),
        ({"xml_signature": "00" * 128 + "\n."}, -1, "invalid signature"),
        ({"max_nbytes": 10**9}, -1, "invalid signature"),
        ({"nbytes": 10**9}, -1, "file too big"),
        ({"nbytes": 3}, -1, "more bytes than were said"),
        ({"nbytes": 500}, 1, "ended too soon"),
        ({"offset": 5}, 1, "so much of it is not here"),
        ({"offset": -1}, -1, "no such offset"),
        ({"offset": 10**12}, -1, "no such offset"),
        ({"md5_cksum": "0" * 32}, 1, "other bytes"),
    ],
)
def test_uploads_that_lie_are_refused(
    bench: ServedBench, lies: dict[str, object], status: int, word: str
) -> None:
    """Strangers: only the file that was asked for is written, only as large, only as said."""
    bench.create(2)
    client = bench.client(1)
    client.ask()
    answer = client.upload("1_0_0", output("an output of some length"), **lies)

    assert f"<status>{status}</status>" in answer and word in answer
    assert set(bench.project.incoming.names()) <= {"1_0_0_r0"}
    client.finish("1_0_0", output(1))
    client.ask(seconds=0)
    assert bench.states() == [(OVER, "SUCCESS")]


def test_nobody_uploads_what_was_not_sent(bench: ServedBench) -> None:
    """Strangers: a certificate of an earlier life does not open the door of a result not sent."""
    bench.create()
    client = bench.client(1)
    client.tasks = {"1_0_0": _task(client)}

    assert "nobody waits" in client.upload("1_0_0", output(1))
    assert bench.project.incoming.names() == []


# ---------------------------------------------------------------- clients that lie


def test_an_unknown_key_gets_nothing(bench: ServedBench) -> None:
    """Strangers: without an account there is no work, no host and no report."""
    bench.create()
    stranger = FakeClient("0" * 32, bench.post)
    stranger.reports.append(Report("1_0_0", 1, 3))

    assert "Invalid or missing account key" in stranger.ask()
    assert (stranger.tasks, stranger.hostid, bench.project.registry.hosts) == ({}, 0, {})


def test_nobody_reports_what_another_has(bench: ServedBench) -> None:
    """Strangers: a report of another's result is acknowledged, and changes nothing."""
    bench.create(2)
    honest, liar = bench.client(1), bench.client(2)
    honest.ask()
    liar.ask()
    liar.reports = [Report("1_0_0", 1, 3), Report("1_0_0", output=b"x")]
    liar.tasks["1_0_0"] = honest.tasks["1_0_0"]

    assert names(liar.ask(seconds=0), "result_ack") == ["1_0_0", "1_0_0"]
    assert bench.states() == [(SENT, "INIT")]
    honest.finish("1_0_0", output(1))
    honest.ask(seconds=0)
    assert bench.states() == [(OVER, "SUCCESS")]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "x",
        "1_0",
        "1_9_0",
        "1_0_9",
        "2_0_0",
        "../1_0_0",
        "1_0_0\n",
        "1_0_-1",
        "1_0_0_0",
        "9" * 300,
    ],
)
def test_names_that_are_none(bench: ServedBench, name: str) -> None:
    """Strangers: a result that never was is acknowledged, aborted, and known to nobody."""
    bench.create()
    client = bench.client(1)
    client.reports = [Report(name, output=b"x")]
    client.tasks = {"1_7_0": _task(client)}
    answer = client.ask()

    assert answer.count("<result_ack>") == 1 and names(answer, "result_abort") == ["1_7_0"]
    assert bench.project.wanted(name).value in ("no", "yes")
    assert bench.project.input(f"{name}.in") in (None, INPUT)


def test_another_accounts_host_is_nobodys_way_in(bench: ServedBench) -> None:
    """Strangers: who gives another's host number gets a number of his own, and not its work."""
    bench.create()
    honest, liar = bench.client(1), bench.client(0, hostid=1, seqno=50)
    honest.ask()
    liar.ask()

    assert (liar.hostid, liar.tasks) == (2, {})
    assert bench.states() == [(SENT, "INIT")]


def test_requests_in_any_order_and_any_number(bench: ServedBench, seed: int) -> None:
    """Strangers: old requests, again and in disorder, lose no job and finish none twice."""
    place = random.Random(seed)
    bench.create(12)
    clients = [bench.client(n, cpus=4) for n in (1, 2)]
    said: list[bytes] = []
    for turn in range(60):
        client = place.choice(clients)
        said.append(client.request())
        client.ask()
        for _ in range(place.randrange(3)):
            bench.post("cgi", place.choice(said))
        for name in list(client.tasks)[: place.randrange(3)]:
            if any(one.name == name for one in client.reports):
                continue
            if place.random() < 0.2:
                client.fail(name)
            else:
                client.finish(name, output(turn))
        if place.random() < 0.1:
            bench.reopen()
        bench.check()
    for _ in range(20):
        for client in clients:
            client.ask()
            for name in list(client.tasks):
                if all(one.name != name for one in client.reports):
                    client.finish(name, output(0))
    assert bench.emulator.tally.done + bench.emulator.tally.failed == 12


def test_noise_at_both_handlers(bench: ServedBench, seed: int) -> None:
    """Strangers: a seeded fuzz of requests and uploads; each is answered, and the rows hold."""
    place = random.Random(seed)
    bench.create(5)
    client = bench.client(1, cpus=5)
    client.ask()
    client.finish("1_0_0", output(0))
    client.fail("1_1_0")
    task = client.tasks["1_2_0"]
    upload = (
        f"<data_server_request>\n<file_upload>\n<file_info>\n<name>{task.output}</name>\n"
        f"<xml_signature>\n{task.signature}</xml_signature>\n<max_nbytes>{task.max_nbytes}"
        "</max_nbytes>\n</file_info>\n<nbytes>4</nbytes>\n<offset>0</offset>\n<data>\nabcd"
    ).encode()
    valid = {"cgi": client.request(), "file_upload_handler": upload}
    for _ in range(int(os.environ.get("PYBOINC_TEST_FUZZ", "200"))):
        address = place.choice(list(valid))
        body = bytearray(valid[address])
        for _ in range(place.randrange(1, 6)):
            _spoil(place, body)
        try:
            answer = bench.post(address, bytes(body))
        except RejectedRequest:
            continue
        assert b"_reply>" in answer
    bench.check()


def _spoil(place: random.Random, body: bytearray) -> None:
    start = place.randrange(len(body) or 1)
    stop = min(len(body), start + place.randrange(40))
    match place.randrange(5):
        case 0:
            body[start:stop] = place.randbytes(place.randrange(20))
        case 1:
            body[start:stop] = b""
        case 2:
            body[start:start] = body[start:stop] * place.randrange(1, 5)
        case 3:
            body[start:start] = place.choice(
                [b"<name>1_0_0</name>", b"]]>", b"<![CDATA[", b"</result>", b"-1", b"99999999999"]
            )
        case _:
            other = place.randrange(len(body) or 1)
            body[start:stop], body[other : other + 9] = body[other : other + 9], body[start:stop]


# ---------------------------------------------------------------- as emulated hosts


def _lives(emulator: Emulator) -> list[object]:
    """The rows of all workunits and results, but for what is of hosts, times and files."""
    found: list[object] = []
    for identifier in (1 << 40 | n for n in range(emulator.tally.total)):
        (rows,) = emulator.store.load([identifier])
        one = rows.workunit
        found.append((one.canonical_instance, one.error_mask, one.assimilate_state))
        for result in rows.results:
            what = result.server_state, result.outcome, result.client_state, result.validate_state
            found.append((*what, result.exit_status, result.output, result.file_delete_state))
    return found


STORY = (
    *(("answer", 0, 1), ("fail", 1, 1), ("fail", 1, 11), ("answer", 1, 1)),
    *(("answer", 2, 5), ("answer", 2, 6), ("answer", 2, 6), ("vanish", 3, 0), ("answer", 3, 1)),
    *(("send", 4, 0), ("cancel", 4, 0)),
)
"""What happens to five jobs: success; error and crash; outvoted; missed deadline; cancelled."""


def _limits(sequence: int) -> dict[str, int]:
    return {"quorum": 2} if sequence == 2 else {"max_errors": 3}


def test_clients_leave_the_rows_that_emulated_hosts_leave(tmp_path: Path) -> None:
    """Fidelity: one story, told by emulated hosts and by clients, ends in the same rows."""
    (tmp_path / "emulated").mkdir()
    emulated = Bench(tmp_path / "emulated")
    served = ServedBench(tmp_path / "served", Policy(per_cpu=1))
    for sequence in range(5):
        limits = Limits(**{"fpops": 1e9, **_limits(sequence)})
        for emulator, what in ((emulated.emulator, "s.py"), (served.emulator, "app_slave.py")):
            size = len(INPUT), checksum((INPUT,))
            call = SpooledCall(sequence, what, served.bundle, 1, {}, 0, *size)
            emulator.create([call], limits)
            emulator.commit()
    _tell_emulated(emulated)
    _tell_served(served)

    assert _lives(served.emulator) == _lives(emulated.emulator)
    served.check()
    for one in (emulated, served):
        one.emulator.store.close()


def _tell_emulated(bench: Bench) -> None:
    hosts = 0
    for what, sequence, value in STORY:
        if what == "cancel":
            bench.emulator.cancel()
            bench.emulator.commit()
            continue
        hosts += 1
        rows, instance = bench.send(f"host-{hosts}")
        assert rows.details.sequence == sequence
        if what == "answer":
            bench.answer(rows, instance, value)
        elif what == "fail":
            bench.emulator.report(rows.workunit.id, ProjectReport.error(instance, value))
        elif what == "vanish":
            bench.emulator.expire(rows.workunit.id, instance)
        bench.emulator.commit()


def _tell_served(bench: ServedBench) -> None:
    client = bench.client()
    for number, (what, sequence, value) in enumerate(STORY):
        if what == "cancel":
            bench.emulator.cancel()
            bench.emulator.commit()
            client.ask(seconds=0)  # it hears of it
            client.ask(seconds=0)  # and reports what became of it
            continue
        client = bench.client(0, cpid=f"{number:032x}")
        client.ask()
        (name,) = client.tasks
        assert name.startswith(f"1_{sequence}_")
        if what == "answer":
            client.finish(name, output(value))
        elif what == "fail":
            client.fail(name, status=value)
        elif what == "vanish":
            bench.pass_deadlines()
        if client.reports:
            client.ask(seconds=0)
