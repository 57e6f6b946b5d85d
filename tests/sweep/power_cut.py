"""What a power cut may leave on a disk: every state that a weakly ordered file system allows.

The model is weaker than any file system in common use, and so what holds in it holds there:

* What a write puts into a file, and how long that makes the file, is durable once *that file*
  is fsynced.  Before, each piece of it (of a page at most, as the kernel writes them) may be
  there or not, in any order.  Of the last one a part may be there, or its length only, as zeros.
* A name (made, removed, renamed) is durable once *the directory* that it is in is fsynced.  An
  fsync of a file says nothing of its name, and names become durable in any order, in one
  directory as well as between two.
* Data and names know nothing of each other: a renamed file may be empty.
* A rename within a directory is there as a whole or not at all.  One between directories comes
  in two halves, the new name first: until both are durable the file may have both.  (No program
  could do with less: on a file system where a rename may lose the file nothing can be moved.)
* syncfs makes all of it durable.  An fsync makes durable what was done before it was called.

:func:`states` enumerates: for each moment of a recorded run, every subset of what is not yet
durable, if there are :data:`EXHAUSTIVE` such things at most; of more, all subsets that lack few
or have few, and some drawn from the seed.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from pathlib import Path

EXHAUSTIVE = 12
"""So many operations that are not durable yet are tried in all 2 ** 12 combinations."""

DRAWN = 64
"""So many subsets of more operations are drawn, at each moment."""

PAGE = 4096
"""Bytes that become durable together, at most."""


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes in a file, which end in its page."""

    inode: int
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncate:
    """A file gets another length."""

    inode: int
    size: int


@dataclass(frozen=True, slots=True)
class Names:
    """Names in one directory that change together: to an inode, or to nothing.

    ``after`` is the number of the operation without which it can not be: of a rename to
    another directory the first half.
    """

    directory: int
    changes: tuple[tuple[str, int | None], ...]
    after: int | None = None


Operation = Write | Truncate | Names


@lru_cache(maxsize=4096)
def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


@dataclass(slots=True)
class Tree:
    """Directories and files by their inode; 0 is the root."""

    directories: dict[int, dict[str, int]] = field(default_factory=lambda: {0: {}})
    files: dict[int, bytes] = field(default_factory=dict)

    def copy(self) -> Tree:
        """A tree of its own with the same content."""
        names = {inode: dict(entries) for inode, entries in self.directories.items()}
        return Tree(names, dict(self.files))

    def apply(self, operation: Operation) -> None:
        """Do an operation."""
        match operation:
            case Write(inode, offset, data):
                old = self.files.get(inode, b"").ljust(offset, b"\0")
                self.files[inode] = old[:offset] + data + old[offset + len(data) :]
            case Truncate(inode, size):
                self.files[inode] = self.files.get(inode, b"")[:size].ljust(size, b"\0")
            case Names(directory, changes):
                entries = self.directories.setdefault(directory, {})
                for name, inode in changes:
                    if inode is None:
                        entries.pop(name, None)
                    else:
                        entries[name] = inode

    def walk(self, inode: int = 0, path: str = "") -> Iterator[tuple[str, int]]:
        """Every path in it with its inode, parents first, in the order of names."""
        for name, child in sorted(self.directories[inode].items()):
            yield path + name, child
            if child in self.directories:
                yield from self.walk(child, f"{path}{name}/")

    def digest(self) -> bytes:
        """What tells it from trees with other paths, links or contents."""
        told = hashlib.blake2b(digest_size=16)
        first: dict[int, str] = {}
        for path, inode in self.walk():
            told.update(f"{path}\n{first.setdefault(inode, path)}\n".encode())
            if inode not in self.directories:
                told.update(_digest(self.files.get(inode, b"")))
        return told.digest()

    def write(self, place: Path) -> None:
        """Make it real in the directory *place*."""
        place.mkdir(parents=True, exist_ok=True)
        first: dict[int, Path] = {}
        for path, inode in self.walk():
            target = place / path
            if inode in self.directories:
                target.mkdir()
            elif inode in first:
                os.link(first[inode], target)
            else:
                target.write_bytes(self.files.get(inode, b""))
                first[inode] = target

    @classmethod
    def read(cls, place: Path) -> Tree:
        """The tree that is really in the directory *place*; its links are not followed."""
        tree = cls()
        known: dict[tuple[int, int], int] = {}
        inodes: dict[Path, int] = {place: 0}
        for folder, folders, files in os.walk(place):
            entries = tree.directories[inodes[Path(folder)]]
            for name in (*folders, *files):
                path = Path(folder, name)
                status = path.lstat()
                inode = known.setdefault((status.st_dev, status.st_ino), len(known) + 1)
                entries[name] = inodes[path] = inode
                if path.is_dir():
                    tree.directories[inode] = {}
                else:
                    tree.files[inode] = path.read_bytes()
        return tree


