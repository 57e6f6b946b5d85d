"""BOINC's runtime interface for a slave, in pure Python: what libboinc_api does in C++.

A BOINC client starts a task in a *slot* directory and leaves there

* ``init_data.xml``, what the task may want to know about itself;
* for each input and output file a *soft link*: a small text file
  ``<soft_link>../../projects/X/job_1_in</soft_link>``, for the output, too;
* ``boinc_mmap_file``, shared memory: eight channels of 1,024 bytes, each one message and a
  flag that says whether it is unread.

The task tells its progress through the channel ``app_status`` and says that it is finished
by the file ``boinc_finish_called``, the very last thing it writes.  What the client sends
meanwhile (suspend, resume, quit, abort) is heard by :mod:`pyboinc.slave_watcher`
(BOINC api/boinc_api.cpp, lib/app_ipc.cpp).

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import _thread
import fcntl
import mmap
import os
import re
import time

from pyboinc.errors import SlaveError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

INIT_DATA = "init_data.xml"
FINISHED = "boinc_finish_called"
TEMPORARY_EXIT = "boinc_temporary_exit"
LOCK = "boinc_lockfile"
SHARED_MEMORY = "boinc_mmap_file"

ABORTED = 194
"""The exit status that tells the client: ended because it said so (``EXIT_ABORTED_BY_CLIENT``)."""

OCCUPIED = 35.0
"""Seconds to wait for an earlier process of the task that is still in the slot."""

CHANNEL_SIZE = 1024
CHANNELS = (
    "process_control_request",
    "process_control_reply",
    "graphics_request",
    "graphics_reply",
    "heartbeat",
    "app_status",
    "trickle_up",
    "trickle_down",
)
"""The channels, in the order in which they lie in the shared memory."""

_SOFT_LINK = re.compile(rb"\A\s*<soft_link>(.*?)</soft_link>")
_TARGET = re.compile(rb"\.\./\.\./projects/(?!\.)[^/\0]+/(?!\.\.?\Z)[^/\0]+")


def resolve(name: str) -> str:
    """Return the path of the file that the client calls *name*: a soft link's target.

    The target is relative to where the link is.  A file that is no soft link, a real symbolic
    link, or one that is not there yet is meant itself.

    A client makes soft links to files of the project only.  But a project's server may have
    an input file copied into the slot under any name, so one that is in the wrong hands could
    hand out its own "soft link", to a file of the volunteer's.  Raises
    :class:`~pyboinc.errors.SlaveError` for such a one.
    """
    try:
        with open(name, "rb") as file:
            link = _SOFT_LINK.match(file.read(2048))
    except OSError:
        return name
    if link is None:
        return name
    if not _TARGET.fullmatch(link.group(1)):
        raise SlaveError(
            f"{os.path.basename(name)} is a soft link that no BOINC client makes: it leads to "
            f"{link.group(1)!r}, which is not in the project's directory"
        )
    return os.path.join(os.path.dirname(name), os.fsdecode(link.group(1)))


class InitData:
    """What the client tells a task about itself: fields of ``init_data.xml``, as text.

    ``init_data["wu_name"]`` is "" if there is no such field.
    """

    def __init__(self, text: str) -> None:
        # The user's own preferences are pasted in and may hold anything.
        self._text = re.sub(
            r"<project_preferences>.*</project_preferences>", "", text, flags=re.DOTALL
        )

    def __getitem__(self, field: str) -> str:
        found = re.search(f"<{re.escape(field)}>([^<]*)</{re.escape(field)}>", self._text)
        return found.group(1).strip() if found else ""

    def number(self, field: str) -> float:
        """Return *field* as a number; 0.0 if it is missing or not one."""
        try:
            return float(self[field])
        except ValueError:
            return 0.0


class Channels:
    """The shared memory between client and task; either side may look at any time."""

    def __init__(self, path: str) -> None:
        with open(path, "r+b") as file:
            self._memory = mmap.mmap(file.fileno(), len(CHANNELS) * CHANNEL_SIZE)

    def send(self, channel: str, text: str, overwrite: bool = False) -> bool:
        """Put *text* into *channel*; return whether it was free (or *overwrite* says take it).

        The flag is set after the text is whole, because the client may look at any time.
        """
        start = CHANNELS.index(channel) * CHANNEL_SIZE
        data = text.encode()[: CHANNEL_SIZE - 2] + b"\0"
        if self._memory[start] and not overwrite:
            return False
        self._memory[start + 1 : start + 1 + len(data)] = data
        self._memory[start] = 1
        return True

    def receive(self, channel: str) -> str:
        """Take the message out of *channel*; return "" if there is none."""
        start = CHANNELS.index(channel) * CHANNEL_SIZE
        if not self._memory[start]:
            return ""
        text = self._memory[start + 1 : start + CHANNEL_SIZE].partition(b"\0")[0]
        self._memory[start] = 0
        return text.decode("utf-8", "replace")


class Critical:
    """What must not be cut short: while one thread is inside, the client's orders wait.

    Who enters and finds the client gone ends at once: an orphan must not write into a slot
    in which the client may have started the task again.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._lock = _thread.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()
        if self._task.is_orphan():
            os._exit(0)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Task:
    """This process as a task of the BOINC client whose slot is the directory *slot*.

    Times are in seconds of CPU time, those of earlier episodes of the task included.
    """

    def __init__(self, slot: str) -> None:
        self.slot = slot
        self.read_init_data()
        self.critical = Critical(self)
        self.fraction_done: float | None = None
        self.checkpoint_cpu_time = self.init_data.number("wu_cpu_time")
        self.helpers_cpu_time = 0.0
        self._cpu_before = self.checkpoint_cpu_time
        self._checkpointed = -float("inf")
        self._due: tuple[Callable[[], None], float] | None = None
        self._process, self._parent = os.getpid(), os.getppid()
        try:
            self._channels: Channels | None = Channels(os.path.join(slot, SHARED_MEMORY))
        except FileNotFoundError:  # an app version without <api_version>: progress has no way
            self._channels = None

    def read_init_data(self) -> None:
        """Read what the client says of this task; it may be another thing now."""
        with open(os.path.join(self.slot, INIT_DATA), encoding="utf-8", errors="replace") as file:
            self.init_data = InitData(file.read())

    def occupy(self, patience: float = OCCUPIED) -> None:
        """Take the slot, when an earlier process of this task, if there is one, has left it.

        It may be one whose client was killed, and that has not noticed yet.  After *patience*
        seconds this process ends, and the client starts it again later.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        lock = os.open(os.path.join(self.slot, LOCK), flags, 0o666)  # open until this process ends
        end = time.monotonic() + patience
        while True:
            try:
                fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if time.monotonic() > end:
                    self.exit_temporarily(600, "another process of this task is still running")
                time.sleep(0.1)

    # -- what the task says

    def cpu_time(self) -> float:
        """Return the CPU time of this task so far, its children that have ended included."""
        times = os.times()
        children = times.children_user + times.children_system - self.helpers_cpu_time
        return self._cpu_before + time.process_time() + max(0.0, children)

    def resolve(self, name: str) -> str:
        """Return the real path of the task's file *name*; see :func:`resolve`."""
        return resolve(os.path.join(self.slot, name))

    def report_progress(self, fraction: float) -> None:
        """Tell the client that *fraction* of the work is done (0.0 to 1.0)."""
        self.fraction_done = fraction
        self.report_status()

    def report_status(self, overwrite: bool = False) -> None:
        """Tell the client how far the task is, if it has read what it was told before."""
        if self._channels is None or os.getpid() != self._process:
            return
        # Always both times: the client takes a missing one as zero.  A fraction that is not
        # known yet is left out, or a task that was started again would seem to begin anew.
        text = (
            f"<current_cpu_time>{self.cpu_time():.9e}</current_cpu_time>\n"
            f"<checkpoint_cpu_time>{self.checkpoint_cpu_time:.9e}</checkpoint_cpu_time>\n"
        )
        if self.fraction_done is not None:
            text += f"<fraction_done>{self.fraction_done:.9e}</fraction_done>\n"
        self._channels.send("app_status", text, overwrite)

    def send_trickle_up(self, variety: str, text: str) -> None:
        """Send *text* to the project's server while the task goes on."""
        with self.critical:
            path = os.path.join(self.slot, "trickle_up.xml")
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"<variety>{variety}</variety>\n{text}")
            if self._channels is not None:
                self._channels.send("trickle_up", "<have_new_trickle_up/>\n", overwrite=True)

    # -- what the client says

    def receive(self, channel: str) -> str:
        """Take the client's message out of *channel*; return "" if there is none."""
        return "" if self._channels is None else self._channels.receive(channel)

    def receive_trickle_down(self) -> str | None:
        """Return the oldest message of the project's server to this task, once; None if none."""
        names = [name for name in os.listdir(self.slot) if name.startswith("trickle_down_")]
        if not names:
            return None
        path = os.path.join(self.slot, min(names))
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
        os.unlink(path)
        return text

    def is_orphan(self) -> bool:
        """Say whether the client, or the process that started this one, is gone."""
        if os.getpid() != self._process:
            return False  # a child of the slave's own
        if os.getppid() != self._parent:
            return True
        client = int(self.init_data.number("client_pid"))
        try:
            if client > 0:
                os.kill(client, 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            pass  # there it is, and it is another user's
        return False

    # -- checkpoints

    def time_to_checkpoint(self) -> bool:
        """Say whether the volunteer's preferences allow that the disk is used now."""
        period = self.init_data.number("checkpoint_period")
        return time.monotonic() - self._checkpointed >= period

    def checkpoint(self, save: Callable[[], None]) -> None:
        """Have *save* write a checkpoint, now or when the volunteer's preferences allow it.

        The one that waits is written when the client says that the task must quit, or gives
        way to a later one.
        """
        with self.critical:
            self._due = save, self.cpu_time()
            if self.time_to_checkpoint():
                self.save_due()

    def save_due(self) -> None:
        """Write the checkpoint that is waiting, if there is one."""
        if self._due is not None:
            save, cpu_time = self._due
            self._due = None
            save()
            self.report_checkpoint(cpu_time)

    def report_checkpoint(self, cpu_time: float | None = None) -> None:
        """Tell the client that the task could go on from here after a restart.

        The client learns of it by the change of ``checkpoint_cpu_time``.
        """
        self._checkpointed = time.monotonic()
        self.checkpoint_cpu_time = self.cpu_time() if cpu_time is None else cpu_time
        self.report_status(overwrite=True)

    # -- the end

    def finish(self) -> None:
        """Tell the client that all is done and written; the process must end at once.

        It hears nothing more of what the client says.
        """
        self.critical.__enter__()
        self.report_status(overwrite=True)
        self._leave(FINISHED, "0\n")

    def exit_temporarily(self, seconds: int, reason: str) -> NoReturn:
        """End this process; the client starts the task again after so many *seconds*."""
        self._leave(TEMPORARY_EXIT, f"{seconds}\n{reason}\n")
        os._exit(0)

    def _leave(self, name: str, text: str) -> None:
        path = os.path.join(self.slot, name)
        try:
            with open(path, "w", encoding="ascii", errors="replace") as file:
                file.write(text)
        except OSError as error:
            raise SlaveError(
                f"can not tell the BOINC client that the task is finished: {path}: {error}"
            ) from error
