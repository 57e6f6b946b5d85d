"""A directory whose changes are recorded: what was done to it, and what was durable when.

Only of the files that :func:`is_lock` names it does not matter what is durable when.
"""

from __future__ import annotations

import os
from pathlib import Path

from sweep.power_cut import PAGE, Moment, Names, Operation, Recording, Tree, Truncate, Write


def is_lock(path: str) -> bool:
    """Whether nothing depends on what is in a file: locks, and what SQLite shares in memory.

    A lock's file says who holds it, and nobody does after a power cut; the first one who opens
    a database makes its ``-shm`` anew.
    """
    return path.endswith(("/lock", "-shm"))


class Place:
    """A directory whose changes are recorded; *owner*: it is on another computer than that."""

    def __init__(self, path: Path, owner: Place | None = None) -> None:
        self.path = os.path.realpath(path)
        self.recording = Recording(Tree.read(path), self.path)
        self.now = self.recording.before.copy()
        self.owner = owner
        self._next = 1 + max([0, *self.now.directories, *self.now.files])
        self._locks = {inode for name, inode in self.now.walk() if is_lock(name)}
        self._elsewhere = Tree()
        if owner is not None:
            owner._elsewhere = _visible(self.now)

    def find(self, path: str) -> tuple[int, str]:
        """The directory that *path* is in, and its name there."""
        *folders, name = path.split("/")
        inode = 0
        for folder in folders:
            inode = self.now.directories[inode][folder]
        return inode, name

    def inode(self, path: str) -> int | None:
        """What *path* is, or None."""
        if not path:
            return 0
        directory, name = self.find(path)
        return self.now.directories[directory].get(name)

    def _do(self, operation: Operation) -> int:
        self.now.apply(operation)
        operations = self.recording.operations
        operations.append(operation)
        about = operation.changes[0][1] if isinstance(operation, Names) else operation.inode
        if about in self._locks:
            self.recording.durable.add(len(operations) - 1)
        return len(operations) - 1

    def make(self, path: str, directory: bool = False) -> int:
        """Let there be a new file or directory."""
        parent, name = self.find(path)
        inode, self._next = self._next, self._next + 1
        if directory:
            self.now.directories[inode] = {}
            self.recording.before.directories[inode] = {}
        if is_lock(path):
            self._locks.add(inode)
        self._do(Names(parent, ((name, inode),)))
        return inode

    def link(self, path: str, other: str) -> None:
        """Give the file *path* another name."""
        parent, name = self.find(other)
        self._do(Names(parent, ((name, self.inode(path)),)))

    def remove(self, path: str) -> None:
        """Remove a name."""
        parent, name = self.find(path)
        self._do(Names(parent, ((name, None),)))

    def rename(self, source: str, target: str) -> None:
        """Rename a file or directory; between directories in two halves."""
        (old, name), (new, other) = self.find(source), self.find(target)
        inode = self.now.directories[old][name]
        if self.inode(target) == inode:
            return  # two names of one file: the system does nothing
        if old == new:
            self._do(Names(old, ((name, None), (other, inode))))
        else:
            first = self._do(Names(new, ((other, inode),)))
            self._do(Names(old, ((name, None),), after=first))

    def write(self, inode: int, offset: int, data: bytes) -> None:
        """Write into a file, page by page."""
        while data:
            room = PAGE - offset % PAGE
            self._do(Write(inode, offset, data[:room]))
            offset, data = offset + room, data[room:]

    def truncate(self, inode: int, size: int) -> None:
        """Set the length of a file."""
        self._do(Truncate(inode, size))

    def size(self, inode: int) -> int:
        """The length of a file."""
        return len(self.now.files.get(inode, b""))

    def sync(self, inode: int | None, before: int) -> None:
        """Make durable what was done to *inode* (None: to anything) before that operation."""
        durable = self.recording.durable
        for number, one in enumerate(self.recording.operations[:before]):
            about = one.directory if isinstance(one, Names) else one.inode
            if inode in (None, about):
                durable.add(number)
                if isinstance(one, Names) and one.after is not None:
                    durable.add(one.after)

    def note(self, what: str) -> None:
        """The system call *what* is done: a moment at which the power may be cut."""
        if self.owner is not None:
            self.owner._hear(self.now, what)
            return
        recording = self.recording
        done, durable = len(recording.operations), frozenset(recording.durable)
        recording.moments.append(Moment(done, durable, self._elsewhere, what))

    def compare(self) -> None:
        """Check that all that was done is known: the directory is as the recording makes it."""
        known, real = self._told(self.now), self._told(Tree.read(Path(self.path)))
        different = [path for path in {*known, *real} if known.get(path) != real.get(path)]
        assert not different, f"not all that was done to {different} is recorded"

    @staticmethod
    def _told(tree: Tree) -> dict[str, bytes | None]:
        """What lies where in *tree*, but for what is in locks."""
        return {
            path: None if inode in tree.directories else tree.files.get(inode, b"")
            for path, inode in tree.walk()
            if not is_lock(path)
        }

    def _hear(self, elsewhere: Tree, what: str) -> None:
        """Something has happened on another computer."""
        now = _visible(elsewhere)
        if now.digest() != self._elsewhere.digest():
            self._elsewhere = now
            self.note(what)


def _visible(tree: Tree) -> Tree:
    """A copy of *tree* without what is not yet published there."""
    copy = tree.copy()
    for name in [name for name in copy.directories[0] if name.startswith(".")]:
        del copy.directories[0][name]
    return copy
