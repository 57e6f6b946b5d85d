"""Which files of the job directory a program needs, found by reading it, never by running it.

Starting from the program, every import statement is followed to the file that Python
would take: modules, packages, relative imports, submodules, imports inside functions,
``try`` and ``if``, and ``importlib.import_module("a.literal")``.  Left out is what stands
under ``if TYPE_CHECKING:`` only, which never runs.

What Python would do is kept, with two exceptions that would be traps:

* A local module with the name of one of the standard library's is refused.  Which of the
  two a slave gets would depend on what its interpreter happened to import before.
* A symbolic link that leads out of the job directory is refused: it would send a file
  that the user did not put there to strangers' computers.

The search path is that of ``python slaves/app_slave.py`` started in the job directory,
with the job directory added: the program's own directory first, then the job directory,
so that a slave in a sub-directory can share ``app_types.py`` with the master.
"""

from __future__ import annotations

import ast
import os
import sys
import warnings
from _imp import is_frozen
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice

#: Directories of a job directory that never hold the user's modules.
SKIPPED = frozenset({".pyboinc", "new", "old", ".venv", "__pycache__"})

_COMPILED = (".so", ".pyd")


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
    reader = _ImportReader(package)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a doubtful escape in the user's text is no news
            reader.visit(ast.parse(source, str(path)))
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        text = f": {error.text.strip()}" if error.text else ""
        raise ConfigurationError(f"{path}{line} is not valid Python ({error.msg}){text}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise ConfigurationError(f"{path} is not valid Python ({error})") from None
    return reader.found


class _ImportReader(ast.NodeVisitor):
    """Collects the imports of one file."""

    def __init__(self, package: str) -> None:
        self.package = package
        self.found: list[Import] = []
        self._depth = 0

    def _add(self, module: str | None, names: Iterable[str] = ()) -> None:
        if module:
            self.found.append(Import(module, tuple(names), self._depth > 0))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._add(alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        module = self._absolute(node.module or "", node.level)
        self._add(module, [alias.name for alias in node.names])

    def _absolute(self, module: str, level: int) -> str | None:
        """The full name of *module* as seen from *level* - 1 packages above this file's."""
        if not level:
            return module
        parents = self.package.split(".") if self.package else []
        if level > len(parents):
            return None  # "beyond top-level package": Python will say so
        base = parents[: len(parents) - level + 1]
        return ".".join(base + ([module] if module else []))

    def visit_Call(self, node: ast.Call) -> None:
        """importlib.import_module("name"), import_module(".name", __package__), __import__."""
        function = node.func
        called = function.attr if isinstance(function, ast.Attribute) else None
        called = function.id if isinstance(function, ast.Name) else called
        if called in ("import_module", "__import__") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                name = first.value.lstrip(".")
                self._add(self._absolute(name, len(first.value) - len(name)))
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        test = node.test
        name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
        if name != "TYPE_CHECKING":
            return self.generic_visit(node)
        for statement in node.orelse:
            self.visit(statement)
        return None

    def _visit_function(self, node: ast.AST) -> None:
        self._depth += 1
        self.generic_visit(node)
        self._depth -= 1

    visit_FunctionDef = _visit_function
    visit_AsyncFunctionDef = _visit_function
    visit_Lambda = _visit_function


def _star_names(source: bytes) -> list[str] | None:
    """The literal ``__all__`` of a package's __init__.py; None if there is none to read."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == "__all__" for t in targets):
                try:
                    return [str(name) for name in ast.literal_eval(node.value)]
                except (ValueError, TypeError):
                    return None
    return []


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
        if path.suffix == ".py":
            name, package = self._module_name(path)
            self.modules.setdefault(name, path)
            self._scan(path, package)
        else:
            self._read(path)

    def relative(self, path: Path) -> str:
        """The path within the job directory, with slashes."""
        return path.relative_to(self.root).as_posix()

    def _module_name(self, path: Path) -> tuple[str, str]:
        """The name by which a file given as such can be imported, and its package."""
        base = next(d for d in self._search if path.is_relative_to(d))
        parts = path.relative_to(base).with_suffix("").parts
        package = ".".join(parts[:-1])
        return (package if parts[-1] == "__init__" else ".".join(parts)), package

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
        names = _star_names(self.files[self.relative(self.modules[package])])
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
        if top in ("pyboinc", "__future__", "__main__") or top in sys.builtin_module_names:
            return False
        if is_frozen(top):  # loaded before any program starts
            return False
        found = self._locate(top)
        if found is None:
            return False
        if found.file is None:  # a mere directory: any real module of that name goes before it
            return not (top in sys.stdlib_module_names or _is_installed(top, self._search))
        if top in sys.stdlib_module_names:
            raise ConfigurationError(
                f"{found.file} has the name of the standard library's module {top!r}: which of"
                " them a slave gets would be chance; rename the file"
            )
        return True

    def _locate(self, name: str) -> Found | None:
        """What Python's path finder would find for *name*, from its parent's directories."""
        parent, _, last = name.rpartition(".")
        directories = self._packages.get(parent, ()) if parent else self._search
        portions = []
        for directory in directories:
            entries = self._listing(directory)
            if last in entries and "__init__.py" in self._listing(directory / last):
                return Found(directory / last / "__init__.py", (directory / last,))
            if f"{last}.py" in entries:
                return Found(directory / f"{last}.py", ())
            self._refuse_compiled(directory, last, entries)
            if last in entries and (directory / last).is_dir():
                portions.append(directory / last)
        return Found(None, tuple(portions)) if portions else None

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
            except OSError:
                names = frozenset()
            self._listings[directory] = names - SKIPPED if directory == self.root else names
        return self._listings[directory]

    def _note_foreign(self, top: str, one: Import) -> None:
        if top in ("pyboinc", "__future__", "__main__"):
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
        resolved = path.resolve()  # an absolute path by way of a link to the job directory
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
    real = path.resolve()
    if not real.is_relative_to(root):
        raise ConfigurationError(
            f"{path} is a link that leads out of the job directory, to {real}; put a copy there"
        )
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} can not be read: {error.strerror}") from None


def local_modules(job_directory: Path, program: str) -> dict[str, Path]:
    """The local modules that *program* imports: importable name -> file.

    The program itself is not among them, unless something imports it.
    """
    return dict(Discovery(Path(job_directory), program).modules)


def files_of(job_directory: Path, programs: Iterable[str]) -> Mapping[str, bytes]:
    """Relative path -> content, of *programs* and all local files that they import."""
    files: dict[str, bytes] = {}
    for program in programs:
        files.update(Discovery(Path(job_directory), program).files)
    return files
