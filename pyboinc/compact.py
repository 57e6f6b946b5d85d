"""What a batch is remembered by in memory: a few bytes for each job, however many there are.

A million jobs are ordinary for volunteers.  As tuples and integers of Python they would
take a master hundreds of bytes each; as arrays of numbers they take what a number takes.
"""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence
from itertools import compress
from typing import NamedTuple, overload

KINDS = ("out", "error")
"""What an outcome can be: the output of a job, or the report that it can not be done."""

_NUMBERS = {kind: number for number, kind in enumerate(KINDS)}


class Handled(NamedTuple):
    """A line of the journal: whose outcome was handled, how many calls that made, from which on."""

    sequence: int
    kind: str
    made: int
    first: int


class Order(Sequence[Handled]):
    """The outcomes handled, in the recorded order: a list that takes 21 bytes for each."""

    def __init__(self) -> None:
        self._sequences = array("Q")
        self._kinds = bytearray()
        self._made = array("I")
        self._first = array("Q")

    def append(self, sequence: int, kind: str, made: int, first: int) -> None:
        """Add one; raises ``KeyError`` or ``OverflowError`` for what can not be."""
        number = _NUMBERS[kind]
        length = len(self._kinds)
        try:
            self._sequences.append(sequence)
            self._made.append(made)
            self._first.append(first)
        except OverflowError:
            del self._sequences[length:], self._made[length:], self._first[length:]
            raise
        self._kinds.append(number)

    def forget(self, sequences: Collection[int]) -> None:
        """Take out all of these jobs."""
        kept = [one not in sequences for one in self._sequences]
        self._sequences = array("Q", compress(self._sequences, kept))
        self._kinds = bytearray(compress(self._kinds, kept))
        self._made = array("I", compress(self._made, kept))
        self._first = array("Q", compress(self._first, kept))

    def __len__(self) -> int:
        return len(self._kinds)

    def __iter__(self) -> Iterator[Handled]:
        kinds = map(KINDS.__getitem__, self._kinds)
        return map(Handled, self._sequences, kinds, self._made, self._first)

    @overload
    def __getitem__(self, index: int) -> Handled: ...
    @overload
    def __getitem__(self, index: slice) -> list[Handled]: ...
    def __getitem__(self, index: int | slice) -> Handled | list[Handled]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        kind = KINDS[self._kinds[index]]
        return Handled(self._sequences[index], kind, self._made[index], self._first[index])


class Jobs(Collection[int]):
    """A set of jobs, by their numbers: a byte for each up to the largest."""

    def __init__(self) -> None:
        self._marks = bytearray()
        self._count = 0

    def add(self, sequence: int) -> None:
        """Add one; again without harm."""
        missing = sequence + 1 - len(self._marks)
        if missing > 0:
            self._marks += bytes(missing)
        self._count += not self._marks[sequence]
        self._marks[sequence] = 1

    def __contains__(self, sequence: object) -> bool:
        return (
            isinstance(sequence, int)
            and 0 <= sequence < len(self._marks)
            and self._marks[sequence] == 1
        )

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[int]:
        return compress(range(len(self._marks)), self._marks)
