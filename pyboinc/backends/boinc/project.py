"""A BOINC project on this computer: where its parts are, and whether this user may use them.

Everything is found through ``config.xml``, as BOINC's own programs find it.  The user may be
the project's owner or a member of its group; who is neither is told what is missing, and
the command that mends it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import md5
from pathlib import Path
from xml.etree import ElementTree

from pyboinc.config import Settings
from pyboinc.disk import explained
from pyboinc.errors import BackendError, ConfigurationError

OURS = "pyboinc"
"""The directory in a project that belongs to PyBOINC; ``pyboinc setup`` makes it."""

_TRIVIAL = "sample_trivial_validator"

_FANOUT = 1024  # as BOINC has it where config.xml says nothing


@dataclass(frozen=True, slots=True)
class Login:
    """How the project's database is reached; *host* is a name, ``name:port``, or a socket's path.

    An empty host, or ``localhost``, is the server on this computer, as in BOINC.
    """

    host: str
    user: str
    database: str
    password: str = field(repr=False)


class Project:
    """The project in the directory *root*, seen by an application called *app*."""

    def __init__(self, root: Path, app: str) -> None:
        self.root = root.absolute()
        self.app = app
        config = _read_config(self.root / "config.xml")
        self.login = Login(
            host=config.get("db_host", ""),
            user=_required(config, "db_user", self.root),
            database=_required(config, "db_name", self.root),
            password=config.get("db_passwd", ""),
        )
        self.download = self.root / _required(config, "download_dir", self.root)
        self.upload = self.root / _required(config, "upload_dir", self.root)
        self.fanout = _whole(config, "uldl_dir_fanout", _FANOUT, self.root)
        self.ours = self.root / OURS

    @property
    def output_template(self) -> str:
        """The application's output template, as create_work wants it named."""
        return f"templates/{self.app}_out"

    def program(self, name: str) -> str:
        """The path of one of the project's programs."""
        return str(self.root / "bin" / name)

    def in_hierarchy(self, root: Path, name: str) -> str:
        """The path of the file *name* in the download or upload hierarchy *root*.

        The directory is named after digits 1 to 7 of the MD5 of the name, without leading zeros.
        """
        digits = md5(name.encode(), usedforsecurity=False).hexdigest()[1:8]
        return f"{root}/{int(digits, 16) % self.fanout:x}/{name}"

    def check(self) -> None:
        """Raise unless everything is there that a batch needs, and may be used by this user."""
        if not self.ours.is_dir():
            raise ConfigurationError(
                f"the project {self.root} is not prepared for PyBOINC: {self.ours} is missing; "
                f"its owner types: pyboinc setup {self.root}"
            )
        for path in (self.ours / "batches", self.download, self.root / "templates"):
            _check_directory(path, self.root)
        for program in ("create_work", "cancel_jobs"):
            path = self.root / "bin" / program
            if not os.access(path, os.X_OK):
                raise ConfigurationError(f"{path} can not be run: {missing(path, self.root)}")
        template = self.root / self.output_template
        if not template.is_file():
            # create_work would say so on stderr, make nothing, and return 0.
            raise ConfigurationError(
                f"the project has no {template}, so no job of the app {self.app} can be made; "
                f"its owner types: pyboinc setup {self.root}"
            )

    def check_quorum(self, quorum: int) -> None:
        """Raise if several outputs of a job would be asked for, and all be taken for the same."""
        if quorum < 2:
            return
        for command in _read(self.root / "config.xml").iterfind("daemons/daemon/cmd"):
            words = (command.text or "").split()
            if words and _TRIVIAL in words[0] and self.app in words:
                raise ConfigurationError(
                    f"a quorum of {quorum} would compare nothing: the validator of {self.app} at "
                    f"the project {self.root} is {_TRIVIAL}, which takes all outputs for the same; "
                    f"its owner types: pyboinc setup {self.root} --app {self.app} --validator "
                    "script; or use quorum 1, and validate in app_types.py"
                )

    def place_for_outputs(self, new: Path, batch: int) -> Path:
        """Return where the assimilator is to put the outputs of a batch whose new/ is *new*.

        It gives them a second name, which is possible within one file system only; on another
        one they are kept at the project, for the master to take them.
        """
        if new.stat().st_dev == self.upload.stat().st_dev:
            return new
        kept = self.ours / "kept" / str(batch)
        with explained("make the directory", kept):
            if not kept.is_dir():
                kept.mkdir()
                kept.chmod(0o2775)
        return kept

    def open_for_assimilator(self, new: Path) -> None:
        """See to it that the project's owner, who runs the assimilator, can write into *new*."""
        owner, group = self.root.stat().st_uid, self.root.stat().st_gid
        found = new.stat()
        if owner in (0, found.st_uid):
            return
        mode = stat.S_IMODE(found.st_mode) | 0o2070
        try:
            if found.st_gid != group:
                os.chown(new, -1, group)
            if stat.S_IMODE(new.stat().st_mode) != mode:
                os.chmod(new, mode)
        except PermissionError:
            raise ConfigurationError(
                f"the project's assimilator can not write into {new}: {missing(new, self.root)}"
            ) from None
        _check_way(new, owner, group)


