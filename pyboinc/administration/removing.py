"""What `pyboinc setup --remove` does: what was added goes, what others have changed since stays."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from pyboinc.administration import daemons, record, registration
from pyboinc.administration.changes import FILE, Delete, Write
from pyboinc.administration.setup import Plan
from pyboinc.administration.site import APPS, CONFIG, Site
from pyboinc.administration.xml_text import Element, parse, take_back, take_out
from pyboinc.errors import BackendError, ConfigurationError


class Removal:
    """Makes the plan that undoes what `pyboinc setup` did to one project."""

    def __init__(self, site: Site, force: bool = False) -> None:
        self.site = site
        self.record = site.record
        self.plan = Plan()
        self._force = force
        self._texts: dict[str, bytes] = {}

    def make(self) -> Plan:
        """Return what is to be done; nothing is changed."""
        if not self.site.is_set_up:
            if self.site.ours.is_dir() and not any(self.site.ours.iterdir()):
                self._delete(self.site.ours)
            return self.plan
        if not self._force:
            self._refuse_while_in_use()
        for name in (CONFIG, APPS):
            self._xml(name)
        self._backups()
        for name in sorted(self.record.files):
            self._file(name)
        self._folders()
        return self.plan

    def _refuse_while_in_use(self) -> None:
        """Raise if somebody waits for jobs, or if nobody can tell."""
        app = self.site.app
        waiting = _names(self.site.ours / "batches")
        if waiting:
            raise ConfigurationError(
                f"{len(waiting)} batches are not over ({', '.join(waiting[:5])}): let their "
                "masters finish, or cancel them (pyboinc cancel, pyboinc clean); --force removes "
                "all the same"
            )
        if _names(self.site.ours / "kept"):
            raise ConfigurationError(
                f"{self.site.ours / 'kept'} holds outputs that no master has taken yet; move them "
                "away, or leave them there with --force"
            )
        try:
            unfinished = registration.look(self.site.project.login, app).unfinished
        except (BackendError, ConfigurationError) as error:
            raise ConfigurationError(
                f"whether jobs of the app {app} are unfinished can not be told: {error}; "
                "if there are none: --force"
            ) from None
        if unfinished:
            raise ConfigurationError(
                f"{unfinished} jobs of the app {app} are not finished, and nobody would take their "
                "results; cancel them first (bin/cancel_jobs), or use --force"
            )

    def _xml(self, name: str) -> None:
        """Take out what was put into an XML file."""
        before, _ = self.site.xml(name)
        data = before
        for edit in reversed(self.record.edits.get(name, [])):
            back = take_back(data, edit)
            data = back if back is not None else data
        for element in self._left(name, data):
            data = take_out(data, element)
            self.plan.notes.append(f"{name} was changed since, and what others wrote in it stays")
        self._texts[name] = data
        if data != before:
            write = Write(self.site.path(name), self.site.root, data, FILE, before)
            self.plan.steps.append(write)
            self.plan.restart |= name == CONFIG

    def _left(self, name: str, data: bytes) -> list[Element]:
        """Return our elements that are still there, last ones first: others changed them."""
        if not self.record.edits.get(name):
            return []
        root, app = parse(data, name), self.site.app
        if name == APPS:
            there = [one for one in root.all("app") if one.value("name") == app]
            added = "".join(edit.now for edit in self.record.edits[name])
            return there[::-1] if f"<name>{app}</name>" in added else []
        files = {f"{app}_{kind}.pid" for kind in daemons.KINDS}
        found = [one for one in daemons.of_project(root) if one.pid_file in files]
        return [one.element for one in found][::-1]

    def _backups(self) -> None:
        """Delete the backups of what is again as it was; the others may be wanted."""
        for backup, name in self.record.backups.items():
            there = self.site.read(backup)
            if there is not None and there == self._texts.get(name):
                self._delete(self.site.path(backup))
            elif there is not None:
                self.plan.notes.append(f"{backup} stays: {name} has changed since")

    def _file(self, name: str) -> None:
        there = self.site.read(name)
        if there is None:
            return
        if sha256(there).hexdigest() in self.record.files[name]:
            self._delete(self.site.path(name))
        else:
            self.plan.notes.append(f"{name} stays: somebody has changed it")

    def _delete(self, path: Path) -> None:
        self.plan.steps.append(Delete(path, self.site.root))

    def _folders(self) -> None:
        """Delete what daemons and masters wrote, and then the directories, inner ones first."""
        ours = self.site.ours
        for folder in ("batches", "failed", "archives"):
            for name in _names(ours / folder):
                self._delete(ours / folder / name)
        for name in sorted(self.record.directories, reverse=True):
            if self.site.path(name) != ours:
                self._delete(self.site.path(name))
        self._delete(ours / record.NAME)
        self._delete(ours)


def _names(folder: Path) -> list[str]:
    """Return what is in *folder*; empty directories do not count."""
    if not folder.is_dir():
        return []
    return sorted(
        path.name for path in folder.iterdir() if not path.is_dir() or any(path.iterdir())
    )
