"""Living functions are given the code of a changed file, as if it had been imported.

A module that says ``from x import f`` holds the function itself, so a module imported anew
would not reach it; its code can be exchanged in place.  What a mutant changes beside the
code of functions (a default value) and what a function did while modules were
imported (a table it made) is not changed by this: such mutants are run in a new process.
"""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from types import CodeType, FunctionType

Key = tuple[str, str, int]


class Functions:
    """The living functions of a package, by the place of their code."""

    def __init__(self, directory: str) -> None:
        self._found: dict[Key, list[FunctionType]] = {}
        gc.unfreeze()  # tests/conftest.py has put aside all that there was
        for each in gc.get_objects():  # a hostile class of some test may lie about itself
            if type(each) is FunctionType and each.__code__.co_filename.startswith(directory):
                self._found.setdefault(_key(each.__code__), []).append(each)

    def swap(self, path: str, before: str, after: str) -> None:
        """Give the functions of the file *path* the code of its text *after*."""
        old, new = compile(before, path, "exec"), compile(after, path, "exec")
        for code, changed in _pairs(old, new):
            if _is_function(code):
                for function in self._found.get(_key(code), ()):
                    function.__code__ = changed


def only_functions_differ(path: str, before: str, after: str) -> bool:
    """Whether exchanging the code of functions, each with its closure, is all of a change."""
    pairs = _pairs(compile(before, path, "exec"), compile(after, path, "exec"))
    return all(
        len(old.co_freevars) == len(new.co_freevars)
        if _is_function(old)
        else _own(old) == _own(new)
        for old, new in pairs
    )


def _is_function(code: CodeType) -> bool:
    """And not a module or a class, whose variables outlive the run of their code."""
    return bool(code.co_flags & inspect.CO_NEWLOCALS)


def _key(code: CodeType) -> Key:
    return code.co_filename, code.co_qualname, code.co_firstlineno


def _nested(code: CodeType) -> list[CodeType]:
    return [each for each in code.co_consts if isinstance(each, CodeType)]


def _own(code: CodeType) -> tuple[object, ...]:
    """What makes the code itself, without that of functions inside and without line numbers."""
    constants = [
        (type(each), repr(each)) for each in code.co_consts if not isinstance(each, CodeType)
    ]
    return code.co_code, constants, code.co_names, code.co_varnames, code.co_freevars


def _differ(old: CodeType, new: CodeType) -> bool:
    nested = list(zip(_nested(old), _nested(new), strict=False))
    return (
        _own(old) != _own(new)
        or len(_nested(old)) != len(_nested(new))
        or any(_differ(*pair) for pair in nested)
    )


def _pairs(old: CodeType, new: CodeType) -> Iterator[tuple[CodeType, CodeType]]:
    """The codes that differ, or have something inside that does, as they were and as they are."""
    if not _differ(old, new):
        return
    yield old, new
    for pair in zip(_nested(old), _nested(new), strict=False):
        if pair[0].co_name == pair[1].co_name:
            yield from _pairs(*pair)