def _read_config(path: Path) -> Mapping[str, str]:
    """Return the values of ``<config>``, by their names."""
    config = _read(path).find("config")
    if config is None:
        raise ConfigurationError(f"{path} has no <config>: it is not that of a BOINC project")
    return {each.tag: (each.text or "").strip() for each in config}


def _read(path: Path) -> ElementTree.Element:
    """Return the root of config.xml."""
    try:
        return ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path.parent} is no BOINC project: it has no config.xml; name the project's "
            "directory with --project-dir, or PYBOINC_DIR"
        ) from None
    except PermissionError:
        raise ConfigurationError(f"{path} can not be read: {missing(path, path.parent)}") from None
    except (ElementTree.ParseError, OSError) as error:
        raise ConfigurationError(f"{path} can not be read: {error}; mend that first") from None


def _required(config: Mapping[str, str], name: str, root: Path) -> str:
    if not config.get(name):
        raise ConfigurationError(f"{root / 'config.xml'} has no <{name}>; a BOINC project has one")
    return config[name]


def _whole(config: Mapping[str, str], name: str, default: int, root: Path) -> int:
    try:
        number = int(config.get(name) or default)
    except ValueError:
        number = 0
    if number < 1:
        raise ConfigurationError(
            f"<{name}> in {root / 'config.xml'} is {config[name]!r}, not a whole number above 0"
        )
    return number


def _check_directory(path: Path, root: Path) -> None:
    if not path.is_dir():
        raise ConfigurationError(
            f"{path} is missing; the project's owner types: pyboinc setup {root}"
        )
    if not os.access(path, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{path} can not be written to: {missing(path, root)}")


def _check_way(path: Path, owner: int, group: int) -> None:
    """Raise unless *owner* gets as far as *path*: each directory on the way must let him pass."""
    for above in path.resolve().parents:
        found = above.stat()
        if found.st_uid == owner:
            passes = found.st_mode & stat.S_IXUSR
        elif found.st_gid == group:
            passes = found.st_mode & stat.S_IXGRP
        else:
            passes = found.st_mode & stat.S_IXOTH
        if not passes:
            raise ConfigurationError(
                f"the project's assimilator, run by {_user(owner)}, can not get to {path}: "
                f"{above} does not let others pass; type: chmod o+x {above}"
            )


def missing(path: Path, root: Path) -> str:
    """Say what this user lacks to use *path*, and what gives it."""
    me = os.geteuid()
    project = root.stat()
    groups = {os.getegid(), *os.getgroups()}
    group = _group(project.st_gid)
    if me != project.st_uid and project.st_gid not in groups:
        return (
            f"{_user(me)} is neither {_user(project.st_uid)}, who owns the project, nor a member "
            f"of its group {group}; as root: usermod -a -G {group} {_user(me)}, then log in anew"
        )
    return (
        f"its owner, or root, types: chgrp {group} {path} && chmod g+rwX {path} "
        f"({_user(me)} is in the project's group {group})"
    )


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _group(number: int) -> str:
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def find_project(settings: Settings) -> Project:
    """Return the project that the settings name."""
    if settings.project_dir is None:
        raise ConfigurationError(
            "the backend boinc needs to know the project: give its directory with --project-dir, "
            "or PYBOINC_DIR"
        )
    return Project(settings.project_dir, settings.app)


def unreachable(what: str, error: object) -> BackendError:
    """Return the error for a project that does not answer."""
    return BackendError(
        f"{what}: {error}; nothing is lost: run the same command when the project is well again"
    )