@dataclass
class Recording:
    """What a run did to the directory *path*, in order, and what it made durable when.

    ``moments`` has, for each moment, how many operations were done by then, and what was
    durable of them.  ``elsewhere`` is what had happened on other computers by then, whose
    power is not cut.
    """

    before: Tree
    path: str = ""
    operations: list[Operation] = field(default_factory=list)
    durable: set[int] = field(default_factory=set)
    moments: list[Moment] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Moment:
    """A moment of a recorded run, after a system call."""

    done: int
    durable: frozenset[int]
    elsewhere: Tree
    what: str


@dataclass(frozen=True, slots=True)
class State:
    """A state of the disk after a power cut, and of other computers; ``name`` says which."""

    name: str
    tree: Tree
    elsewhere: Tree

    def digest(self) -> bytes:
        """What tells it from other states."""
        return self.tree.digest() + self.elsewhere.digest()


def states(
    recording: Recording, seed: int, exhaustive: int = EXHAUSTIVE, drawn: int = DRAWN
) -> Iterator[State]:
    """Every state that a power cut during the recorded run may leave, each once.

    All subsets of *exhaustive* operations are tried, of more so many *drawn* ones.
    """
    seen: set[bytes] = set()
    for number, moment in enumerate(recording.moments):
        draw = random.Random(f"{seed} {number}")
        for name, tree in _at(recording, moment, draw, exhaustive, drawn):
            state = State(f"{number} ({moment.what}): {name}", tree, moment.elsewhere)
            digest = state.digest()
            if digest not in seen:
                seen.add(digest)
                yield state


def _at(
    recording: Recording, moment: Moment, draw: random.Random, exhaustive: int, drawn: int
) -> Iterator[tuple[str, Tree]]:
    operations = recording.operations[: moment.done]
    pending = [number for number in range(moment.done) if number not in moment.durable]
    first = pending[0] if pending else moment.done
    base = recording.before.copy()
    for operation in operations[:first]:
        base.apply(operation)
    for kept in _subsets(operations, _candidates(pending, draw, exhaustive, drawn), pending):
        chosen = moment.durable | kept
        later = [one for one in range(first, moment.done) if one in chosen]
        for how, last in _torn(operations, pending, kept):
            tree = base.copy()
            for number in later:
                tree.apply(last if number == pending[-1] and last else operations[number])
            lacks = [number for number in pending if number not in kept]
            yield f"{how}, without {lacks}" if lacks else how, tree


def _subsets(
    operations: Sequence[Operation], candidates: Iterable[frozenset[int]], pending: Sequence[int]
) -> Iterator[frozenset[int]]:
    """Those *candidates* that can be: no second half of a rename without the first one."""
    for subset in candidates:
        needed = (operations[number] for number in subset)
        halves = [one.after for one in needed if isinstance(one, Names) and one.after is not None]
        if all(half in subset or half not in pending for half in halves):
            yield subset


def _candidates(
    pending: Sequence[int], draw: random.Random, exhaustive: int, drawn: int
) -> Iterator[frozenset[int]]:
    """Which of the *pending* operations may be durable without the others."""
    if len(pending) <= exhaustive:
        for size in range(len(pending) + 1):
            yield from map(frozenset, combinations(pending, size))
        return
    everything = frozenset(pending)
    for few in (*combinations(pending, 1), *combinations(pending[-exhaustive:], 2), ()):
        yield frozenset(few)
        yield everything - frozenset(few)
    for length in range(2, len(pending)):
        yield frozenset(pending[:length])
    for _ in range(drawn):
        share = draw.random()
        yield frozenset(number for number in pending if draw.random() < share)


def _torn(
    operations: Sequence[Operation], pending: Sequence[int], kept: frozenset[int]
) -> Iterable[tuple[str, Write | None]]:
    """What may have become of the last operation, if it is a write that was not fsynced."""
    yield "whole", None
    if not pending or pending[-1] not in kept:
        return
    last = operations[pending[-1]]
    if isinstance(last, Write):
        half, rest = last.data[: len(last.data) // 2], bytes((len(last.data) + 1) // 2)
        yield "torn", Write(last.inode, last.offset, half)
        yield "torn and zeros", Write(last.inode, last.offset, half + rest)
        yield "zeros", Write(last.inode, last.offset, bytes(len(last.data)))
