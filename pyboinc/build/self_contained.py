"""The self-contained form of an app version: it brings its own Python, and packages.

PyInstaller makes it, for the platform of the computer that it runs on.  Its *one file* is
chosen, not the directory that PyInstaller can make instead.  A BOINC app version is a set of
files, each signed, downloaded and counted by itself; a directory of 40 would have to be copied
into the slot for every job.  The file is downloaded once (11 MB) and unpacks itself into the
slot (26 MB) at the start of each job, which takes a third of a second of a processor: jobs for
volunteers take minutes.  It unpacks into the slot and not into /tmp, because a client clears
the slot, whatever became of the job, and a volunteer's /tmp may be small or may not execute.

Beside it lies the main program, a few lines for the shell.  They take the directories that
the project's server can fill out of the search path of shared libraries, leave the job's
command line out, and remove what a killed job unpacked here before.

The standard library is in it as a whole but for what needs a screen or a developer: nobody
knows what next week's slave imports.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from pkgutil import walk_packages

from pyboinc.build import AppVersion, version_xml
from pyboinc.build.python_form import CLEANED
from pyboinc.build.slave_half import files, main_program, modules
from pyboinc.errors import ConfigurationError

LEFT_OUT = (
    "_curses",
    "_curses_panel",
    "_tkinter",
    "antigravity",
    "curses",
    "distutils",
    "ensurepip",
    "idlelib",
    "lib2to3",
    "nis",
    "pydoc_data",
    "readline",
    "test",
    "this",
    "tkinter",
    "turtle",
    "turtledemo",
    "venv",
)
"""What no slave needs of the standard library: it is for screens, or to develop with."""

_NOT_ASKED_FOR = ("numpy", "setuptools", "pip", "_pytest", "pytest")
"""What analysis finds by way of imports that happen on demand only."""

_MAIN = """\
#!/bin/sh
# {name}: starts {runtime}, which lies beside it.
# {trusts}
{cleaned}[ -f init_data.xml ] && rm -rf ./_MEI*
case "$0" in
    */*) exec "${{0%/*}}/{runtime}" ;;
    *) exec "./{runtime}" ;;
esac
exit 1
"""


def build(built: AppVersion, packages: Sequence[str] = ()) -> dict[str, bytes]:
    """Return the files of the app version *built*, with the *packages* in it."""
    _check(packages)
    runtime = f"{built.name}_runtime"
    with tempfile.TemporaryDirectory(prefix="pyboinc-build-") as scratch:
        data = freeze(Path(scratch), runtime, built.public_key, packages).read_bytes()
    words = {"name": built.name, "runtime": runtime, "trusts": built.trusts, "cleaned": CLEANED}
    xml = version_xml(built.name, [runtime])
    main = _MAIN.format(**words).encode()
    return {built.name: main, runtime: data, "version.xml": xml}


def _check(packages: Sequence[str]) -> None:
    if find_spec("PyInstaller") is None:
        raise ConfigurationError(
            "a self-contained version is made with PyInstaller: pip install 'pyboinc[build]'"
        )
    for name in packages:
        if not name.isidentifier() or find_spec(name) is None:
            raise ConfigurationError(
                f"--with {name}: there is no package of this name to be imported here; install "
                "it where pyboinc is installed (the name is the one in the import statement)"
            )


def freeze(
    scratch: Path, name: str, public_key: str, packages: Sequence[str] = (), one_file: bool = True
) -> Path:
    """Return the program that PyInstaller makes of the slave half and *packages* in *scratch*.

    Without *one_file* it needs the directory that it is in.
    """
    # A copy of the slave half alone: else whatever it mentions of the rest would come along.
    sources = scratch / "sources"
    for path, data in {"main.py": main_program(public_key), **files()}.items():
        (sources / path).parent.mkdir(parents=True, exist_ok=True)
        (sources / path).write_bytes(data)
    options = ["--onefile" if one_file else "--onedir", *_options(scratch, name, packages)]
    command = [sys.executable, "-m", "PyInstaller", *options]
    # The same sources give the same file: no dates, and no order that depends on a hash.
    environment = {**os.environ, "PYTHONHASHSEED": "1", "SOURCE_DATE_EPOCH": "315532800"}
    environment.pop("PYTHONPATH", None)
    made = subprocess.run(
        [*command, str(sources / "main.py")],
        cwd=scratch,
        env={**environment, "PYINSTALLER_CONFIG_DIR": str(scratch / "cache")},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if made.returncode:
        raise ConfigurationError("PyInstaller failed:\n" + "\n".join(made.stderr.splitlines()[-8:]))
    return scratch.joinpath("dist", name) if one_file else scratch.joinpath("dist", name, name)


def _options(scratch: Path, name: str, packages: Sequence[str]) -> list[str]:
    options = ["--name", name, "--paths", str(scratch / "sources")]
    options += ["--runtime-tmpdir", ".", "--noconfirm", "--noupx", "--log-level", "ERROR"]
    for kind, place in (("distpath", "dist"), ("workpath", "work"), ("specpath", ".")):
        options += [f"--{kind}", str(scratch / place)]
    if sys.platform == "linux" and not packages:
        # Never those of packages: `strip` destroys what was made portable by patchelf, as numpy's.
        options.append("--strip")
    for module in [*modules(), *standard_modules()]:
        options += ["--hidden-import", module]
    for package in packages:
        options += ["--hidden-import", package, "--collect-submodules", package]
    wanted = {*packages}
    for module in [*LEFT_OUT, *_NOT_ASKED_FOR]:
        if module not in wanted:
            options += ["--exclude-module", module]
    return options


def standard_modules() -> Iterator[str]:
    """Yield the modules of the standard library that a slave finds in a self-contained version."""
    for name in sorted(sys.stdlib_module_names - {*LEFT_OUT}):
        try:
            spec = find_spec(name)
        except (ImportError, ValueError):
            continue  # of another platform
        if spec is None:
            continue
        yield name
        for module in walk_packages(spec.submodule_search_locations or [], f"{name}."):
            # Walking a package imports its subpackages; their names are enough here.
            if not {"test", "tests", "__main__"} & {*module.name.split(".")}:
                yield module.name
