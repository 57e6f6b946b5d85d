"""A master program, run in this process as ``python`` would run it.

BOINC's design document prints programs that use PyBOINC's functions without importing
them.  They run here too: a program that imports nothing from pyboinc finds its public
names, and those of ``app_types``, among its globals.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pyboinc
from pyboinc.discovery import imports_of
from pyboinc.errors import ConfigurationError
from pyboinc.spelling import nearest

_TYPES = "app_types"
_OURS = (__file__, str(importlib.__file__), "<frozen importlib")


def run(program: Path, arguments: Sequence[str]) -> None:
    """Run *program* in this process as ``__main__``; it ends as under ``python``."""
    path = program.absolute()
    source = source_of(path)
    _put_first(str(path.resolve().parent))
    sys.argv = [str(program), *arguments]
    main = ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=builtins, __cached__=None)
    sys.modules["__main__"] = main
    as_printed = wants_names(source, path)
    try:
        if as_printed:
            _provide(main, path.parent)
        exec(compile(source, str(path), "exec", dont_inherit=True), main.__dict__)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  # as the interpreter does at its top
        _show(error)


def _put_first(directory: str) -> None:
    """Let *directory* be the first that imports look at, instead of what `pyboinc` brought."""
    if sys.flags.safe_path:
        sys.path.insert(0, directory)
    else:
        sys.path[0] = directory


def wants_names(source: bytes, path: Path) -> bool:
    """Return whether the program *source* imports nothing of pyboinc."""
    return all(one.module.partition(".")[0] != "pyboinc" for one in imports_of(source, path, ""))


def source_of(path: Path) -> bytes:
    """Return the text of the program *path*; if it is none, say what may be meant."""
    try:
        return path.read_bytes()
    except IsADirectoryError:
        hint = f"{path.name}/app_master.py" if (path / "app_master.py").is_file() else "a file"
        raise ConfigurationError(f"{path} is a directory; name the program: {hint}") from None
    except FileNotFoundError:
        near = nearest(path.name, [one.name for one in path.parent.glob("*.py")])
        hint = f"did you mean {near}?" if near else "a new one is made by: pyboinc init DIR"
        raise ConfigurationError(f"there is no program {path}; {hint}") from None


def _provide(main: ModuleType, directory: Path) -> None:
    """Put the public names of pyboinc and of app_types among the program's globals."""
    for name in pyboinc.__all__:
        setattr(main, name, getattr(pyboinc, name))
    if (directory / f"{_TYPES}.py").is_file():
        types = importlib.import_module(_TYPES)
        public = [name for name in vars(types) if not name.startswith("_")]
        for name in getattr(types, "__all__", public):
            setattr(main, name, getattr(types, name))


def _show(error: BaseException) -> NoReturn:
    """Show *error* as the interpreter would, without our own frames, and end."""
    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename.startswith(_OURS):
        trace = trace.tb_next
    error.__traceback__ = trace
    sys.excepthook(type(error), error, error.__traceback__)
    raise SystemExit(130 if isinstance(error, KeyboardInterrupt) else 1)
