"""The backend boinc on a stand-in project: what BOINC's programs get wrong, and what people do."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest
from boinc_project import mariadb
from boinc_project.connection import Connection
from boinc_project.place import PASSWORD, StandIn
from contract import BoincSide

from pyboinc import config, disk
from pyboinc.backends import Failure
from pyboinc.backends.boinc import BoincBackend, database, kept, watch
from pyboinc.backends.boinc.database import Database
from pyboinc.backends.boinc.failures import unwrapped
from pyboinc.backends.boinc.project import Project, missing
from pyboinc.backends.boinc.rows import ABORTED, IN_PROGRESS, INIT, RETIRED
from pyboinc.backends.boinc.templates import input_template, template_name
from pyboinc.config.limits import Limits
from pyboinc.errors import BackendError, CheckpointMismatch, ConfigurationError

Make = Callable[..., BoincSide]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Makes job directories with some calls, all for one project, and closes them."""
    mariadb.require()
    for name in ("PERIOD", "COUNT_PERIOD"):
        monkeypatch.setattr(watch, name, 0.05)
    made: list[BoincSide] = []

    def make(*numbers: int, **how: Any) -> BoincSide:
        made.append(BoincSide(tmp_path / f"job{len(made)}", **how))
        made[-1].call(*numbers)
        made[-1].world.compute = square
        return made[-1]

    yield make
    for side in made:
        side.close()
    StandIn.close_all()


def square(data: bytes) -> bytes:
    """What the slave does, without a slave: the inputs are plain numbers."""
    from pyboinc import codec
    from pyboinc.classes import Classes

    number: Any = Classes(Path()).attempt(lambda registry: codec.decode(data, registry))
    if number == 13:
        raise ValueError("unlucky")
    return codec.encode(number**2)


# ---------------------------------------------------------------- the project


def test_the_project_is_found_through_its_config(make: Make) -> None:
    """Project: config.xml says where everything is; a host may be a name, a port, a socket."""
    side = make(1)
    project = Project(side.project.root, "pyboinc")
    assert project.download == side.project.root / "download"
    assert project.fanout == 16
    assert database._address("db.example.org") == {"host": "db.example.org"}
    assert database._address("db.example.org:3307") == {"host": "db.example.org", "port": 3307}
    assert database._address("/run/sock")["unix_socket"] == "/run/sock"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda text: "", "can not be read: no element found"),
        (lambda text: text.replace("config>", "konfig>"), "has no <config>"),
        (lambda text: re.sub("<db_user>.*</db_user>", "", text), "has no <db_user>"),
        (lambda text: text.replace("fanout>16<", "fanout>many<"), "'many', not a whole number"),
    ],
)
def test_a_config_that_can_not_be(make: Make, change: Callable[[str], str], told: str) -> None:
    """Project: what is wrong with config.xml is said, with its path."""
    side = make(1)
    path = side.project.root / "config.xml"
    path.write_text(change(path.read_text()))
    with pytest.raises(ConfigurationError, match=rf"config\.xml.*{told}"):
        Project(side.project.root, "pyboinc")


def test_a_project_that_is_not_prepared(make: Make) -> None:
    """Project: what `pyboinc setup` would have made is asked for by that name."""
    side = make(1)
    for name in ("templates/pyboinc_out", "pyboinc/batches", "pyboinc"):
        os.rename(side.project.root / name, side.project.root / "gone")
        with pytest.raises(ConfigurationError, match="types: pyboinc setup"):
            side.open()
        os.rename(side.project.root / "gone", side.project.root / name)
    (side.project.root / "bin/create_work").chmod(0o644)
    with pytest.raises(ConfigurationError, match="create_work can not be run"):
        side.open()


