"""Which files of the job directory a program needs, found by reading it, never by running it.

Starting from the program, every import statement is followed to the file that Python
would take: modules, packages, relative imports, submodules, imports inside functions,
``try`` and ``if``, and ``importlib.import_module("a.literal")``.  Left out is what stands
under ``if TYPE_CHECKING:`` only, which never runs.

What Python would do is kept, with three exceptions that would be traps:

* A local module with the name of one of the standard library's is refused.  Which of the
  two a slave gets would depend on what its interpreter happened to import before.
* So is a module that is both beside a slave in a sub-directory and in the job directory:
  the master, to whom the latter belongs, would mistake the classes of one for the other's.
* A symbolic link that leads out of the job directory is refused: it would send a file
  that the user did not put there to strangers' computers.

The search path is the program's own directory, as in ``python slaves/app_slave.py``, and
the job directory, so that a slave in a sub-directory can share ``app_types.py`` with the
master.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from _imp import is_frozen
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice

#: Directories of a job directory that never hold the user's modules.
SKIPPED = frozenset({".pyboinc", "new", "old", ".venv", "__pycache__"})

_COMPILED = (".so", ".pyd")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
#: Top-level names that are neither the user's nor a package to be installed.
_OURS = frozenset({"pyboinc", "__future__", "__main__"})


class Import(NamedTuple):
    """One import of a program: ``import module`` or ``from module import names``."""

    module: str
    names: tuple[str, ...]
    #: True if it runs only when some function is called.
    deferred: bool


class Found(NamedTuple):
    """What an importable name stands for: a file, or (for a package) directories, or both."""

    file: Path | None
    directories: tuple[Path, ...]


# ---------------------------------------------------------------- what a file imports


def imports_of(source: bytes, path: Path, package: str) -> list[Import]:
    """Every import of *source*, in the order in which they stand.

    *package* is the one that relative imports start from (empty: they lead nowhere).
    ``ConfigurationError`` with file and line if it is not Python.
    """
    found = []
    for node, deferred in _walk(_parse(source, path)):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, (), deferred) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = _absolute("." * node.level + (node.module or ""), package)
            found.append(Import(module, tuple(alias.name for alias in node.names), deferred))
        elif isinstance(node, ast.Call):
            found.append(Import(_called_import(node, package), (), deferred))
    return [one for one in found if one.module]


def _parse(source: bytes, path: Path) -> ast.Module:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful escape in the user's text is no news
            return ast.parse(source, str(path))
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        text = f": {error.text.strip()}" if error.text else ""
        raise ConfigurationError(f"{path}{line}: not valid Python ({error.msg}){text}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigurationError(f"{path}: not valid Python ({error})") from None


def _walk(tree: ast.AST) -> Iterator[tuple[ast.AST, bool]]:
    """Each node in the order of the text, and whether it is inside a function.

    A loop with a stack: a generated table or sum can be nested deeper than Python recurses.
    """
    stack = [(tree, False)]
    while stack:
        node, deferred = stack.pop()
        yield node, deferred
        deferred = deferred or isinstance(node, _FUNCTIONS)
        children: Iterable[ast.AST] = ast.iter_child_nodes(node)
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            children = node.orelse
        stack += [(child, deferred) for child in reversed(list(children))]


def _name(node: ast.AST) -> str | None:
    """The last part of a name: import_module for importlib.import_module."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else None


def _absolute(name: str, package: str) -> str:
    """The full name of a module called *name* in *package*; empty if there is none."""
    module = name.lstrip(".")
    level = len(name) - len(module)
    parents = package.split(".") if package else []
    if level > len(parents):
        return ""  # "beyond top-level package": Python will say so
    base = parents[: len(parents) - level + 1] if level else []
    return ".".join(base + ([module] if module else []))


def _called_import(call: ast.Call, package: str) -> str:
    """The module of ``import_module("name")``, or of ``__import__``; empty for other calls."""
    if _name(call.func) not in ("import_module", "__import__") or not call.args:
        return ""
    keywords = [keyword.value for keyword in call.keywords if keyword.arg == "package"]
    name, *start = [_text(node) for node in [*call.args, *keywords]]
    return _absolute(name, start[0] if start and start[0] else package)


def _text(node: ast.AST) -> str:
    """The text of a literal, empty for anything else."""
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _star_names(source: bytes, path: Path) -> list[str] | None:
    """The ``__all__`` of a package's __init__.py; None if it can't be read off the text."""
    names: list[str] = []
    for node in _parse(source, path).body:
        targets: list[ast.expr] = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        if any(_name(target) == "__all__" for target in targets):
            value = getattr(node, "value", None)
            if not isinstance(value, ast.List | ast.Tuple) or not all(map(_text, value.elts)):
                return None
            names += map(_text, value.elts)
    return names


