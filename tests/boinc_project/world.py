"""The daemons of a stand-in project, and the volunteers who do its jobs.

What happens to the rows is decided by :mod:`pyboinc.project`; here they are read and written,
files are uploaded and removed, the assimilator's script is run, and slaves are run in slots that
are laid out as BOINC's client would.  :meth:`World.step` lets everybody do what there is to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from typing import Any

import pymysql
import starter
from forks import HOOKS

from boinc_project.place import FANOUT, StandIn, files_named
from boinc_project.schema import NEVER, RESULT
from boinc_project.tools import hierarchy
from pyboinc import project as rules
from pyboinc.project import (
    ClientState,
    Daemon,
    ErrorMask,
    Outcome,
    Report,
    Result,
    ServerState,
    Workunit,
)

PROJECT = "projects/127.0.0.1_test"
"""A client's directory for a project, relative to its own."""

HOSTS = ("ada.example.org", "bob.example.org", "cyd.example.org")
DAEMONS = (Daemon.TRANSITIONER, Daemon.VALIDATOR)

_WORKUNIT = (
    "id, name, batch, priority, delay_bound, min_quorum, target_nresults, max_error_results, "
    "max_total_results, max_success_results, need_validate, canonical_resultid, transition_time, "
    "error_mask, assimilate_state, file_delete_state, xml_doc"
)
_RESULT = (
    "id, name, server_state, outcome, client_state, validate_state, exit_status, hostid, "
    "sent_time, report_deadline, received_time, file_delete_state, random"
)
_DUE = (
    "transition_time<=%s or need_validate<>0 or assimilate_state=1 or file_delete_state=1 or id in "
    "(select workunitid from result where file_delete_state=1)"
)
WRAPPED = (
    "<core_client_version>7.20.5</core_client_version>\n<![CDATA[\n<message>\n{message}</message>\n"
    "<stderr_txt>\n{stderr}</stderr_txt>\n]]>\n"
)


@dataclass
class Rows:
    """A workunit with its results, as the rules see them, and the rows' numbers."""

    workunit: Workunit
    results: tuple[Result, ...]
    xml: str
    ids: dict[int, int] = field(default_factory=dict)
    random: dict[int, int] = field(default_factory=dict)


Fate = Callable[[str], str]
"""What becomes of an instance, by its name: "run", "error", "crash", "vanish" or "garbage"."""


