"""``python -m simulator.compiled``: the simulator's inner modules, compiled by mypyc.

The same sources, which mypy has checked, become a library that is about three times as
quick.  It is put into the environment of this Python and used from then on, until a
source changes; nothing needs it.  ``--remove`` takes it away again, ``--show`` says which engine
plays.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import simulator
from pyboinc import errors
from pyboinc.errors import ConfigurationError, PyboincError
from simulator import engine

_SETUP = """
import sys
from setuptools import setup
from mypyc.build import mypycify

group, into, *paths = sys.argv[1:]
setup(
    name=group,
    packages=[],
    ext_modules=mypycify(paths, opt_level="2", debug_level="0", group_name=group),
    script_args=["--quiet", "build_ext", "--build-lib", into],
)
"""

_SHOWN = 20
"""Lines of a failed compilation that are shown."""


def build(modules: Sequence[str] = engine.MODULES, place: Path | None = None) -> None:
    """Compile *modules* and put them into *place*: all of them, or what was there is left."""
    place = place or engine.place()
    for name in ("mypyc", "setuptools"):
        if find_spec(name) is None:
            raise ConfigurationError(
                f"{name} is not installed, which compiles the simulator;"
                " python -m pip install 'pyboinc[compiled]'"
            )
    stamp = engine.stamp()
    with tempfile.TemporaryDirectory(prefix="pyboinc-compile-") as directory:
        work = Path(directory)
        shutil.copytree(
            engine.SOURCES, work / "simulator", ignore=shutil.ignore_patterns("__pycache__")
        )
        # Their types are looked up in it.
        (work / "pyboinc").symlink_to(Path(errors.__file__).parent)
        _compile(work, modules)
        (work / "made" / "stamp").write_text(stamp)
        remove(place)
        try:
            shutil.copytree(work / "made", place)
        except OSError as error:
            remove(place)
            raise ConfigurationError(
                f"{place} can not be written ({error.strerror}); use an environment of your own:"
                " python -m venv"
            ) from error


def _compile(work: Path, modules: Sequence[str]) -> None:
    """Run mypyc and a compiler of C in *work*; their library is in work/made afterwards."""
    (work / "made" / "simulator").mkdir(parents=True)
    paths = [str(Path("simulator", f"{name}.py")) for name in modules]
    done = subprocess.run(
        [sys.executable, "-c", _SETUP, engine.GROUP, "made", *paths],
        cwd=work,
        env={**os.environ, engine.VARIABLE: "python"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = "\n".join(done.stdout.splitlines()[-_SHOWN:])
        raise ConfigurationError(
            f"the simulator could not be compiled; is there a compiler of C, and Python.h?\n{said}"
        )


def remove(place: Path | None = None) -> None:
    """Take the compiled engine away."""
    shutil.rmtree(place or engine.place(), ignore_errors=True)


def show() -> str:
    """Which engine plays, and why not the other one."""
    if simulator.ENGINE == "compiled":
        return f"compiled, in {engine.place()}"
    if not engine.place().exists():
        return "Python; python -m simulator.compiled makes a compiled engine"
    if os.environ.get(engine.VARIABLE) == "python":
        return f"Python, as {engine.VARIABLE} says; the compiled engine is in {engine.place()}"
    return (
        "Python, for the compiled engine is of another Python or of other sources;"
        " python -m simulator.compiled makes it anew"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what was asked for; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m simulator.compiled", description=(__doc__ or "").partition("\n")[0]
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--remove", action="store_true", help="take the compiled engine away")
    what.add_argument("--show", action="store_true", help="say which engine plays")
    given = parser.parse_args(arguments)
    if given.show:
        print(show())
    elif given.remove:
        remove()
    else:
        began = time.monotonic()
        try:
            build()
        except PyboincError as error:
            print(f"pyboinc: {error}", file=sys.stderr)
            return 2
        print(f"compiled in {time.monotonic() - began:.0f} s; it is in {engine.place()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
