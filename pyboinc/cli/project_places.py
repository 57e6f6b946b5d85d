"""Who may do what in a project: its directories, its group, and the job directory beside it."""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pyboinc.cli.findings import ROOM, Finding
from pyboinc.cli.project_findings import Examined

_WEB_SERVERS = ("www-data", "apache", "httpd", "nginx", "http", "wwwrun", "_www")

_SHOWN = 3


class Person(NamedTuple):
    """A user, and the groups whose rights he has."""

    number: int
    groups: frozenset[int]

    @property
    def name(self) -> str:
        """His name, where he has one."""
        try:
            return pwd.getpwuid(self.number).pw_name
        except KeyError:
            return str(self.number)

    def may(self, path: Path, right: int) -> bool:
        """Whether the mode of *path* gives him *right*: 4 read, 2 write, 1 pass."""
        if self.number == 0:
            return True
        found = path.stat()
        if found.st_uid == self.number:
            shift = 6
        elif found.st_gid in self.groups:
            shift = 3
        else:
            shift = 0
        return (found.st_mode >> shift) & right == right

    def barrier(self, path: Path) -> Path | None:
        """Return the first directory above *path* that he may not pass, if there is one."""
        above = reversed(path.resolve().parents)
        return next((one for one in above if not self.may(one, 1)), None)


def person(number: int) -> Person:
    """Return the user *number* with the groups that the system gives him."""
    try:
        entry = pwd.getpwuid(number)
        groups = frozenset(os.getgrouplist(entry.pw_name, entry.pw_gid))
    except KeyError:
        groups = frozenset()
    return Person(number, groups)


def me() -> Person:
    """Return the user of this process."""
    return Person(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))


def group_name(number: int) -> str:
    """Return the name of a group, where it has one."""
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def users(one: Examined) -> Iterator[Finding]:
    """This user and the web server's: both belong to the project's group."""
    found, user = one.root.stat(), me()
    group, owner = group_name(found.st_gid), person(found.st_uid).name
    belongs = user.number in (0, found.st_uid) or found.st_gid in user.groups
    yield Finding(
        belongs,
        f"{user.name}, of a project of {owner} and the group {group}",
        f"to make batches here, as root: usermod -a -G {group} {user.name}, then log in anew",
    )
    servers = [entry for entry in pwd.getpwall() if entry.pw_name in _WEB_SERVERS]
    if not servers:
        yield Finding(None, "no user that looks like a web server's", "see BOINC's manual")
    for entry in servers:
        yield Finding(
            entry.pw_uid == found.st_uid or found.st_gid in person(entry.pw_uid).groups,
            f"the web server's user {entry.pw_name} is in the group {group}",
            f"as root: usermod -a -G {group} {entry.pw_name}, then restart the web server",
        )


def directories(one: Examined) -> Iterator[Finding]:
    """What masters, daemons and the web server write into, and who may."""
    ours = one.project.ours
    if not ours.is_dir():
        yield Finding(False, "the project is not prepared for PyBOINC", f"type: {one.setup}")
    else:
        yield from _for_the_group(one, "pyboinc", [ours, *(ours / x for x in _FOLDERS)], 0o2770)
    yield from _for_the_group(one, "templates", [one.root / "templates"], 0o770)
    for path in (one.project.download, one.project.upload):
        fans = _fans(path)
        name = os.path.relpath(path, one.root)
        yield from _for_the_group(one, name, [path, *fans], 0o770)
    config = one.root / "config.xml"
    if config.stat().st_mode & stat.S_IROTH:
        yield Finding(
            None,
            "config.xml, with the database's password, can be read by every user here",
            f"if there are others: chmod o-r {shlex.quote(str(config))}",
        )


_FOLDERS = ("batches", "failed", "kept")


def _fans(path: Path) -> list[Path]:
    """Return the directories of a hierarchy, whoever made each of them."""
    try:
        with os.scandir(path) as entries:
            return sorted(Path(x.path) for x in entries if x.is_dir(follow_symlinks=False))
    except OSError:
        return []


