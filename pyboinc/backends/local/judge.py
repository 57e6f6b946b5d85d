"""The app's own ``validate`` and ``compare``, run in a process of their own.

On a real project's server they run beside its daemons; here beside the emulated project's
server, which they can neither stop nor hold up for long: whatever they do is the verdict on
the output that they were asked about.  There is no such process if app_types.py says nothing
of outputs, and none is asked for what is no code of the author's.

    to it, once each:      (maximum output, module, ...)
    then either:           ("refusal", output)         ("same", output, output)
    and it answers:        (text, )                    (truth, )
    and at first:          (has validate, compare, relative, absolute)     or (text, )
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pyboinc.backends.local import processes
from pyboinc.backends.local.frames import Receiver, pack
from pyboinc.classes import TYPES, Classes
from pyboinc.codec.agreement import CloseTo, bitwise
from pyboinc.errors import BackendError, ConfigurationError
from pyboinc.stderr import say
from pyboinc.validation import Own, Rules, named, own_of

PATIENCE = 60.0
"""Seconds after which a verdict is not waited for any more."""

_BOOT = 600.0
"""Seconds in which app_types.py is imported, at most: it may import a great deal."""

_LOOK = 1.0
"""Seconds between two looks whether the parent is still there."""

_DEFAULT, _BITWISE, _CLOSE, _OWN = range(4)
"""What kind of compare there is."""


class Judge:
    """The rule of a job directory, as :class:`pyboinc.validation.Rules`, at arm's length.

    *classes* are those that outputs are made of; :meth:`add` tells of modules with more.  With
    a *parent* no verdict is waited for any more when that process has ended.
    """

    def __init__(
        self,
        job_directory: Path,
        classes: Classes,
        max_output: int,
        patience: float = PATIENCE,
        parent: int | None = None,
    ) -> None:
        self._directory = job_directory
        self._max_output = max_output
        self._patience = patience
        self._parent = parent
        self._modules: set[str] = set()
        self._classes = classes
        self._rules = Rules(classes, max_output, Own())
        self._asks = bool(named(job_directory / TYPES))
        self._validates = self._compares = False
        self._process: subprocess.Popen[bytes] | None = None

    def add(self, modules: set[str]) -> None:
        """Let outputs be of classes of these modules, too."""
        if not modules <= self._modules:
            self._modules |= modules
            self.close()

    def refusal(self, data: bytes) -> str:
        """Return why an output is not valid; nothing if it is."""
        self._boot()
        refusal = self._rules.refusal(data)
        if refusal or not self._validates:
            return refusal
        answer = self._ask("validate", "refusal", data)
        return answer if isinstance(answer, str) else ""

    def same(self, a: bytes, b: bytes) -> bool:
        """Return whether two outputs agree."""
        self._boot()
        if a == b or not self._compares:
            return self._rules.same(a, b)
        answer = self._ask("compare", "same", a, b)
        if isinstance(answer, str):
            say(f"pyboinc: {answer}; the outputs do not agree")
        return answer is True

    def _boot(self) -> None:
        """Start the process, if there may be something to ask it, and hear what there is."""
        if not self._asks or self._process is not None:
            return
        # -P: nothing in the user's current directory stands in for a module of Python's.
        command = [sys.executable, "-P", "-m", __name__, str(self._directory), str(os.getpid())]
        pipe = subprocess.PIPE
        try:
            self._process = subprocess.Popen(
                command,
                stdin=pipe,
                stdout=pipe,
                start_new_session=True,
                env=processes.environment(),
            )
        except OSError as error:
            raise BackendError(
                f"no process for validate and compare can be started: {error.strerror} (too many "
                "processes? too little memory?); mend that and run the same command"
            ) from error
        self._receiver = Receiver()
        try:
            answer = self._talk((self._max_output, *sorted(self._modules)), _BOOT)
        except (EOFError, TimeoutError):
            answer = (f"{self._directory / TYPES} ends the process that imports it, or never ends",)
        if len(answer) == 1:
            self.close()
            raise ConfigurationError(answer[0])
        self._validates, kind, *tolerance = answer
        self._compares = kind == _OWN
        own = Own(compare=bitwise) if kind == _BITWISE else Own()
        if kind == _CLOSE:
            own = Own(compare=CloseTo(*tolerance))
        self._rules = Rules(self._classes, self._max_output, own)

    def _ask(self, name: str, *question: Any) -> Any:
        """Return the answer to a question, or as a text why *name* gives none."""
        try:
            return self._talk(question, self._patience)[0]
        except TimeoutError:
            why = f"took longer than {self._patience:g} s"
        except EOFError:
            why = "ended its process"
        self.close()
        return f"{name} in {TYPES} {why}"

    def _talk(self, message: tuple[Any, ...], patience: float) -> Any:
        """Say something and return the answer; ``EOFError`` if the process ends instead."""
        assert self._process is not None and self._process.stdin and self._process.stdout
        try:
            self._process.stdin.write(pack(message))
            self._process.stdin.flush()
        except OSError:
            raise EOFError from None
        pipe, deadline = self._process.stdout.fileno(), time.monotonic() + patience
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([pipe], [], [], min(left, _LOOK))[0]:
                self._check_parent()
                continue
            data = os.read(pipe, 1 << 16)
            if not data:
                raise EOFError
            for answer in self._receiver.take(data):
                return answer
        raise TimeoutError

    def _check_parent(self) -> None:
        if self._parent is not None and os.getppid() != self._parent:
            self.close()
            raise BackendError("the master has ended while an output was looked at")

    def close(self) -> None:
        """End the process; the next question starts another one."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.kill()
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                pass  # what was still to be said is not heard
        process.wait()


# ---------------------------------------------------------------- the process


def main(arguments: list[str]) -> int:
    """Answer on the original standard output; what the author's code prints goes to stderr."""
    directory, parent = Path(arguments[0]), int(arguments[1])
    processes.die_with(parent, signal.SIGKILL)
    answers = os.dup(1)
    os.dup2(2, 1)
    questions = _questions(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    max_output, *modules = next(questions)
    try:
        own = own_of(directory)
    except ConfigurationError as error:
        _say(answers, (str(error),))
        return 1
    _say(answers, _kinds(own))
    classes = Classes(directory)
    classes.add(modules)
    rules = Rules(classes, max_output, own)
    for what, *outputs in questions:
        _say(answers, (getattr(rules, what)(*outputs),))
    return 0


def _kinds(own: Own) -> tuple[bool, int, float, float]:
    compare = own.compare
    if isinstance(compare, CloseTo):
        return own.validate is not None, _CLOSE, compare.relative, compare.absolute
    kind = _DEFAULT if compare is None else _BITWISE if compare is bitwise else _OWN
    return own.validate is not None, kind, 0.0, 0.0


def _questions(pipe: int) -> Any:
    receiver = Receiver()
    while data := os.read(pipe, 1 << 20):
        yield from receiver.take(data)


def _say(pipe: int, message: tuple[Any, ...]) -> None:
    data = pack(message)
    while data:
        data = data[os.write(pipe, data) :]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
