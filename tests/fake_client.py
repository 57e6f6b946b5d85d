"""A BOINC client for tests: what it says is written as the real one writes it.

:class:`FakeClient` keeps what a client keeps (its number, its count of requests, its tasks) and
asks through *post*, a function from an address and a body to an answer: an HTTP connection,
or the scheduler itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import md5

HEAD = """<scheduler_request>
    <authenticator>{key}</authenticator>
    <hostid>{hostid}</hostid>
    <rpc_seqno>{seqno}</rpc_seqno>
    <core_client_major_version>7</core_client_major_version>
    <core_client_minor_version>20</core_client_minor_version>
    <core_client_release>5</core_client_release>
    <allow_multiple_clients>1</allow_multiple_clients>
    <work_req_seconds>{seconds:.6f}</work_req_seconds>
    <cpu_req_instances>1.000000</cpu_req_instances>
{platforms}{code_sign_key}<host_info>
    <host_cpid>{cpid}</host_cpid>
    <p_ncpus>{cpus}</p_ncpus>
    <p_fpops>1000000000.000000</p_fpops>
    <os_name>Linux Debian</os_name>
</host_info>
"""

RESULT = """<result>
    <name>{name}</name>
    <final_cpu_time>0.1</final_cpu_time>
    <final_elapsed_time>0.2</final_elapsed_time>
    <exit_status>{status}</exit_status>
    <state>{state}</state>
<stderr_out>
<core_client_version>7.20.5</core_client_version>
<![CDATA[
<stderr_txt>
{stderr}
</stderr_txt>
]]>
</stderr_out>
{files}</result>
"""

FILE = """<file_info>
    <name>{name}</name>
    <nbytes>{size}.000000</nbytes>
    <max_nbytes>10000000.000000</max_nbytes>
    <md5_cksum>{md5}</md5_cksum>
    <upload_url>http://127.0.0.1:1/file_upload_handler</upload_url>
</file_info>
"""

OTHER = """    <other_result>
        <name>{name}</name>
        <app_version>0</app_version>
    </other_result>
"""

TRICKLE = """  <msg_from_host>
      <result_name>{name}</result_name>
      <time>{time}</time>
{text}
  </msg_from_host>