def _for_the_group(one: Examined, name: str, paths: list[Path], mode: int) -> Iterator[Finding]:
    """These directories are the group's of the project, which may write into them."""
    group = one.root.stat().st_gid
    missing = [path for path in paths if not path.is_dir()]
    wrong = [
        path
        for path in paths
        if path.is_dir() and (path.stat().st_gid != group or path.stat().st_mode & mode != mode)
    ]
    if missing:
        yield Finding(False, f"{missing[0]} is missing", f"type: {one.setup}")
    if wrong:
        shown = " ".join(shlex.quote(str(path)) for path in wrong[:_SHOWN])
        more = f" (and {len(wrong) - _SHOWN} more)" if len(wrong) > _SHOWN else ""
        flag = "g+rwxs" if mode & stat.S_ISGID else "g+rwx"
        yield Finding(
            False,
            f"{name}/: {len(wrong)} directories that the project's group may not write into",
            f"chgrp {group_name(group)} {shown} && chmod {flag} {shown}{more}",
        )
    if not missing and not wrong:
        yield Finding(True, f"{name}/ can be written to by the group {group_name(group)}")


def disks(one: Examined) -> Iterator[Finding]:
    """Room for inputs, outputs and what the project writes."""
    seen: set[int] = set()
    for path in (one.root, one.project.download, one.project.upload):
        if path.is_dir() and path.stat().st_dev not in seen:
            seen.add(path.stat().st_dev)
            free = shutil.disk_usage(path).free
            yield Finding(free >= ROOM, f"{free / 1e9:.1f} GB free for {path}", "free some")


def cron(one: Examined) -> Iterator[Finding]:
    """A line of cron that starts daemons again which have ended."""
    if os.geteuid() != one.root.stat().st_uid:
        return
    try:
        run = subprocess.run(["crontab", "-l"], capture_output=True, text=True, timeout=10)
        lines = run.stdout.splitlines()
    except (OSError, subprocess.TimeoutExpired):
        lines = []
    there = any("start --cron" in line and not line.lstrip().startswith("#") for line in lines)
    yield Finding(
        True if there else None,
        f"bin/start --cron is {'' if there else 'not '}in your crontab",
        "daemons that end, with the database for example, stay down without it:\n"
        f"*/5 * * * * cd {one.root} && bin/start --cron",
    )


def kept(one: Examined) -> Iterator[Finding]:
    """Outputs that could not be put where their batch wants them."""
    place = one.project.ours / "kept"
    try:
        number = sum(1 for path in place.rglob("*") if path.is_file())
    except OSError:
        number = 0
    if number:
        yield Finding(
            None,
            f"{number} outputs are kept in {place}",
            "they could not be put into new/, and are taken from here when their master runs",
        )


def job_directory(one: Examined, path: Path) -> Iterator[Finding]:
    """A job directory: the assimilator can write into new/, a validator can read the types."""
    daemon = person(one.root.stat().st_uid)
    new, group = path / "new", group_name(one.root.stat().st_gid)
    barrier = daemon.barrier(new)
    if barrier is not None:
        yield Finding(
            False,
            f"the daemons' user {daemon.name} can not pass {barrier}",
            f"chmod o+x {shlex.quote(str(barrier))}",
        )
        return
    there = new if new.is_dir() else path
    writes = daemon.may(there, 3)
    quoted = shlex.quote(str(new))
    yield Finding(
        writes,
        f"{there} can {'' if writes else 'not '}be written to by the daemons' user {daemon.name}",
        f"mkdir -p {quoted} && chgrp {group} {quoted} && chmod 2775 {quoted}",
    )
    for name in ("app_types.py", ".pyboinc/run.json"):
        file = path / name
        if file.is_file():
            blocked = daemon.barrier(file)
            reads = blocked is None and daemon.may(file, 4)
            yield Finding(
                reads,
                f"{name} can {'' if reads else 'not '}be read by {daemon.name}",
                f"a script validator asks it: chmod o+r {shlex.quote(str(file))}"
                + (f" && chmod o+x {shlex.quote(str(blocked))}" if blocked else ""),
            )


CHECKS = (users, directories, disks, cron, kept)
"""What is looked at, in order."""