class World:
    """Everybody but the master: :meth:`step` again and again, or :meth:`start` a thread."""

    def __init__(self, project: StandIn, fate: Fate = lambda name: "run") -> None:
        self.project = project
        self.fate = fate
        self.compute: Callable[[bytes], bytes] | None = None
        """In the place of slaves: output from input; raises what the slave would raise."""
        self.assimilator_ended = ""
        self.validates = True
        self.gzip = False
        self._database: pymysql.Connection[Any] = project.connect()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        for name in HOSTS:
            self._change("insert into host values (0, 3, %s, 'Linux Debian')", name)

    # Running.

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Let everybody work in a thread, for a while."""
        self.start()
        try:
            yield
        finally:
            self.stop()

    def start(self) -> None:
        """Let everybody work, in a thread."""
        assert self._thread is None
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                if not self.step():
                    self._stop.wait(0.02)
        except BaseException as error:  # noqa: BLE001  # stop() raises it
            self.failure = error
            traceback.print_exc()

    def stop(self) -> None:
        """Stop the thread; raises what went wrong in it."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

    def check(self) -> None:
        """Raise what went wrong in the thread, if anything did."""
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Stop, and give the connection back."""
        self.stop()
        self._database.close()

    def step(self) -> bool:
        """Let everybody do once what there is to do; return whether there was anything."""
        daemons = self.daemons()
        return self.volunteers() or daemons

    def settle(self) -> None:
        """Step until nobody has anything to do."""
        while self.step():
            pass

    # The daemons.

    def daemons(self) -> bool:
        """One pass of transitioner, validator, assimilator and file deleter over what is due."""
        due = self._select(f"select id from workunit where {_DUE} order by id", int(time.time()))
        changed = False
        for (number,) in due:
            changed = self._settle(self._load(number)) or changed
        return changed

    def _settle(self, rows: Rows) -> bool:
        before = rows.workunit, rows.results
        settled = rules.settle(
            rows.workunit, rows.results, int(time.time()), order=DAEMONS, valid=self._is_valid
        )
        self._write(rows, settled.workunit, settled.results)
        if rows.workunit.assimilate_state == 1 and not self.assimilator_ended:
            self._assimilate(rows)
        workunit, results = rules.delete_files(rows.workunit, rows.results)
        if workunit is not rows.workunit or results != rows.results:
            self._delete_files(rows, workunit, results)
            self._write(rows, workunit, results)
        return (rows.workunit, rows.results) != before

    def _is_valid(self, output: object) -> bool:
        return self.validates and output is not None

    def _assimilate(self, rows: Rows) -> None:
        """Run the script, and only then note that it was run; what it refuses ends the daemon."""
        workunit = rows.workunit
        if workunit.canonical_instance is None:
            mask = int(workunit.error_mask)
            words = ["--error", mask, workunit.name, workunit.id, workunit.batch]
        else:
            words = [workunit.id, self._upload(rows, workunit.canonical_instance)]
        done = subprocess.run(
            ["../bin/pyboinc_assimilate", *map(str, words)],
            cwd=self.project.root / "tmp_host",
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            self.assimilator_ended = f"handler error {done.returncode}; exiting: {done.stderr}"
            return
        after, _ = rules.assimilate(workunit, rows.results, int(time.time()))
        self._write(rows, after, rows.results)

    def _delete_files(self, rows: Rows, workunit: Workunit, results: Iterable[Result]) -> None:
        for one in results:
            if one.file_delete_state == 2:
                Path(self._upload(rows, one.instance)).unlink(missing_ok=True)
        if workunit.file_delete_state == 2 and rows.workunit.file_delete_state != 2:
            for name, keep in files_named(rows.xml):
                for path in [self.download(name), self.download(f"{name}.md5", name)]:
                    if not keep:
                        path.unlink(missing_ok=True)

    def download(self, file: str, name: str = "") -> Path:
        """The path of a file in the download hierarchy."""
        root = str(self.project.root / "download")
        return Path(hierarchy(root, FANOUT, name or file)).with_name(file)

    def _upload(self, rows: Rows, instance: int) -> str:
        name = f"{rows.workunit.name}_{instance}_r{rows.random[instance]}_0"
        return hierarchy(str(self.project.root / "upload"), FANOUT, name)

    # Volunteers.

    def volunteers(self) -> bool:
        """Each unsent instance is sent to a host, done there, and reported."""
        unsent = self._select(
            "select r.id, r.workunitid from result r join workunit w on w.id=r.workunitid "
            "where r.server_state=2 and w.error_mask=0 order by w.priority desc, r.id limit 20"
        )
        for number, workunit in unsent:
            rows = self._load(workunit)
            instance = next(each for each, one in rows.ids.items() if one == number)
            row = next(one for one in rows.results if one.instance == instance)
            if row.server_state == ServerState.UNSENT:  # it may have been cancelled just now
                self._have_done(rows, instance)
        return bool(unsent)

    def _have_done(self, rows: Rows, instance: int) -> None:
        host = str(1 + (rows.workunit.id + instance) % len(HOSTS))
        now = int(time.time())
        sent = rules.send(rows.workunit, rows.results, instance, host, now)
        self._write(rows, *sent)
        fate = self.fate(f"{rows.workunit.name}_{instance}")
        if fate != "vanish":
            self.report(rows, instance, fate)

    def report(self, rows: Rows, instance: int, fate: str) -> None:
        """Let a host come back with what it has done."""
        if fate == "run":
            said, stderr = self._do(rows, instance)
        elif fate == "garbage":
            self._put_output(rows, instance, b"no pickle at all")
            said, stderr = Report.success(instance, b"garbage"), ""
        elif fate == "crash":
            said = Report.error(instance, 11)
            stderr = WRAPPED.format(message="process got signal 11", stderr="")
        else:
            said = Report.error(instance, 1)
            stderr = _wrapped(1, "Traceback (most recent call last):\nOSError: no luck\n")
        # What the server knows may have changed while the job was done.
        rows = self._load(rows.workunit.id)
        reported = rules.report(rows.workunit, rows.results, said, int(time.time()))
        self._write(rows, reported.workunit, reported.results)
        self._change(
            "update result set stderr_out=%s, elapsed_time=1.5 where id=%s",
            stderr,
            rows.ids[instance],
        )

    def _do(self, rows: Rows, instance: int) -> tuple[Report, str]:
        """Run a slave in a slot, as a client would; return its report and its stderr."""
        if self.compute is not None:
            return self._compute(rows, instance)
        slot = self._lay_out(rows, instance)
        status, stderr = run_slave(slot, self.project.ours / "public_key")
        finished = (slot / "boinc_finish_called").exists()
        output = Path(self._upload(rows, instance))
        uploaded = slot.parents[1] / PROJECT / output.name
        if status == 0 and finished and uploaded.exists():
            self._put_output(rows, instance, uploaded.read_bytes())
            return Report.success(instance, b"output"), _wrapped(0, stderr)
        state = ClientState.COMPUTE_ERROR if status else ClientState.UPLOAD_FAILED
        return Report.error(instance, status, state), _wrapped(status, stderr)

    def _compute(self, rows: Rows, instance: int) -> tuple[Report, str]:
        assert self.compute is not None
        name = files_named(rows.xml)[-1][0]
        try:
            output = self.compute(self.download(name).read_bytes())
        except FileNotFoundError:
            return Report.error(instance, -186, ClientState.FILES_DOWNLOADING), ""
        except Exception as error:  # noqa: BLE001  # what a slave raises ends its job
            return Report.error(instance, 1), _wrapped(1, f"{type(error).__name__}: {error}\n")
        self._put_output(rows, instance, output)
        return Report.success(instance, b"output"), _wrapped(0, "")

    def _put_output(self, rows: Rows, instance: int, data: bytes) -> None:
        path = Path(self._upload(rows, instance))
        path.parent.mkdir(exist_ok=True)
        if self.gzip:
            import gzip

            data = gzip.compress(data)
        path.write_bytes(data)

    def _lay_out(self, rows: Rows, instance: int) -> Path:
        """Make a slot: soft links to files in the client's directory of the project."""
        client = Path(tempfile.mkdtemp(prefix="client-", dir=self.project.root))
        slot, files = client / "slots/0", client / PROJECT
        slot.mkdir(parents=True)
        files.mkdir(parents=True)
        output = Path(self._upload(rows, instance)).name
        links = {"out": output}
        for open_name, (name, _) in zip(("slave.zip", "in"), files_named(rows.xml), strict=True):
            (files / name).write_bytes(self.download(name).read_bytes())
            links[open_name] = name
        for open_name, name in links.items():
            (slot / open_name).write_text(f"<soft_link>../../{PROJECT}/{name}</soft_link>\n")
        (slot / "init_data.xml").write_text(
            f"<app_init_data>\n<result_name>{rows.workunit.name}_{instance}</result_name>\n"
            "<wu_cpu_time>0.0</wu_cpu_time>\n</app_init_data>\n"
        )
        return slot

    def expire(self, name: str) -> None:
        """Let the deadline of every running instance of a workunit pass."""
        self._change(
            "update result r, workunit w set r.report_deadline=1, w.transition_time=1 "
            "where r.workunitid=w.id and w.name=%s and r.server_state=4",
            name,
        )

    def late(self, name: str, instance: int = 0) -> None:
        """Let a host come back that was given up, with whatever it has."""
        ((number,),) = self._select("select id from workunit where name=%s", name)
        self.report(self._load(number), instance, "garbage")

    # Rows.

    def _load(self, number: int) -> Rows:
        ((*values, xml),) = self._select(f"select {_WORKUNIT} from workunit where id=%s", number)
        workunit = Workunit(*values)
        rows = Rows(workunit, (), xml.decode())
        results = []
        found = self._select(
            f"select {_RESULT} from result where workunitid=%s order by id", number
        )
        for identifier, name, *states in found:
            instance = int(name.rpartition("_")[2])
            rows.ids[instance], rows.random[instance] = identifier, states[-1]
            results.append(self._result(rows, instance, states))
        canonical: Any = workunit.canonical_instance
        by_id = {identifier: each for each, identifier in rows.ids.items()}
        workunit.canonical_instance = by_id[canonical] if canonical else None
        workunit.error_mask = ErrorMask(workunit.error_mask)
        workunit.need_validate = bool(workunit.need_validate)
        if workunit.transition_time == NEVER:
            workunit.transition_time = rules.NEVER
        rows.results = tuple(results)
        return rows

    def _result(self, rows: Rows, instance: int, states: list[Any]) -> Result:
        server, outcome, client, validity, status, host, sent, deadline, received, deleted, _ = (
            states
        )
        path = Path(self._upload(rows, instance))
        return Result(
            rows.workunit.id,
            rows.workunit.name,
            instance,
            ServerState(server),
            Outcome(outcome),
            ClientState(client),
            rules.ValidateState(validity),
            status,
            str(host) if host else None,
            sent or None,
            deadline or rules.NEVER,
            received or None,
            rules.FileDeleteState(deleted),
            md5(path.read_bytes()).hexdigest() if path.exists() else None,
        )

    def _write(self, rows: Rows, workunit: Workunit, results: Iterable[Result]) -> None:
        """Write what has changed, results first: a workunit's row points to one of them."""
        old = {one.instance: one for one in rows.results}
        results = tuple(results)
        for one in results:
            if one.instance not in old:
                self._insert(rows, one)
            elif old[one.instance] != one:
                self._update_result(rows, one)
        if workunit != rows.workunit:
            self._update_workunit(rows, workunit)
        rows.workunit, rows.results = workunit, results

    def _insert(self, rows: Rows, one: Result) -> None:
        random = int(md5(one.name.encode()).hexdigest()[:6], 16)
        rows.random[one.instance] = random
        output = Path(self._upload(rows, one.instance)).name
        values = dict.fromkeys(RESULT, 0) | {
            "create_time": int(time.time()),
            "workunitid": one.workunit,
            "server_state": int(one.server_state),
            "name": one.name,
            "xml_doc_in": f"<file_info>\n    <name>{output}</name>\n</file_info>\n<result/>\n",
            "xml_doc_out": "",
            "stderr_out": "",
            "batch": rows.workunit.batch,
            "random": random,
            "appid": 1,
        }
        places = ", ".join(["%s"] * len(values))
        with self._database.cursor() as cursor:
            cursor.execute(
                f"insert into result ({', '.join(values)}) values ({places})", list(values.values())
            )
            rows.ids[one.instance] = int(cursor.lastrowid)

    def _update_result(self, rows: Rows, one: Result) -> None:
        self._change(
            "update result set server_state=%s, outcome=%s, client_state=%s, validate_state=%s, "
            "exit_status=%s, hostid=%s, sent_time=%s, report_deadline=%s, received_time=%s, "
            "file_delete_state=%s where id=%s",
            int(one.server_state),
            int(one.outcome),
            int(one.client_state),
            int(one.validate_state),
            one.exit_status,
            int(one.host or 0),
            int(one.sent_time or 0),
            0 if one.report_deadline == rules.NEVER else int(one.report_deadline),
            int(one.received_time or 0),
            int(one.file_delete_state),
            rows.ids[one.instance],
        )

    def _update_workunit(self, rows: Rows, workunit: Workunit) -> None:
        canonical = workunit.canonical_instance
        old = int(rows.workunit.error_mask)
        self._change(
            # What somebody else has set meanwhile (cancel_jobs) is kept.
            "update workunit set need_validate=%s, canonical_resultid=%s, transition_time="
            "if(error_mask<>%s, transition_time, %s), error_mask=error_mask|%s, "
            "target_nresults=%s, assimilate_state=%s, file_delete_state=%s where id=%s",
            int(workunit.need_validate),
            0 if canonical is None else rows.ids[canonical],
            old,
            NEVER if workunit.transition_time == rules.NEVER else int(workunit.transition_time),
            int(workunit.error_mask),
            workunit.target_nresults,
            int(workunit.assimilate_state),
            int(workunit.file_delete_state),
            workunit.id,
        )

    def _select(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(self._database.cursor()) as cursor:
            cursor.execute(query, values or None)
            return list(cursor.fetchall())

    def _change(self, query: str, *values: object) -> None:
        with closing(self._database.cursor()) as cursor:
            cursor.execute(query, values)


def _wrapped(status: int, stderr: str) -> str:
    """What the server is told of a slave's stderr."""
    return WRAPPED.format(
        message=f"process exited with code {status}" if status else "", stderr=stderr
    )


def run_slave(slot: Path, public_key: Path) -> tuple[int, str]:
    """Run a slave in its slot, with an environment that says nothing; its status and stderr."""
    path = os.pathsep.join([str(HOOKS), *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [sys.executable, "-m", "pyboinc.slave_volunteer", "--public-key", str(public_key)]
    done = starter.run(command, slot, {**os.environ, "PYTHONPATH": path})
    return done.returncode, done.stderr
