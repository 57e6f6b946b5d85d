"""What is said on stderr, from wherever it is said."""

from __future__ import annotations

import io
import os
import signal
import sys

import pytest

from pyboinc.endings import Interrupts
from pyboinc.stderr import say


class InterruptedWhileWriting(io.RawIOBase):
    """A file that ^C strikes in the midst of the first thing written to it."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.written = 0

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.descriptor

    def write(self, data: bytes) -> int:  # type: ignore[override]  # of buffers just these
        self.written += 1
        if self.written == 1:
            signal.raise_signal(signal.SIGINT)
        return os.write(self.descriptor, data)


def test_an_interrupt_in_the_midst_of_a_line_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """^C: it is heard, and said, also while something else is being written to stderr."""
    reader, writer = os.pipe()
    buffer = io.BufferedWriter(InterruptedWhileWriting(writer))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(buffer, line_buffering=True))
    with Interrupts() as interrupts:
        say("a line of the display")
    said = os.read(reader, 1000).decode()
    os.close(reader)
    os.close(writer)
    assert interrupts.asked
    assert said.count("press ^C again") == 1
    assert said.endswith("a line of the display\n")
