"""Volunteers and servers in virtual time."""

import os as _os
import sys as _sys

ENGINE = "Python"
"""What plays: "Python", or "compiled" (see simulator.engine)."""

if _os.path.exists(_os.path.join(_sys.prefix, "pyboinc-simulator")):
    from simulator import engine as _engine

    if _engine.use():
        ENGINE = "compiled"
