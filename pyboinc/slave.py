"""What a slave program calls: its input, its output, its progress and its checkpoints.

A slave runs in a directory of its own (BOINC's *slot*).  It finds its encoded input in
the file ``in`` and leaves its encoded output in ``out``.  That is all there is to it, so
the same program runs under a BOINC client on a volunteer's computer, under the local
emulator, and by hand in any directory with an ``in`` file.

Under a client ``in`` and ``out`` are BOINC's soft links (small text files that name the
real file), and progress goes to the client through :mod:`pyboinc.boinc_api`.  Elsewhere
that module is not even imported.

This file travels to volunteers: standard library, Python 3.8.
"""

from __future__ import annotations

import os
import sys
import time

from pyboinc import codec
from pyboinc.codec.shapes import Refused, shape_of
from pyboinc.errors import RejectedResult, SlaveError

TYPE_CHECKING = False
if TYPE_CHECKING:  # the module typing takes longer to import than all of this
    from collections.abc import Callable, Iterable
    from typing import Any

    from pyboinc.boinc_api import Task
    from pyboinc.codec.shapes import Shape

INPUT = "in"
OUTPUT = "out"
CHECKPOINT = "checkpoint"
FRACTION_DONE = "fraction_done"
TOO_BIG = "output_too_big"
"""An empty file that says why there is no output; the emulator's worker looks for it."""

TRICKLE_UP = "trickle_up.xml"
MOST_TRICKLE = 8192
"""Bytes of a message to the project, at most."""

MAX_OUTPUT = 64_000_000
"""Bytes of an encoded output, at most, when nobody said otherwise."""

PROGRESS_PERIOD = 0.5
"""Seconds between two reports of progress, at least: a slave may call in its inner loop."""

_AT_ONCE = 1 << 16
_CHECKPOINT_MARK = b"PyBOINC checkpoint 1 "


class Classes(codec.Registry):
    """The classes of the slave's own modules, found when a value names them.

    A slave need not import the module of its input's class, and a module that no value names
    is not imported for it.
    """

    def __init__(self, modules: Iterable[str]) -> None:
        super().__init__({})
        self.modules = frozenset(modules)
        # As a pickle spells a name of up to 255 bytes: counted.
        self._spelled = [
            (b"\x8c" + bytes([len(name.encode())]) + name.encode(), name)
            for name in self.modules
            if len(name.encode()) < 256
        ]

    def for_value(self, data: bytes) -> Classes:
        """Import the modules that the encoded value *data* names; return these classes.

        It is done here, because an error in the user's module must not look like bad data.
        """
        for spelled, name in self._spelled:
            if spelled in data and name not in sys.modules:
                __import__(name)
        return self

    def for_object(self, value: Any) -> Classes | None:
        """Return these classes if *value* is of one of them, else None (as for built-in types)."""
        kind = type(value)
        return None if self.shape(kind.__module__, kind.__qualname__) is None else self

    def shape(self, module: str, name: str) -> Shape | None:
        """Return how to rebuild the class *name* of *module*, None if it is not one of these."""
        known = self._shapes.get((module, name))
        if known is not None or module not in self.modules:
            return known
        found: Any = sys.modules.get(module)
        trusted = getattr(found, "trusted_setstate", ())
        for part in name.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type) or (found.__module__, found.__qualname__) != (module, name):
            return None
        shape = shape_of(found, any(found is each for each in trusted))
        self._shapes[module, name] = shape
        if type(shape) is not Refused:
            self.by_class[found] = shape
        return shape


