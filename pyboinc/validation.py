"""Which outputs are valid, and which agree: the one place of the rule.

An output is valid if the loader takes it, and so is made of nothing but built-in types and
the classes of the slave's own modules.  Two agree if they are the same value.  An app may
say more of it in ``app_types.py``:

    def validate(output):
        return 0 <= output.share <= 1

    compare = pyboinc.close_to(relative=1e-6)

The emulator and the simulated project ask here, and so does, on a real project's server,
:mod:`pyboinc.administration.validate`.  The app's functions are its author's code: they run
in the process that asks, and whatever they raise is contained.  docs/validation.md has it
for users.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Protocol

from pyboinc import codec
from pyboinc.classes import TYPES, Classes
from pyboinc.codec.agreement import bitwise, close_to
from pyboinc.errors import ConfigurationError, RejectedResult
from pyboinc.stderr import say

_NAMES = {"validate": ("output",), "compare": ("a", "b")}
"""What an app may define, and what it is called with."""

_SAID = 20
"""How many different complaints are said of functions that raise."""


class Judgement(Protocol):
    """What an emulated validator asks: :class:`Rules`, or something that asks them."""

    def refusal(self, data: bytes) -> str:
        """Return why an output is not valid; nothing if it is."""

    def same(self, a: bytes, b: bytes) -> bool:
        """Return whether two valid outputs agree."""


@dataclass(frozen=True, slots=True)
class Own:
    """What an app has in its app_types.py: either may be None."""

    validate: Callable[[Any], object] | None = None
    compare: Callable[[Any, Any], object] | None = None

    def refusal(self, output: Any) -> str:
        """Return why ``validate`` takes a loaded output for not valid; nothing if it does not."""
        if self.validate is None:
            return ""
        try:
            verdict = self.validate(output)
            if verdict is None:
                return f"validate in {TYPES} returned None; it must return True for what is valid"
            return "" if verdict else f"validate in {TYPES} says that it is not valid"
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the author's code raises
            return _complaint("validate", error)


class Rules:
    """The rule for outputs of these *classes*, with what the app itself says of them in *own*.

    An output of more than *max_output* bytes is not valid.
    """

    def __init__(self, classes: Classes, max_output: int, own: Own) -> None:
        self._classes = classes
        self._budget = codec.Budget(bytes=max_output)
        self._own = own
        self._said: set[str] = set()

    @classmethod
    def load(cls, job_directory: Path, modules: Iterable[str], max_output: int) -> Rules:
        """Return the rule of a job directory, for outputs made of classes of these *modules*.

        Raises :class:`ConfigurationError`, naming file and line, if what the app says can not
        be used.
        """
        classes = Classes(job_directory)
        classes.add(modules)
        return cls(classes, max_output, own_of(job_directory))

    def valid(self, data: bytes) -> bool:
        """Return whether an output is valid."""
        return not self.refusal(data)

    def refusal(self, data: bytes) -> str:
        """Return why an output is not valid; nothing if it is."""
        try:
            output = self._decode(data)
        except RejectedResult as refusal:
            return str(refusal)
        return self._own.refusal(output)

    def same(self, a: bytes, b: bytes) -> bool:
        """Return whether two outputs agree.

        Files that are equal to the byte do, whatever the app says of it; what can not be loaded
        agrees with nothing, and so does what ``compare`` raises an exception of.
        """
        if a == b or self._own.compare is bitwise:
            return a == b
        try:
            if self._own.compare is None:
                return self._classes.attempt(
                    lambda registry: codec.same_value(a, b, registry, self._budget)
                )
            one, other = self._decode(a), self._decode(b)
        except RejectedResult:
            return False
        try:
            return bool(self._own.compare(one, other))
        except (Exception, SystemExit) as error:  # noqa: BLE001  # whatever the author's code raises
            self._say_once(_complaint("compare", error))
            return False

    def _decode(self, data: bytes) -> Any:
        return self._classes.attempt(lambda registry: codec.decode(data, registry, self._budget))

    def _say_once(self, complaint: str) -> None:
        if complaint not in self._said and len(self._said) < _SAID:
            self._said.add(complaint)
            say(f"pyboinc: {complaint}; the outputs do not agree")


def _complaint(name: str, error: BaseException) -> str:
    """Say in a line what an app's function raised, and where."""
    place, trace = "", error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).name == TYPES:
            place = f" ({TYPES}, line {trace.tb_lineno})"
        trace = trace.tb_next
    said = (str(error).splitlines() or [""])[0][:200]
    return f"{name} in {TYPES} raised {type(error).__name__}{said and ': ' + said}{place}"


