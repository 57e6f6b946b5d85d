"""The injected faults that happen inside a slave's process: crash, error, hang, wrong.

They are real: a real signal, a real exception in the slave's own frames, a process that
really stands still, an output that really has another value.  Which way a fault takes is
told by its *salt*, a number drawn by the emulator, so that the same seed gives the same
faults.
"""

from __future__ import annotations

import os
import signal
import sys

from pyboinc import slave, slave_runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from pyboinc.slave_program import Program

MESSAGE = "injected error (the emulator told this instance to fail; the program is not at fault)"
_STEPS = 1_000_003
"""In how many ways one number is made wrong, before the ways repeat."""


def run(program: Program, fault: str, salt: int) -> int:
    """Run *program* with *fault*; return its exit status, if it comes to that.

    A crash or a hang comes before the program's first line or, for every other pair of
    salts, when it has read its input.  A program that never reads it, or that catches the
    injected error, fails at its end.
    """
    instance = slave.current()
    if fault == "wrong":
        instance.altered = lambda output: wrong(output, salt)
        return slave_runner.run(program)
    act = {"crash": crash, "error": error, "hang": hang}[fault]
    if fault != "error" and salt & 2:
        act(salt)
    instance.received = lambda: act(salt)
    status = slave_runner.run(program)
    if status == 0 and fault == "error":
        sys.stderr.write(f"RuntimeError: {MESSAGE}\n")
        sys.stderr.flush()
        return 1
    if status == 0:
        act(salt)
    return status


def crash(salt: int) -> None:
    """End this process by a signal: SIGSEGV for an odd *salt*, else SIGKILL."""
    os.kill(os.getpid(), signal.SIGSEGV if salt & 1 else signal.SIGKILL)


def error(salt: int) -> NoReturn:
    """Raise what the slave shows as its own error."""
    raise RuntimeError(MESSAGE)


def hang(salt: int) -> NoReturn:
    """Stand still until killed."""
    while True:
        signal.pause()


def wrong(output: Any, salt: int) -> Any:
    """Return a copy of *output* with one value in it changed to a plausible wrong one.

    Which value and by how much is told by *salt*: different salts give different outputs,
    but for values of which there are few (a bool has one wrong value).  An output that holds
    nothing to change (None, empty containers) is returned as it was.
    """
    if salt < 0:
        salt = -2 * salt + 1
    counter = _Changer(-1, 0)
    counter.visit(output)
    if counter.count == 0:
        return output
    import copy

    step, target = divmod(salt, counter.count)
    return _Changer(target, 1 + step % _STEPS).visit(copy.deepcopy(output))


