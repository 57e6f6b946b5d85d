"""The first file that runs in the processes behind a worker; never imported.

    python -I -S -E boot.py ROOT SEARCH_PATH server CONNECTION ISOLATION PRELOAD
    python -I -S -E boot.py ROOT SEARCH_PATH slave ...

ROOT is where the package pyboinc is, SEARCH_PATH where third-party packages are, joined
as in PATH.  The package ``pyboinc.backends`` is not run: it belongs to the master, and
imports what a fork server should not carry.
"""

import os
import site  # with -S it does nothing by itself
import sys
from types import ModuleType

root, search_path, role = sys.argv[1:4]
os.environ.pop("LD_BIND_NOW", None)  # it was for this interpreter, not for a slave's programs
sys.path.insert(0, root)  # the same pyboinc as the master's, whatever is installed

site.setquit()  # exit() and quit()
site.sethelper()

stubs = ("pyboinc.backends", "pyboinc.backends.local")
for name in stubs:
    stub = ModuleType(name)
    stub.__path__ = [os.path.join(root, *name.split("."))]
    sys.modules[name] = stub

if role == "server":
    from pyboinc.backends.local.keeper import main
else:
    from pyboinc.backends.local.forkserver import spawned as main

for name in stubs:
    del sys.modules[name]
sys.path.remove(root)  # what lies beside it is none of a slave's business
sys.path += [path for path in search_path.split(os.pathsep) if path not in sys.path]

os._exit(main(sys.argv[4:]))
