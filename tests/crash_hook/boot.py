"""Stands in for ``pyboinc/backends/local/boot.py``: the processes behind a worker ask first.

The real one is run, in two halves: between them the functions that these processes begin
with are made to ask for a tracer (``tracing.py``) before they do anything.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import_path = os.path.dirname(os.path.abspath(__file__))
real = os.path.join(sys.argv[1], "pyboinc", "backends", "local", "boot.py")
with open(real) as file:
    head, begin, end = file.read().partition("os._exit(")
assert begin, f"{real} does not end as it did"
exec(compile(head, real, "exec"))

sys.path.insert(0, import_path)
import tracing  # noqa: E402  # found only now

sys.path.remove(import_path)


def asking(role: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return *function*, preceded by the question."""

    def ask(*arguments: Any) -> Any:
        tracing.ask(role)
        return function(*arguments)

    return ask


from pyboinc.backends.local import forkserver, keeper  # noqa: E402

keeper.main = asking("keeper", keeper.main)
forkserver.main = asking("fork server", forkserver.main)
forkserver._Forking._become = asking("slave", forkserver._Forking._become)
exec(compile(begin + end, real, "exec"))
