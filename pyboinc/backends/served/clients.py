"""The keeper of real BOINC clients: it starts some, and whatever happens they end with it.

Each client has a directory of its own, with the options that make it quick and quiet, and
an environment in which there is nothing of the user's.  The keeper is a process beside the
master; when the master closes the pipe between them, or dies, it stops the clients as an
administrator would, waits, and kills what is left.  A client that dies is started again.

    the master dies       the keeper sees the pipe close, and stops the clients
    the keeper dies       the clients are sent SIGTERM, by their parent-death signal
    a client dies         its slaves see that it is gone; the keeper starts it again
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyboinc.backends.local.processes import become_subreaper, die_with, kill_children

FAREWELL = 15.0
"""Seconds that the clients have to end: with tasks they take seven."""

_LOOK = 0.5
"""Seconds between two looks whether the clients are still there."""

_DEATHS = 5
"""A client that dies so often is not started again."""

_OPTIONS = (
    *("--sched_retry_delay_min", "1", "--sched_retry_delay_max", "2"),
    *("--pers_retry_delay_min", "1", "--pers_retry_delay_max", "2"),
    *("--master_fetch_interval", "5", "--master_fetch_retry_cap", "1000"),
    *("--redirectio", "--allow_multiple_clients"),
)
"""Short waits: a client backs off for minutes after each failed task, and for a day from a
server that it can not reach."""

_CONFIGURATION = """\
<cc_config>
<log_flags><task>1</task><file_xfer>1</file_xfer><sched_ops>1</sched_ops></log_flags>
<options>
<allow_multiple_clients>1</allow_multiple_clients>
<dont_contact_ref_site>1</dont_contact_ref_site>
<no_info_fetch>1</no_info_fetch>
<no_gpus>1</no_gpus>
<skip_cpu_benchmarks>1</skip_cpu_benchmarks>
<report_results_immediately>1</report_results_immediately>
<max_file_xfers>32</max_file_xfers>
<max_file_xfers_per_project>32</max_file_xfers_per_project>
<suppress_net_info>1</suppress_net_info>
<no_priority_change>1</no_priority_change>
<fetch_on_update>1</fetch_on_update>
<dont_use_vbox>1</dont_use_vbox>
<ncpus>{cpus}</ncpus>
</options>
</cc_config>
"""
"""No network but the project's, and no mercy with the user who is at work beside it."""

_PREFERENCES = """\
<global_preferences>
<run_on_batteries>1</run_on_batteries><run_if_user_active>1</run_if_user_active>
<suspend_cpu_usage>0</suspend_cpu_usage><max_ncpus_pct>100</max_ncpus_pct>
<cpu_usage_limit>100</cpu_usage_limit>
<leave_apps_in_memory>0</leave_apps_in_memory><disk_interval>1</disk_interval>
<work_buf_min_days>0.1</work_buf_min_days>
<work_buf_additional_days>0</work_buf_additional_days>
<disk_max_used_gb>10</disk_max_used_gb><disk_min_free_gb>0.01</disk_min_free_gb>
<disk_max_used_pct>100</disk_max_used_pct>
<ram_max_used_busy_pct>90</ram_max_used_busy_pct>
<ram_max_used_idle_pct>90</ram_max_used_idle_pct>
</global_preferences>
"""

_ACCOUNT = """\
<account>
    <master_url>{url}</master_url>
    <authenticator>{key}</authenticator>
</account>
"""

_STATE = """\
<client_state>
<core_client_major_version>{0}</core_client_major_version>
<core_client_minor_version>{1}</core_client_minor_version>
<core_client_release>{2}</core_client_release>
<project>
    <master_url>{url}</master_url>
    <project_name></project_name>
    <hostid>0</hostid>
    <rpc_seqno>0</rpc_seqno>
    <resource_share>100</resource_share>
    <sched_rpc_pending>6</sched_rpc_pending>
    <scheduler_url>{url}cgi</scheduler_url>
</project>
</client_state>
"""
"""What a client would know after it has fetched the project's page: saves some seconds."""