# ---------------------------------------------------------------- what an app says


def own_of(job_directory: Path) -> Own:
    """Return what the app of a job directory says of its outputs.

    Only an ``app_types.py`` in which there is something of it is imported.  Raises
    :class:`ConfigurationError` if it can not be, or if what it says can not be used.
    """
    path = job_directory / TYPES
    lines = named(path)
    if not lines:
        return Own()
    module = _import(job_directory, path, min(lines.values()))
    found = {name: getattr(module, name, None) for name in _NAMES}
    for name, function in found.items():
        if function is not None:
            _check(name, function, f"{path}, line {_line(function, path, lines.get(name, 1))}")
    return Own(**found)


def named(path: Path) -> dict[str, int]:
    """Return what of ``validate`` and ``compare`` a module binds, each with its line.

    ``from x import *`` may bind both: then its line stands under ``*``.  The file is read, not run.
    """
    try:
        tree = ast.parse(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigurationError(f"{path} can not be read: {error}") from None
    lines: dict[str, int] = {}
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        for name in _bound(node):
            lines[name] = max(lines.get(name, 0), getattr(node, "lineno", 1))
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            todo.extend(ast.iter_child_nodes(node))
    return {name: line for name, line in lines.items() if name in _NAMES or name == "*"}


def _bound(node: ast.AST) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Name(id=name, ctx=ast.Store()):
            return [name]
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            return [one.asname or one.name for one in aliases]
    return []


def _import(job_directory: Path, path: Path, line: int) -> ModuleType:
    name = path.stem
    if name in sys.modules:
        return sys.modules[name]
    if str(job_directory) not in sys.path:
        sys.path.insert(0, str(job_directory))
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever the author's code raises
        raise ConfigurationError(
            f"{path} says in line {line} which outputs are valid or agree, and can not be imported "
            f"here: {type(error).__name__}: {error}; install here what it imports, or move that "
            "into the slave"
        ) from error


def _line(function: object, path: Path, line: int) -> int:
    """Return where a function is written, if that is in the file itself, or where it is named."""
    code = getattr(function, "__code__", None)
    if code is not None and Path(code.co_filename).name == path.name:
        return int(code.co_firstlineno)
    return line


def _check(name: str, function: object, place: str) -> None:
    """Raise :class:`ConfigurationError` unless *function* can be called as *name* is.

    Told before any job is made: in the validator every output would be refused for it.
    """
    wanted = _NAMES[name]
    call = f"{name}({', '.join(wanted)})"
    if function is close_to:
        _refuse(place, "compare is close_to itself; call it: compare = close_to(relative=1e-9)")
    if not callable(function):
        more = "" if name == "validate" else ", or name pyboinc.bitwise or pyboinc.close_to(...)"
        _refuse(place, f"{name} is {function!r:.60}; define a function {call}{more}")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        _refuse(place, f"{name} would do nothing when it is called: it is async or has a yield")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # some that are written in C do not say
    try:
        signature.bind(*[None] * len(wanted))
    except TypeError as error:
        _refuse(place, f"{name}{signature} can not be called as {call}: {error}")


def _refuse(place: str, why: str) -> NoReturn:
    raise ConfigurationError(f"{place}: {why}")
