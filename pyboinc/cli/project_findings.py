"""What ``pyboinc doctor --project`` looks at: a BOINC project, from its config.xml to its daemons.

Each check takes the project and changes nothing in it.  What a first-time user trips over has a
line of its own, with what mends it; :mod:`~pyboinc.cli.project_places` is about files and users.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from pyboinc import slave_archive
from pyboinc.administration import compiling, daemons, registration, scripts
from pyboinc.administration.daemons import Daemon
from pyboinc.administration.registration import Registered
from pyboinc.administration.xml_text import parse
from pyboinc.backends.boinc.database import Database
from pyboinc.backends.boinc.project import Project
from pyboinc.cli.findings import Finding
from pyboinc.errors import BackendError, ConfigurationError, RejectedArchive

_BASIC = ("feeder", "transitioner", "file_deleter")
"""The daemons of any project, without which no job is sent, judged or cleaned up."""

_STOPPED = {"stop_daemons": "its daemons end", "stop_sched": "volunteers get no jobs"}

_SHOWN = 5


class Examined:
    """A project that could be read, and what several checks want to know of it."""

    def __init__(self, root: Path, app: str) -> None:
        self.project = Project(root, app)
        self.root = self.project.root
        self.app = app
        self.config = parse((self.root / "config.xml").read_bytes(), str(self.root / "config.xml"))
        self.host = self.value("host")
        self.here = socket.gethostname().partition(".")[0]
        self.known: Registered | None = None

    def value(self, name: str) -> str:
        """Return what config.xml says of *name*."""
        return next((one.value(name) for one in self.config.all("config")), "")

    @property
    def setup(self) -> str:
        """The command that prepares this project."""
        app = "" if self.app == "pyboinc" else f" --app {self.app}"
        return f"pyboinc setup {shlex.quote(str(self.root))}{app}"


def host(one: Examined) -> Iterator[Finding]:
    """The name of the computer: `bin/start` starts nothing under another one."""
    yield Finding(
        one.host == one.here,
        f"config.xml says <host>{one.host}</host>, this computer is {one.here}",
        f"bin/start starts daemons on that host only; in config.xml: <host>{one.here}</host>",
    )


def database(one: Examined) -> Iterator[Finding]:
    """The database, with the login of config.xml, and what it knows of the app."""
    login = one.project.login
    try:
        known = registration.look(login, one.app)
    except (BackendError, ConfigurationError) as error:
        yield Finding(False, f"the database {login.database} can not be asked", str(error))
        return
    one.known = known
    yield Finding(True, f"the database {login.database} lets {login.user} in")
    yield Finding(known.app, f"the app {one.app} is registered", f"to register it: {one.setup}")
    names = [f"{number / 100:.2f} {platform}" for number, platform in sorted(known.versions)]
    yield Finding(
        bool(names),
        f"app versions: {', '.join(names) or 'none, so no volunteer can do its jobs'}",
        f"pyboinc build makes some; to add them: {one.setup} --apps DIR",
    )


def batches(one: Examined) -> Iterator[Finding]:
    """Batches that nobody looks after: of masters that are gone, or cut short when they began."""
    if one.known is None:
        return
    base = Database(one.project.login, patience=-1)
    try:
        rows = base.select(
            "select id from batch where name like 'pyboinc-%%' and state in (0, 1) order by id"
        )
    except BackendError as error:
        yield Finding(False, "the batches can not be counted", str(error))
        return
    finally:
        base.close()
    folder = one.project.ours / "batches"
    registered = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    orphans = [str(number) for (number,) in rows if str(number) not in registered]
    yield Finding(
        None if orphans else True,
        f"batches at work: {len(rows)}"
        + (f", {_few(orphans)} without a master" if orphans else ""),
        "begun and never registered here: harmless if they have no jobs (bin/cancel_jobs)",
    )
    lost = [name for name in sorted(registered) if not _job_directory(folder / name).is_dir()]
    if lost:
        yield Finding(
            None,
            f"job directories are gone, of batches {_few(lost)}",
            f"their outputs are kept in {one.project.ours / 'kept'}; when nobody wants them, "
            f"remove the files in {folder}",
        )


def _few(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _job_directory(registration: Path) -> Path:
    try:
        lines = registration.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        lines = []
    return Path(lines[1] if len(lines) > 1 else lines[0] if lines else "")


def configured(one: Examined) -> Iterator[Finding]:
    """The daemons of config.xml: BOINC's own, and the two of the app."""
    there = daemons.of_project(one.config)
    for program in _BASIC:
        if not any(daemon.program == program for daemon in there):
            yield Finding(False, f"no {program} in config.xml", "make_project puts one there")
    for kind in daemons.KINDS:
        mine = daemons.of_app(one.config, one.app, kind)
        for daemon in mine:
            yield Finding(
                None if daemon.disabled else True,
                f"{kind}: {daemon.command}{' (disabled)' if daemon.disabled else ''}",
                "take out its <disabled> to have it started",
            )
        if any(daemon.program == "sample_trivial_validator" for daemon in mine):
            yield Finding(
                None,
                "the trivial validator takes every output that came: a quorum compares nothing",
                f"if quorums are to mean something: {one.setup} --validator script",
            )
        if not mine:
            yield Finding(False, f"no {kind} for {one.app} in config.xml", f"type: {one.setup}")
        elif kind == daemons.ASSIMILATOR and not any(daemons.fits(x, kind, "") for x in mine):
            yield Finding(
                False,
                f"the assimilator is not ours: it runs none of {', '.join(daemons.ASSIMILATORS)}",
                f"results would not come into new/; take it out, then: {one.setup}",
            )


