"""The keeper: the process between the master and a fork server.

    master  --socket--  keeper  --pipes--  fork server  --fork or spawn-->  slave

It does for one emulated computer what the BOINC client does for a real one: it keeps a
queue of instances and runs one at a time, prepares its slot, watches its time, memory and
disk, keeps its stderr, suspends and kills it, and reports how it ended.

It is also the parent of all that happens behind a worker, and nothing outlives it.  Who
is killed (by SIGKILL), and who then sees to the rest:

    the master          the keeper, which sees the socket close
    the keeper          the fork server, by its parent-death signal
    the fork server     the keeper; the slave itself is killed by the kernel
    a slave             the fork server, then the keeper reports it

Only if keeper and fork server are killed at the same instant can a process survive that a
slave had put into a session of its own.  (Elsewhere than on Linux, where there are no
subreapers, such a process survives every death.)
"""

from __future__ import annotations

import marshal
import os
import resource
import select
import signal
import time

from pyboinc.backends.local import forkserver, processes
from pyboinc.backends.local.frames import Receiver, pack
from pyboinc.backends.local.slots import Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PARENT_CHECK = 1.0
"""Seconds between two looks at who the parent is.

The socket tells of the master's death at once, unless a process that the master forked
still holds it.
"""

SAMPLE = 0.1
"""Seconds between two looks at a running slave's memory and disk."""

SAMPLING_SHARE = 20
"""How many times longer than one look at memory and disk the time to the next one is."""

STOPPED = 0.5
"""Seconds that a sleep of this process lasts too long, from which on it was stopped."""

FAREWELL = 1.0
"""Seconds that a fork server without a slave has to end by itself."""

FLOOD = 1 << 24
"""Bytes of stderr after which a slave is ended."""

FASTEST_DISK = 10e9
"""Bytes a second: no slot is written faster, so after a short run it need not be measured."""

_MAXRSS_UNIT = 1024 if processes.LINUX else 1
_NO_OUTPUT = b"the slave's process ended without an output (os._exit, or another program?)\n"


class Job:
    """One instance as the keeper knows it: what was asked for (see ``Run``), how it goes."""

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
        self.input = input
        self.order = (slot, program, slave, max_output, fault, salt)
        self.time_limit = time_limit
        self.memory = memory
        self.disk = disk
        self.max_output = max_output
        self.pid = 0
        self.running = False
        self.suspended = False
        self.started = 0.0
        self.elapsed = 0.0
        self.next_sample = SAMPLE
        self.reason: str | None = None

    def run_time(self) -> float:
        """Return the seconds of wall time that it has run, not counting time suspended."""
        if self.suspended or not self.running:
            return self.elapsed
        return self.elapsed + time.monotonic() - self.started

    def signal(self, number: int) -> None:
        """Send the signal *number* to the slave and its process group."""
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:  # it has not made its group yet
            os.kill(self.pid, number)