@dataclass
class Client:
    """One client: its directory, its port for ``boinccmd``, and its process."""

    directory: Path
    program: str
    port: int = 0
    deaths: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def prepare(self, url: str, key: str, cpus: int, version: Sequence[str]) -> None:
        """Make its directory, or use that of an earlier run with the same project."""
        kept = self.directory / "attached"
        if kept.exists() and kept.read_text() == f"{url}\n{key}\n":
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        self.directory.mkdir(parents=True)
        self.directory.chmod(0o700)
        files = {
            "cc_config.xml": _CONFIGURATION.format(cpus=cpus),
            "global_prefs_override.xml": _PREFERENCES,
            f"account_{_as_name(url)}.xml": _ACCOUNT.format(url=url, key=key),
            "gui_rpc_auth.cfg": f"{key}\n",
        }
        if len(version) == 3:
            files["client_state.xml"] = _STATE.format(*version, url=url)
        for name, text in files.items():
            (self.directory / name).write_text(text)
        kept.write_text(f"{url}\n{key}\n")

    def start(self) -> None:
        """Start it; whatever kills the keeper ends it as well."""
        self.port = _free_port()
        (self.directory / "port").write_text(f"{self.port}\n")
        keeper = os.getpid()
        command = [self.program, "--dir", str(self.directory), "--gui_rpc_port", str(self.port)]
        self.process = subprocess.Popen(
            [*command, *_OPTIONS],
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=_environment(self.directory),
            start_new_session=True,
            preexec_fn=lambda: die_with(keeper, signal.SIGTERM),
        )

    def look_after(self) -> None:
        """Start it again if it has died."""
        if self.process is None or self.process.poll() is None:
            return
        self.deaths += 1
        status, self.process = self.process.returncode, None
        if self.deaths > _DEATHS:
            sys.stderr.write(
                f"pyboinc: the BOINC client in {self.directory} died {self.deaths} times (the last "
                f"time with status {status}); stdoutdae.txt there may say why\n"
            )
            return
        self.start()


def _as_name(url: str) -> str:
    """Return *url* as the client spells it in file names."""
    return re.sub(r"[^A-Za-z0-9.\-_]", "_", url.partition("://")[2]).rstrip("_")


def _environment(home: Path) -> Mapping[str, str]:
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def version_of(program: str) -> Sequence[str]:
    """Return the three numbers of the client's version; fewer if it does not say."""
    said = subprocess.run(
        [program, "--version"], capture_output=True, text=True, check=False, timeout=30
    ).stdout
    return re.findall("[0-9]+", said.split()[0])[:3] if said.strip() else []


class Keeper:
    """All clients of one master."""

    def __init__(self, directory: Path, program: str, url: str, keys: Sequence[str]) -> None:
        self.clients = [Client(directory / str(n), program) for n in range(1, len(keys) + 1)]
        version = version_of(program)
        cpus = max(2, len(os.sched_getaffinity(0)) // max(1, len(keys)))
        for client, key in zip(self.clients, keys, strict=True):
            client.prepare(url, key, cpus, version)

    def run(self, until: int) -> None:
        """Keep the clients running until nobody holds the other end of the pipe *until*."""
        try:
            for client in self.clients:
                client.start()
            while True:
                ready, _, _ = select.select([until], [], [], _LOOK)
                if ready and not os.read(until, 1000):
                    return
                for client in self.clients:
                    client.look_after()
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop the clients, wait until they have ended, and leave no process behind."""
        running = [one.process for one in self.clients if one.process is not None]
        for process in running:
            process.terminate()
        end = time.monotonic() + FAREWELL
        for process in running:
            try:
                process.wait(max(0.0, end - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        kill_children()


def main(arguments: list[str]) -> int:
    """Keep clients, as the JSON in *arguments* says, until standard input is closed."""
    become_subreaper()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(0))
    what = json.loads(arguments[0])
    directory = Path(what["directory"])
    directory.mkdir(parents=True, exist_ok=True)
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    fcntl.flock(lock, fcntl.LOCK_EX)  # the keeper of a master that was killed is still stopping
    Keeper(directory, what["program"], what["url"], what["keys"]).run(0)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
