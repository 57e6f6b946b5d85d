"""Which engine plays: these modules, or the same ones compiled, where somebody has made that.

``python -m simulator.compiled`` makes it, for one environment of Python and for the sources as
they are.  It is used while both are the same; ``PYBOINC_SIMULATOR=python`` does without it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

MODULES = (
    "availability",
    "clock",
    "daemons",
    "deadlines",
    "draws",
    "feeder",
    "host",
    "jobs",
    "lives",
    "measures",
    "network",
    "policies",
    "reliability",
    "server",
    "trust",
    "world",
)
"""The modules that are compiled: those in which time passes."""

GROUP = "pyboinc_simulator"
"""The library that they are in."""

VARIABLE = "PYBOINC_SIMULATOR"

SOURCES = Path(__file__).parent


def place() -> Path:
    """The directory of the compiled engine, in the environment of this Python."""
    return Path(sys.prefix) / "pyboinc-simulator"


def stamp() -> str:
    """What a compiled engine is made for: this Python, and these sources."""
    digest = hashlib.sha256(str(sysconfig.get_config_var("SOABI")).encode())
    for name in MODULES:
        digest.update((SOURCES / f"{name}.py").read_bytes())
    return digest.hexdigest()


def use() -> bool:
    """Let the modules of the compiled engine come before ours, if it is there and is ours."""
    made = place()
    try:
        fits = (made / "stamp").read_text() == stamp()
    except OSError:
        return False
    if not fits or os.environ.get(VARIABLE) == "python":
        return False
    # Each of its modules is a name in one library, which they look up among what is imported.
    name = f"{GROUP}__mypyc"
    library = made / f"{name}{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location(name, library)
    assert spec is not None and spec.loader is not None  # for its file is named so
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    sys.modules["simulator"].__path__.insert(0, str(made / "simulator"))
    return True
