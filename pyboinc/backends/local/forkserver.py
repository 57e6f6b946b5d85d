"""The process that starts slaves: one at a time, each a process of its own.

    master  --socket--  fork server  --fork or spawn-->  slave
        \\--- parent of ---> keeper --- parent of --/

:func:`main` is called in a process that :mod:`pyboinc.backends.local.workers` made, splits
it into keeper and fork server, and serves until the master closes the socket.

The server is warm: it has imported the slave half of the library and what was to be
preloaded, and it has compiled the archive's modules.  A forked slave runs these modules
afresh.  What makes it quick is what it does not do: a fork costs what is mapped, and then
a page fault for each page that either side touches, so the server imports little, and
all that can be done before the fork (empty the slot, write the input, change directory,
set the environment) is done in the server, where it costs no page faults.
"""

from __future__ import annotations

import gc
import importlib
import marshal
import os
import resource
import select
import signal
import sys
import time

from pyboinc import slave_runner
from pyboinc.backends.local import keeper, slave_process
from pyboinc.backends.local.slots import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

SAMPLE = 0.1
"""Seconds between two looks at a running slave's memory and disk."""

FLOOD = 1 << 24
"""Bytes of stderr after which a slave is ended."""

FASTEST_DISK = 10e9
"""Bytes a second: no slot is written faster, so after a short run it need not be measured."""

_MAXRSS_UNIT = 1024 if keeper.LINUX else 1
_PAGE = os.sysconf("SC_PAGE_SIZE")
_NO_OUTPUT = (
    b"the slave's process ended without an output (os._exit, or another program by exec?)\n"
)


class Job:
    """One instance as the server knows it: what was asked for (see ``Run``), how it goes."""

    def __init__(
        self,
        name: str,
        slot: str,
        program: str,
        slave: str,
        input: bytes,
        time_limit: float,
        memory: float,
        disk: float,
        max_output: int,
        resume: bool,
        fault: str | None,
        salt: int,
    ) -> None:
        self.name = name
        self.slot = Slot(slot, keep=resume)
        self.program = program
        self.slave = slave
        self.input = input
        self.time_limit = time_limit
        self.memory = memory
        self.disk = disk
        self.max_output = max_output
        self.fault = fault
        self.salt = salt
        self.pid = 0
        self.started = 0.0
        self.suspended = False
        self.elapsed = 0.0
        self.reason: str | None = None

    def run_time(self) -> float:
        """Return the seconds of wall time that it has run, not counting time suspended."""
        if self.suspended or not self.pid:
            return self.elapsed
        return self.elapsed + time.monotonic() - self.started

    def suspend(self) -> None:
        """Stop the processes, if it runs, and the clock."""
        if not self.suspended:
            self.elapsed = self.run_time()
            self.suspended = True
            self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let processes and clock go on."""
        if self.suspended:
            self.suspended = False
            self.started = time.monotonic()
            self.signal(signal.SIGCONT)

    def signal(self, number: int) -> None:
        """Send the signal *number* to the slave and its process group."""
        if not self.pid:
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            os.kill(self.pid, number)  # it has not made its group yet

    def end(self, reason: str) -> None:
        """Kill it, for *reason*; the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self.signal(signal.SIGKILL)


