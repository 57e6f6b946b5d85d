"""The first file that runs in the processes behind a worker; never imported.

    python -I -S -E boot.py ROOT SEARCH_PATH ROLE ...

ROOT is where the package pyboinc is; what follows is told in ``roles``.  The package
``pyboinc.backends`` is not run, but stood in for: it belongs to the master, and imports
what a fork server should not carry.
"""

import os
import sys
from types import ModuleType

sys.path.insert(0, sys.argv[1])  # the same pyboinc as the master's, whatever is installed
for name in ("pyboinc.backends", "pyboinc.backends.local"):
    sys.modules[name] = ModuleType(name)
    sys.modules[name].__path__ = [os.path.join(sys.argv[1], *name.split("."))]

from pyboinc.backends.local.roles import main  # noqa: E402  # which needs the lines above

os._exit(main(sys.argv[1:]))
