"""The app versions that ``pyboinc build`` made: found in the job directory, and never changed.

    apps/pyboinc/1.0/x86_64-pc-linux-gnu/version.xml    which of the files beside it is what

They are looked at as BOINC's ``bin/update_versions`` does: version 1.10 has the number 110, and a
file that clients may have by now must not come with other bytes under its name.  What each
of them trusts stands near the beginning of its main program.
"""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pyboinc.errors import ConfigurationError

_VERSION = re.compile(r"([0-9]{1,4})\.([0-9]{1,2})", re.ASCII)
_PLATFORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,199}", re.ASCII)
"""What a file of an app version may be called."""

_TRUSTS = re.compile(rb"^# It runs what the key ([0-9a-f]{16}) has signed", re.MULTILINE)
_HEAD = 4096
"""Bytes of a main program in which it says what it trusts."""


@dataclass(frozen=True, slots=True)
class BuiltFile:
    """One file of an app version; *open_name* is what its program calls it, if it does."""

    path: Path
    open_name: str = ""
    executable: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """An app version as it was built; the first of its files is the main program.

    *key* names the key whose signature it wants on slaves' archives.
    """

    app: str
    number: int
    platform: str
    files: tuple[BuiltFile, ...]
    api_version: str
    key: str


def find(directory: Path, app: str) -> list[Built]:
    """Return the app versions of *app* below *directory*; ``ConfigurationError`` for a bad one."""
    return [_read(app, number, path) for number, path in _places(directory / "apps" / app)]


def newest(found: Iterable[Built]) -> list[Built]:
    """Return the version of the highest number for each platform: the others get no jobs."""
    return list({one.platform: one for one in sorted(found, key=lambda one: one.number)}.values())


def _places(folder: Path) -> Iterator[tuple[int, Path]]:
    """Yield number and directory of each version for one platform."""
    if not folder.is_dir():
        return
    for version in sorted(folder.iterdir()):
        found = _VERSION.fullmatch(version.name)
        if found is None or not version.is_dir():
            continue
        for platform in sorted(version.iterdir()):
            if platform.is_dir() and not platform.name.startswith("."):
                yield 100 * int(found.group(1)) + int(found.group(2)), platform


def _read(app: str, number: int, place: Path) -> Built:
    if not _PLATFORM.fullmatch(place.name) or "__" in place.name:
        raise ConfigurationError(
            f"{place} is called like no platform; plan classes are not served: move it out of apps/"
        )
    root = _version_xml(place)
    files = [_file(place, one) for one in root.findall("file")]
    mains = [one.find("main_program") is not None for one in root.findall("file")]
    if mains.count(True) != 1:
        raise ConfigurationError(f"{place}/version.xml must name one main_program: build it anew")
    main = files.pop(mains.index(True))
    return Built(
        app,
        number,
        place.name,
        (BuiltFile(main.path, executable=True), *files),
        root.findtext("api_version", "").strip() or "7.0.0",
        _trusted_by(main.path),
    )


def _version_xml(place: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring((place / "version.xml").read_bytes())
    except (OSError, ElementTree.ParseError) as error:
        raise ConfigurationError(
            f"{place}/version.xml can not be read ({error}); build the version anew, or move it "
            "out of apps/"
        ) from None


def _file(place: Path, described: ElementTree.Element) -> BuiltFile:
    name = described.findtext("physical_name", "").strip()
    path = place / name
    if not NAME.fullmatch(name) or not path.is_file():
        raise ConfigurationError(f"{place}/version.xml names {name!r}, which is no file beside it")
    open_name = described.findtext("logical_name", "").strip()
    return BuiltFile(path, open_name, os.access(path, os.X_OK))


def _trusted_by(main: Path) -> str:
    with open(main, "rb") as file:
        found = _TRUSTS.search(file.read(_HEAD))
    if found is None:
        raise ConfigurationError(
            f"{main} does not say which key it trusts: it was not made by this pyboinc build; "
            "build it anew with the next --version, or move it out of apps/"
        )
    return found.group(1).decode()
