"""What the scheduler answers: replies, as clients read them, line by line.

Source: BOINC ``sched/sched_types.cpp``, ``client/scheduler_op.cpp``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape


@dataclass(frozen=True, slots=True)
class FileInfo:
    """A file that the client is told of.

    To be downloaded if it has a *size* (bytes); else an output, to be uploaded, of at most
    *max_nbytes*.  *signature* is in the text form of :mod:`.keys`.
    """

    name: str
    url: str
    size: int = -1
    md5: str = ""
    signature: str = ""
    executable: bool = False
    sticky: bool = False
    max_nbytes: int = 0


@dataclass(frozen=True, slots=True)
class AppVersion:
    """One version of the application, for one platform; *main* is its program.

    *others* are the files beside it, with the names that it has for them, if any.  *key* names
    the key whose signature it wants on slaves' archives, "" for the project's own.
    """

    app: str
    version: int
    platform: str
    main: FileInfo
    flops: float = 1e9
    others: tuple[tuple[FileInfo, str], ...] = ()
    api_version: str = "7.20.5"
    key: str = ""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A result for a host: its workunit, limits and files by the names that its slave uses."""

    workunit: str
    result: str
    deadline: float
    inputs: tuple[tuple[FileInfo, str], ...]
    output: tuple[FileInfo, str]
    fpops_est: float
    fpops_bound: float
    memory: float
    disk: float


@dataclass(slots=True)
class Reply:
    """What the scheduler answers; see :func:`write_reply`."""

    master_url: str
    project_name: str
    hostid: int = 0
    user: str = ""
    created: float = 0.0
    app: tuple[str, str] | None = None
    versions: list[AppVersion] = field(default_factory=list)
    assignments: list[Assignment] = field(default_factory=list)
    acks: list[str] = field(default_factory=list)
    aborts: list[str] = field(default_factory=list)
    aborts_if_not_started: list[str] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    message_ack: bool = False
    code_sign_key: str = ""
    request_delay: float = 0.0
    next_rpc_delay: float = 0.0
    down: bool = False


def write_reply(reply: Reply) -> bytes:
    """Return the text of *reply*: one element a line, files before what refers to them."""
    lines = ["<scheduler_reply>", "<scheduler_version>721</scheduler_version>"]
    lines += [
        f"<master_url>{escape(reply.master_url)}</master_url>",
        f"<project_name>{escape(reply.project_name)}</project_name>",
    ]
    for priority, text in reply.messages:
        lines.append(f'<message priority="{priority}">{escape(text)}</message>')
    if reply.down:
        lines.append("<project_is_down/>")
    if reply.request_delay:
        lines.append(f"<request_delay>{reply.request_delay:.0f}</request_delay>")
    if not reply.down:
        lines += _body(reply)
    return "\n".join([*lines, "</scheduler_reply>", ""]).encode()


def _body(reply: Reply) -> Iterator[str]:
    if reply.hostid:
        yield f"<hostid>{reply.hostid}</hostid>"
    if reply.user:
        yield "<userid>1</userid>"
        yield f"<user_name>{escape(reply.user)}</user_name>"
        yield f"<user_create_time>{reply.created:.0f}</user_create_time>"
        for whose in ("user", "host"):
            yield f"<{whose}_total_credit>0</{whose}_total_credit>"
            yield f"<{whose}_expavg_credit>0</{whose}_expavg_credit>"
        yield "<dont_use_dcf/>"
    yield from _work(reply)
    for name in reply.acks:
        yield f"<result_ack>\n    <name>{escape(name)}</name>\n</result_ack>"
    for name in reply.aborts:
        yield f"<result_abort>\n    <name>{escape(name)}</name>\n</result_abort>"
    for name in reply.aborts_if_not_started:
        what = "result_abort_if_not_started"
        yield f"<{what}>\n    <name>{escape(name)}</name>\n</{what}>"
    if reply.message_ack:
        yield "<message_ack/>"
    if reply.code_sign_key:
        yield f"<code_sign_key>\n{reply.code_sign_key}</code_sign_key>"
    if reply.next_rpc_delay:
        yield f"<next_rpc_delay>{reply.next_rpc_delay:.0f}</next_rpc_delay>"


