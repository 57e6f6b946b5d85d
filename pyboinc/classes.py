"""Which classes an input or output may be made of: those of the slave's own modules."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from pyboinc import codec
from pyboinc.errors import EncodeError, RejectedResult

#: Where the design puts the classes of inputs and outputs: it travels with every slave.
TYPES = "app_types.py"

_T = TypeVar("_T")


class Classes:
    """Which classes an input or output may be made of: those of the slave's own modules.

    A module is imported here only if it is among the files that a slave carries; a file
    that comes back can name a class, but never causes an import by itself.
    """

    def __init__(self, job_directory: Path) -> None:
        self._job_directory = job_directory
        self._names: set[str] = set()
        self._registry: codec.Registry | None = None
        self._complete = False

    def add(self, modules: Iterable[str]) -> None:
        """Let the classes defined in these local modules travel."""
        self._names.update(modules)
        self._registry = None
        self._complete = False

    def attempt(self, action: Callable[[codec.Registry], _T]) -> _T:
        """Return ``action(registry)``; if it is refused, once more with every module loaded."""
        try:
            return action(self._registry or self._build(complete=False))
        except (RejectedResult, EncodeError):
            if self._complete:
                raise
            return action(self._build(complete=True))

    def _build(self, complete: bool) -> codec.Registry:
        modules = [self._module(name, complete) for name in sorted(self._names)]
        self._registry = codec.Registry.from_modules([one for one in modules if one])
        self._complete = complete
        return self._registry

    def _module(self, name: str, load: bool) -> ModuleType | None:
        module = sys.modules.get(name)
        if module is None and load:
            if str(self._job_directory) not in sys.path:
                sys.path.insert(0, str(self._job_directory))
            try:
                module = importlib.import_module(name)
            except ImportError:
                # It needs something that only volunteers have: its classes stay unknown.
                return None
        return module
