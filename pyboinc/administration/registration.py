"""What the project's database knows of an app: asked where it answers, told by BOINC's programs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from pyboinc.backends.boinc.database import Database
from pyboinc.backends.boinc.project import Login
from pyboinc.errors import BackendError, ConfigurationError

_VERSION = re.compile(r"[0-9]+\.[0-9]+")

_TROUBLE = re.compile(
    r"error|skipping|no such platform|not an app|app not found|can't load|not present|fatal|"
    r"not found in config|immutable",
    re.IGNORECASE,
)
"""What `bin/update_versions` says when it leaves something out: its exit code is 0 then too."""


class Version(NamedTuple):
    """An app version: a directory of apps/APP, and a row of the database."""

    version: str
    platform: str

    @property
    def number(self) -> int:
        """Its number in the database: 100 for 1.0."""
        major, _, minor = self.version.partition(".")
        return 100 * int(major) + int(minor or 0)

    def __str__(self) -> str:
        return f"{self.version}/{self.platform}"


class Registered(NamedTuple):
    """What the database knows."""

    app: bool
    platforms: frozenset[str]
    versions: frozenset[tuple[int, str]]
    unfinished: int

    def missing(self, versions: Iterable[Version]) -> list[Version]:
        """Return those of *versions* that it does not know."""
        return [one for one in versions if (one.number, one.platform) not in self.versions]


def look(login: Login, app: str) -> Registered:
    """Ask the database what it knows of *app*; raises if it does not answer."""
    database = Database(login, patience=-1)
    try:
        apps = database.select("select id from app where name=%s", app)
        platforms = database.select("select name from platform")
        number = apps[0][0] if apps else 0
        versions = database.select(
            "select v.version_num, p.name, v.plan_class from app_version v"
            " join platform p on p.id = v.platformid where v.appid=%s",
            number,
        )
        unfinished = database.select(
            "select count(*) from workunit where appid=%s and assimilate_state in (0, 1)", number
        )
    finally:
        database.close()
    return Registered(
        bool(apps),
        frozenset(_text(name) for (name,) in platforms),
        frozenset(
            (int(version), _text(name) + (f"__{_text(plan)}" if plan else ""))
            for version, name, plan in versions
        ),
        int(unfinished[0][0]),
    )


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def look_if_possible(login: Login, app: str) -> Registered | None:
    """Return what the database knows, or None where it can not be asked now."""
    try:
        return look(login, app)
    except (BackendError, ConfigurationError):
        return None


def versions_in(folder: Path) -> list[Version]:
    """Return the app versions that lie in *folder*, as VERSION/PLATFORM."""
    if not folder.is_dir():
        return []
    return sorted(
        Version(version.name, platform.name)
        for version in folder.iterdir()
        if _VERSION.fullmatch(version.name) and version.is_dir()
        for platform in version.iterdir()
        if platform.is_dir() and not platform.name.startswith(".")
    )


def trouble(said: str) -> str:
    """Return the lines of what `bin/update_versions` said that tell of something left out."""
    return "\n".join(line for line in said.splitlines() if _TROUBLE.search(line))


def takes_noconfirm(program: Path) -> bool:
    """Whether `bin/update_versions` knows --noconfirm: since November 2022."""
    return b"--noconfirm" in program.read_bytes()


def app_folder(built: Path, app: str) -> Path:
    """Return where `pyboinc build` has put the versions of *app*: apps/APP, in *built* or above."""
    for place in (built / "apps" / app, built / app):
        if place.is_dir():
            return place
    raise ConfigurationError(
        f"{built} has no apps/{app}; name the directory that `pyboinc build` wrote"
    )
