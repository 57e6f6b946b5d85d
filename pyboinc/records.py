"""The two logs of a job directory: the spool of calls and the journal of what happened.

The *spool* (``.pyboinc/spool``) holds every call ever made: for each one a line of JSON
and then its input, as many raw bytes as the line says (which has the CRC-32 of them, too).
The *journal* (``.pyboinc/journal``) is text, a line for each fact, and is what commits: a
call is real once a line of the journal counts it, a result is handled once a line names it.

    calls 1 100             the first pyboinc_master's make_calls has returned; the
                            spool holds 100 calls
    handled 17 out 103      the output of job 17 was handled (as recorded, in this
                            order), and the spool held 103 calls after that
    forget 17               job 17 is to be done again (``pyboinc rerun``)
    durable 1234            the first 1234 bytes of the journal are on the disk

Each line of both ends with its CRC-32.  Calls that no line counts are what a crash left
behind, and so are lines after the last "durable" that are not whole: they are dropped
when the logs are opened.  Anything else that is not as it was written is damage.
"""

from __future__ import annotations

import json
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32 as _crc32

from pyboinc.compact import Order
from pyboinc.disk import AppendLog, ReadLog
from pyboinc.errors import DirectoryDamaged

_HEADER_LIMIT = 65536
_CHUNK = 1 << 20
_KINDS_OF_CALL = 256
"""Kinds of call (slave, archive, phase, own limits) of which the text of a header is kept."""

_What = tuple[str, str, int, Mapping[str, Any]]
_HEADER = re.compile(rb'\{"call":([0-9]+),"bytes":([0-9]+),"crc32":"([0-9a-f]{8})",(.*)')


@dataclass(frozen=True, slots=True)
class SpooledCall:
    """One recorded call: what was called, with which limits, and where its input lies.

    ``sequence`` counts calls from 0 and is the job's number; ``slave`` is the slave's file
    name, ``bundle`` the sha256 of its archive, ``limits`` only the limits given in this
    call; the input is ``size`` bytes at ``offset`` in the spool, with the CRC-32 ``crc32``.
    """

    sequence: int
    slave: str
    bundle: str
    phase: int
    limits: Mapping[str, Any]
    offset: int
    size: int
    crc32: str


def input_of(log: AppendLog, sequence: int, offset: int, size: int, crc32: str) -> bytes:
    """Read the input of call *sequence*; raises :class:`DirectoryDamaged` if it has changed."""
    data = log.read(offset, size)
    if checksum((data,)) != crc32:
        raise _damaged(log, sequence)
    return data


def calls_from(log: AppendLog, position: int, first: int, last: int) -> Iterator[SpooledCall]:
    """Yield the calls *first* <= sequence < *last* of a spool, the first at byte *position*."""
    for sequence, (what, offset, size, crc32) in enumerate(
        _headers(log, position, first, last), first
    ):
        yield SpooledCall(sequence, *what, offset, size, crc32)


def _headers(
    log: AppendLog, position: int, first: int, last: int
) -> Iterator[tuple[_What, int, int, str]]:
    """Yield slave, archive, phase and limits, offset, size and CRC-32 of each of these calls.

    Small records are read many at a time, large ones without their inputs.
    """
    known: dict[bytes, _What] = {}
    part, begin, length = b"", position, 512
    for sequence in range(first, last):
        end = part.find(b"\n", position - begin)
        if end < 0:
            part, begin = log.read(position, length), position
            end = part.find(b"\n")
        if end < 0:
            part = log.read(position, _HEADER_LIMIT)
            end = part.find(b"\n")
        if end < 0:
            raise _damaged(log, sequence)
        what, size, crc32 = _parse(log, sequence, part[position - begin : end], known)
        offset = begin + end + 1
        length = _CHUNK if offset + size - position < _CHUNK // 64 else 512
        position = offset + size + 1
        yield what, offset, size, crc32


