"""System calls made to fail in one process of a batch, by ``strace``.

``strace -e inject=CALL:...:when=N`` counts the calls of each process for itself, so a fault is
always one for a *role*: master, server, keeper, fork server or slave.  A process says which it
is and waits (``crash_hook/tracing.py``); a :class:`Tracer` attaches strace to those that are
meant and lets the others go on.  What strace writes is read while it comes, so that a
process that was stopped at its N-th call can be made use of: see *at_stop*.
"""

from __future__ import annotations

import itertools
import os
import re
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

STRACE = shutil.which("strace")

FILES = (
    "open openat read pread64 readv write pwrite64 writev lseek fsync fdatasync sync_file_range "
    "syncfs rename renameat renameat2 unlink unlinkat mkdir mkdirat rmdir link linkat symlink "
    "truncate ftruncate fallocate fstat stat lstat newfstatat statx access faccessat faccessat2 "
    "readlink readlinkat getdents64 chdir fchdir getcwd chmod fchmod fchmodat chown fchown "
    "utimensat close dup dup2 dup3 statfs fstatfs"
)
LOCKS = "flock fcntl"
PROCESSES = (
    "fork vfork clone clone3 execve wait4 waitid kill tkill pipe pipe2 socketpair poll ppoll "
    "select pselect6 sendto recvfrom sendmsg recvmsg setsid setpgid prctl prlimit64 setrlimit "
    "sched_setaffinity sched_getaffinity"
)
CALLS = f"{FILES} {LOCKS} {PROCESSES}".split()
"""The system calls that touch files, locks or processes."""

ROLES = ("master", "server", "keeper", "fork server", "slave")

_LINE = re.compile(r"(?:\[pid +\d+\] )?(\w+)\((.*)")
_OF_DATA = ("read", "write", "pread64", "pwrite64", "sendto", "recvfrom")
"""Calls of which a text is what is written, not a path."""

_PATH = re.compile(r'<([^<>]*)>|"((?:[^"\\]|\\.)*)"')
_numbers = itertools.count()


@dataclass(frozen=True)
class Fault:
    """What happens to the *number*-th call of *name* in a process of *role*.

    *what* is "KILL", "STOP" or an errno's name; it happens to *times* calls in a row, or, if
    that is 0, to all from then on, and then in every process of this role but the slave.
    """

    role: str
    name: str
    number: int
    what: str
    times: int = 1

    @property
    def injection(self) -> str:
        """The fault as strace is told of it."""
        kind = "signal" if self.what in ("KILL", "STOP") else "error"
        last = self.number + self.times - 1
        when = {0: f"{self.number}+", 1: f"{self.number}"}.get(self.times, f"{self.number}..{last}")
        return f"inject={self.name}:{kind}={self.what}:when={when}"

    def __str__(self) -> str:
        often = {0: " and ever after", 1: ""}.get(self.times, f" and {self.times - 1} times more")
        return f"{self.what} at {self.name} {self.number} of the {self.role}{often}"


@dataclass(frozen=True)
class Call:
    """One line of strace's: a call, what it was about, and whether the fault struck it."""

    name: str
    text: str
    struck: bool

    def about(self, root: str) -> str:
        """The call and the paths that it names, as they are in any job directory and any run."""
        found = _PATH.findall(self.text.partition(" = ")[0])
        names = [fd or (told if self.name not in _OF_DATA else "") for fd, told in found]
        return " ".join([self.name, *(general(name, root) for name in names if name)])

    @property
    def standard(self) -> bool:
        """Whether it is about stdin, stdout or stderr."""
        return self.text[:2] in ("0<", "1<", "2<")


def general(name: str, root: str = "") -> str:
    """A path without what differs from one run to the next, below *root* or elsewhere."""
    name = name.replace(root, "JOB") if root else name
    name = re.sub(r"[0-9a-f]{64}", "DIGEST", name)
    name = re.sub(r"\[[^]]*\]", "", name)
    return re.sub(r"(rehearsal-|/proc/|/task/|\.)\d+(?=/|\.tmp|$)", r"\1N", name)


