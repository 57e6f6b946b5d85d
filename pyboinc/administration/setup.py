"""What `pyboinc setup` does: what a project must have, and what of it is missing, in order.

The plan is made by looking at the project, not at what was done before: so what was cut
short half-way is completed by the same command, and a second run finds nothing to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from pyboinc import slave_archive
from pyboinc.administration import compiling, daemons, record, registration, scripts
from pyboinc.administration.changes import FILE, PROGRAM, MakeDirectory, Run, Step, Write
from pyboinc.administration.registration import (
    Version,
    app_folder,
    takes_noconfirm,
    trouble,
    versions_in,
)
from pyboinc.administration.site import APPS, CONFIG, Site
from pyboinc.administration.texts import README, app_item, output_template, platform_item
from pyboinc.administration.xml_text import Element, parse, put_in, undone
from pyboinc.errors import ConfigurationError, RejectedArchive

OUTPUT_LIMIT = 64_000_000
"""Bytes of an output, at most, if nothing is said."""

FOLDERS = ("batches", "failed", "kept", "archives")


@dataclass(frozen=True)
class Wanted:
    """What the administrator asked for; None leaves it as it is."""

    apps: Path | None = None
    public_key: Path | None = None
    validator: str | None = None
    output_limit: int | None = None
    no_compiler: bool = False
    force: bool = False


@dataclass
class Plan:
    """The steps, in order, and what is worth knowing beside them."""

    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    restart: bool = False


class Setup:
    """Makes the plan for one project."""

    def __init__(
        self, site: Site, wanted: Wanted, stamp: Callable[[], str] = lambda: _now()
    ) -> None:
        self.site = site
        self.wanted = wanted
        self.record = site.record
        self.plan = Plan()
        self._stamp = stamp
        self._made: set[Path] = set()
        self._assimilator = scripts.ASSIMILATE
        self._forget_what_was_not_done()

    def make(self) -> Plan:
        """Return what is to be done; nothing is changed."""
        validator = daemons.VALIDATORS[self.wanted.validator or "trivial"].split()[0]
        self.site.check_programs(["script_assimilator", validator, "xadd", "update_versions"])
        self._folders()
        self._scripts()
        self._program()
        self._template()
        self._public_key()
        versions = self._versions()
        self._apps(versions)
        self._register(versions)
        self._daemons()
        self._record()
        return self.plan

    def _forget_what_was_not_done(self) -> None:
        """Strike out edits that an earlier run wrote down and was cut short before."""
        for name, edits in self.record.edits.items():
            _, self.record.edits[name] = undone(self.site.read(name) or b"", edits)

    # Files of ours.

    def _folders(self) -> None:
        ours = self.site.ours
        for path in (ours, *(ours / name for name in FOLDERS)):
            if not path.is_dir() or path.stat().st_mode & 0o2770 != 0o2770:
                self._make(path)

    def _make(self, path: Path) -> None:
        name = self._name(path)
        if not path.is_dir() and name not in self.record.directories:
            self.record.directories.append(name)
        if path not in self._made:
            self.plan.steps.append(MakeDirectory(path, self.site.root))
        self._made.add(path)

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.site.root))

    def _put(self, name: str, data: bytes, mode: int = FILE, kind: str = "text") -> None:
        """Have the file *name* hold *data*."""
        before = self.site.read(name)
        runs = self.site.path(name).stat().st_mode & 0o111 if before is not None else 0
        if before != data:
            self.record.files.setdefault(name, []).append(sha256(data).hexdigest())
        if before != data or (mode == PROGRAM and not runs):
            write = Write(self.site.path(name), self.site.root, data, mode, before, kind)
            self.plan.steps.append(write)

    def _is_ours(self, name: str, before: bytes) -> bool:
        return sha256(before).hexdigest() in self.record.files.get(name, [])

    def _scripts(self) -> None:
        self._put("pyboinc/README", README.encode())
        for name in scripts.NAMES:
            self._put(f"bin/{name}", scripts.text(name).encode(), PROGRAM)

    def _program(self) -> None:
        """Compile the quick half of the assimilator, unless the project does without it."""
        name = f"bin/{compiling.NAME}"
        there = daemons.of_app(self.site.xml(CONFIG)[1], self.site.app, daemons.ASSIMILATOR)
        if there and not any(compiling.NAME in one.words for one in there):
            return
        made = f"{name} {sha256(compiling.source().encode()).hexdigest()}"
        before = self.site.read(name)
        is_made = made in self.record.built and before is not None and self._is_ours(name, before)
        if not is_made or not compiling.runs(self.site.path(name)):
            compiler = None if self.wanted.no_compiler else compiling.compiler()
            data = compiling.compiled(compiler) if compiler else None
            if data is None and not there:
                self.plan.notes.append("no C compiler: the script alone delivers, half as quickly")
                return
            if data is not None:
                self._put(name, data, PROGRAM, "build")
                self.record.built = [made]
        self._assimilator = compiling.NAME

    def _template(self) -> None:
        name = self.site.project.output_template
        before = self.site.read(name)
        ours = before is not None and self._is_ours(name, before)
        if ours and self.wanted.output_limit is None:
            return
        data = output_template(self.wanted.output_limit or OUTPUT_LIMIT).encode()
        if before not in (None, data) and not ours and not self.wanted.force:
            raise ConfigurationError(
                f"{self.site.path(name)} is there already, and `pyboinc setup` did not write "
                "it: rename it, choose another --app, or write it over with --force"
            )
        self._put(name, data)

    def _public_key(self) -> None:
        if self.wanted.public_key is None:
            if self.site.read("pyboinc/public_key") is None:
                self.plan.notes.append(
                    "no public key yet: pyboinc keygen makes a pair, --public-key FILE puts it here"
                )
            return
        data = _read(self.wanted.public_key)
        try:
            slave_archive.modulus_of(data.decode("ascii", "replace"))
        except RejectedArchive as error:
            raise ConfigurationError(f"{self.wanted.public_key}: {error}") from None
        before = self.site.read("pyboinc/public_key")
        if before not in (None, data) and not self.wanted.force:
            raise ConfigurationError(
                f"{self.site.ours / 'public_key'} is another key, and the app versions that "
                "volunteers have carry it inside: build and add new ones with the new key, and "
                "then change it here with --force"
            )
        self._put("pyboinc/public_key", data)

    # The app and its versions.

    def _versions(self) -> list[Version]:
        """Copy the app versions that were built; return all that there will be."""
        there = self.site.path(f"apps/{self.site.app}")
        found = {*versions_in(there)}
        if self.wanted.apps is None:
            return sorted(found)
        built = app_folder(self.wanted.apps, self.site.app)
        new = versions_in(built)
        if not new:
            raise ConfigurationError(
                f"{built} holds no app version (VERSION/PLATFORM/files); `pyboinc build` makes "
                "some, and says where"
            )
        for version in new:
            self._copy(built / str(version), there / str(version))
        return sorted(found | {*new})

    def _copy(self, source: Path, target: Path) -> None:
        for folder in (target.parents[1], target.parent, target):
            if not folder.is_dir():
                self._make(folder)
        for path in sorted(source.rglob("*")):
            place = target / path.relative_to(source)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise ConfigurationError(f"{path} is no plain file, and is not copied")
            if path.is_dir():
                if not place.is_dir():
                    self._make(place)
                continue
            data = path.read_bytes()
            if place.is_file() and place.read_bytes() != data:
                raise ConfigurationError(
                    f"{place} is there with other contents, and files of BOINC never change: build "
                    "a new version (pyboinc build --version ...)"
                )
            runs = path.stat().st_mode & 0o100
            self._put(self._name(place), data, PROGRAM if runs else FILE, "copy")

    def _apps(self, versions: list[Version]) -> None:
        """Name the app, and the platforms that it is for, in project.xml."""
        data, root = self.site.xml(APPS)
        before = data
        known = {one.value("name") for one in root.all("platform")}
        items = [
            platform_item(name)
            for name in sorted({one.platform.partition("__")[0] for one in versions} - known)
        ]
        if self.site.app not in {one.value("name") for one in root.all("app")}:
            items.append(app_item(self.site.app))
        for item in items:
            data, edit = put_in(data, parse(data, APPS), item)
            self.record.edits.setdefault(APPS, []).append(edit)
        self._edit(APPS, before, data)

    def _edit(self, name: str, before: bytes, data: bytes) -> None:
        if data == before:
            return
        path = self.site.path(name)
        made = self.record.texts.setdefault(name, [])
        backup = None
        if sha256(before).hexdigest() not in made:
            backup = path.with_name(f"{name}.before-pyboinc-{self._stamp()}")
            while backup.exists():
                backup = backup.with_name(f"{backup.name}-again")
            self.record.backups[backup.name] = name
        made.append(sha256(data).hexdigest())
        write = Write(path, self.site.root, data, FILE, before, backup=backup)
        self.plan.steps.append(write)

    def _register(self, versions: list[Version]) -> None:
        """Have the database know them, by BOINC's own programs."""
        app, root = self.site.app, self.site.root
        known = registration.look_if_possible(self.site.project.login, app)
        told = {*self.record.registered}
        platforms = {one.platform.partition("__")[0] for one in versions}
        if known is not None:
            told = {app} if known.app else set()
            told |= {f"platform {one}" for one in known.platforms}
            missing = known.missing(versions)
            told |= {str(one) for one in versions if one not in missing}
        names = {app, *(f"platform {one}" for one in platforms)}
        if not names <= told:
            said = self._after_xadd(names)
            self.plan.steps.append(Run(["bin/xadd"], root, "adds the app", done=said))
        due = [one for one in versions if str(one) not in told]
        if due:
            self.plan.steps.append(self._update_versions(due))

    def _after_xadd(self, names: set[str]) -> Callable[[str], None]:
        def look(said: str) -> None:
            known = registration.look_if_possible(self.site.project.login, self.site.app)
            there = (
                known.app
                if known is not None
                else f"app {self.site.app}" in said or ("added app" in said)
            )
            if not there:
                raise Run(["bin/xadd"], self.site.root, "adds the app").failed(said)
            self._told(names)

        return look

    def _update_versions(self, due: list[Version]) -> Run:
        words, answer = ["bin/update_versions"], ""
        if takes_noconfirm(self.site.path("bin/update_versions")):
            words.append("--noconfirm")
        else:
            answer = "y\n" * 1000
        step = Run(words, self.site.root, f"adds {', '.join(map(str, due))}", answer)

        def look(said: str) -> None:
            known = registration.look_if_possible(self.site.project.login, self.site.app)
            left = trouble(said) if known is None else bool(known.missing(due))
            if left:
                raise step.failed(said)
            self._told({str(one) for one in due})

        step.done = look
        return step

    def _told(self, names: set[str]) -> None:
        """Remember that the database knows these, for when it can not be asked."""
        self.record.registered = sorted({*self.record.registered, *names})
        self._save().do()

    # The daemons.

    def _daemons(self) -> None:
        before, root = self.site.xml(CONFIG)
        app, data = self.site.app, before
        choice = self.wanted.validator or daemons.validator_of(root, app)
        if not all(self._is_there(root, kind, choice) for kind in daemons.KINDS):
            edits = self.record.edits.get(CONFIG, [])
            data, done = undone(before, edits)
            self.record.edits[CONFIG] = [one for one in edits if one not in done]
            choices = {
                daemons.VALIDATOR: choice or "trivial",
                daemons.ASSIMILATOR: self._assimilator,
            }
            for kind in daemons.KINDS:
                data = self._with_daemon(data, kind, choices[kind])
        self._edit(CONFIG, before, data)
        self.plan.restart = data != before
        if any(one.disabled for one in daemons.of_project(root) if one.app == app):
            self.plan.notes.append(f"a daemon of {app} is disabled in config.xml, and stays so")

    def _is_there(self, root: Element, kind: str, choice: str) -> bool:
        """Whether config.xml has the daemon; for a validator any will do if none is asked for."""
        there = daemons.of_app(root, self.site.app, kind)
        if kind == daemons.VALIDATOR and not self.wanted.validator:
            return bool(there)
        return any(daemons.fits(one, kind, choice) for one in there)

    def _with_daemon(self, data: bytes, kind: str, choice: str) -> bytes:
        """Return config.xml with the daemon of this *kind*; refuse to change anybody else's."""
        root = parse(data, CONFIG)
        there = daemons.of_app(root, self.site.app, kind)
        if self._is_there(root, kind, choice):
            return data
        if there:
            raise ConfigurationError(
                f"config.xml has another {kind} for the app {self.site.app}: {there[0].command!r}; "
                "take it out, or choose another --app"
            )
        item = daemons.item(kind, self.site.app, choice)
        parents = root.all("daemons")
        if not parents:
            lines = "\n".join("    " + line for line in item.splitlines())
            item = f"<daemons>\n{lines}\n</daemons>"
        data, edit = put_in(data, parents[0] if parents else root, item)
        self.record.edits.setdefault(CONFIG, []).append(edit)
        return data

    # The record.

    def _record(self) -> None:
        """Write down what will be done before it is done."""
        if not self.plan.steps and self.site.is_set_up:
            return
        at = next(
            (n + 1 for n, step in enumerate(self.plan.steps) if _makes(step, self.site.ours)), 0
        )
        self.plan.steps.insert(at, self._save())

    def _save(self) -> Write:
        path = self.site.ours / record.NAME
        return Write(path, self.site.root, self.record.text(), FILE, kind="write")


def _makes(step: Step, path: Path) -> bool:
    return isinstance(step, MakeDirectory) and step.path == path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} can not be read: {error.strerror}; name another"
        ) from None


def _now() -> str:
    return time.strftime("%Y%m%d-%H%M%S")