def _parse(
    log: AppendLog, sequence: int, line: bytes, known: dict[bytes, _What]
) -> tuple[_What, int, str]:
    """Return what a header says; *known* has what most calls share, parsed before."""
    text, _, crc = line.rpartition(b" ")
    if b"%08x" % _crc32(text) != crc:
        raise _damaged(log, sequence)
    try:
        number, size, crc32, rest = _HEADER.fullmatch(text).groups()  # type: ignore[union-attr]  # caught below
        what = known.get(rest)
        if what is None:
            found = json.loads(b"{" + rest)
            what = found["slave"], found["bundle"], found["phase"], found["limits"]
            if len(known) < _KINDS_OF_CALL:
                known[rest] = what
        if int(number) != sequence:
            raise ValueError(number)
        return what, int(size), crc32.decode()
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(log, sequence) from None


def _damaged(log: AppendLog, sequence: int) -> DirectoryDamaged:
    return DirectoryDamaged(
        f"{log.path} is damaged at call {sequence}; restore it from a backup, or start a new "
        "batch with --fresh"
    )


class Spool:
    """The calls of a job directory, in the order they were made."""

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._log = ReadLog(path) if read_only else AppendLog(path)
        self._starts = array("Q")
        self._phases = array("H")
        self._in_phase: Counter[int] = Counter()
        self._headers: dict[tuple[str, str, int, str], bytes] = {}

    def __len__(self) -> int:
        return len(self._starts)

    def append(
        self, slave: str, bundle: str, phase: int, limits: Mapping[str, Any], data: bytes
    ) -> int:
        """Append a call and return its sequence number; durable after :meth:`sync`."""
        sequence = len(self._starts)
        self._starts.append(self._log.size)
        self._phases.append(phase)
        self._in_phase[phase] += 1
        header = b'{"call":%d,"bytes":%d,"crc32":"%s",' % (
            sequence,
            len(data),
            checksum((data,)).encode(),
        )
        header += self._what(slave, bundle, phase, limits)
        self._log.append(b"%s %s\n" % (header, checksum((header,)).encode()))
        self._log.append(data)
        self._log.append(b"\n")
        return sequence

    def _what(self, slave: str, bundle: str, phase: int, limits: Mapping[str, Any]) -> bytes:
        """Return the part of a header that most calls share, made once."""
        key = (slave, bundle, phase, repr(limits) if limits else "")
        header = self._headers.get(key)
        if header is None:
            what = {"slave": slave, "bundle": bundle, "phase": phase, "limits": dict(limits)}
            text = json.dumps(what, separators=(",", ":"), default=float)
            header = text[1:].encode()
            if len(self._headers) < _KINDS_OF_CALL:
                self._headers[key] = header
        return header

    def sync(self) -> None:
        """Make every call appended so far durable."""
        self._log.sync()

    def load(self, count: int) -> None:
        """Find the first *count* calls in the file and drop whatever follows them.

        Raises :class:`DirectoryDamaged` when fewer whole calls are there.
        """
        del self._starts[:], self._phases[:]
        self._in_phase.clear()
        position = 0
        for (_, _, phase, _), offset, size, _ in _headers(self._log, 0, 0, count):
            self._starts.append(position)
            self._phases.append(phase)
            self._in_phase[phase] += 1
            position = offset + size + 1
        if position > self._log.size:
            raise _damaged(self._log, count - 1)
        self._log.truncate(position)
        self._log.sync()

    def forget_after(self, count: int) -> None:
        """Drop the calls from sequence number *count* on; they were never committed."""
        if count < len(self._starts):
            self._log.truncate(self._starts[count])
            self._in_phase.subtract(self._phases[count:])
            del self._starts[count:], self._phases[count:]

    def phase_of(self, sequence: int) -> int:
        """Return the phase (which pyboinc_master, from 1) that made call *sequence*."""
        return self._phases[sequence]

    def calls_up_to(self, phase: int) -> int:
        """Return how many calls were made in the phases up to *phase*."""
        return sum(number for one, number in self._in_phase.items() if one <= phase)

    def start_of(self, sequence: int) -> int:
        """Return the byte at which the record of call *sequence* begins."""
        return self._starts[sequence] if sequence < len(self._starts) else self._log.size

    def call(self, sequence: int) -> SpooledCall:
        """Return the record of call *sequence*."""
        (call,) = calls_from(self._log, self._starts[sequence], sequence, sequence + 1)
        return call

    def calls(self, first: int, last: int) -> Iterator[SpooledCall]:
        """Yield the records of the calls *first* <= sequence < *last*."""
        return calls_from(self._log, self.start_of(first), first, last)

    def data(self, call: SpooledCall) -> bytes:
        """Return the encoded input of *call*."""
        return input_of(self._log, call.sequence, call.offset, call.size, call.crc32)

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def _is_whole(line: bytes) -> bool:
    """Whether a line of the journal ends with the CRC-32 of what is before."""
    text, _, crc = line.rpartition(b" ")
    return b"%08x" % _crc32(text) == crc