class _Changer:
    """Walks through a value, always in the same order, and changes the value number *target*."""

    def __init__(self, target: int, step: int) -> None:
        self.target = target
        self.step = step
        self.count = 0
        self.seen: set[int] = set()

    def visit(self, value: Any) -> Any:
        """Return *value*, changed in place if it can be and replaced if it can not."""
        change = _change_of(value)
        if change is not None and _changeable(value):
            self.count += 1
            return change(value, self.step) if self.count - 1 == self.target else value
        if change is not None or isinstance(value, type) or id(value) in self.seen:
            return value
        self.seen.add(id(value))
        if isinstance(value, tuple):
            return self._tuple(value)
        if isinstance(value, list):
            for place, item in enumerate(value):
                value[place] = self.visit(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                value[key] = self.visit(item)
        elif isinstance(value, (set, frozenset)):
            return self._set(value)
        else:
            self._attributes(value)
        return value

    def _tuple(self, value: tuple[Any, ...]) -> Any:
        items = [self.visit(item) for item in value]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        return type(value)._make(items) if hasattr(value, "_make") else tuple(items)

    def _set(self, value: Any) -> Any:
        items = [self.visit(item) for item in sorted(value, key=repr)]
        return type(value)(items)

    def _attributes(self, value: Any) -> None:
        names = list(getattr(value, "__dict__", ()))
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            names += [slots] if isinstance(slots, str) else slots
        for name in names:
            if hasattr(value, name):
                old = getattr(value, name)
                new = self.visit(old)
                if new is not old:
                    object.__setattr__(value, name, new)


def _change_of(value: Any) -> Callable[[Any, int], Any] | None:
    for kind in type(value).__mro__:
        name = kind.__module__ + "." + kind.__qualname__
        if name in _CHANGES:
            return _CHANGES[name]
    return None


def _changeable(value: Any) -> bool:
    """Say whether there is another value of the same kind."""
    if hasattr(value, "dtype"):
        return bool(value.size) and value.dtype.kind in "biufcSUmM"
    if hasattr(type(value), "__members__"):
        return len(type(value).__members__) > 1
    return True


def _other_member(value: Any, step: int) -> Any:
    members: list[Any] = list(type(value).__members__.values())
    return members[(members.index(value) + 1 + step % (len(members) - 1)) % len(members)]


def _other_float(value: float, step: int) -> float:
    if value - value != 0 or value == 0:  # infinite, NaN or zero: nothing to scale
        return step / 8
    other = value * (1 + 0.01 * (step % 97) + 1e-7 * step)
    return other if other - other == 0 else value / (2 + step)


def _other_complex(value: complex, step: int) -> complex:
    return complex(_other_float(value.real, step), value.imag)


def _other_text(value: str, step: int) -> str:
    if not value:
        return "x" * (1 + step % 9)
    place = step % len(value)
    letter = chr(ord("a") + (ord(value[place]) - ord("a") + 1 + step // len(value) % 25) % 26)
    if value[place].isdigit():
        letter = str((int(value[place]) + 1 + step // len(value) % 9) % 10)
    return value[:place] + letter + value[place + 1 :]


def _other_bytes(value: Any, step: int) -> Any:
    changed = bytearray(value or b"\0")
    place = step % len(changed)
    changed[place] ^= 1 + step // len(changed) % 255
    return type(value)(changed)


def _other_time(value: Any, step: int) -> Any:
    from datetime import timedelta

    delta = timedelta(days=1 + step % 365)
    try:
        return value + delta
    except OverflowError:
        return value - delta


def _other_array(value: Any, step: int) -> Any:
    flat = value.reshape(-1).copy()
    place = step % flat.size
    kind = flat.dtype.kind
    if kind == "b":
        flat[place] = not flat[place]
    elif kind in "fc":
        flat[place] = flat[place] * 1.25 + step if abs(flat[place]) < 1e30 else step
    elif kind in "SU":
        raw = flat[place : place + 1].view("u1" if kind == "S" else "u4")
        raw[0] = 97 + (int(raw[0]) - 97 + 1 + step % 25) % 26
    else:
        raw = flat[place : place + 1].view(f"u{flat.dtype.itemsize}")
        raw[0] ^= 1 + step % 127
    return flat.reshape(value.shape)


def _other_scalar(value: Any, step: int) -> Any:
    return _other_array(value.reshape(1), step)[0]


_CHANGES: dict[str, Callable[[Any, int], Any]] = {
    "enum.Enum": _other_member,
    "builtins.bool": lambda value, step: not value,
    "builtins.int": lambda value, step: value + step,
    "builtins.float": _other_float,
    "builtins.complex": _other_complex,
    "builtins.str": _other_text,
    "builtins.bytes": _other_bytes,
    "builtins.bytearray": _other_bytes,
    "decimal.Decimal": lambda value, step: value + step if value == value else type(value)(step),
    "fractions.Fraction": lambda value, step: value + step,
    "datetime.date": _other_time,
    "datetime.timedelta": _other_time,
    "numpy.ndarray": _other_array,
    "numpy.generic": _other_scalar,
}
"""How a value is changed, by its class or the first of its bases that is here."""
