"""BOINC's runtime interface for a slave, in pure Python: what libboinc_api does in C++.

A BOINC client starts a task in a *slot* directory and leaves there

* ``init_data.xml``, what the task may want to know about itself;
* for each input and output file a *soft link*: a small text file
  ``<soft_link>../../projects/X/job_1_in</soft_link>``, for the output, too;
* ``boinc_mmap_file``, shared memory: eight channels of 1,024 bytes, each one message and a
  flag that says whether it is unread.

The task tells its progress through the channel ``app_status`` and says that it is finished
by the file ``boinc_finish_called``, the very last thing it writes (BOINC api/boinc_api.cpp,
lib/app_ipc.cpp).  What the client sends (heartbeat, suspend, quit) is not read yet.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import mmap
import os
import re
import time

from pyboinc.errors import SlaveError

INIT_DATA = "init_data.xml"
FINISHED = "boinc_finish_called"
SHARED_MEMORY = "boinc_mmap_file"

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
    """The shared memory between client and task."""

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


class Task:
    """This process as a task of the BOINC client whose slot is the directory *slot*.

    Times are in seconds of CPU time, those of earlier episodes of the task included.
    """

    def __init__(self, slot: str) -> None:
        self.slot = slot
        with open(os.path.join(slot, INIT_DATA), encoding="utf-8", errors="replace") as file:
            self.init_data = InitData(file.read())
        self.fraction_done = 0.0
        self.checkpoint_cpu_time = self.init_data.number("wu_cpu_time")
        self._cpu_before = self.checkpoint_cpu_time
        try:
            self._channels: Channels | None = Channels(os.path.join(slot, SHARED_MEMORY))
        except FileNotFoundError:  # an app version without <api_version>: progress has no way
            self._channels = None

    def cpu_time(self) -> float:
        """Return the CPU time of this task so far."""
        return self._cpu_before + time.process_time()

    def resolve(self, name: str) -> str:
        """Return the real path of the task's file *name*; see :func:`resolve`."""
        return resolve(os.path.join(self.slot, name))

    def report_progress(self, fraction: float) -> None:
        """Tell the client that *fraction* of the work is done (0.0 to 1.0)."""
        self.fraction_done = fraction
        self._send_status()

    def report_checkpoint(self) -> None:
        """Tell the client that the task could go on from here after a restart.

        The client learns of it by the change of ``checkpoint_cpu_time``.
        """
        self.checkpoint_cpu_time = self.cpu_time()
        self._send_status(overwrite=True)

    def finish(self) -> None:
        """Tell the client that all is done and written; the process must end at once."""
        self._send_status(overwrite=True)
        path = os.path.join(self.slot, FINISHED)
        try:
            with open(path, "w", encoding="ascii") as file:
                file.write("0\n")
        except OSError as error:
            raise SlaveError(
                f"can not tell the BOINC client that the task is finished: {path}: {error}"
            ) from error

    def _send_status(self, overwrite: bool = False) -> None:
        # Always all three: the client takes a missing time as zero.
        if self._channels is not None:
            self._channels.send(
                "app_status",
                f"<current_cpu_time>{self.cpu_time():.9e}</current_cpu_time>\n"
                f"<checkpoint_cpu_time>{self.checkpoint_cpu_time:.9e}</checkpoint_cpu_time>\n"
                f"<fraction_done>{self.fraction_done:.9e}</fraction_done>\n",
                overwrite,
            )