class Keeper:
    """A queue of instances, of which the first one runs; see the module's docstring.

    *server* is the fork server, *connection* the socket to the master.  The others are pipes
    from the fork server (its slaves' stderr, process numbers, ends) and to it (orders).
    """

    def __init__(
        self, server: int, connection: int, stderr: int, pids: int, ends: int, orders: int
    ) -> None:
        self.server = server
        self.connection = connection
        self.stderr = stderr
        self.pids = pids
        self.ends = ends
        self.orders = orders
        self.queue: list[Job] = []
        self.current: Job | None = None
        self.closing = False
        self.abandoned = False
        self.ready = False
        self._receiver = Receiver()
        self._unsent = b""
        for descriptor in (connection, stderr):
            os.set_blocking(descriptor, False)
        self._poller = select.poll()
        # A slave's end is looked for before its stderr: then the same look shows all of it,
        # and it is taken, by the reverse order, before the end.
        self._actions = {
            ends: self._take_end,
            stderr: self._take_stderr,
            connection: self._converse,
        }
        for descriptor in self._actions:
            self._poller.register(descriptor, select.POLLIN)

    def serve(self) -> int:
        """Run instances until the master or the fork server is gone; leave nothing behind.

        Return the exit status: not 0 if the fork server ended because the system failed it.
        """
        try:
            self._serve()
            return self._status_of_server() if self.abandoned else 0
        finally:
            processes.kill_children(self.server)

    def _serve(self) -> None:
        master = os.getppid()
        while not self.closing:
            began, patience = time.monotonic(), self._patience()
            ready = self._poller.poll(patience)
            self._notice_a_stop(time.monotonic() - began - patience / 1000)
            for descriptor, _ in reversed(ready):
                self._actions[descriptor]()
            if not ready and os.getppid() != master:
                break
            if self.current is not None:
                self._watch(self.current)
            elif self.ready and self.queue and not self.closing:
                self._begin(self.queue.pop(0))
        os.close(self.orders)
        if self.current is None:
            select.select([self.ends], [], [], FAREWELL)  # the fork server ends by itself

    def _status_of_server(self) -> int:
        try:
            _, status = os.waitpid(self.server, 0)
        except ChildProcessError:
            return 0
        return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 0

    def _notice_a_stop(self, overslept: float) -> None:
        """Do not count against a job the time that this process, and it, stood still.

        A computer that is put to sleep stops the clock as well; a debugger, a batch system or
        ^Z stops the processes only, and then no job is late.
        """
        job = self.current
        if overslept > STOPPED and job is not None and not job.suspended:
            job.started += overslept

    def _patience(self) -> float:
        """Return for how many milliseconds nothing need be looked at."""
        job = self.current
        if job is None:
            return 0 if self.queue and self.ready else PARENT_CHECK * 1000
        if job.suspended or job.reason:
            return PARENT_CHECK * 1000
        ran = job.run_time()
        return max(0.0, min(job.next_sample, job.time_limit) - ran) * 1000 + 1

    # -- the conversation with the master

    def _converse(self) -> None:
        try:
            data = os.read(self.connection, 1 << 16)
        except BlockingIOError:
            data = None
        except ConnectionResetError:
            data = b""
        if data:
            for message in self._receiver.take(data):
                self._obey(*message)
        elif data is not None:
            self.closing = True
        if self._unsent:
            self._send(b"")

    def _obey(self, order: str, *arguments: Any) -> None:
        if order == "run":
            self.queue.append(Job(*arguments))
            return
        if order == "take back":
            self._give_back()
            return
        for job in (*filter(None, [self.current]), *self.queue):
            if job.name == arguments[0]:
                {"kill": self._kill, "suspend": self._suspend, "resume": self._resume}[order](job)
                return

    def _give_back(self) -> None:
        """Give back what waits behind the instance that runs, or is about to."""
        kept = 1 if self.current is None else 0
        waiting, self.queue = self.queue[kept:], self.queue[:kept]
        for job in waiting:
            job.reason = "taken back"
            self._report(job, 0, False, 0.0)

    def _report(self, job: Job, status: int, by_signal: bool, cpu: float) -> None:
        self._send(pack((job.name, status, by_signal, job.reason, job.elapsed, cpu)))

    def _send(self, data: bytes) -> None:
        """Send what can be sent without waiting: the master may be sending, too."""
        waited = bool(self._unsent)
        data = self._unsent + data
        try:
            self._unsent = data[os.write(self.connection, data) :]
        except BlockingIOError:
            self._unsent = data
        except (BrokenPipeError, ConnectionResetError):
            self.closing = True
        if waited != bool(self._unsent):
            out = select.POLLOUT if self._unsent else 0
            self._poller.modify(self.connection, select.POLLIN | out)

    # -- one instance

    def _begin(self, job: Job) -> None:
        try:
            job.slot.prepare(job.input)
        except OSError as error:
            job.reason = f"no slot: {error.strerror}: {job.slot.path}"
            self._report(job, 1, False, 0.0)
            return
        self.current = job
        job.input = b""
        job.running = True
        job.started = time.monotonic()
        try:
            os.write(self.orders, marshal.dumps(job.order))
        except BrokenPipeError:
            self.closing = True
        if job.suspended:
            self._stop(job)

    def _end(self, job: Job, reason: str) -> None:
        """Kill the running *job*; the first reason counts."""
        if job.reason is None:
            job.reason = reason
            self._signal(job, signal.SIGKILL)

    def _kill(self, job: Job) -> None:
        if job.running:
            self._end(job, "killed")
        else:
            job.reason = "killed"
            self.queue.remove(job)
            self._report(job, int(signal.SIGKILL), True, 0.0)

    def _suspend(self, job: Job) -> None:
        if not job.suspended:
            job.elapsed = job.run_time()
            job.suspended = True
            self._stop(job)

    def _stop(self, job: Job) -> None:
        if job.running:
            self._signal(job, signal.SIGSTOP)

    def _resume(self, job: Job) -> None:
        if job.suspended:
            job.suspended = False
            job.started = time.monotonic()
            if job.running:
                self._signal(job, signal.SIGCONT)

    def _signal(self, job: Job, number: int) -> None:
        if not job.pid:
            job.pid = int(os.read(self.pids, 100) or 0)
        if job.pid and not self._has_ended():
            job.signal(number)

    def _has_ended(self) -> bool:
        """Say whether the running slave has ended and its number may mean another process."""
        looker = select.poll()
        looker.register(self.ends, select.POLLIN)
        return bool(looker.poll(0))

    def _take_stderr(self) -> None:
        data = os.read(self.stderr, 1 << 16)
        job = self.current
        if job is not None:
            if job.slot.add_stderr(data) > FLOOD:
                self._end(job, "stderr flood")
        elif not self.ready:
            os.write(2, data)  # why the fork server could not start, for whoever looks

    def _watch(self, job: Job) -> None:
        """End *job* if it is over a limit."""
        ran = job.run_time()
        if ran >= job.time_limit:
            self._end(job, "time limit")
        if ran >= job.next_sample and not job.suspended:
            self._sample(job)

    def _sample(self, job: Job) -> None:
        """Look at the memory and disk that *job* uses; at a full slot not too often."""
        if not job.pid:
            job.pid = int(os.read(self.pids, 100) or 0)
        began = time.monotonic()
        if processes.resident(job.pid) > job.memory:
            self._end(job, "memory limit")
        elif job.slot.disk_usage() > job.disk:
            self._end(job, "disk limit")
        took = time.monotonic() - began
        job.next_sample = job.run_time() + max(SAMPLE, SAMPLING_SHARE * took)

    def _take_end(self) -> None:
        data = os.read(self.ends, 1000)
        job = self.current
        if not data:
            self.closing = self.abandoned = True
            return
        message = marshal.loads(data)
        if job is None:
            self.ready = True
            self._send(pack(("isolation", message)))
            return
        status, cpu, peak = message
        if not job.pid:
            os.read(self.pids, 100)
        job.elapsed = job.run_time()
        self.current = None
        by_signal = os.WIFSIGNALED(status)
        code = os.WTERMSIG(status) if by_signal else os.WEXITSTATUS(status)
        if job.reason is None:
            code = self._judge(job, code, by_signal, peak * _MAXRSS_UNIT)
        job.slot.close_stderr()
        self._report(job, code, by_signal, cpu)

    def _judge(self, job: Job, code: int, by_signal: bool, peak: int) -> int:
        """Set the reason of a slave that ended by itself; return its exit status."""
        size = job.slot.output_size()
        if peak > job.memory:
            job.reason = "memory limit"
        elif job.elapsed * FASTEST_DISK > job.disk and job.slot.disk_usage() > job.disk:
            job.reason = "disk limit"
        elif size is None:
            if code and not by_signal and job.slot.output_refused():
                job.reason = "output too big"
            elif not code and not by_signal:
                job.slot.add_stderr(_NO_OUTPUT)
                return 1
        elif size > job.max_output:
            job.reason = "output too big"
        return code


def main(arguments: list[str]) -> int:
    """Become keeper and fork server, as *arguments* say; return at their end.

    They are ``CONNECTION ISOLATION PRELOAD NUMBER SCRATCH``.
    """
    connection, isolation, preload, number, scratch = int(arguments[0]), *arguments[1:]
    if isolation == "fork":
        processes.stay_on_one_cpu(int(number))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    processes.become_subreaper()
    (stderr, stderr_in), (pids, pids_in), (ends, ends_in) = os.pipe(), os.pipe(), os.pipe()
    orders, orders_in = os.pipe()
    server = os.fork()
    if server == 0:
        os.dup2(stderr_in, 2)
        for descriptor in (connection, stderr, stderr_in, pids, ends, orders_in):
            os.close(descriptor)
        forkserver.main(orders, pids_in, ends_in, isolation, preload.split(","), scratch)
        return 0
    for descriptor in (stderr_in, pids_in, ends_in, orders):
        os.close(descriptor)
    os.set_inheritable(connection, False)
    return Keeper(server, connection, stderr, pids, ends, orders_in).serve()