class Instance:
    """The one instance of a job that this process computes.

    ``slot`` is its directory, whatever the slave makes its current directory later;
    ``classes`` those that its input may hold; ``task`` what connects it with a BOINC client,
    or None where there is none; ``max_output`` is in bytes.  ``received`` and ``altered``
    are seams for injected faults: called when the input has been read, and with the output
    before it is encoded.
    """

    def __init__(self, slot: str, classes: Classes, task: Task | None = None) -> None:
        self.slot = slot
        self.classes = classes
        self.task = task
        self.max_output = MAX_OUTPUT
        self.received: Callable[[], None] | None = None
        self.altered: Callable[[Any], Any] | None = None
        self.returned = False
        self._input: Any = None
        self._has_input = False
        self._next_report = 0.0

    def _path(self, name: str) -> str:
        return self.slot + "/" + name

    def get_input(self) -> Any:
        """Return the input object; read and decoded once."""
        if self._has_input:
            return self._input
        name = f"{self.slot}/{INPUT}"
        try:
            data = read(name if self.task is None else self.task.resolve(INPUT))
        except FileNotFoundError:
            raise SlaveError(
                f"there is no input here: no file {INPUT!r} in {self.slot}; a slave gets its "
                "input from a master, or try one job of a batch by itself: pyboinc replay JOB"
            ) from None
        self._input = codec.decode(data, self.classes.for_value(data))
        self._has_input = True
        if self.received is not None:
            self.received()
        return self._input

    def return_output(self, output: Any) -> None:
        """Encode *output* and put it into place; see :func:`pyboinc_return_output`."""
        if self.returned:
            raise SlaveError(
                "pyboinc_return_output was called a second time; a job has one output: "
                "put all that you want to return into one object"
            )
        if self.altered is not None:
            output = self.altered(output)
        data = codec.encode(output, "output", self.classes.for_object(output))
        if len(data) > self.max_output:
            write(self._path(TOO_BIG), b"")
            raise SlaveError(
                f"the output has {len(data)} bytes; the limit is {self.max_output}: return less, "
                "or let the master raise the limit (max_output)"
            )
        if self.task is None:
            name = f"{self.slot}/{OUTPUT}"
            write(name + ".tmp", data)
            os.rename(name + ".tmp", name)
        else:
            # Written in place: the client takes the file when the task says it has finished.
            with self.task.critical:
                write(self.task.resolve(OUTPUT), data)
        self.returned = True

    def fraction_done(self, fraction: float) -> None:
        """Report progress; see :func:`pyboinc_fraction_done`."""
        if not fraction >= 0.0:  # also NaN
            raise SlaveError(
                f"pyboinc_fraction_done({fraction!r}): a number between 0 and 1 is wanted"
            )
        now = time.monotonic()
        if now < self._next_report:
            return
        self._next_report = now + PROGRESS_PERIOD
        if self.task is not None:
            self.task.report_progress(min(fraction, 1.0))
        else:
            write_whole(self._path(FRACTION_DONE), b"%.6f\n" % min(fraction, 1.0))

    def save_checkpoint(self, state: Any) -> None:
        """Save *state*; see :func:`pyboinc_save_checkpoint`."""
        from zlib import crc32

        data = codec.encode(state, "checkpoint", self._checkpoint_classes())
        whole = b"%s%08x\n" % (_CHECKPOINT_MARK, crc32(data)) + data
        if self.task is None:
            write_whole(self._path(CHECKPOINT), whole)
        else:
            self.task.checkpoint(lambda: write_whole(self._path(CHECKPOINT), whole))

    def send_trickle_up(self, text: str) -> None:
        """Say *text* to the project; see :func:`pyboinc_send_trickle_up`."""
        words = str(text).encode("utf-8", "replace")
        if len(words) > MOST_TRICKLE:
            raise SlaveError(
                f"pyboinc_send_trickle_up: {len(words)} bytes; {MOST_TRICKLE} are the most, for a "
                "few words: results are returned"
            )
        # Clients paste it into their request, and servers read it as XML.
        for character, name in ((b"&", b"&amp;"), (b"<", b"&lt;"), (b">", b"&gt;")):
            words = words.replace(character, name)
        if self.task is not None:
            self.task.send_trickle_up("pyboinc", words.decode())
        else:
            write_whole(self._path(TRICKLE_UP), b"<variety>pyboinc</variety>\n" + words)

    def _checkpoint_classes(self) -> Classes:
        """Return what a checkpoint may hold: also classes of the program, which reads it itself."""
        return Classes({*self.classes.modules, "__main__"})

    def load_checkpoint(self) -> Any:
        """Return the saved state or None; see :func:`pyboinc_load_checkpoint`."""
        from zlib import crc32

        try:
            head, _, data = read(self._path(CHECKPOINT)).partition(b"\n")
        except FileNotFoundError:
            return None
        if head != b"%s%08x" % (_CHECKPOINT_MARK, crc32(data)):
            return None
        try:
            return codec.decode(data, self._checkpoint_classes().for_value(data))
        except RejectedResult:
            return None


_instance: Instance | None = None


def begin(instance: Instance) -> None:
    """Let this process compute *instance*; who calls it also ends the task."""
    global _instance
    _instance = instance


