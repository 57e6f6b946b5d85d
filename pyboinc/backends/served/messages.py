"""What clients say to the scheduler: their requests, read without trusting a byte of them.

A request looks like XML and is not: stderr of tasks, preferences and trickles are pasted in
as they are.  So no XML parser reads it but a scanner for the few elements that matter,
which skips what it does not know, never looks into a text that somebody else wrote, and takes
a time that grows with the length of the request and no faster.  Whatever comes in is either a
:class:`Request` with every field in bounds or a :class:`~pyboinc.errors.RejectedRequest`.

Source: BOINC ``sched/sched_types.cpp``, ``client/cs_scheduler.cpp``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from pyboinc.errors import RejectedRequest

LARGEST = 10_000_000
"""Bytes of a request, at most."""

MOST = 10_000
"""Results, other results or trickles in one request, at most."""

_STDERR = 65_536
_NAME = 256
_CDATA, _CDATA_END = "<![CDATA[", re.compile(r"\]\]>\s{0,4}</stderr_out>")

_TOP = (
    "authenticator|hostid|rpc_seqno|core_client_major_version|"
    "core_client_minor_version|core_client_release|dont_send_work|work_req_seconds|"
    "cpu_req_secs|cpu_req_instances|platform_name|code_sign_key|"
    "working_global_preferences|global_preferences|time_stats|net_stats|host_info|"
    "disk_usage|coprocs|result|msg_from_host|app_versions|alt_platform|other_results|"
    "in_progress_results|project_preferences|stderr_out"
)
_RESULT = (
    "name|final_cpu_time|final_elapsed_time|exit_status|state|platform|version_num|"
    "app_version_num|plan_class|stderr_out|file_info"
)
_FILE = "name|nbytes|max_nbytes|md5_cksum"
_HOST = "host_cpid|p_ncpus|domain_name|os_name|os_version|p_model|m_nbytes|d_free|p_fpops"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A file that a client says it has uploaded: its name, size (bytes) and MD5."""

    name: str
    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class ReportedResult:
    """What a client says of one task that is over; times in seconds."""

    name: str
    exit_status: int = 0
    client_state: int = 0
    elapsed: float = 0.0
    cpu: float = 0.0
    signal: bool = False
    stderr: str = ""
    files: tuple[UploadedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class Trickle:
    """A message of a running task to the project, as its file is, sent at *time* (s)."""

    result: str
    text: str
    time: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """One scheduler request, every field in bounds.

    ``others`` are the tasks that the host has beside those it reports; None if it does not
    say.  ``work_seconds`` is how much work it asks for, 0 for none; ``flops`` the speed of one
    of its CPUs, 0 if it does not say.
    """

    authenticator: str = ""
    hostid: int = 0
    rpc_seqno: int = 0
    version: str = ""
    platforms: tuple[str, ...] = ()
    work_seconds: float = 0.0
    idle_cpus: float = 0.0
    knows_key: bool = False
    cpid: str = ""
    cpus: int = 1
    host_name: str = ""
    system: str = ""
    flops: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    results: tuple[ReportedResult, ...] = ()
    others: tuple[str, ...] | None = None
    trickles: tuple[Trickle, ...] = ()


# ---------------------------------------------------------------- reading


def parse_request(body: bytes) -> Request:
    """Read a request; raises :class:`~pyboinc.errors.RejectedRequest` if it is none."""
    if len(body) > LARGEST:
        raise RejectedRequest(f"a request of {len(body):,} bytes; {LARGEST:,} are the most")
    text, said = _cut_stderr(body.decode("utf-8", "replace"))
    start = text.find("<scheduler_request>")
    if start < 0 or text.rfind("</scheduler_request>") < start:
        raise RejectedRequest("incomplete request: there is no whole <scheduler_request>")
    one: dict[str, str] = {}
    many: dict[str, list[str]] = {"result": [], "msg_from_host": [], "alt_platform": []}
    for name, content in elements(text, _TOP, start):
        if name not in many:
            one.setdefault(name, content)
        elif len(many[name]) == MOST:
            raise RejectedRequest(f"more than {MOST:,} elements <{name}>")
        else:
            many[name].append(content)
    return _request(one, many, said)


def _request(one: dict[str, str], many: dict[str, list[str]], said: list[str]) -> Request:
    host = first_of(one.get("host_info", ""), _HOST)
    version = [one.get(f"core_client_{part}", "") for part in _VERSION_PARTS]
    wants = number(one.get("work_req_seconds"), 0.0) if not whole(one.get("dont_send_work")) else 0
    other = one.get("other_results", one.get("in_progress_results"))
    alternatives = [first_of(text, "name").get("name", "") for text in many["alt_platform"]]
    return Request(
        authenticator=line(one.get("authenticator"), 64),
        hostid=whole(one.get("hostid")),
        rpc_seqno=whole(one.get("rpc_seqno")),
        version=".".join(str(whole(part)) for part in version),
        platforms=tuple(map(line, filter(None, [one.get("platform_name"), *alternatives[:8]]))),
        work_seconds=max(0.0, wants),
        idle_cpus=max(0.0, number(one.get("cpu_req_instances"), 0.0)),
        knows_key="1024" in one.get("code_sign_key", ""),
        cpid=line(host.get("host_cpid"), 64),
        cpus=min(max(1, whole(host.get("p_ncpus"), 1)), 100_000),
        host_name=line(host.get("domain_name")),
        system=line(host.get("os_name")),
        flops=max(0.0, number(host.get("p_fpops"), 0.0)),
        memory=max(0.0, number(host.get("m_nbytes"), 0.0)),
        disk=max(0.0, number(host.get("d_free"), 0.0)),
        results=tuple(_result(text, said) for text in many["result"]),
        others=None if other is None else tuple(_names_in(other)),
        trickles=tuple(_trickle(text) for text in many["msg_from_host"]),
    )


_VERSION_PARTS = ("major_version", "minor_version", "release")


def _cut_stderr(text: str) -> tuple[str, list[str]]:
    """Take what tasks have written out of *text*: in its place stands its number.

    Where a task has written ``]]>`` itself, what follows is its own as well, up to where
    the client closes the element.
    """
    parts: list[str] = []
    said: list[str] = []
    position = 0
    while (start := text.find(_CDATA, position)) >= 0:
        parts += [text[position:start], f"\0{len(said)}\0"]
        end = _CDATA_END.search(text, start)
        stop = end.start() if end else text.find("]]>", start)
        said.append(text[start + len(_CDATA) : stop if stop >= 0 else len(text)])
        position = stop + 3 if stop >= 0 else len(text)
        if len(said) > MOST:
            raise RejectedRequest(f"more than {MOST:,} texts of tasks")
    return "".join([*parts, text[position:]]), said


@cache
def _opening(names: str) -> re.Pattern[str]:
    return re.compile(f"<({names})>")


def elements(text: str, names: str, start: int = 0) -> Iterator[tuple[str, str]]:
    """Yield name and content of each element of *names* ("a|b"), none inside another one.

    An element that is not closed is passed over; looking for its end is not tried again, or
    a request full of them would take a time that grows with its square.
    """
    opening = _opening(names)
    unclosed: set[str] = set()
    position = start
    while found := opening.search(text, position):
        name = found.group(1)
        end = -1 if name in unclosed else text.find(f"</{name}>", found.end())
        if end < 0:
            unclosed.add(name)
            position = found.end()
            continue
        yield name, text[found.end() : end]
        position = end + len(name) + 3


def first_of(text: str, names: str) -> dict[str, str]:
    """Return the first content of each element of *names* in *text*."""
    found: dict[str, str] = {}
    for name, content in elements(text, names):
        found.setdefault(name, content)
    return found


def _names_in(text: str) -> Iterator[str]:
    for count, (_, content) in enumerate(elements(text, "name")):
        if count == MOST:
            raise RejectedRequest(f"more than {MOST:,} other results")
        yield line(content)


def _result(text: str, said: list[str]) -> ReportedResult:
    fields: dict[str, str] = {}
    files: list[UploadedFile] = []
    for name, content in elements(text, _RESULT):
        if name == "file_info" and len(files) < 100:
            files.append(_file(content))
        fields.setdefault(name, content)
    stderr = re.search("\0([0-9]{1,6})\0", fields.get("stderr_out", ""))
    which = int(stderr.group(1)) if stderr else -1
    written = said[which] if 0 <= which < len(said) else ""
    return ReportedResult(
        name=line(fields.get("name")),
        exit_status=_bounded(whole(fields.get("exit_status"), 0)),
        client_state=_bounded(whole(fields.get("state"))),
        elapsed=max(0.0, number(fields.get("final_elapsed_time"), 0.0)),
        cpu=max(0.0, number(fields.get("final_cpu_time"), 0.0)),
        signal="process got signal" in written[:200],
        stderr=_stderr(written),
        files=tuple(files),
    )


def _stderr(written: str) -> str:
    """Return what a task wrote and what the client says of its end, without the markup.

    The client writes each byte beyond ASCII as a reference to a character of that number.
    """
    message, _, rest = written.partition("<stderr_txt>")
    text, _, after = rest.rpartition("</stderr_txt>")
    text = _BYTES.sub(_as_utf8, text.strip("\n"))
    said = " ".join(re.sub("</?[a-z_]+>", " ", message + after).split())
    if text and said.startswith("process exited with code"):
        said = ""  # the last line of a traceback says more
    return "".join(f"{part}\n" for part in (text[-_STDERR:], said[:4096]) if part)


_BYTES = re.compile("(?:&#(?:1[2-9][0-9]|2[0-5][0-9]);)+")


def _as_utf8(found: re.Match[str]) -> str:
    numbers = [int(one) for one in re.findall("[0-9]+", found.group())]
    return bytes(min(one, 255) for one in numbers).decode("utf-8", "replace")


def _bounded(value: int) -> int:
    """Return *value* if it goes into a column of BOINC's database, else what is nearest."""
    return min(max(value, -(2**31)), 2**31 - 1)


def _file(text: str) -> UploadedFile:
    fields = first_of(text, _FILE)
    size = whole(fields.get("nbytes"), -1)
    return UploadedFile(line(fields.get("name")), size, line(fields.get("md5_cksum")))


def _trickle(text: str) -> Trickle:
    head, _, rest = text.partition("</time>")
    fields = first_of(f"{head}</time>", "result_name|time")
    sent = max(0.0, number(fields.get("time"), 0.0))
    return Trickle(line(fields.get("result_name")), rest.strip()[:_STDERR], sent)


def line(text: str | None, most: int = _NAME) -> str:
    """Return *text* as one printable line of at most *most* characters."""
    short = (text or "").strip()[:most]
    return short if short.isprintable() else "".join(filter(str.isprintable, short))


def number(text: str | None, default: float) -> float:
    """Return *text* as a finite number, *default* if it is none."""
    try:
        value = float(text if text and len(text) <= 64 else "")
    except ValueError:
        return default
    return value if math.isfinite(value) else default


def whole(text: str | None, default: int = 0) -> int:
    """Return *text* as a whole number that a database can hold, *default* if it is none."""
    value = number(text, default)
    return int(value) if abs(value) < 2**53 else default