# ---------------------------------------------------------------- where a module is


class Discovery:
    """The files that one program needs, and the names of the modules that are not local.

    Built by reading *program* (a path in *job_directory*) and all that it imports.
    """

    def __init__(self, job_directory: Path, program: str) -> None:
        self.root = job_directory.resolve()
        self.program = program_path(self.root, program)
        #: relative path -> content, of each file read
        self.files: dict[str, bytes] = {}
        #: importable name -> file, of each local module
        self.modules: dict[str, Path] = {}
        #: top-level names that are neither local nor of the standard library
        self.external: list[str] = []
        #: the same of the standard library
        self.stdlib: list[str] = []
        #: full names of modules that are not local and are imported at the start; one from
        #: "from package import name" may turn out to be no module
        self.preload: list[str] = []
        self._packages: dict[str, tuple[Path, ...]] = {}
        self._listings: dict[Path, frozenset[str]] = {}
        self._search = tuple(dict.fromkeys([self.program.parent, self.root]))
        self._scan(self.program, "")

    def add_file(self, path: Path) -> None:
        """Take one more file, and what it imports if it is Python."""
        if self.relative(path) in self.files:
            return
        name = self._module_name(path)
        if not name:
            self._read(path)
        else:
            self._need(name)

    def relative(self, path: Path) -> str:
        """The path within the job directory, with slashes."""
        return path.relative_to(self.root).as_posix()

    def _module_name(self, path: Path) -> str:
        """The name by which a file given as such can be imported; empty if it can not."""
        base = next(d for d in self._search if path.is_relative_to(d))
        parts = path.relative_to(base).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        importable = path.suffix == ".py" and all(map(str.isidentifier, parts))
        return ".".join(parts) if importable else ""

    def _read(self, path: Path) -> bytes:
        data = read_inside(self.root, path)
        self.files[self.relative(path)] = data
        return data

    def _scan(self, path: Path, package: str) -> None:
        for one in imports_of(self._read(path), path, package):
            self._follow(one)

    def _follow(self, one: Import) -> None:
        top = one.module.partition(".")[0]
        if not self._is_local(top):
            self._note_foreign(top, one)
            return
        self._need(one.module)
        for name in self._submodule_names(one):
            self._need(f"{one.module}.{name}")

    def _submodule_names(self, one: Import) -> Iterator[str]:
        """Which of the imported names may be submodules."""
        for name in one.names:
            if name != "*":
                yield name
            elif one.module in self._packages:
                yield from self._star(one.module)

    def _star(self, package: str) -> list[str]:
        """What a star import takes along: __all__, or every submodule if that can't be read."""
        if package not in self.modules:
            return []
        init = self.modules[package]
        names = _star_names(self.files[self.relative(init)], init)
        if names is not None:
            return names
        entries = [e for d in self._packages[package] for e in sorted(self._listing(d))]
        return [entry.removesuffix(".py") for entry in entries if entry != "__init__.py"]

    def _need(self, module: str) -> None:
        """Take *module* and the packages around it, as far as they are files here."""
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            name = ".".join(parts[:end])
            if name in self.modules or name in self._packages:
                continue
            found = self._locate(name)
            if found is None:
                return  # an attribute, or missing: then Python will say so
            if found.directories:
                self._packages[name] = found.directories
            if found.file:
                self.modules[name] = found.file
                self._scan(found.file, name if found.directories else ".".join(parts[: end - 1]))

    def _is_local(self, top: str) -> bool:
        """Whether the top-level name *top* is found in the job directory."""
        if top in self.modules or top in self._packages:
            return True
        if top in _OURS or top in sys.builtin_module_names or is_frozen(top):
            return False  # builtin and frozen modules go before any file
        found = self._locate(top)
        if found is None:
            return False
        if found.file is None:  # a mere directory: any real module of that name goes before it
            return not (top in sys.stdlib_module_names or _is_installed(top, self._search))
        self._refuse_namesakes(top, found.file)
        return True

    def _refuse_namesakes(self, top: str, file: Path) -> None:
        if top in sys.stdlib_module_names:
            raise ConfigurationError(
                f"{file} has the name of the standard library's module {top!r}: which of"
                " them a slave gets would be chance; rename the file"
            )
        places = [found.file for d in self._search if (found := self._in(d, top))]
        if len(places) > 1:
            raise ConfigurationError(
                f"{self.program} imports {top}, and there are {places[0]} and {places[1]}: the"
                " master would take the latter for the same module; rename one of them"
            )

    def _locate(self, name: str) -> Found | None:
        """What Python's path finder would find for *name*, from its parent's directories."""
        parent, _, last = name.rpartition(".")
        directories = self._packages.get(parent, ()) if parent else self._search
        for directory in directories:
            found = self._in(directory, last)
            if found:
                return found
        portions = tuple(d / last for d in directories if last in self._listing(d))
        portions = tuple(filter(Path.is_dir, portions))
        return Found(None, portions) if portions else None

    def _in(self, directory: Path, name: str) -> Found | None:
        """The module or package *name* in *directory*; a package goes first."""
        entries = self._listing(directory)
        if name in entries and "__init__.py" in self._listing(directory / name):
            return Found(directory / name / "__init__.py", (directory / name,))
        if f"{name}.py" in entries:
            return Found(directory / f"{name}.py", ())
        self._refuse_compiled(directory, name, entries)
        return None

    def _refuse_compiled(self, directory: Path, name: str, entries: Iterable[str]) -> None:
        for entry in entries:
            if entry.startswith(f"{name}.") and entry.endswith(_COMPILED):
                raise ConfigurationError(
                    f"{self.program} imports {name}, which is compiled ({directory / entry}): it"
                    " runs on computers like this one only; install it as a package instead"
                )

    def _listing(self, directory: Path) -> frozenset[str]:
        """The names in *directory*, in their exact case also where the file system has none."""
        if directory not in self._listings:
            try:
                names = frozenset(os.listdir(directory))
            except (FileNotFoundError, NotADirectoryError, PermissionError):
                names = frozenset()
            except OSError as error:  # what is there is not known, and may be a module
                raise _unreadable(directory, error) from error
            self._listings[directory] = names - SKIPPED if directory == self.root else names
        return self._listings[directory]

    def _note_foreign(self, top: str, one: Import) -> None:
        if top in _OURS:
            return
        names = self.stdlib if top in sys.stdlib_module_names else self.external
        if top not in names:
            names.append(top)
        if not one.deferred:
            full = [one.module, *(f"{one.module}.{name}" for name in one.names if name != "*")]
            self.preload += [name for name in full if name not in self.preload]