class Journal:
    """What has happened in a job directory, in order.

    ``phases`` maps each phase whose make_calls has returned to the number of calls there
    were then; ``handled`` lists the outcomes handled, in the recorded order; ``calls`` is
    the number of calls that count.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._log = ReadLog(path) if read_only else AppendLog(path)
        self.phases: dict[int, int] = {}
        self.handled = Order()
        self.calls = 0
        self._marked = False
        self._forgotten: set[int] = set()
        self._load()

    def _load(self) -> None:
        """Apply the lines up to the first that is not whole: what follows was never durable."""
        whole, torn = 0, False
        for position, line in self._lines():
            if not _is_whole(line):
                torn = True
                # Two lines are one if the line feed between them is damaged.
                line = line[line.rfind(b"durable") :]
            if torn:
                if line.startswith(b"durable") and _is_whole(line):
                    raise self._damaged(whole)
                continue
            self._take(line.split(b" ")[:-1])
            whole = position + len(line) + 1
        self._forget_now()
        self._log.truncate(whole)
        self._log.sync()

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield each line that has an end, and the byte at which it begins."""
        position = 0
        rest = b""
        while chunk := self._log.read(position + len(rest), _CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield position, line
                position += len(line) + 1

    def _take(self, fact: list[bytes]) -> None:
        try:
            match fact:
                case [b"handled", sequence, kind, count]:
                    self._forget_now()
                    self._count(int(sequence), kind.decode(), int(count))
                case [b"calls", phase, count]:
                    self.phases[int(phase)] = self.calls = int(count)
                case [b"forget", sequence]:
                    self._forgotten.add(int(sequence))
                case [b"durable", _]:
                    pass
                case _:
                    raise ValueError(fact)
        except (ValueError, KeyError, OverflowError):
            raise self._damaged(self._log.size) from None

    def _forget_now(self) -> None:
        """Take out the jobs of the lines just read: all of them at once, there may be many."""
        if self._forgotten:
            self.handled.forget(self._forgotten)
            self._forgotten = set()

    def _damaged(self, position: int) -> DirectoryDamaged:
        return DirectoryDamaged(
            f"{self._log.path} is damaged at byte {position}; restore it from a backup, or start "
            "a new batch with --fresh"
        )

    def _append(self, text: bytes) -> None:
        if not self._marked:
            # What was appended before has been synced, so from here on a hole in it is damage.
            self._marked = True
            if self._log.size:
                self._append(b"durable %d" % self._log.size)
        self._log.append(b"%s %s\n" % (text, checksum((text,)).encode()))

    def commit_calls(self, phase: int, count: int) -> None:
        """Record that *phase*'s make_calls has returned; the spool holds *count* calls."""
        self._append(b"calls %d %d" % (phase, count))
        self.phases[phase] = self.calls = count
        self.sync()

    def add_handled(self, sequence: int, kind: str, calls: int) -> None:
        """Record that an outcome was handled; durable after :meth:`sync`."""
        self._append(b"handled %d %s %d" % (sequence, kind.encode(), calls))
        self._count(sequence, kind, calls)

    def _count(self, sequence: int, kind: str, calls: int) -> None:
        self.handled.append(sequence, kind, calls - self.calls, self.calls)
        self.calls = calls

    def forget(self, sequences: Iterable[int]) -> None:
        """Record that these jobs are to be done and handled again."""
        forgotten = set(sequences)
        for sequence in sorted(forgotten):
            self._append(b"forget %d" % sequence)
        self.handled.forget(forgotten)
        self.sync()

    def sync(self) -> None:
        """Make every line appended so far durable."""
        self._log.sync()
        self._marked = False

    def close(self) -> None:
        """Close the file."""
        self._log.close()


def checksum(parts: Iterable[bytes]) -> str:
    """Return the CRC-32 of *parts* as eight hexadecimal digits."""
    value = 0
    for part in parts:
        value = _crc32(part, value)
    return f"{value:08x}"
