"""The programs that a project's daemons call: what `pyboinc setup` puts into the project's bin/."""

from __future__ import annotations

import shlex
import sys
from importlib.resources import files

ASSIMILATE, VALIDATE, COMPARE = "pyboinc_assimilate", "pyboinc_validate", "pyboinc_compare"

NAMES = (ASSIMILATE, VALIDATE, COMPARE)
"""The names under which they are called."""

_SOURCES = {ASSIMILATE: ASSIMILATE, VALIDATE: VALIDATE, COMPARE: VALIDATE}


def text(name: str, python: str = sys.executable) -> str:
    """Return the text of the script *name*; if it needs an interpreter, that is *python*."""
    source = files("pyboinc.administration") / "bin" / _SOURCES[name]
    return source.read_text("utf-8").replace("@PYTHON@", shlex.quote(python))
