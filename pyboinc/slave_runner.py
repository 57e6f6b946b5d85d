"""Run one slave program of an archive in the current directory, and see it end well.

    python -m pyboinc.slave_runner ARCHIVE SLAVE

An archive is a zip of the slave program and of the local modules that it imports.  It is
unpacked once (:func:`unpack`), into real files, so that ``__file__``, tracebacks, inspect
and data files beside a module work as they do at home.  :class:`Program` knows these
files; it can compile them before the process forks, so that a job pays only for running
them.  :func:`run` then runs the slave as ``__main__`` with modules of its own.

What :func:`run` promises about the end: the exit status is 0 only if the slave returned
an output and ended without an error; everything else leaves its reason on stderr, with
the slave's own frames and none of ours.  Threads are joined, ``atexit`` handlers run and
stdio is flushed; the interpreter is not torn down, so ``__del__`` of what is still alive
is not called.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import io
import os
import sys
from atexit import _run_exitfuncs
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType, TracebackType

from pyboinc import slave
from pyboinc.errors import ConfigurationError, PyboincError
from pyboinc.slave import Classes

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes longer to import than all of this
    from collections.abc import Iterator, Sequence
    from typing import Any

_LIBRARY = os.path.dirname(os.path.abspath(__file__)) + os.sep

_PROVIDED = (
    "pyboinc_get_input",
    "pyboinc_return_output",
    "pyboinc_fraction_done",
    "pyboinc_save_checkpoint",
    "pyboinc_load_checkpoint",
)
"""What a slave that never imports pyboinc finds among its globals (BOINC's design page)."""

_TYPES = "app_types"


class _Loader(SourceFileLoader):
    """Loads a module of the archive from code that was compiled before the process forked."""

    def __init__(self, name: str, path: str) -> None:
        super().__init__(name, path)
        self.code: CodeType | None = None

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the compiled module; a syntax error shows when the slave imports it."""
        if self.code is None:
            self.code = _compile(self.path)
        return self.code


class Program:
    """A slave program and its local modules, unpacked in *directory*.

    *slave* is the program's path relative to it.  Also the finder that the slave's imports
    of these modules go through: it has their specs ready and looks at no directory.
    """

    def __init__(self, directory: str, slave: str) -> None:
        self.directory = directory
        self.slave = slave
        self.path = os.path.join(directory, *slave.split("/"))
        self.code: CodeType | None = None
        self.main = ModuleType("__main__")
        self.specs = dict(_specs(directory))
        own = [name for name, spec in self.specs.items() if spec.origin != self.path]
        self.classes = Classes(own)

    def compile(self) -> None:
        """Compile everything now; what has a syntax error is left for the slave to show."""
        for spec in self.specs.values():
            try:
                spec.loader.get_code(spec.name)  # type: ignore[union-attr]  # a _Loader
            except (SyntaxError, ValueError, OSError):
                pass
        try:
            self.code = _compile(self.path)
        except (SyntaxError, ValueError, OSError):
            pass

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a module of the archive, None for all others (import's protocol)."""
        return self.specs.get(name)

    def install(self) -> None:
        """Make everything ready that does not run any of the user's code."""
        self.main.__dict__.update(__file__=self.path, __builtins__=__builtins__, __cached__=None)
        sys.modules["__main__"] = self.main
        sys.argv[:] = [self.path]
        sys.path.insert(0, os.path.dirname(self.path))
        sys.meta_path.insert(0, self)

    def uninstall(self) -> None:
        """Undo :meth:`install`, for another program in the same process."""
        sys.path.remove(os.path.dirname(self.path))
        sys.meta_path.remove(self)

    def execute(self) -> None:
        """Run the slave as ``__main__``; whatever it raises comes out."""
        code = self.code or _compile(self.path)
        if "pyboinc" not in _names(code):
            self._provide()
        exec(code, self.main.__dict__)

    def _provide(self) -> None:
        for name in _PROVIDED:
            setattr(self.main, name, getattr(slave, name))
        if _TYPES in self.specs:
            exec(f"from {_TYPES} import *", self.main.__dict__)


def _specs(directory: str) -> Iterator[tuple[str, ModuleSpec]]:
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if name.isidentifier()]
        for file in files:
            stem, extension = os.path.splitext(file)
            if extension != ".py" or not stem.isidentifier():
                continue
            path = os.path.join(folder, file)
            parts = os.path.relpath(path, directory)[:-3].split(os.sep)
            package = stem == "__init__"
            name = ".".join(parts[:-1] if package else parts)
            if name:
                spec = ModuleSpec(name, _Loader(name, path), origin=path, is_package=package)
                spec.has_location = True
                if package:
                    spec.submodule_search_locations = [folder]
                yield name, spec


