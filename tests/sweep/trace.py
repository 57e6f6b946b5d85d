"""What strace has seen: the system calls of a program and its children, told to a recorder.

Every call that changes a file system is understood here, or refused loudly: nothing that a
program does to a recorded directory is forgotten.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweep.recorder import Place, is_lock

_LINE = re.compile(r"(\w+)\((.*)\)\s+= (-?\w+|\?)", re.DOTALL)
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_UNFINISHED = " <unfinished ...>"
_BUFFER = re.compile(r'iov_base="([^"]*)"')


class NotUnderstood(Exception):
    """A system call changes a directory in a way that this module knows nothing of."""


@dataclass(slots=True)
class _File:
    """An open file or directory of a recorded place, and where the next write goes."""

    place: Place
    inode: int
    position: int = 0
    appends: bool = False


@dataclass(slots=True)
class _Process:
    """What a process has: its working directory and its open files."""

    directory: str
    files: dict[int, _File] = field(default_factory=dict)


def _text(argument: str) -> str:
    """What an argument says in hexadecimal between its quotes or angle brackets."""
    return _data(argument).decode("utf-8", "surrogateescape")


def _data(argument: str) -> bytes:
    start = min(argument.find(one) for one in '"<' if one in argument)
    end = max(argument.rfind('"'), argument.rfind(">"))
    if argument.endswith("..."):
        raise NotUnderstood(f"strace has left out a part of {argument[:80]}")
    return bytes.fromhex(argument[start + 1 : end].replace("\\x", ""))


class Trace:
    """Reads what strace wrote, and tells the places what was done to them."""

    def __init__(self, places: Iterable[Place], start: str) -> None:
        self._places = list(places)
        self._start = start
        self._processes: dict[int, _Process] = {}
        self._unfinished: dict[int, tuple[str, dict[int, int]]] = {}

    def read(self, lines: Iterable[str]) -> None:
        """Take every line of a trace."""
        for line in lines:
            number, _, rest = line.rstrip("\n").partition(" ")
            self._take(int(number), rest.lstrip())

    def _take(self, number: int, text: str) -> None:
        process = self._process(number)
        if text.endswith(_UNFINISHED):
            begun = {id(one): len(one.recording.operations) for one in self._places}
            self._unfinished[number] = text.removesuffix(_UNFINISHED), begun
            return
        begun = {}
        if resumed := _RESUMED.match(text):
            before, begun = self._unfinished.pop(number)
            text = before + resumed[2]
        if (call := _LINE.match(text)) and call[3][0] not in "-?":
            handle: Callable[..., None] | None = getattr(self, f"do_{call[1]}", None)
            if handle is not None:
                self._begun = begun
                handle(process, call[2].split(", "), int(call[3], 0))

    def _process(self, number: int) -> _Process:
        if number not in self._processes:
            cloning = [one for one, (text, _) in self._unfinished.items() if _clones(text)]
            parent = self._processes[cloning[-1]] if cloning else _Process(self._start)
            self._processes[number] = _Process(parent.directory, dict(parent.files))
        return self._processes[number]

    # Where things are.

    def _where(self, process: _Process, path: str, base: str = "") -> tuple[Place, str] | None:
        """The recorded place that *path* is in, and the path in it."""
        whole = os.path.normpath(os.path.join(base or process.directory, path))
        for place in self._places:
            if whole == place.path or whole.startswith(place.path + "/"):
                return place, whole[len(place.path) + 1 :]
        return None

    def _at(self, process: _Process, directory: str, path: str) -> tuple[Place, str] | None:
        base = _text(directory) if "<" in directory else ""
        return self._where(process, _text(path), base)

    @staticmethod
    def _file(process: _Process, argument: str) -> _File | None:
        return process.files.get(int(argument.partition("<")[0]))

    # Processes and their descriptors.

    def do_clone(self, process: _Process, arguments: Sequence[str], child: int) -> None:
        if child not in self._processes:
            self._processes[child] = _Process(process.directory, dict(process.files))
        if any("CLONE_FILES" in one for one in arguments):
            self._processes[child] = process

    do_fork = do_vfork = do_clone3 = do_clone

    def do_chdir(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        process.directory = os.path.join(process.directory, _text(arguments[0]))

    def do_fchdir(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        process.directory = _text(arguments[0])

    def do_close(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        process.files.pop(int(arguments[0].partition("<")[0]), None)

    def do_close_range(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        for number in [one for one in process.files if int(arguments[0]) <= one]:
            del process.files[number]

    def do_execve(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        process.files.clear()  # Python opens no file so that another program inherits it

    def do_dup(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        process.files.pop(result, None)
        if file := self._file(process, arguments[0]):
            process.files[result] = file

    do_dup2 = do_dup3 = do_dup

    def do_fcntl(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        if arguments[1].startswith("F_DUPFD"):
            self.do_dup(process, arguments, result)

    def do_openat(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        process.files.pop(result, None)
        where = self._at(process, arguments[0], arguments[1])
        if where is None:
            return
        (place, path), flags = where, arguments[2].split("|")
        if "O_TMPFILE" in flags:
            raise NotUnderstood(f"a file without a name in {path}")
        inode = place.inode(path)
        if inode is None:
            inode = place.make(path)
            place.note(f"make {path}")
        elif "O_TRUNC" in flags and place.size(inode):
            place.truncate(inode, 0)
            place.note(f"empty {path}")
        process.files[result] = _File(place, inode, 0, "O_APPEND" in flags)

    def do_open(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        self.do_openat(process, ["AT_FDCWD", *arguments], result)

    def do_creat(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        self.do_openat(process, ["AT_FDCWD", arguments[0], "O_CREAT|O_TRUNC"], result)

    def do_lseek(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        if file := self._file(process, arguments[0]):
            file.position = result

    def do_read(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        if file := self._file(process, arguments[0]):
            file.position += result

    # What changes files.

    def do_write(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        if file := self._file(process, arguments[0]):
            self._put(file, _data(arguments[1])[:result])

    def do_writev(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        if file := self._file(process, arguments[0]):
            pieces = _BUFFER.findall(", ".join(arguments[1:]))
            data = b"".join(bytes.fromhex(one.replace("\\x", "")) for one in pieces)
            self._put(file, data[:result])

    def _put(self, file: _File, data: bytes) -> None:
        if file.appends:
            file.position = file.place.size(file.inode)
        file.place.write(file.inode, file.position, data)
        file.position += len(data)
        file.place.note("write")

    def do_pwrite64(self, process: _Process, arguments: Sequence[str], result: int) -> None:
        if file := self._file(process, arguments[0]):
            # Of a file that is opened to append Linux appends here, too.
            offset = file.place.size(file.inode) if file.appends else int(arguments[3])
            file.place.write(file.inode, offset, _data(arguments[1])[:result])
            file.place.note("write")

    def do_ftruncate(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        if file := self._file(process, arguments[0]):
            file.place.truncate(file.inode, int(arguments[1]))
            file.place.note("truncate")

    def _refuse(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        for one in arguments:
            if re.match(r"\d+<", one) and self._file(process, one):
                raise NotUnderstood(", ".join(arguments))

    do_pwritev = do_pwritev2 = do_fallocate = do_sendfile = do_splice = do_copy_file_range = _refuse

    def do_mmap(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        if "PROT_WRITE" in arguments[2] and "MAP_SHARED" in arguments[3] and "<" in arguments[4]:
            file = self._file(process, arguments[4])
            if file is not None and not is_lock(_text(arguments[4])):
                raise NotUnderstood(f"memory shared with {_text(arguments[4])}")

    # What changes names.

    def _change(self, where: tuple[Place, str] | None, what: str, *arguments: object) -> None:
        if where is not None:
            place, path = where
            getattr(place, what)(path, *arguments)
            place.note(f"{what} {path}")

    def do_mkdir(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        self._change(self._where(process, _text(arguments[0])), "make", True)

    def do_mkdirat(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        self._change(self._at(process, *arguments[:2]), "make", True)

    def do_unlink(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        self._change(self._where(process, _text(arguments[0])), "remove")

    do_rmdir = do_unlink

    def do_unlinkat(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        self._change(self._at(process, *arguments[:2]), "remove")

    def do_rename(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        self._move(*(self._where(process, _text(one)) for one in arguments))

    def do_renameat(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        if len(arguments) > 4 and arguments[4] not in ("0", "RENAME_NOREPLACE"):
            raise NotUnderstood(", ".join(arguments))
        self._move(self._at(process, *arguments[:2]), self._at(process, *arguments[2:4]))

    do_renameat2 = do_renameat

    @staticmethod
    def _move(
        source: tuple[Place, str] | None, target: tuple[Place, str] | None, how: str = "rename"
    ) -> None:
        if source is None and target is None:
            return
        if source is None or target is None or source[0] is not target[0]:
            raise NotUnderstood(f"{how} from {source} to {target}")
        getattr(source[0], how)(source[1], target[1])
        source[0].note(f"{how} {source[1]} {target[1]}")

    def do_link(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        self._move(*(self._where(process, _text(one)) for one in arguments), "link")

    def do_linkat(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        source, target = self._at(process, *arguments[:2]), self._at(process, *arguments[2:4])
        self._move(source, target, "link")

    def do_symlink(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        if self._where(process, _text(arguments[1])):
            raise NotUnderstood(f"symlink {arguments}")

    def do_symlinkat(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        if self._at(process, arguments[1], arguments[2]):
            raise NotUnderstood(f"symlink {arguments}")

    # What makes things durable.

    def do_fsync(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        if file := self._file(process, arguments[0]):
            self._sync(file.place, file.inode)

    do_fdatasync = do_fsync

    def do_syncfs(self, process: _Process, arguments: Sequence[str], _: int) -> None:
        for place in self._places:
            self._sync(place, None)

    do_sync = do_syncfs

    def _sync(self, place: Place, inode: int | None) -> None:
        begun = self._begun.get(id(place), len(place.recording.operations))
        place.sync(inode, begun)
        place.note("sync")


def _clones(text: str) -> bool:
    return text.startswith(("clone", "fork", "vfork"))


CALLS = sorted(name[3:] for name in vars(Trace) if name.startswith("do_"))
"""The system calls that are looked at."""


def record(
    command: Sequence[str],
    places: Sequence[Place],
    directory: Path,
    environ: Mapping[str, str],
    trace: Path,
) -> subprocess.CompletedProcess[str]:
    """Run *command* in *directory*, and record what it and its children do to the *places*."""
    traced = [
        *("strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", str(1 << 24), "-o", str(trace)),
        # A question mark: not every kind of computer has every call.
        *("-e", f"trace={','.join(f'?{one}' for one in CALLS)}", "-e", "signal=none"),
        *("--", *command),
    ]
    run = subprocess.run(
        traced, cwd=directory, env=dict(environ), capture_output=True, text=True, check=False
    )
    with open(trace) as lines:
        Trace(places, os.path.realpath(directory)).read(lines)
    return run
