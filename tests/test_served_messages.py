"""Scheduler requests read and replies written, against what a real client has sent."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc.backends.served import messages
from pyboinc.backends.served.messages import Request, elements, parse_request
from pyboinc.backends.served.replies import AppVersion, Assignment, FileInfo, Reply, write_reply
from pyboinc.errors import RejectedRequest

EXCHANGES = Path(__file__).with_name("data") / "exchanges"


def recorded(name: str) -> Request:
    """A request that BOINC's client 7.20.5 has sent."""
    return parse_request((EXCHANGES / f"{name}.xml").read_bytes())


def wrap(inside: str) -> bytes:
    return f"<scheduler_request>\n{inside}\n</scheduler_request>\n".encode()


# ---------------------------------------------------------------- what a real client says


def test_a_first_request() -> None:
    """Protocol: who asks, on what computer, and for how much work."""
    request = recorded("first_contact")

    assert request.authenticator == "45e05760f10ed5e8373e32384b20cbf5"
    assert (request.hostid, request.rpc_seqno, request.version) == (0, 0, "7.20.5")
    assert request.platforms == ("x86_64-pc-linux-gnu",)
    assert (request.work_seconds, request.cpus, request.knows_key) == (1.0, 8, False)
    assert request.results == () and request.others == ()


def test_results_of_every_kind() -> None:
    """Protocol: exit status and state of each, its files, and what its task wrote."""
    results = {one.name: one for one in recorded("reports_failures").results}

    found = {name: (one.exit_status, one.client_state) for name, one in results.items()}
    assert found == {
        "job_00001_0": (1, 3),
        "job_00002_0": (11, 3),
        "job_00003_0": (0, 3),
        "job_00004_0": (0, 5),
        "job_00005_0": (0, 5),
        "job_00006_0": (0, 3),
    }
    assert results["job_00001_0"].stderr.endswith("ValueError: this job fails on purpose\n")
    assert "process got signal 11" in results["job_00002_0"].stderr
    assert results["job_00002_0"].signal and not results["job_00001_0"].signal
    (file,) = results["job_00005_0"].files
    assert (file.name, file.size) == ("job_00005_0_r0", 3000067)
    assert file.md5 == "f95d7f1e907e36080807090d10c69e32"


@pytest.mark.parametrize(
    ("name", "status", "state"),
    [("aborted_by_user", 203, 6), ("aborted_by_project", 202, 6), ("bad_signature", -186, 1)],
)
def test_the_other_ways_to_fail(name: str, status: int, state: int) -> None:
    """Protocol: an abort and a failed download have numbers of their own."""
    reported = {(one.exit_status, one.client_state) for one in recorded(name).results}

    assert (status, state) in reported


def test_what_a_host_still_has() -> None:
    """Protocol: the other results are those on the host; an empty list is not none at all."""
    assert len(recorded("wants_work").others or ()) > 0
    assert recorded("after_reset_lost_results").others == ()
    assert parse_request(wrap("<hostid>1</hostid>")).others is None


def test_a_trickle() -> None:
    """Protocol: a message of a task comes with its result's name, as it was written."""
    (trickle,) = recorded("trickle_up").trickles

    assert trickle.result == "job_00003_0"
    assert trickle.text == "<variety>pyboinc</variety>\n<hello>1 &lt; 2</hello>"


