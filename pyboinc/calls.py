"""The calls that a program makes: new ones are spooled, replayed ones are recognised.

A call is identified by its sequence number.  In an ordinary run each call is appended to
the spool; when a restarted master replays its results, the calls that handle_result makes
come again in the same order, and each must be the call that was recorded under its
number: the same slave, the same limits, an input of the same value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyboinc import bundle, codec
from pyboinc.classes import Classes
from pyboinc.config.limits import checked
from pyboinc.errors import RejectedResult, ReplayMismatch
from pyboinc.jobdir import JobDirectory
from pyboinc.records import SpooledCall
from pyboinc.validation import own_of


class Calls:
    """The calls of this run of a program, from number 0 on.

    ``position`` is the number that the next call gets.  Below the spool's length a call
    is a replayed one, and must be the one recorded there.
    """

    def __init__(self, directory: JobDirectory, include: tuple[str, ...]) -> None:
        self._directory = directory
        self._include = include
        self._bundles: dict[str, bundle.Bundle] = {}
        self.classes = Classes(directory.path)
        self.position = 0
        self.phase = 1

    def call(self, slave: str, value: Any, limits: Mapping[str, Any]) -> int:
        """Make (or recognise) one call and return its sequence number."""
        packed = self.bundle(slave)
        limits = checked(limits) if limits else limits
        what = f"the input of call {self.position}"
        data = self.classes.attempt(lambda registry: codec.encode(value, what, registry))
        spool = self._directory.spool
        if self.position < len(spool):
            self._recognise(spool.call(self.position), packed.slave, limits, data)
        else:
            spool.append(packed.slave, packed.digest, self.phase, limits, data)
        self.position += 1
        return self.position - 1

    def begin(self, phase: int, position: int) -> None:
        """Let the next call be number *position*, made in *phase*."""
        self.phase = phase
        self.position = position

    def bundle(self, slave: str) -> bundle.Bundle:
        """Return the archive of the program *slave*, packed and stored once in a run."""
        packed = self._bundles.get(slave)
        if packed is None:
            packed = bundle.pack(self._directory.path, slave, self._include)
            if not self._bundles:
                own_of(self._directory.path)  # what is wrong with it is told before any job is made
            self._directory.keep_bundle(packed.digest, packed.data)
            self._bundles[slave] = self._bundles[packed.slave] = packed
            self.classes.add(packed.modules)
        return packed

    @property
    def slaves(self) -> list[str]:
        """The slave programs called so far."""
        return sorted({packed.slave for packed in self._bundles.values()})

    @property
    def modules(self) -> list[str]:
        """The local modules of the slave programs called so far."""
        return sorted({name for packed in self._bundles.values() for name in packed.modules})

    def back_to(self, position: int) -> None:
        """Unmake the calls from number *position* on; what made them did not finish."""
        self.position = position
        self._directory.spool.forget_after(max(position, self._directory.journal.calls))

    def input(self, sequence: int) -> Any:
        """Return the input of call *sequence*."""
        data = self._directory.spool.data(self._directory.spool.call(sequence))
        return self.decode(data)

    def decode(self, data: bytes, budget: codec.Budget = codec.DEFAULT) -> Any:
        """Load an input or output; raises :class:`RejectedResult`."""
        return self.classes.attempt(lambda registry: codec.decode(data, registry, budget))

    def _recognise(
        self, recorded: SpooledCall, slave: str, limits: Mapping[str, Any], data: bytes
    ) -> None:
        if recorded.slave != slave:
            difference = f"it called {recorded.slave} then, and {slave} now"
        elif recorded.limits != limits:
            difference = f"its limits were {recorded.limits} then, and are {limits} now"
        elif not self._same_input(self._directory.spool.data(recorded), data):
            difference = self._where(self._directory.spool.data(recorded), data)
        else:
            return
        raise ReplayMismatch(
            f"call {recorded.sequence} differs from the recorded one: {difference}. A restarted "
            "master must make the same calls again: seed random numbers, do not read the clock "
            "or the order of a set in handle_result. Mend that, or start anew with --fresh"
        )

    def _where(self, recorded: bytes, now: bytes) -> str:
        """Say which part of an input has another value now."""
        from pyboinc.differences import difference

        try:
            found = difference(self.decode(recorded), self.decode(now), "input")
        except RejectedResult:  # the classes are others now
            found = None
        return f"its input has another value now{(found and f': {found}') or ''}"

    def _same_input(self, recorded: bytes, now: bytes) -> bool:
        return recorded == now or self.classes.attempt(
            lambda registry: codec.same_value(recorded, now, registry)
        )