"""

Post = Callable[[str, bytes], bytes]


@dataclass
class Task:
    """A result that the client has been given."""

    name: str
    workunit: str
    deadline: int
    output: str
    max_nbytes: int
    signature: str


@dataclass
class Report:
    """What the client is going to say of a task that is over."""

    name: str
    status: int = 0
    state: int = 5
    output: bytes | None = None
    stderr: str = ""


@dataclass
class FakeClient:
    """One client's directory; *post* is how it reaches the project."""

    key: str
    post: Post
    cpid: str = "c" * 32
    cpus: int = 1
    hostid: int = 0
    seqno: int = 0
    tasks: dict[str, Task] = field(default_factory=dict)
    reports: list[Report] = field(default_factory=list)
    code_sign_key: str = ""
    trickles: dict[int, tuple[str, str]] = field(default_factory=dict)
    platforms: tuple[str, ...] = ("x86_64-pc-linux-gnu",)
    said: list[str] = field(default_factory=list)

    def request(self, seconds: float = 1.0) -> bytes:
        """What it would say now."""
        key = f"<code_sign_key>\n{self.code_sign_key}\n</code_sign_key>\n"
        parts = [
            HEAD.format(
                key=self.key,
                hostid=self.hostid,
                seqno=self.seqno,
                seconds=seconds,
                cpid=self.cpid,
                cpus=self.cpus,
                code_sign_key=key if self.code_sign_key else "",
                platforms=self._platforms(),
            )
        ]
        parts += map(self._result, self.reports)
        reported = {one.name for one in self.reports}
        parts.append("<other_results>\n")
        for name in self.tasks:
            if name not in reported:
                parts.append(
                    f"    <other_result>\n        <name>{name}</name>\n    </other_result>\n"
                )
        parts.append("</other_results>\n")
        for time, (name, text) in self.trickles.items():
            parts.append(TRICKLE.format(name=name, time=time, text=text))
        return "".join([*parts, "</scheduler_request>\n"]).encode()

    def _platforms(self) -> str:
        primary, *others = self.platforms
        alternatives = (
            f"    <alt_platform>\n        <name>{name}</name>\n    </alt_platform>\n"
            for name in others
        )
        return "".join([f"    <platform_name>{primary}</platform_name>\n", *alternatives])

    def _result(self, one: Report) -> str:
        files = ""
        if one.output is not None:
            digest = md5(one.output).hexdigest()
            name = f"{one.name}_r0"
            files = FILE.format(name=name, size=len(one.output), md5=digest)
        return RESULT.format(
            name=one.name, status=one.status, state=one.state, stderr=one.stderr, files=files
        )

    def ask(self, seconds: float = 1.0) -> str:
        """Make one scheduler request, and take what the answer says to heart."""
        self.seqno += 1
        answer = self.post("cgi", self.request(seconds)).decode()
        self.take(answer)
        return answer

    def take(self, answer: str) -> None:
        """Take a scheduler's reply to heart."""
        assert answer.startswith("<scheduler_reply>"), answer
        assert answer.endswith("</scheduler_reply>\n"), answer
        self.said = re.findall("<message [^>]*>(.*)</message>", answer)
        if "<message_ack/>" in answer:
            self.trickles.clear()
        if hostid := re.search("<hostid>([0-9]+)</hostid>", answer):
            self.hostid, self.seqno = int(hostid.group(1)), 0
        if key := re.search("<code_sign_key>\n(.*)</code_sign_key>", answer, re.DOTALL):
            self.code_sign_key = key.group(1).strip()
        for name in names(answer, "result_ack"):
            self.tasks.pop(name, None)
            self.reports = [one for one in self.reports if one.name != name]
        for name in names(answer, "result_abort"):
            if name in self.tasks:
                self.reports.append(Report(name, 202, 6))
        for text in re.findall("<result>(.*?)</result>", answer, re.DOTALL):
            task = self._task(text, answer)
            self.tasks[task.name] = task

    def _task(self, text: str, answer: str) -> Task:
        name, workunit = one(text, "name"), one(text, "wu_name")
        output = one(text, "file_name")
        (info,) = re.findall(
            f"<file_info>\n    <name>{re.escape(output)}</name>.*?</file_info>", answer, re.DOTALL
        )
        return Task(
            name,
            workunit,
            int(one(text, "report_deadline")),
            output,
            int(one(info, "max_nbytes")),
            one(info, "xml_signature"),
        )

    def upload(self, task_name: str, data: bytes, start: int = 0, **lies: object) -> str:
        """Upload the output of a task, from *start* on; *lies* are fields that are not true."""
        task = self.tasks[task_name]
        fields = {
            "name": task.output,
            "xml_signature": task.signature,
            "max_nbytes": task.max_nbytes,
            "nbytes": len(data),
            "md5_cksum": md5(data).hexdigest(),
            "offset": start,
        }
        fields.update(lies)
        body = (
            "<data_server_request>\n    <core_client_major_version>7</core_client_major_version>\n"
            "<file_upload>\n<file_info>\n<name>{name}</name>\n<xml_signature>\n"
            "{xml_signature}</xml_signature>\n<max_nbytes>{max_nbytes}</max_nbytes>\n</file_info>\n"
            "<nbytes>{nbytes}</nbytes>\n<md5_cksum>{md5_cksum}</md5_cksum>\n"
            "<offset>{offset}</offset>\n<data>\n"
        ).format(**fields)
        return self.post("file_upload_handler", body.encode() + data[start:]).decode()

    def size(self, name: str) -> str:
        """Ask how much of the output of a task is there."""
        body = (
            "<data_server_request>\n    <core_client_major_version>7</core_client_major_version>\n"
            f"    <get_file_size>{name}_r0</get_file_size>\n</data_server_request>\n"
        )
        return self.post("file_upload_handler", body.encode()).decode()

    def finish(self, name: str, data: bytes) -> None:
        """Upload *data* as the output of a task, to be reported with the next request."""
        answer = self.upload(name, data)
        assert "<status>0</status>" in answer, answer
        self.reports.append(Report(name, output=data))

    def fail(self, name: str, status: int = 1, state: int = 3, stderr: str = "it fails") -> None:
        """Have a task end badly, to be reported with the next request."""
        self.reports.append(Report(name, status, state, stderr=stderr))


def one(text: str, element: str) -> str:
    """The content of the first *element* in *text*."""
    found = re.search(f"<{element}>(.*?)</{element}>", text, re.DOTALL)
    assert found, f"no {element} in {text}"
    return found.group(1).strip()


def names(answer: str, element: str) -> list[str]:
    """The names in the elements *element* of a reply."""
    return [one(text, "name") for text in re.findall(f"<{element}>.*?</{element}>", answer, re.S)]