def test_a_user_who_is_a_stranger_is_told_what_is_missing(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Permissions: neither owner nor in the group: the command that root types stands there."""
    side = make(1)
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    monkeypatch.setattr(os, "getegid", lambda: 54321)
    monkeypatch.setattr(os, "getgroups", lambda: [54321])
    told = missing(side.project.root / "download", side.project.root)
    assert re.search(r"54321 is neither \w+, who owns .*: usermod -a -G \w+ 54321", told)
    monkeypatch.setattr(os, "getgroups", lambda: [side.project.root.stat().st_gid])
    assert "chmod g+rwX" in missing(side.project.root / "download", side.project.root)


def test_new_is_opened_for_the_assimilator(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions: new/ of another user than the project's owner is the group's to write to."""
    side = make(1)
    if os.geteuid():
        group = os.getgid()
        monkeypatch.setattr(Path, "stat", owned_by(side.project.root, os.getuid() + 1, group))
    else:
        os.chown(side.project.root, 54321, 54322)
    side.directory.new.chmod(0o755)
    side.path.chmod(0o700)
    with pytest.raises(ConfigurationError, match=r"can not get to .*new: .* type: chmod o\+x"):
        side.open()
    side.path.chmod(0o755)
    for above in side.path.parents:
        if not above.stat().st_mode & 1 and os.access(above, os.W_OK) and above != Path("/"):
            above.chmod(above.stat().st_mode | 1)
    side.open()
    assert stat.S_IMODE(side.directory.new.stat().st_mode) == 0o2775
    assert side.directory.new.stat().st_gid == side.project.root.stat().st_gid


def owned_by(path: Path, user: int, group: int) -> Any:
    """Path.stat, to which *path* is another user's."""
    found = Path.stat

    def look(self: Path, **how: Any) -> os.stat_result:
        status = found(self, **how)
        if self != path:
            return status
        return os.stat_result((*status[:4], user, group, *status[6:]))

    return look


def test_an_unknown_app_or_user(make: Make) -> None:
    """Batch: an application or a user that the project does not have is named."""
    with pytest.raises(ConfigurationError, match=r"templates/stars_out, so no job of the app"):
        make(1, app="stars").open()
    side = make(1, batch_user="eve@example.org")
    with pytest.raises(ConfigurationError, match=r"no user 'eve@example\.org'; give"):
        side.open()
    (side.project.root / "templates/stars_out").write_text("")
    with pytest.raises(ConfigurationError, match="no application 'stars'"):
        make(1, app="stars").open()


@pytest.mark.parametrize(("user", "number"), [(None, 3), ("bob@example.org", 4), ("4", 4)])
def test_whose_batch_it_is(make: Make, user: str | None, number: int) -> None:
    """Batch: of the user named, or of the project's first; every column has a value."""
    side = make(1, batch_user=user)
    side.open()
    row = side.project.batch()
    assert (row["user_id"], row["app_id"], row["state"]) == (number, 1, INIT)
    assert row["name"] == "pyboinc-job0"
    assert row["description"] == f"m.py in {side.path}"


# ---------------------------------------------------------------- the database


def test_the_database_goes_away_and_comes_back(make: Make) -> None:
    """Database: a server that is restarted while a master waits or asks is waited for."""
    side = make(2, 3)
    way = Connection(mariadb.socket())
    side.project.write_config(way.path)
    try:
        side.open()
        way.cut()
        way.mend()
        side.submit()
        way.cut()
        side.backend.wait(0.1)
        side.backend.wait(0.1)
        assert side.backend.counts().total == 2
        way.mend()
        side.until(2)
        side.until_decided()
        assert side.backend.counts().done == 2
    finally:
        side.backend.close()
        way.close()


def test_a_database_that_stays_away_is_given_up(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database: after a while the master ends with what to do, and not with a hang."""
    monkeypatch.setattr(database, "_PAUSE", 0.01)
    side = make(2)
    way = Connection(mariadb.socket())
    side.project.write_config(way.path)
    side.open()
    backend: Any = side.backend
    backend._database._patience = 0.05
    way.cut()
    with pytest.raises(BackendError, match="does not answer: .*; nothing is lost: run the same"):
        side.submit()
    with pytest.raises(BackendError, match="does not answer"):
        wait_for_ever(backend)


def wait_for_ever(backend: BoincBackend) -> None:
    """Wait as a master does for which no outcome comes."""
    for _ in range(1000):
        backend.wait(0.05)


def test_a_refusal_is_told_at_once_and_without_the_password(make: Make) -> None:
    """Database: a wrong password ends the run with where to mend it; it is shown nowhere."""
    side = make(2)
    config_xml = side.project.root / "config.xml"
    config_xml.write_text(config_xml.read_text().replace(PASSWORD, "wrong password"))
    with pytest.raises(BackendError, match=r"does not let test_.* in: Access denied") as caught:
        side.open()
    assert "wrong password" not in f"{caught.value} {caught.value.__cause__!r}"
    assert "wrong password" not in repr(Project(side.project.root, "pyboinc").login)
    config_xml.write_text(config_xml.read_text().replace("wrong password", PASSWORD))
    with pytest.raises(BackendError, match="refuses what it is asked: .*syntax"):
        Database(Project(side.project.root, "pyboinc").login).select("selekt 1")


def test_how_often_a_waiting_master_asks(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Polling: one query a second that finds one row, and counts that take 2 % of the time."""
    side = make(2, 3)
    side.open()
    side.submit()
    clock, asked = [1000.0], []
    execute = Database._execute

    def count(self: Database, query: str, values: tuple[object, ...]) -> Any:
        asked.append((clock[0], query.split()[1]))
        clock[0] += 0.1 if "count" in query or "sum(" in query else 0.0
        return execute(self, query, values)

    monkeypatch.setattr(Database, "_execute", count)
    monkeypatch.setattr(watch, "PERIOD", 1.0)
    monkeypatch.setattr(watch.time, "monotonic", lambda: clock[0])
    backend: Any = side.backend
    while clock[0] < 1100.0:
        backend._open()[1].look()
        clock[0] += 0.25
    glances = [when for when, what in asked if what == "state"]
    counts = [when for when, what in asked if what != "state"]
    assert 80 <= len(glances) <= 101
    assert len(counts) * 0.1 <= 0.02 * 100 * 2, "counts of rows and of instances, each its share"


# ---------------------------------------------------------------- files and templates


def test_files_lie_where_clients_look_for_them(make: Make) -> None:
    """Staging: the directory's name, the checksum beside the file, modes for all who need them."""
    mask = os.umask(0o077)
    try:
        side = make(2)
        side.open()
        side.submit()
    finally:
        os.umask(mask)
    download = side.project.root / "download"
    name = "pyb_1_0.in"
    (path,) = download.rglob(name)
    assert path == side.world.download(name)
    data = path.read_bytes()
    assert path.with_name(f"{name}.md5").read_bytes() == (
        f"{md5(data).hexdigest()} {len(data)}\n".encode()
    )
    assert path.with_name(f"{name}.md5").stat().st_mtime >= path.stat().st_mtime
    files = [one for one in download.rglob("*") if one.is_file()]
    assert {stat.S_IMODE(one.stat().st_mode) for one in files} == {0o664}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o775
    assert [one.name for one in files if one.name.startswith(".")] == []
    assert not [one.name for one in files if "nodelete" in one.name]


def test_the_name_of_a_directory_of_the_hierarchy(make: Make) -> None:
    """Staging: digits 1 to 7 of the MD5 of a name, as BOINC's dir_hier_path has it."""
    project = Project(make(1).project.root, "pyboinc")
    project.fanout = 1024
    number = int(md5(b"pyb_7_17.in").hexdigest()[1:8], 16)
    assert project.in_hierarchy(Path("/d"), "pyb_7_17.in") == f"/d/{number % 1024:x}/pyb_7_17.in"


def test_a_template_leaves_nothing_to_the_server(make: Make) -> None:
    """Templates: every number is stated, in its column's form; other limits, another template."""
    text = input_template(Limits(delay_bound=0.5, memory=1e8, fpops=1e10, quorum=2, max_errors=3))
    found = dict(re.findall(r"<(\w+)>([^<]+)</\1>", text.split("<workunit>")[1]))
    assert found["delay_bound"] == "1"
    assert (found["min_quorum"], found["target_nresults"]) == ("2", "2")
    assert (found["max_error_results"], found["max_total_results"]) == ("3", "15")
    assert (found["rsc_fpops_est"], found["rsc_fpops_bound"]) == ("1e+10", "1e+13")
    assert "<file_info/>" not in text
    assert template_name("pyboinc", text) != template_name("pyboinc", input_template(Limits()))
    side = make()
    side.call(1)
    side.call(2, priority=5)
    side.call(3, max_errors=4)
    side.open()
    side.submit()
    rows = side.project.select("select priority, max_error_results from workunit order by id")
    assert sorted(rows) == [(0, 1), (0, 4), (5, 1)]
    assert len(list((side.project.root / "templates").glob("pyboinc_*_in"))) == 2


# ---------------------------------------------------------------- create_work


def program(side: BoincSide, text: str) -> None:
    """Put another create_work in the place of the project's."""
    path = side.project.root / "bin/create_work"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_what_create_work_returns_is_not_believed(make: Make) -> None:
    """Creation: status 0 with nothing made is an error that says what was said on stderr."""
    side = make(2, 3)
    side.open()
    program(side, "cat > /dev/null; echo 'can not read result template' >&2; exit 0")
    with pytest.raises(BackendError, match=r"did not make 2 of .*status 0: can not read result"):
        side.submit()
    assert side.project.batch()["state"] == INIT
    program(side, "exit 7")
    with pytest.raises(BackendError, match=r"did not make 2 of .*status 7: it said nothing"):
        side.submit()
    (side.project.root / "bin/create_work").unlink()
    with pytest.raises(BackendError, match="create_work can not be started: No such file"):
        side.submit()
    side.project.put_program("create_work")
    side.submit()
    assert side.jobs() == [0, 1]
    assert side.project.batch()["state"] == IN_PROGRESS


def test_an_insert_that_fails_costs_nothing_but_time(make: Make) -> None:
    """Creation: a job that is there already spoils its INSERT; the others are asked for again."""
    side = make(2, 3, 4, 5)
    side.open()
    side.backend.submit(0, 1)
    side.kill()
    side.open()
    backend: Any = side.backend
    making = backend._open()[2]
    making.make([0, 1, 2, 3], lambda _: 0, {})
    assert side.jobs() == [0, 1, 2, 3]


def test_the_sql_of_an_error_is_not_shown(make: Make) -> None:
    """Creation: after an error create_work prints all its SQL; what is shown of it is short."""
    side = make(2)
    side.open()
    sql = "insert into workunit (name) values ('x'), ('y')"
    program(side, f'cat > /dev/null; echo "Database error: query={sql}" >&2; exit 1')
    with pytest.raises(BackendError) as caught:
        side.submit()
    assert "Database error" in str(caught.value)
    assert "workunit (name)" not in str(caught.value)
    assert len(str(caught.value)) < 600


# ---------------------------------------------------------------- the row of the batch


def test_the_row_of_a_batch_is_true(make: Make) -> None:
    """Batch: being made, in progress, and when all is handled retired: numbers, state and time."""
    side = make(2, 13)
    side.open()
    side.submit()
    row = side.project.batch()
    assert (row["state"], row["njobs"], row["completion_time"]) == (IN_PROGRESS, 2, 0)
    side.until(2)
    side.until_decided()
    side.backend.close()
    row = side.project.batch()
    assert (row["state"], row["fraction_done"], row["nerror_jobs"]) == (IN_PROGRESS, 1.0, 1)
    handle_all(side)
    side.open()
    side.backend.close()
    row = side.project.batch()
    assert (row["state"], row["fraction_done"], row["nerror_jobs"]) == (RETIRED, 1.0, 1)
    assert row["completion_time"] > 0
    ours = side.project.ours
    assert [path.name for path in (ours / "batches").iterdir()] == []
    assert side.project.downloads() == set()


def handle_all(side: BoincSide) -> None:
    """Record that everything that lies in new/ was handled."""
    arrivals = side.directory.arrivals()
    for one in arrivals:
        side.directory.journal.add_handled(one.sequence, one.kind, len(side.directory.spool))
    side.directory.journal.sync()
    side.directory.retire(arrivals)


def test_an_archive_goes_with_the_last_batch_that_needs_it(make: Make) -> None:
    """Archives: shared by batches, left alone by the file deleter, removed by the last of them."""
    sides = [make(2), make(3)]
    for side in sides:
        side.open()
        side.submit()
        side.until(1)
        side.until_decided()
        handle_all(side)
    (archive,) = [one for one in sides[0].project.downloads() if one.endswith(".zip")]
    sides[0].backend.close()
    assert archive in sides[0].project.downloads()
    sides[1].backend.close()
    assert sides[0].project.downloads() == set()


def test_an_abort_through_the_web_is_noticed(make: Make) -> None:
    """Batch: BOINC's abort_batch tells no daemon of jobs that were never sent; the master does."""
    side = make(2, 3, 4)
    side.open()
    side.backend.submit(0, 1)
    side.until(1)
    side.submit()
    # What html/inc/submit_util.inc does: all workunits are flagged, also the good one.
    side.project.execute("update workunit set error_mask=error_mask|16, file_delete_state=1")
    side.project.execute("update workunit set transition_time=2147483647")
    side.project.execute("update batch set state=%s", ABORTED)
    while len(side.outcomes()) < 3:
        side.backend.wait(0.1)
    assert sorted(side.outcomes()) == ["0.out", "1.error", "2.error"]
    assert side.failure("1").cancelled
    awake = side.project.select("select count(*) from workunit where transition_time<2147483647")
    assert awake == [(2,)]
    side.until_decided()
    counts = side.backend.counts()
    assert (counts.done, counts.failed) == (1, 2)


# ---------------------------------------------------------------- late, lost, twice, purged


def test_a_job_that_was_given_up_comes_back(make: Make) -> None:
    """Late: a failure that was told stays told; the late output does not make another job."""
    side = make(3)
    side.world.fate = lambda name: "vanish"
    side.open()
    side.submit()
    side.world.settle()
    for _ in range(20):
        side.world.expire("pyb_1_0")
        side.world.settle()
    side.until(1)
    assert side.failure("0").error_mask == 8
    assert [one.outcome for one in side.failure("0").attempts[:2]] == ["no reply"] * 2
    side.world.late("pyb_1_0")
    side.world.settle()
    ((canonical, mask),) = side.project.select(
        "select canonical_resultid, error_mask from workunit"
    )
    assert canonical and mask == 8
    side.until_decided()
    counts = side.backend.counts()
    assert (counts.total, counts.done + counts.failed) == (1, 1)
    assert side.jobs() == [0]


def test_rows_that_were_purged_are_not_made_again(make: Make) -> None:
    """Purge: jobs whose rows are gone are known to have been made, and count as done."""
    side = make(2, 3, 4)
    side.open()
    side.submit()
    side.until(3)
    side.until_decided()
    side.backend.close()
    side.project.execute("delete from workunit where name<>'pyb_1_2'")
    side.directory.load()
    side.open()
    side.submit()
    assert side.jobs() == [2]
    side.until_decided()
    assert (side.backend.counts().total, side.backend.counts().done) == (3, 3)
    (side.directory.new / "1_0.out").unlink()
    side.backend.reissue([0], unless_there=True)
    side.until(3)
    assert side.outcomes()["0.out"] == 4


def test_failures_that_nobody_told_of_are_found(make: Make) -> None:
    """Failures: a line that is lost, or from an old server that names no batch, is no matter."""
    side = make(2, 13)
    script = side.project.root / "bin/pyboinc_assimilate"
    script.write_text(script.read_text().replace('"$ours/failed/$1"', "/dev/null"))
    side.open()
    side.submit()
    side.until(2)
    assert sorted(side.outcomes()) == ["0.out", "1.error"]


def test_an_output_that_is_gone_is_made_again(make: Make) -> None:
    """Outputs: one that the assimilator could not find is had again, from where it is or anew."""
    side = make(2)
    side.open()
    side.submit()
    side.until(1)
    side.until_decided()
    (side.directory.new / "1_0.out").unlink()
    ((number,),) = side.project.select("select id from workunit")
    with open(side.project.ours / "failed/1", "a") as failed:
        failed.write(f"pyb_1_0 {number} 0\nnonsense\n")
    side.until(1)
    assert side.project.workunits() == ["pyb_1_0", "pyb_1_0_1"]
    side.until_decided()
    assert side.backend.counts().total == 1


def test_an_output_that_is_still_uploaded_is_delivered_again(make: Make) -> None:
    """Outputs: what lies where it was uploaded to is taken from there, unless it was refused."""
    side = make(2, 3)
    side.open()
    side.submit()
    side.until(2)
    side.until_decided()
    # As if the file deleter had not come yet.
    made = side.project.select("select xml_doc_in from result order by id")
    for number, (xml,) in enumerate(made):
        name = re.findall("<name>(.*?)</name>", xml.decode())[0]
        path = side.world.download(name)
        path = side.project.root / "upload" / path.parent.name / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes((side.directory.new / f"1_{number}.out").read_bytes())
    (side.directory.new / "1_0.out").unlink()
    side.directory.quarantine("it was refused", "1_1.out")
    side.backend.reissue([0, 1], unless_there=True)
    assert side.outcomes() == {"0.out": 4}
    assert side.project.workunits() == ["pyb_1_0", "pyb_1_1", "pyb_1_1_1"]


def test_compressed_outputs(make: Make) -> None:
    """Outputs: those that hosts have compressed are read as all others."""
    side = make(2)
    side.world.gzip = True
    side.open()
    side.submit()
    side.backend.start()
    with side.world.at_work():
        while not (arrivals := side.directory.arrivals()):
            side.backend.wait(0.1)
    assert side._load(side.directory.read(arrivals[0], 1000)) == 4


def test_outputs_on_another_file_system(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outputs: where new/ can take no second name they are kept at the project, and copied."""
    side = make(2, 3)
    monkeypatch.setattr(
        Project, "place_for_outputs", lambda self, new, batch: self.ours / "kept" / str(batch)
    )
    monkeypatch.setattr(kept.Kept, "_rename", lambda self, name: False)
    side.open()
    (side.project.ours / "kept/1").mkdir()
    side.submit()
    side.until(2)
    assert side.outcomes() == {"0.out": 4, "1.out": 9}
    assert list((side.project.ours / "kept/1").iterdir()) == []


# ---------------------------------------------------------------- people


def test_jobs_run_the_program_of_now(make: Make) -> None:
    """--accept-changes: jobs that are not done are made anew, and the old ones cancelled."""
    side = make(2, 3)
    side.open()
    side.backend.submit(0, 1)
    side.until(1)
    side.submit()
    side.kill()
    (side.path / "app_slave.py").write_text("# other\n" + (side.path / "app_slave.py").read_text())
    digest = side.pack()
    side.open()
    side.backend.use_program("app_slave.py", digest)
    side.submit()
    assert side.project.workunits() == ["pyb_1_0", "pyb_1_1", "pyb_1_1_1"]
    masks = side.project.select("select error_mask from workunit order by id")
    assert masks == [(0,), (16,), (0,)]
    side.until(2)
    assert side.outcomes() == {"0.out": 4, "1.out": 9}
    side.until_decided()
    counts = side.backend.counts()
    assert (counts.total, counts.done, counts.failed) == (2, 2, 0)


def test_scattered_jobs_are_cancelled(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelling: jobs of other batches in between are left alone, by the program and by ours."""
    from pyboinc.backends import boinc

    sides = [make(2, 3), make(4, 5)]
    for side in sides:
        side.open()
        side.backend.submit(0, 1)
    for side in sides:
        side.submit()
    assert sides[0].backend.cancel() == 2
    assert sides[1].project.select("select count(*) from workunit where error_mask=0") == [(2,)]
    monkeypatch.setattr(boinc, "_RUNS", 0)
    assert sides[1].backend.cancel() == 2
    (sides[0].project.root / "bin/cancel_jobs").write_text("#!/bin/sh\nexit 1\n")
    third = make(6)
    third.open()
    third.submit()
    monkeypatch.setattr(boinc, "_RUNS", 64)
    assert third.backend.cancel() == 1
    assert third.project.select("select count(*) from workunit where error_mask=0") == [(0,)]


def test_a_batch_that_the_project_does_not_know(make: Make) -> None:
    """Another project, or an older database: exit code 4, and nothing is begun there."""
    side = make(2)
    side.open()
    side.kill()
    side.project.execute("delete from batch")
    with pytest.raises(CheckpointMismatch, match="does not know batch 1 of this job directory"):
        side.open()
    assert side.project.select("select count(*) from batch") == [(0,)]


def test_what_is_not_signed_is_not_made_into_jobs(make: Make) -> None:
    """Signing: without a key the master says who has to sign; a foreign key is refused."""
    from pyboinc import signing

    side = make(2, signing_key=None)
    side.open()
    with pytest.raises(BackendError, match=r"it is not signed yet.*type pyboinc sign") as caught:
        side.submit()
    assert caught.value.exit_code == 3
    other = signing.generate()
    signing.save(other, side.path / "other.pem")
    foreign = make(2, signing_key=side.path / "other.pem")
    foreign.open()
    with pytest.raises(ConfigurationError, match="is not the project's"):
        foreign.submit()
    path = side.directory.bundle_path(side.pack())
    path.with_suffix(".signed").write_bytes(
        signing.sign_archive(path.read_bytes(), "app_slave.py", other)
    )
    with pytest.raises(BackendError, match="is signed by the key"):
        side.submit()
    path.with_suffix(".signed").write_bytes(
        signing.sign_archive(path.read_bytes(), "app_slave.py", signing.load(side.project.key))
    )
    side.submit()
    assert side.jobs() == [0]


# ---------------------------------------------------------------- what volunteers say


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", ""),
        ("plain words", "plain words"),
        (
            (
                "<core_client_version>7</core_client_version>\n<![CDATA[\n<message>\nexit code 1"
                "</message>\n<stderr_txt>\nTraceback\nOops\n</stderr_txt>\n]]>\n"
            ),
            "Traceback\nOops\n",
        ),
        (
            (
                "<core_client_version>7</core_client_version>\n<![CDATA[\n<message>\n"
                "file size too big</message>\n<stderr_txt>\n</stderr_txt>\n]]>\n"
            ),
            "file size too big",
        ),
        ("<core_client_version>7</core_client_version>\n<![CDATA[\n]]>", ""),
    ],
)
def test_a_clients_wrapping_is_taken_off(text: str, said: str) -> None:
    """Failures: what the slave wrote, or what its client says, without tags."""
    assert unwrapped(text) == said


def test_a_crash_is_told_with_its_signal(make: Make) -> None:
    """Failures: a slave that was killed by a signal is told of as that."""
    side = make(2)
    side.world.fate = lambda name: "crash"
    side.open()
    side.submit()
    side.until(1)
    failure = side.failure("0")
    assert isinstance(failure, Failure)
    assert {(one.signal, one.exit_status) for one in failure.attempts} == {(True, 11)}
    assert failure.cause == "process got signal 11"


def test_what_the_backend_needs_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Configuration: no project named; no driver installed."""
    side = make(2)
    settings = config.load(side.path, arguments={"backend": "boinc"}, environ={})
    with pytest.raises(ConfigurationError, match="give its directory with --project-dir"):
        BoincBackend(side.directory, settings)
    monkeypatch.setitem(__import__("sys").modules, "pymysql", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'pyboinc\[boinc\]'"):
        side.open()


def test_a_full_disk_at_the_project(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Staging: a disk that takes no more ends the run with the cause; the next one goes on."""
    side = make(2)
    side.open()

    def full(path: str, *_: object) -> int:
        raise OSError(28, os.strerror(28))

    from pyboinc.backends.boinc import staging

    monkeypatch.setattr(staging, "write", full)
    with pytest.raises(BackendError, match="can not be staged: No space left"):
        side.submit()
    monkeypatch.undo()
    side.submit()
    assert side.jobs() == [0]
    assert disk.before_step is disk._nothing