def _compile(path: str) -> CodeType:
    with open(path, "rb") as file:
        return compile(file.read(), path, "exec", dont_inherit=True)


def _names(code: CodeType) -> set[str]:
    """Return the names that *code* and the functions in it use: what it imports is among them."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names


def run(program: Program) -> int:
    """Run the installed *program* in its slot; return its exit status (0..255).

    0 means that it returned an output and ended well, and that a BOINC client, if there is
    one, has been told so.
    """
    ending = "ended"
    try:
        program.execute()
        status = 0
    except SystemExit as exit_:
        status = _status(exit_)
        ending = "called sys.exit(0)"
    except BaseException as error:  # noqa: BLE001  # whatever a slave raises ends the job
        status = 1
        _show(error, program.directory)
    if "threading" in sys.modules:
        _join_threads()
    _run_exitfuncs()
    instance = slave.current()
    if status == 0 and not instance.returned:
        sys.stderr.write(
            f"{program.slave} {ending} without an output: "
            "it must call pyboinc_return_output(output) once\n"
        )
        status = 1
    _flush()
    if status == 0 and instance.task is not None:
        instance.task.finish()
    return status


def _status(exit_: SystemExit) -> int:
    """Return the exit status that the interpreter would make of *exit_*."""
    code = exit_.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    sys.stderr.write(f"{code}\n")
    return 1


def _join_threads() -> None:
    """Wait for the slave's threads, as the interpreter does at its end."""
    threading: Any = sys.modules["threading"]
    threading._shutdown()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):
            pass  # closed, replaced or None: the slave's own affair


def _show(error: BaseException, directory: str) -> None:
    """Print *error* as the interpreter would, without our frames and with short file names."""
    error.__traceback__ = _own_frames(error.__traceback__)
    if sys.excepthook is not sys.__excepthook__:
        sys.excepthook(type(error), error, error.__traceback__)
        return
    stderr, sys.stderr = sys.stderr, io.StringIO()
    try:
        sys.__excepthook__(type(error), error, error.__traceback__)
        text = sys.stderr.getvalue()
    finally:
        sys.stderr = stderr
    stderr.write(text.replace(directory + os.sep, ""))


def _own_frames(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames of this library and of the import machinery."""
    frames = []
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not file.startswith((_LIBRARY, "<frozen importlib")):
            frames.append(trace)
        trace = trace.tb_next
    chain: TracebackType | None = None
    for frame in reversed(frames):
        chain = TracebackType(chain, frame.tb_frame, frame.tb_lasti, frame.tb_lineno)
    return chain


def unpack(archive: str, directory: str) -> None:
    """Unpack the zip *archive* into *directory*, unless it is there already, and whole.

    Files are read-only, because jobs share them.  Several processes may do this at the same
    time.  Raises :class:`~pyboinc.errors.ConfigurationError` if the archive is no archive.
    """
    import zipfile

    try:
        with zipfile.ZipFile(archive) as members:
            for member in members.infolist():
                _place(directory, member.filename, members.read(member))
    except (OSError, zipfile.BadZipFile, ValueError) as error:
        raise ConfigurationError(
            f"the slave's archive {archive} can not be used: {error}"
        ) from error


def _place(directory: str, name: str, data: bytes) -> None:
    parts = name.split("/")
    if name.endswith("/"):
        return
    if not all(parts) or {".", ".."} & set(parts) or "\\" in name:
        raise ValueError(f"a member named {name!r}")
    path = os.path.join(directory, *parts)
    try:
        with open(path, "rb") as file:
            if file.read() == data:
                return
    except OSError:
        pass
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.chmod(temporary, 0o444)
    os.replace(temporary, path)


def main(arguments: Sequence[str]) -> int:
    """Run ``ARCHIVE SLAVE`` in the current directory; return the exit status."""
    if len(arguments) != 2:
        raise ConfigurationError("usage: python -m pyboinc.slave_runner ARCHIVE SLAVE")
    archive, name = arguments
    slot = os.getcwd()
    task = None
    if os.path.exists("init_data.xml"):
        from pyboinc.boinc_api import Task

        task = Task(slot)
        archive = task.resolve(archive)
    unpack(archive, os.path.join(slot, "program"))
    program = Program(os.path.join(slot, "program"), name)
    program.install()
    slave.begin(slave.Instance(slot, program.classes, task))
    return run(program)


if __name__ == "__main__":
    try:
        code = main(sys.argv[1:])
    except PyboincError as problem:
        sys.stderr.write(f"{problem}\n")
        code = problem.exit_code
    os._exit(code)