def _work(reply: Reply) -> Iterator[str]:
    if not reply.assignments or reply.app is None:
        return
    name, title = reply.app
    yield f"<app>\n<name>{name}</name>\n<user_friendly_name>{escape(title)}</user_friendly_name>"
    yield "<non_cpu_intensive>0</non_cpu_intensive>\n</app>"
    for version in reply.versions:
        for file in (version.main, *(other for other, _ in version.others)):
            yield from _file_info(file)
        yield from _app_version(version)
    told: set[str] = set()
    for one in reply.assignments:
        for file, _ in (*one.inputs, one.output):
            if file.name not in told:
                told.add(file.name)
                yield from _file_info(file)
        if one.workunit not in told:
            told.add(one.workunit)
            yield from _workunit(one, name)
        yield from _result_of(one, reply.versions[0])


def _file_info(file: FileInfo) -> Iterator[str]:
    yield f"<file_info>\n    <name>{file.name}</name>\n    <url>{escape(file.url)}</url>"
    if file.size < 0:
        yield "    <generated_locally/>\n    <upload_when_present/>"
        yield f"    <max_nbytes>{file.max_nbytes}</max_nbytes>"
        yield f"    <xml_signature>\n{file.signature}    </xml_signature>"
    else:
        if file.executable:
            yield "    <executable/>"
        if file.signature:
            yield f"    <file_signature>\n{file.signature}    </file_signature>"
        if file.sticky:
            yield "    <sticky/>"
        if file.md5:
            yield f"    <md5_cksum>{file.md5}</md5_cksum>"
        yield f"    <nbytes>{file.size}</nbytes>"
    yield "</file_info>"


def _app_version(version: AppVersion) -> Iterator[str]:
    yield f"<app_version>\n    <app_name>{version.app}</app_name>"
    yield f"    <version_num>{version.version}</version_num>"
    yield f"    <platform>{version.platform}</platform>"
    yield f"    <api_version>{escape(version.api_version)}</api_version>"
    yield "    <avg_ncpus>1</avg_ncpus>"
    yield f"    <flops>{version.flops:.1f}</flops>"
    yield f"    <file_ref>\n        <file_name>{version.main.name}</file_name>"
    yield "        <main_program/>\n    </file_ref>"
    for file, name in version.others:
        yield from _file_ref(file, name)
    yield "</app_version>"


def _workunit(one: Assignment, app: str) -> Iterator[str]:
    yield f"<workunit>\n    <name>{one.workunit}</name>\n    <app_name>{app}</app_name>"
    yield f"    <rsc_fpops_est>{one.fpops_est:.1f}</rsc_fpops_est>"
    yield f"    <rsc_fpops_bound>{one.fpops_bound:.1f}</rsc_fpops_bound>"
    yield f"    <rsc_memory_bound>{one.memory:.1f}</rsc_memory_bound>"
    yield f"    <rsc_disk_bound>{one.disk:.1f}</rsc_disk_bound>"
    for file, name in one.inputs:
        yield from _file_ref(file, name)
    yield "</workunit>"


def _result_of(one: Assignment, version: AppVersion) -> Iterator[str]:
    yield f"<result>\n    <name>{one.result}</name>\n    <wu_name>{one.workunit}</wu_name>"
    yield f"    <platform>{version.platform}</platform>"
    yield f"    <version_num>{version.version}</version_num>\n    <plan_class></plan_class>"
    yield f"    <report_deadline>{one.deadline:.0f}</report_deadline>"
    yield from _file_ref(*one.output)
    yield "    <report_immediately/>\n</result>"


def _file_ref(file: FileInfo, name: str) -> Iterator[str]:
    yield f"    <file_ref>\n        <file_name>{file.name}</file_name>"
    if name:
        yield f"        <open_name>{escape(name)}</open_name>"
    yield "    </file_ref>"
