"""The app versions that volunteers get: built here, laid out as a BOINC server wants them.

    apps/pyboinc/1.0/x86_64-pc-linux-gnu/
        pyboinc_1.0_x86_64-pc-linux-gnu        the main program
        version.xml                            which of the files is what

There are two forms.  The *python3* form is one file of 300 kB with the slave half of PyBOINC;
the volunteer's computer has the Python that runs it (:mod:`pyboinc.build.python_form`).  The
*self-contained* form carries its own Python, and packages such as numpy, for the platform of
the computer that builds it (:mod:`pyboinc.build.self_contained`).

Names are for ever: a client that has a file of a name never fetches it again, and
``bin/update_versions`` refuses one that has changed.  So each name holds app, version and
platform, and what is built a second time must come out the same or have another version.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyboinc import disk
from pyboinc.errors import ConfigurationError
from pyboinc.slave_archive import key_id, modulus_of

PLATFORMS = (
    "x86_64-pc-linux-gnu",
    "aarch64-unknown-linux-gnu",
    "arm-unknown-linux-gnueabihf",
    "i686-pc-linux-gnu",
    "arm64-apple-darwin",
    "x86_64-apple-darwin",
)
"""BOINC's names of the platforms on which the slave half runs."""

_HERE = {
    ("Linux", "x86_64"): "x86_64-pc-linux-gnu",
    ("Linux", "aarch64"): "aarch64-unknown-linux-gnu",
    ("Linux", "armv7l"): "arm-unknown-linux-gnueabihf",
    ("Linux", "i686"): "i686-pc-linux-gnu",
    ("Darwin", "arm64"): "arm64-apple-darwin",
    ("Darwin", "x86_64"): "x86_64-apple-darwin",
}

_APP = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
_VERSION = re.compile(r"(0|[1-9][0-9]{0,3})\.[0-9]{1,2}")

#: With less than 6.0 a client offers no shared memory.
_API_VERSION = "7.0.0"


@dataclass(frozen=True, slots=True)
class AppVersion:
    """One app version for one platform: names that are nobody else's, and the key inside."""

    app: str
    version: str
    platform: str
    public_key: str

    @property
    def name(self) -> str:
        """The physical name that all its files begin with."""
        return f"{self.app}_{self.version}_{self.platform}"

    @property
    def trusts(self) -> str:
        """What its main program says near its beginning, for people and for a served project."""
        return f"It runs what the key {key_id(self.public_key)} has signed, and nothing else."

    def directory(self, output: Path) -> Path:
        """Return its directory below *output*, as it is in a project."""
        return output / "apps" / self.app / self.version / self.platform


def platform_here() -> str | None:
    """Return BOINC's name of this computer's platform; None if it has none that we know."""
    here = os.uname()
    return _HERE.get((here.sysname, here.machine))


def app_version(app: str, version: str, platform: str, public_key: str) -> AppVersion:
    """Return the app version of these names; ``ConfigurationError`` for one that can not be."""
    if not _APP.fullmatch(app):
        raise ConfigurationError(
            f"an app's name is a word of letters, digits and underscores, not {app!r}"
        )
    if not _VERSION.fullmatch(version):
        raise ConfigurationError(
            f"BOINC's versions are two numbers, as in 1.0 or 2.15, not {version!r}"
        )
    if platform not in PLATFORMS:
        raise ConfigurationError(
            f"there is no platform {platform!r}; there is {', '.join(PLATFORMS)}"
        )
    modulus_of(public_key)
    return AppVersion(app, version, platform, public_key)


def version_xml(main: str, others: Sequence[str] = ()) -> bytes:
    """Return the text of version.xml for the program *main* and the files beside it."""
    names = [main, *others]
    files = [
        f"    <file>\n        <physical_name>{name}</physical_name>\n"
        + ("        <main_program/>\n" if name == main else "")
        + "    </file>\n"
        for name in names
    ]
    api = f"    <api_version>{_API_VERSION}</api_version>\n"
    return ("<version>\n" + "".join(files) + api + "</version>\n").encode()


def place(built: AppVersion, output: Path, files: Mapping[str, bytes]) -> bool:
    """Put *files* (name -> content), programs all but version.xml, into *output*.

    Returns False if they are there already, the same.  Raises ``ConfigurationError`` if
    others are: they may be on volunteers' computers, which would never fetch these.
    """
    directory = built.directory(output)
    if directory.exists():
        found = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
        if found == files:
            return False
        raise ConfigurationError(
            f"{directory} is there already, with other files; volunteers who have them would "
            "never fetch these: give the next --version"
        )
    disk.make_directory(directory.parent)
    part = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
    disk.make_directory(part)
    for name, data in files.items():
        disk.publish(part / name, data)
        os.chmod(part / name, 0o644 if name == "version.xml" else 0o755)
    os.rename(part, directory)
    disk.sync_directory(directory.parent)
    return True
