"""What a project's database knows of an app, asked on a real MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from boinc_project import mariadb, schema
from boinc_project.place import StandIn

from pyboinc.administration import registration
from pyboinc.administration.registration import Version
from pyboinc.administration.site import Site
from pyboinc.cli import project_findings
from pyboinc.cli.project_findings import Examined


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    mariadb.require()
    place = StandIn(tmp_path / "stand-in")
    place.execute("create table platform (id integer primary key, name varchar(191))")
    place.execute(
        "create table app_version (id integer primary key auto_increment, appid integer,"
        " version_num integer, platformid integer, plan_class varchar(191))"
    )
    place.execute("insert into platform values (5, 'x86_64-pc-linux-gnu')")
    yield place
    place.close()


def test_the_database_is_asked_what_it_knows(stand_in: StandIn) -> None:
    """setup: versions count when the database has them, with their plan classes."""
    for number, plan in ((100, ""), (102, "cuda")):
        stand_in.execute(
            "insert into app_version (appid, version_num, platformid, plan_class)"
            " values (1, %s, 5, %s)",
            number,
            plan,
        )
    known = registration.look(Site(stand_in.root, "pyboinc").project.login, "pyboinc")
    assert known.app
    assert known.unfinished == 0
    linux = "x86_64-pc-linux-gnu"
    versions = [Version("1.0", linux), Version("1.2", f"{linux}__cuda"), Version("1.2", linux)]
    assert known.missing(versions) == [Version("1.2", linux)]
    assert not registration.look(Site(stand_in.root, "other").project.login, "other").app


def test_batches_without_a_master(stand_in: StandIn, tmp_path: Path) -> None:
    """doctor --project: batches that no master has registered, and directories that are gone."""
    for number, state in ((3, 1), (4, 0), (5, 4)):
        values = dict.fromkeys(schema.BATCH, "0")
        text = {name: "''" for name, kind in schema.BATCH.items() if "char" in kind}
        values |= text | {"id": str(number), "state": str(state), "name": f"'pyboinc-{number}'"}
        stand_in.execute(
            f"insert into batch ({', '.join(values)}) values ({', '.join(values.values())})"
        )
    for number, job in ((3, tmp_path), (9, tmp_path / "gone")):
        (stand_in.ours / f"batches/{number}").write_text(f"{job}/new\n{job}\n")
    one = Examined(stand_in.root, "pyboinc")
    one.known = registration.look(one.project.login, "pyboinc")
    first, second = project_findings.batches(one)
    assert (first.good, first.text) == (None, "batches at work: 2, 4 without a master")
    assert (second.good, second.text) == (None, "job directories are gone, of batches 9")