def running(one: Examined) -> Iterator[Finding]:
    """The daemons that should run here: is the process of each pid file alive?"""
    expected = [
        daemon
        for daemon in daemons.of_project(one.config)
        if not daemon.disabled and (daemon.host or one.host) == one.here
    ]
    down = [daemon for daemon in expected if not _is_alive(one, daemon)]
    up = len(expected) - len(down)
    yield Finding(
        not down, f"daemons running: {up} of {len(expected)}", "in the project: bin/start"
    )
    for daemon in down:
        words = _last_line(one.root / f"log_{one.here}" / daemon.output)
        yield Finding(
            False,
            f"not running: {daemon.program}" + (f" --app {daemon.app}" if daemon.app else ""),
            f"its log {daemon.output} ends with: {words}" if words else "it has no log yet",
        )


def _is_alive(one: Examined, daemon: Daemon) -> bool:
    try:
        text = (one.root / f"pid_{one.here}" / daemon.pid_file).read_text()
        os.kill(int(text.split()[0]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, IndexError, OverflowError):
        return False
    return True


def _last_line(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - 4096))
            lines = file.read().decode("utf-8", "replace").split("\n")
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def stopped(one: Examined) -> Iterator[Finding]:
    """Trigger files that an earlier `bin/stop` has left."""
    for name, what in _STOPPED.items():
        if (one.root / name).exists():
            yield Finding(False, f"{name} is there: {what}", "if that is not meant: bin/start")


def programs(one: Examined) -> Iterator[Finding]:
    """The scripts that the daemons call: there, runnable, and of this PyBOINC."""
    used = {word for x in daemons.of_project(one.config) if x.app == one.app for word in x.words}
    for name in scripts.NAMES:
        path = one.root / "bin" / name
        if name in used or path.exists():
            yield _script(one, path)
    if compiling.NAME in used:
        yield _program(one, one.root / "bin" / compiling.NAME)


def _program(one: Examined, path: Path) -> Finding:
    """The compiled half runs on this computer; it says nothing of a call without arguments."""
    works = compiling.runs(path)
    text = f"bin/{path.name} {'runs' if works else 'does not run here'}"
    return Finding(works, text, f"type: {one.setup}")


def _script(one: Examined, path: Path) -> Finding:
    if not os.access(path, os.X_OK):
        return Finding(False, f"bin/{path.name} is missing or can not be run", f"type: {one.setup}")
    text = path.read_text("utf-8", "replace")
    found = re.search(r"^python=(.*)$", text, re.MULTILINE)
    python = "".join(shlex.split(found.group(1))) if found else ""
    if text != (scripts.text(path.name, python) if found else scripts.text(path.name)):
        return Finding(False, f"bin/{path.name} is not that of this PyBOINC", f"type: {one.setup}")
    if found and not os.access(python, os.X_OK):
        return Finding(
            False, f"bin/{path.name} calls {python}, which is gone", f"type: {one.setup}"
        )
    return Finding(True, f"bin/{path.name}{f', with {python}' if python else ''}")


def template(one: Examined) -> Iterator[Finding]:
    """The app's output template: without it create_work makes nothing, and returns 0."""
    name = one.project.output_template
    try:
        text = (one.root / name).read_text("utf-8", "replace")
    except OSError as error:
        yield Finding(False, f"{name}: {error.strerror}", f"type: {one.setup}")
        return
    lacking = [x for x in ("<OUTFILE_0/>", "<UPLOAD_URL/>", "<file_info>") if x not in text]
    if "<open_name>out</open_name>" not in text:
        lacking.append("<open_name>out</open_name>")
    yield Finding(
        not lacking,
        f"{name}{' lacks ' + ', '.join(lacking) if lacking else ''}",
        f"these are replaced as text, so exactly so; to write it anew: {one.setup} --force",
    )


def keys(one: Examined) -> Iterator[Finding]:
    """The keys: BOINC's, which signs app versions, and ours, which signs slaves."""
    place = Path(one.value("key_dir") or one.root / "keys")
    yield Finding(
        (place / "code_sign_public").is_file(), "keys/code_sign_public", "make_project makes it"
    )
    if (place / "code_sign_private").exists():
        yield Finding(
            None,
            "BOINC's private key code_sign_private lies on this server",
            "who breaks in can give volunteers any program: for a public project keep it on a "
            "computer without a network, and sign app versions there (bin/sign_executable)",
        )
    path = one.project.ours / "public_key"
    try:
        slave_archive.modulus_of(path.read_text("ascii", "replace"))
    except FileNotFoundError:
        yield Finding(
            False,
            "no public key of PyBOINC: no slave can be sent",
            f"pyboinc keygen makes a pair; then: {one.setup} --public-key FILE",
        )
    except (OSError, RejectedArchive) as error:
        yield Finding(False, "pyboinc/public_key can not be used", str(error))
    else:
        yield Finding(True, f"slaves are signed with key {slave_archive.key_id(path.read_text())}")


def interpreters(one: Examined) -> Iterator[Finding]:
    """What BOINC's own scripts are started with: python for `bin/start`, php for `bin/xadd`."""
    for name in ("start", "xadd"):
        try:
            with open(one.root / "bin" / name, "rb") as file:
                words = file.readline(200).decode("utf-8", "replace").removeprefix("#!").split()
        except OSError as error:
            yield Finding(False, f"bin/{name}: {error.strerror}", "upgrade the project")
            continue
        if len(words) == 2 and words[0].endswith("/env"):
            help_ = "apt-get install python-is-python3" if words[1] == "python" else "install it"
            there = shutil.which(words[1]) is not None
            yield Finding(
                there, f"{words[1]} is {'' if there else 'not '}on PATH: for bin/{name}", help_
            )


CHECKS = (
    host,
    interpreters,
    configured,
    running,
    stopped,
    programs,
    template,
    keys,
    database,
    batches,
)
"""What is looked at, in order."""