class Server:
    """The fork server: a queue of instances, of which the first one runs."""

    def __init__(self, connection: int, isolation: str) -> None:
        self.connection = connection
        self.isolation = isolation
        self.queue: list[Job] = []
        self.current: Job | None = None
        self.received = bytearray()
        self.unsent = bytearray()
        self.programs: dict[tuple[str, str], slave_runner.Program] = {}
        self.closing = False
        self.next_sample = 0.0
        self.wake, waker = os.pipe()
        self.stderr, stderr = os.pipe()
        os.dup2(stderr, 2)
        os.close(stderr)
        self.highest = max(self.wake, waker, self.stderr, connection)
        for descriptor in (self.wake, waker, self.stderr, connection):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(waker)
        signal.signal(signal.SIGCHLD, _note)
        signal.signal(signal.SIGTERM, _note)
        self.poller = select.poll()
        # The slave's end is looked for before its stderr: then the same look shows all of it.
        self.poller.register(self.wake, select.POLLIN)
        self.poller.register(self.stderr, select.POLLIN)
        self.poller.register(connection, select.POLLIN)

    def serve(self) -> None:
        """Run instances until the master goes away or the keeper is killed."""
        while not self.closing:
            if self.current is None and self.queue:
                self._begin(self.queue.pop(0))
                continue
            events = self.poller.poll(self._patience())
            ready = [descriptor for descriptor, _ in events]
            if self.connection in ready:
                self._converse()
            if self.stderr in ready:
                self._take_stderr()
            if self.wake in ready:
                self._woken()
            if self.current is not None:
                self._watch(self.current)
        keeper.kill_children(*([self.current.pid] if self.current else []))

    def _patience(self) -> float | None:
        """Return for how many milliseconds nothing need be looked at."""
        job = self.current
        if job is None or job.suspended:
            return None
        return max(0.0, min(SAMPLE, job.time_limit - job.run_time())) * 1000 + 1

    def _woken(self) -> None:
        for number in os.read(self.wake, 512):
            if number == signal.SIGTERM:
                self.closing = True
        if self.current is not None:
            pid, status, usage = os.wait4(self.current.pid, os.WNOHANG)
            if pid:
                self._ended(self.current, status, usage)

    # -- the conversation with the master

    def _converse(self) -> None:
        try:
            data = os.read(self.connection, 1 << 20)
        except BlockingIOError:
            data = None
        except ConnectionResetError:
            data = b""
        if data:
            self.received += data
            self._understand()
        elif data is not None:
            self.closing = True
        if self.unsent:
            self._flush()

    def _understand(self) -> None:
        while len(self.received) >= 4:
            end = 4 + int.from_bytes(self.received[:4], "little")
            if len(self.received) < end:
                break
            message = marshal.loads(self.received[4:end])
            del self.received[:end]
            self._obey(*message)

    def _obey(self, order: str, *arguments: object) -> None:
        if order == "run":
            self.queue.append(Job(*arguments))  # type: ignore[arg-type]  # as Worker.start sends it
            return
        for job in (*self.queue, *filter(None, (self.current,))):
            if job.name == arguments[0]:
                if order == "kill":
                    self._kill(job)
                elif order == "suspend":
                    job.suspend()
                else:
                    job.resume()

    def _kill(self, job: Job) -> None:
        job.end("killed")
        if job is not self.current:
            self.queue.remove(job)
            self._report(job, signal.SIGKILL, True, 0.0)

    def _report(self, job: Job, status: int, by_signal: bool, cpu: float) -> None:
        self._say((job.name, int(status), by_signal, job.reason, job.elapsed, cpu))

    def _say(self, message: tuple[str | float | None, ...]) -> None:
        data = marshal.dumps(message)
        self.unsent += len(data).to_bytes(4, "little") + data
        self._flush()

    def _flush(self) -> None:
        """Send what can be sent without waiting: the master may be sending, too."""
        try:
            sent = os.write(self.connection, self.unsent)
        except BlockingIOError:
            sent = 0
        except (BrokenPipeError, ConnectionResetError):
            self.closing = True
            return
        del self.unsent[:sent]
        wanted = select.POLLIN | select.POLLOUT if self.unsent else select.POLLIN
        self.poller.modify(self.connection, wanted)

    # -- one instance

    def _begin(self, job: Job) -> None:
        try:
            job.slot.prepare(job.input)
        except OSError as error:
            job.reason = f"no slot: {error.strerror} ({job.slot.path})"
            self._report(job, 1, False, 0.0)
            return
        program = self._program(job)
        self.current = job
        job.started = time.monotonic()
        self.next_sample = SAMPLE
        if self.isolation == "fork":
            server = os.getpid()
            job.pid = os.fork()
            if job.pid == 0:
                self._become(job, program, server)
        else:
            job.pid = self._spawn(job)
        if job.suspended:
            job.signal(signal.SIGSTOP)

    def _program(self, job: Job) -> slave_runner.Program:
        program = self.programs.get((job.program, job.slave))
        if program is None:
            program = slave_runner.Program(job.program, job.slave)
            if self.isolation == "fork":
                program.compile()
                freeze()
            self.programs[job.program, job.slave] = program
        return program

    def _become(self, job: Job, program: slave_runner.Program, server: int) -> NoReturn:
        """Turn this forked process into the slave of *job*; it never returns."""
        status = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.closerange(3, self.highest + 1)
            keeper.die_with(server, signal.SIGKILL)
            slave_process.renew()
            status = slave_process.compute(program, job.max_output, job.fault, job.salt)
        except BaseException as error:  # noqa: BLE001  # nothing may return into the server
            sys.excepthook(type(error), error, error.__traceback__)
        finally:
            os._exit(status)

    def _spawn(self, job: Job) -> int:
        interpreter = sys.orig_argv[: -len(sys.argv)]
        boot, root, search_path = sys.argv[:3]
        limits = [str(job.max_output), job.fault or "", str(job.salt)]
        arguments = [boot, root, search_path, "slave", str(os.getpid()), job.program, job.slave]
        return os.posix_spawn(
            sys.executable,
            [*interpreter, *arguments, *limits],
            os.environ,
            setpgroup=0,
            setsigdef=[signal.SIGCHLD, signal.SIGTERM],
        )

    def _take_stderr(self) -> None:
        try:
            data = os.read(self.stderr, 1 << 16)
        except BlockingIOError:
            return
        job = self.current
        if job is not None and job.slot.add_stderr(data) > FLOOD:
            job.end("stderr flood")

    def _watch(self, job: Job) -> None:
        """End *job* if it is over a limit; called at least every ``SAMPLE`` seconds."""
        if job.suspended:
            return
        ran = job.run_time()
        if ran >= job.time_limit:
            job.end("time limit")
        if ran >= self.next_sample:
            self.next_sample = ran + SAMPLE
            if resident(job.pid) > job.memory:
                job.end("memory limit")
            elif job.slot.disk_usage() > job.disk:
                job.end("disk limit")

    def _ended(self, job: Job, status: int, usage: resource.struct_rusage) -> None:
        job.elapsed = job.run_time()
        self.current = None
        self._clear_up()
        by_signal = os.WIFSIGNALED(status)
        code = os.WTERMSIG(status) if by_signal else os.WEXITSTATUS(status)
        if job.reason is None:
            code = self._judge(job, code, by_signal, usage.ru_maxrss)
        job.slot.close_stderr()
        self._report(job, code, by_signal, usage.ru_utime + usage.ru_stime)

    def _judge(self, job: Job, code: int, by_signal: bool, peak: int) -> int:
        """Set the reason of a slave that ended by itself; return its exit status."""
        size = job.slot.output_size()
        if peak * _MAXRSS_UNIT > job.memory:
            job.reason = "memory limit"
        elif job.elapsed * FASTEST_DISK > job.disk and job.slot.disk_usage() > job.disk:
            job.reason = "disk limit"
        elif size is None:
            if code and not by_signal and job.slot.output_refused():
                job.reason = "output too big"
            elif not code:
                job.slot.add_stderr(_NO_OUTPUT)
                return 1
        elif size > job.max_output:
            job.reason = "output too big"
        return code

    def _clear_up(self) -> None:
        """Kill what the slave has left behind, and take what there is of its stderr."""
        try:
            os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        keeper.kill_children()
        self._take_stderr()


def _note(number: int, frame: object) -> None:
    """A signal's handler: the wake-up descriptor has told the poller already."""


def freeze() -> None:
    """Keep the collector away from what forked slaves share with the server."""
    gc.collect()
    gc.freeze()


def resident(pid: int) -> int:
    """Return the bytes of memory that *pid* and its descendants have in use (Linux)."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * _PAGE + sum(map(resident, keeper.children(pid)))


def main(arguments: Sequence[str]) -> int:
    """Become keeper and fork server: ``CONNECTION ISOLATION PRELOAD``; return at their end."""
    connection, isolation, preload = int(arguments[0]), arguments[1], arguments[2]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    keeper.become_subreaper()
    me = os.getpid()
    server = os.fork()
    if server:
        keeper.keep(server, connection)
        return 0
    os.setsid()
    keeper.become_subreaper()
    keeper.die_with(me, signal.SIGTERM)
    gc.disable()
    for name in filter(None, preload.split(",")):
        importlib.import_module(name)
    Server(connection, isolation).serve()
    return 0