def _is_installed(top: str, without: Iterable[Path]) -> bool:
    """Whether *top* is a real module outside the job directory; nothing is imported."""
    from importlib.machinery import PathFinder  # rarely needed

    left_out = {str(directory) for directory in without}
    path = [entry for entry in sys.path if os.path.realpath(entry or ".") not in left_out]
    spec = PathFinder.find_spec(top, path)
    return spec is not None and spec.origin is not None


# ---------------------------------------------------------------- the job directory's files


def program_path(root: Path, program: str) -> Path:
    """The file of *program* in the job directory *root* (resolved).

    ``ConfigurationError`` if it is not there (near names are given) or not inside.
    """
    path = Path(os.path.normpath(root / program))
    if not path.is_relative_to(root):
        resolved = Path(
            os.path.realpath(path)
        )  # an absolute path by way of a link to the job directory
        if not resolved.is_relative_to(root):
            raise ConfigurationError(
                f"{program} is outside the job directory {root}; move it there: only what is in"
                " the job directory travels"
            )
        path = resolved
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        others = sorted(p.relative_to(root).as_posix() for p in _python_files(root, path.parent))
        hint = f"; {advice(program, others)}" if others else ""
        raise ConfigurationError(f"{program} {what} in the job directory {root}{hint}")
    return path


def _python_files(*directories: Path) -> set[Path]:
    return {path for directory in directories for path in directory.glob("*.py")}


def read_inside(root: Path, path: Path) -> bytes:
    """The content of a file that is in *root*, not merely linked from there."""
    real = Path(os.path.realpath(path))  # not resolve(), which can not bear a loop of links
    if not real.is_relative_to(root):
        raise ConfigurationError(
            f"{path} is a link that leads out of the job directory, to {real}; put a copy there"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> ConfigurationError:
    cause = error.strerror
    return ConfigurationError(f"{path} can not be read: {cause}; mend that, and run it again")


def local_modules(job_directory: Path, program: str) -> dict[str, Path]:
    """The local modules that *program* imports: importable name -> file.

    The program itself is not among them, unless something imports it.
    """
    return dict(Discovery(Path(job_directory), program).modules)