@dataclass
class Traced:
    """A process of the wanted role, and its calls as far as they are known."""

    pid: int
    calls: list[Call] = field(default_factory=list)


class Tracer:
    """Attaches strace to the processes of one role, while this context is active.

    Without a *fault* it only records.  *at_stop* is called with the process number when a
    process was stopped; it is continued afterwards.
    """

    def __init__(
        self,
        role: str,
        fault: Fault | None = None,
        at_stop: Callable[[int], None] | None = None,
    ) -> None:
        self.role = role
        self.fault = fault
        self.traced: list[Traced] = []
        self.processes: dict[str, list[int]] = {one: [] for one in ROLES}
        self.problems: list[str] = []
        self._at_stop = at_stop
        self._name = f"pyboinc-tracer-{os.getpid()}-{next(_numbers)}"
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(f"\0{self._name}")
        self._socket.listen(64)
        self._threads = [threading.Thread(target=self._answer)]

    @property
    def environ(self) -> Mapping[str, str]:
        """What a run must be started with, so that its processes ask."""
        return {"PYBOINC_TEST_TRACER": self._name}

    @property
    def struck(self) -> list[Call]:
        """The calls that were made to fail, or at which a process was killed."""
        return [call for one in self.traced for call in one.calls if call.struck]

    def __enter__(self) -> Tracer:
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()
        assert not self.problems, self.problems

    def _answer(self) -> None:
        while True:
            try:
                line, _ = self._socket.accept()
            except OSError:
                return  # shut down: the run has ended
            role, _, number = line.recv(100).decode().partition(",")
            if not number:
                continue  # it was killed before it could say who it is
            self.processes[role].append(int(number))
            if self._is_meant(role):
                thread = threading.Thread(target=self._trace, args=(int(number), line))
                self._threads.append(thread)
                thread.start()
            else:
                line.close()

    def _is_meant(self, role: str) -> bool:
        # Of slaves only one has a broken disk: if all had, their jobs would fail, and rightly.
        ever_after = self.fault is not None and self.fault.times == 0 and role != "slave"
        return role == self.role and (not self.traced or ever_after)

    def _trace(self, pid: int, line: socket.socket) -> None:
        assert STRACE is not None
        traced = Traced(pid)
        self.traced.append(traced)
        names = CALLS if self.fault is None else [self.fault.name]
        command = [STRACE, "-y", "-s", "200", "-e", f"trace={','.join(map('?{}'.format, names))}"]
        if self.fault is not None:
            command += ["-e", self.fault.injection]
        with subprocess.Popen(
            [*command, "-p", str(pid)], stderr=subprocess.PIPE, text=True, errors="replace"
        ) as strace:
            assert strace.stderr is not None
            first = strace.stderr.readline()
            if not first.rstrip().endswith("attached"):
                self.problems.append(first)
            line.close()  # it may go on
            traced.calls += self._calls(strace.stderr, pid)

    def _calls(self, lines: Iterator[str], pid: int) -> Iterator[Call]:
        """The calls in what strace writes; the first is the one that waits to be let go on."""
        what = "" if self.fault is None else self.fault.what
        last: Call | None = None
        for text in lines:
            if "+++ killed by SIGKILL" in text and what == "KILL" and last is not None:
                last = Call(last.name, last.text, True)
            if text.startswith("--- stopped by SIGSTOP") and self._at_stop is not None:
                last = last and Call(last.name, last.text, True)
                self._at_stop(pid)
                _continue(pid)
            match = _LINE.match(text)
            if match:
                if last is not None:
                    yield last
                last = Call(match[1], match[2].rstrip("\n"), "(INJECTED)" in text)
        if last is not None:
            yield last


def _continue(pid: int) -> None:
    import signal

    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass
