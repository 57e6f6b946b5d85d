"""The gate between the web server's thread and the project, which is changed by one thread only.

The web server asks for something to be done, and waits; the project's loop does all that
was asked for, makes it durable with one commit, and then answers everybody.  So a client hears
of nothing that a kill could take back, and a thousand clients cost as many waits for the disk
as one.
"""

from __future__ import annotations

import asyncio
import os
import sys
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from pyboinc.errors import PyboincError

_T = TypeVar("_T")

MOST = 20_000
"""Questions that may wait; who asks beyond is told to come again."""

_AT_A_TIME = 500
"""Questions taken before the rest of the project is looked after again."""


class TooMany(Exception):
    """So many wait already that this one is to come again."""


class Gate:
    """Questions from the web server's loop, and their answers."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._waiting: deque[tuple[Callable[[], Any], asyncio.Future[Any]]] = deque()
        self._done: list[tuple[asyncio.Future[Any], Any, BaseException | None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None

    # In the web server's thread.

    async def ask(self, action: Callable[[], _T]) -> _T:
        """Have *action* done by the project, and return what it returns once that is durable."""
        if len(self._waiting) >= MOST:
            raise TooMany
        self._loop = asyncio.get_running_loop()
        future: asyncio.Future[_T] = self._loop.create_future()
        self._waiting.append((action, future))
        self._wake()
        return await future

    def _wake(self) -> None:
        try:
            os.write(self._writer, b"!")
        except BlockingIOError:
            pass  # the pipe is full of such: the project will wake

    # In the project's.

    def fileno(self) -> int:
        """Return the descriptor that is readable while there are questions."""
        return self._reader

    @property
    def answers_wait(self) -> bool:
        """Whether somebody waits for a commit."""
        return bool(self._done)

    def take(self) -> None:
        """Do what is asked for; answer at the next :meth:`release`."""
        try:
            os.read(self._reader, 1 << 16)
        except BlockingIOError:
            pass
        for _ in range(min(len(self._waiting), _AT_A_TIME)):
            action, future = self._waiting.popleft()
            try:
                self._done.append((future, action(), None))
            except (PyboincError, OSError):
                raise  # the project can not go on: its disk, its database
            except Exception as error:  # noqa: BLE001  # one client's request stops no others
                traceback.print_exc(file=sys.stderr)
                self._done.append((future, None, error))
        if self._waiting:
            self._wake()

    def release(self) -> None:
        """Give the answers: what they tell of is durable now."""
        if self._done and self._loop is not None:
            done, self._done = self._done, []
            try:
                self._loop.call_soon_threadsafe(_answer, done)
            except RuntimeError:
                pass  # the loop has been closed: nobody waits any more


def _answer(done: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, value, error in done:
        if future.done():
            continue  # its client has gone
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(value)