# ---------------------------------------------------------------- what nobody should say


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe\0", b"<scheduler_request>", b"{}", b"</scheduler_request><scheduler_request>"],
)
def test_what_is_no_request_is_refused(body: bytes) -> None:
    """Strangers: what is no whole request is refused, with a reason."""
    with pytest.raises(RejectedRequest, match="incomplete"):
        parse_request(body)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers: a request is bounded in bytes, and in the number of each element."""
    monkeypatch.setattr(messages, "MOST", 10)
    monkeypatch.setattr(messages, "LARGEST", 1000)
    others = "<other_results>" + "<name>a</name>" * 11 + "</other_results>"
    for inside in ("<result></result>" * 11, others, "<![CDATA[]]>" * 11):
        with pytest.raises(RejectedRequest, match="more than 10"):
            parse_request(wrap(inside))
    with pytest.raises(RejectedRequest, match="1,000 are the most"):
        parse_request(wrap(" " * 1000))


def test_what_a_task_writes_is_never_read_as_a_request() -> None:
    """Strangers: a task that prints markup, even the end of its own text, reports nothing."""
    forged = "]]></result><result><name>other_0</name><state>5</state></result> ]]>"
    reported = (
        "<result><name>mine_0</name><state>3</state><stderr_out>\n<![CDATA[\n<stderr_txt>\n"
        f"{forged}\n</stderr_txt>\n]]>\n</stderr_out></result>"
    )
    request = parse_request(wrap(reported))

    assert [one.name for one in request.results] == ["mine_0"]
    assert forged in request.results[0].stderr


def test_preferences_and_trickles_are_not_looked_into() -> None:
    """Strangers: what is pasted in from elsewhere sets no field of the request."""
    pasted = "<hostid>7</hostid><result><name>a</name></result>"
    request = parse_request(
        wrap(
            f"<working_global_preferences>{pasted}</working_global_preferences>"
            f"<msg_from_host><result_name>b</result_name><time>1</time>{pasted}</msg_from_host>"
        )
    )
    assert (request.hostid, request.results) == (0, ())
    assert request.trickles[0].text == pasted


@pytest.mark.parametrize("said", ["1e999", "nan", "-inf", "9" * 400, "0x10", "", "1;drop table"])
def test_a_number_that_is_none_counts_as_not_given(said: str) -> None:
    """Strangers: no number goes out of bounds, whatever stands there."""
    request = parse_request(
        wrap(f"<hostid>{said}</hostid><work_req_seconds>{said}</work_req_seconds>")
    )
    assert (request.hostid, request.work_seconds) == (0, 0.0)


def test_elements_that_are_not_closed_cost_no_more_than_others() -> None:
    """Strangers: the end of an element that has none is looked for once, not again and again."""

    class Counted(str):
        finds = 0

        def find(self, *arguments: object) -> int:  # type: ignore[override]  # counts alone
            Counted.finds += 1
            return str.find(self, *arguments)  # type: ignore[arg-type]

    assert list(elements(Counted("<result>" * 1000), "result")) == []
    assert Counted.finds == 1


@given(st.binary(max_size=300), st.data())
def test_whatever_comes_is_a_request_or_refused(noise: bytes, data: st.DataObject) -> None:
    """Strangers: a real request with anything in it never breaks the scanner."""
    body = (EXCHANGES / "reports_failures.xml").read_bytes()
    at = data.draw(st.integers(0, len(body)))
    try:
        request = parse_request(body[:at] + noise + body[at + len(noise) :])
    except RejectedRequest:
        return
    assert 0 <= request.hostid < 2**53 or request.hostid < 0
    assert all(-(2**31) <= one.exit_status < 2**31 for one in request.results)


# ---------------------------------------------------------------- replies


names = st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True)


@given(st.lists(names), st.lists(names), st.text(max_size=40), st.integers(0, 10**6))
def test_a_reply_can_be_read_again(
    acks: list[str], aborts: list[str], text: str, hostid: int
) -> None:
    """Protocol: every name of a reply comes out as it went in, and no text closes an element."""
    reply = Reply("http://127.0.0.1:1/p/", "P", hostid, acks=acks, aborts=aborts)
    reply.messages = [("low", text)]
    written = write_reply(reply).decode()

    assert [one.strip() for one in _inside(written, "result_ack")] == acks
    assert [one.strip() for one in _inside(written, "result_abort")] == aborts
    assert ("<hostid>" in written) == bool(hostid)
    assert written.count("</scheduler_reply>") == 1 and written.count("<message ") == 1


def _inside(text: str, name: str) -> list[str]:
    blocks = re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
    return [re.sub("</?name>", "", one) for one in blocks]


def test_a_file_is_told_once_and_before_what_needs_it() -> None:
    """Protocol: files stand before what refers to them; one that two results share, once."""
    shared = FileInfo("slave.zip", "http://h/x", 10, "ab", sticky=True)
    reply = Reply("http://127.0.0.1:1/p/", "P", app=("pyboinc", "Python"))
    reply.versions = [AppVersion("pyboinc", 100, "x86_64-pc-linux-gnu", FileInfo("m", "u", 1))]
    for name in ("w_0", "w_1"):
        out = FileInfo(f"{name}_r0", "http://h/file_upload_handler", max_nbytes=5)
        reply.assignments.append(
            Assignment("w", name, 9.0, ((shared, "slave.zip"),), (out, "out"), 1, 2, 3, 4)
        )
    text = write_reply(reply).decode()

    assert text.count("<name>slave.zip</name>") == text.count("<workunit>") == 1
    order = [text.index(f"<{what}>") for what in ("app", "app_version", "workunit", "result")]
    assert order == sorted(order) and text.index("<name>w_0_r0</name>") < order[2]


def test_a_project_that_is_down_says_only_that() -> None:
    """Protocol: on an outage the client waits, and nothing else is in the reply."""
    reply = Reply("http://h.x/", "P", down=True, request_delay=10, acks=["a"])

    assert b"<project_is_down/>\n<request_delay>10<" in write_reply(reply)
    assert b"result_ack" not in write_reply(reply)
