"""Run one slave as its runner does, and open the debugger where it fails (``replay --pdb``).

python -m pyboinc.cli.post_mortem ARCHIVE SLAVE
"""

from __future__ import annotations

import pdb
import sys
from types import TracebackType

from pyboinc import slave_runner


def debug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Show the error, then let the user look at the slave's own frames."""
    sys.__excepthook__(kind, error, trace)
    if trace is not None:
        pdb.post_mortem(trace)


if __name__ == "__main__":
    sys.excepthook = debug
    sys.exit(slave_runner.main(sys.argv[1:]))
