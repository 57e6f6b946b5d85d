"""What a project's database knows of an app, asked on a real MariaDB."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from boinc_project import mariadb
from boinc_project.place import StandIn

from pyboinc.administration import registration
from pyboinc.administration.registration import Version
from pyboinc.administration.site import Site


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
