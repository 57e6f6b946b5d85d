"""Many runs at once: forks of this process, each with a share of them."""

from __future__ import annotations

import os
import pickle
import select
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import IO, TypeVar

from pyboinc.errors import BackendError, PyboincError

T = TypeVar("T")


def each(
    tasks: Sequence[Callable[[], T]],
    processes: int,
    begin: Callable[[], object],
    end: Callable[[], object],
) -> Iterator[tuple[int, T]]:
    """Yield the number and the result of each task, as they come; an error of one is raised.

    With one process they run here.  Else each fork calls *begin* first and *end* last, and no fork
    outlives this.
    """
    if processes <= 1 or len(tasks) <= 1:
        yield from ((number, task()) for number, task in enumerate(tasks))
        return
    forks = [
        _fork(tasks, range(one, len(tasks), processes), begin, end) for one in range(processes)
    ]
    try:
        yield from _results({file: process for process, file in forks})
    finally:
        for process, file in forks:
            file.close()
            with suppress(ProcessLookupError):
                os.kill(process, 9)
            os.waitpid(process, 0)


def _results(files: dict[IO[bytes], int]) -> Iterator[tuple[int, T]]:
    while files:
        for file in select.select(list(files), [], [])[0]:
            length = int.from_bytes(_read(file, 8), "big")
            if not length:
                del files[file]
                continue
            number, result = pickle.loads(_read(file, length))  # from a fork of our own
            if isinstance(result, BaseException):
                raise result
            yield number, result


def _read(file: IO[bytes], length: int) -> bytes:
    """Read so many bytes from a pipe; fewer at its end."""
    data = b""
    while len(data) < length and (part := file.read(length - len(data))):
        data += part
    return data


def _fork(
    tasks: Sequence[Callable[[], T]],
    numbers: Sequence[int],
    begin: Callable[[], object],
    end: Callable[[], object],
) -> tuple[int, IO[bytes]]:
    reading, writing = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process:
        os.close(writing)
        return process, os.fdopen(reading, "rb", buffering=0)
    try:
        os.close(reading)
        with os.fdopen(writing, "wb") as file:
            begin()
            for number in numbers:
                data = pickle.dumps((number, _attempt(tasks[number])))
                file.write(len(data).to_bytes(8, "big") + data)
                file.flush()
            end()
    finally:
        os._exit(0)


def _attempt(task: Callable[[], T]) -> T | PyboincError:
    try:
        return task()
    except PyboincError as error:
        return error
    except Exception:  # noqa: BLE001  # whatever it is, it is told, and not in this process
        return BackendError(f"a run of the simulation failed:\n{traceback.format_exc()}")
