"""A slave program with its local modules: unpacked, compiled, and ready to be run.

An archive is a zip of the slave program and of the local modules that it imports.
:func:`unpack` makes real files of it, once, so that ``__file__``, tracebacks, inspect and
data files beside a module work as they do at home.  :class:`Program` knows these files.
A process that runs one program again and again in forks of itself prepares it once: it
compiles the modules and makes the module objects, still empty; each fork fills its own.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import _thread
import builtins
import os
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType

import pyboinc
from pyboinc.errors import ConfigurationError
from pyboinc.slave import Classes

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes longer to import than all of this
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

SLAVE_NAMES = frozenset(
    [
        "pyboinc_get_input",
        "pyboinc_return_output",
        "pyboinc_fraction_done",
        "pyboinc_save_checkpoint",
        "pyboinc_load_checkpoint",
        "pyboinc_send_trickle_up",
    ]
)
"""What a slave imports from pyboinc."""

_TYPES = "app_types"
_UNREADABLE = (SyntaxError, ValueError, OSError)


class _Loader(SourceFileLoader):
    """Loads a module of the archive from code that may have been compiled beforehand."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self.compiled: CodeType | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the compiled module; a syntax error shows when the slave imports it."""
        if self.compiled is None:
            self.compiled = compile_file(self.path)
        return self.compiled


class Program:
    """A slave program and its local modules, unpacked in *directory*.

    *slave* is the program's path relative to it.  A Program is also the finder that the
    slave's imports of these modules go through: it has their specs ready and looks at no
    directory.  Raises ``OSError`` if *directory* can not be listed.
    """

    def __init__(self, directory: str, slave: str) -> None:
        self.directory = directory
        self.slave = slave
        self.path = os.path.join(directory, *slave.split("/"))
        self.main = ModuleType("__main__")
        self.code: CodeType | None = None
        self.specs = dict(_specs(directory))
        self.classes = Classes(
            name for name, spec in self.specs.items() if spec.origin != self.path
        )
        self._ready: dict[str, tuple[ModuleType, CodeType]] = {}
        self._import = builtins.__import__

    def prepare(self) -> None:
        """Compile everything now; what can not be compiled is left for the slave to show."""
        from importlib.util import module_from_spec

        for name, spec in self.specs.items():
            loader = spec.loader
            try:
                code = loader.get_code(name) if isinstance(loader, _Loader) else None
            except _UNREADABLE:
                continue
            if code is not None and self._is_simple(name, spec):
                self._ready[name] = module_from_spec(spec), code

    def _is_simple(self, name: str, spec: ModuleSpec) -> bool:
        """Whether to import this module is to run it, and nothing else."""
        package = spec.submodule_search_locations is not None
        return not package and "." not in name and spec.origin != self.path

    def install(self) -> None:
        """Make everything ready that does not run any of the user's code."""
        self.main.__dict__.update(__file__=self.path, __builtins__=builtins, __cached__=None)
        try:
            self.code = compile_file(self.path)
            if "pyboinc" not in names_in(self.code):
                self._provide()
        except _UNREADABLE:
            pass  # execute() raises it again
        sys.modules["__main__"] = self.main
        sys.argv[:] = [self.path]
        sys.path.insert(0, os.path.dirname(self.path))
        sys.meta_path.insert(0, self)
        if self._ready:
            for name in SLAVE_NAMES:  # pyboinc finds them when they are first asked for
                getattr(pyboinc, name)
            builtins.__import__ = self.import_

    def uninstall(self) -> None:
        """Undo :meth:`install`, for another program in the same process."""
        sys.path.remove(os.path.dirname(self.path))
        sys.meta_path.remove(self)
        builtins.__import__ = self._import

    def _provide(self) -> None:
        """Give a slave that never imports pyboinc the names, as BOINC's design page does."""
        for name in SLAVE_NAMES:
            setattr(self.main, name, getattr(pyboinc, name))

    def execute(self) -> None:
        """Run the slave as ``__main__``; whatever it raises comes out."""
        if self.code is None:
            self.code = compile_file(self.path)
        code, namespace = self.code, self.main.__dict__
        if "pyboinc_get_input" in namespace and _TYPES in self.specs:
            exec(f"from {_TYPES} import *", namespace)
        exec(code, namespace)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the archive, None for all others (import's protocol)."""
        return self.specs.get(name)

    def import_(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """Import as ``__import__`` does, but for two things that every slave does.

        The import system touches a hundred pages of memory when it loads a module, and in a
        freshly forked process each is a page fault.  So a top-level module of the archive that
        was prepared is run here, and ``from pyboinc import pyboinc_get_input`` is looked up.
        All else, and all in a program with threads, goes the ordinary way.
        """
        if not level:
            if name == "pyboinc" and fromlist and SLAVE_NAMES.issuperset(fromlist):
                return pyboinc
            if name in self._ready and name not in sys.modules and not _thread._count():
                return self._load(name)
        return self._import(name, globals, locals, fromlist, level)

    def _load(self, name: str) -> ModuleType:
        module, code = self._ready.pop(name)
        if not self._ready:
            builtins.__import__ = self._import
        sys.modules[name] = module
        try:
            exec(code, module.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return sys.modules[name]  # a module may put something else in its place


def _fail(error: OSError) -> None:
    """Raise *error*: a directory that can not be listed is not one without modules."""
    raise error


def _specs(directory: str) -> Iterator[tuple[str, ModuleSpec]]:
    for folder, folders, files in os.walk(directory, onerror=_fail):
        folders[:] = [name for name in folders if name.isidentifier()]
        inside = os.path.relpath(folder, directory)
        parents = [] if inside == os.curdir else inside.split(os.sep)
        for file in files:
            stem, extension = os.path.splitext(file)
            package = stem == "__init__"
            name = ".".join(parents if package else [*parents, stem])
            if extension == ".py" and stem.isidentifier() and name:
                path = os.path.join(folder, file)
                spec = ModuleSpec(name, _Loader(name, path), origin=path)
                spec.has_location = True
                if package:
                    spec.submodule_search_locations = [folder]
                yield name, spec


def compile_file(path: str) -> CodeType:
    """Compile the program or module *path*."""
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def names_in(code: CodeType) -> set[str]:
    """Return the names that *code* and the functions in it use; what it imports is among them."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= names_in(constant)
    return names


def unpack(archive: str | BinaryIO, directory: str) -> None:
    """Unpack the zip *archive* into *directory*, unless it is there already, and whole.

    Files are read-only, because jobs share them.  Several processes may do this at the same
    time.  One that is killed leaves a file ``.unpacked.PID.tmp`` beside *directory*.  Raises
    :class:`~pyboinc.errors.ConfigurationError` if the archive is no archive.
    """
    import zipfile

    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                if not member.is_dir():
                    _place(directory, member.filename, members.read(member))
    except OSError as error:
        raise ConfigurationError(
            f"the slave's archive {archive} can not be used: {error}; mend that and run it again"
        ) from error
    except (zipfile.BadZipFile, ValueError) as error:
        raise ConfigurationError(
            f"the slave's archive {archive} can not be used: {error}; remove it, and run the same "
            "command: it will be packed anew"
        ) from error


def _place(directory: str, name: str, data: bytes) -> None:
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\\" in name or "\0" in name:
        raise ValueError(f"a member named {name!r}")
    path = os.path.join(directory, *parts)
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except OSError:
        pass  # not there yet, or not as it should be
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = os.path.join(os.path.dirname(directory), f".unpacked.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o444)
        os.replace(temporary, path)
    except OSError:
        _discard(temporary)
        raise


def _discard(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass  # it was not even made, or stays: the error that led here is the one to be told