def current() -> Instance:
    """Return this process's instance; for a program started by hand, find out what it is.

    Then the slot is the current directory, and the modules are those beside the program.
    """
    if _instance is None:
        slot = os.getcwd()
        begin(Instance(slot, Classes(_modules_beside()), _task(slot)))
    return _instance  # type: ignore[return-value]  # begin() has set it


def _task(slot: str) -> Task | None:
    """Return the connection to the BOINC client that started this program in *slot*, if any."""
    task = task_in(slot)
    if task is not None:
        import atexit

        atexit.register(_finish)
    return task


def task_in(slot: str) -> Task | None:
    """Return the connection to the BOINC client that started this process in *slot*, if any.

    From now on the process does what the client says.
    """
    if not os.path.exists(slot + "/init_data.xml"):
        return None
    from pyboinc.boinc_api import Task
    from pyboinc.slave_watcher import Watcher

    task = Task(slot)
    task.occupy()
    Watcher(task).start()
    return task


def _finish() -> None:
    """Tell the client that the task has finished, if a program started by hand has."""
    instance = current()
    if instance.returned and instance.task is not None:
        instance.task.finish()


def pyboinc_get_input() -> Any:
    """Return the input object that the master gave to ``pyboinc_call``.

    Called again, it returns the same object.  Raises
    :class:`~pyboinc.errors.SlaveError` if there is no input here, and
    :class:`~pyboinc.errors.RejectedResult` if it is not what a master wrote.
    """
    return (_instance or current()).get_input()


def pyboinc_return_output(output: Any) -> None:
    """Return *output* to the master; a slave does this once.

    Its class must be defined in a module that the master can import (``app_types.py``), not
    in the slave program itself.  The slave may go on afterwards, to clean up; what it
    returned counts only if it then ends without an error.

    Raises :class:`~pyboinc.errors.EncodeError` for what can not travel, and
    :class:`~pyboinc.errors.SlaveError` if it is too big or the second output.
    """
    (_instance or current()).return_output(output)


def pyboinc_fraction_done(fraction: float) -> None:
    """Say how much of the job is done, from 0.0 to 1.0; cheap enough for an inner loop.

    Raises :class:`~pyboinc.errors.SlaveError` for a negative number or NaN; more than 1.0
    counts as 1.0.
    """
    current().fraction_done(fraction)


def pyboinc_save_checkpoint(state: Any) -> None:
    """Save *state*, so that this job goes on from here when the computer is restarted.

    *state* may be anything that an output may be.  It replaces the state saved before, whole
    or not at all.  A volunteer says how often the disk may be used: what comes sooner waits
    in memory, and is written when the task is told to quit.
    """
    current().save_checkpoint(state)


def pyboinc_send_trickle_up(text: str) -> None:
    """Say *text* to the project while the job goes on: a few words, now and then.

    The volunteer's client brings it to the server, which it would not ask otherwise, and the
    last one before it did so counts: so say something every few minutes, not in an inner loop.
    Raises :class:`~pyboinc.errors.SlaveError` for more than 8192 bytes.
    """
    current().send_trickle_up(text)


def pyboinc_load_checkpoint() -> Any:
    """Return the state saved last, or None: at a job's first start, or if it is damaged."""
    return current().load_checkpoint()


def _modules_beside() -> list[str]:
    """Return the names of the modules beside the program, for a slave started by hand."""
    directory = sys.path[0] or "."
    names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
    return [name[:-3] for name in names if name.endswith(".py") and name[:-3].isidentifier()]


def read(path: str) -> bytes:
    """Return the content of the file *path*."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        data = os.read(descriptor, _AT_ONCE)
        if len(data) == _AT_ONCE:
            data += os.read(descriptor, os.fstat(descriptor).st_size)
            while part := os.read(descriptor, _AT_ONCE):
                data += part
        return data
    finally:
        os.close(descriptor)


def write(path: str, data: bytes) -> None:
    """Write *data* to the file *path*, in place of what it held."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        written = os.write(descriptor, data)
        while written < len(data):
            written += os.write(descriptor, memoryview(data)[written:])
    finally:
        os.close(descriptor)


def write_whole(path: str, data: bytes) -> None:
    """Write *path* in the slot whole or not at all, as seen after a crash of this process."""
    write(path + ".tmp", data)
    os.rename(path + ".tmp", path)
