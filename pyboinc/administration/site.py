"""The project that is set up: its directory, looked at before anything is changed."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pyboinc.administration import record
from pyboinc.administration.record import Record
from pyboinc.administration.xml_text import Element, parse
from pyboinc.backends.boinc.project import Project
from pyboinc.errors import ConfigurationError

CONFIG, APPS = "config.xml", "project.xml"

_APP = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,49}")


class Site:
    """A project, and what earlier runs of `pyboinc setup` did to it."""

    def __init__(self, root: Path, app: str) -> None:
        if not _APP.fullmatch(app):
            raise ConfigurationError(
                f"an app can not be called {app!r}: letters, digits and _ only"
            )
        self.project = Project(root, app)
        self.root = self.project.root
        self.app = app
        self.ours = self.project.ours
        self._check_owner()
        known = record.load(self.ours)
        if known is not None and known.app != app:
            raise ConfigurationError(
                f"{self.root} is set up for the app {known.app}; name it with --app {known.app}, "
                "or undo that first with --remove"
            )
        self.is_set_up = known is not None
        self.record = known or Record(app)

    def _check_owner(self) -> None:
        import pwd

        owner = self.root.stat().st_uid
        if os.geteuid() == owner:
            return
        try:
            name = pwd.getpwuid(owner).pw_name
        except KeyError:
            name = f"#{owner}"
        raise ConfigurationError(
            f"{self.root} belongs to {name}, who runs the project's daemons: what is made there "
            f"must be {name}'s; type: sudo -u '{name}' pyboinc setup {self.root}"
        )

    def path(self, name: str) -> Path:
        """Return the path of *name*, which is relative to the project."""
        return self.root / name

    def read(self, name: str) -> bytes | None:
        """Return what the file *name* holds, or None if there is none."""
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None

    def xml(self, name: str) -> tuple[bytes, Element]:
        """Return the text of an XML file of the project, and its root element."""
        data = self.read(name)
        if data is None:
            raise ConfigurationError(
                f"{self.root} has no {name}: make_project writes one in every BOINC project"
            )
        return data, parse(data, str(self.path(name)))

    def check_programs(self, names: list[str]) -> None:
        """Raise unless the project has these programs of BOINC's."""
        for name in names:
            path = self.path(f"bin/{name}")
            if not os.access(path, os.X_OK):
                raise ConfigurationError(
                    f"{path} is missing or can not be run; BOINC installs it (since 2014): "
                    "upgrade the project with BOINC's tools/upgrade"
                )
