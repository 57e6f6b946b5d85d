"""Run the techniques under plain `pickle`, each in a process that may die of it.

    python codec_sacrifice.py [TECHNIQUE ...]      in an empty directory of its own

Prints one line of JSON: technique -> everything that was seen.  Nothing outside of the
current directory is touched; memory and time of each process are limited.
"""

from __future__ import annotations

# What payloads import is imported once, and here: they are many.
import asyncio  # noqa: F401
import bdb  # noqa: F401
import code  # noqa: F401
import concurrent.futures.thread  # noqa: F401
import copyreg
import cProfile  # noqa: F401
import ctypes  # noqa: F401
import dbm.dumb  # noqa: F401
import decimal
import gc
import json
import locale
import logging.config  # noqa: F401
import multiprocessing.util  # noqa: F401
import os
import pickle
import profile  # noqa: F401
import pydoc  # noqa: F401
import random
import resource
import shelve  # noqa: F401
import signal
import smtplib  # noqa: F401
import sqlite3  # noqa: F401
import sys
import tarfile  # noqa: F401
import time
import timeit  # noqa: F401
import trace  # noqa: F401
import tracemalloc
import unittest.mock  # noqa: F401
import urllib.request  # noqa: F401
import warnings
import webbrowser  # noqa: F401
import zoneinfo  # noqa: F401
from pathlib import Path

import codec_techniques
import codec_traps
import codec_types
import numpy as np

MEMORY = 300 * 2**20  # bytes beyond what the process has
SECONDS = 0.3  # of the processor; a process that waits has a little longer
WAIT = 2.0


class TrapArray(np.ndarray):
    """It notices that it was made."""

    def __array_finalize__(self, obj):
        codec_traps.ran.append("__array_finalize__")


def world() -> list[object]:
    """What is global in a process, and harmless to compare."""
    flags = codec_types.IntFlags
    return [
        dict(os.environ),
        list(sys.path),
        len(sys.meta_path),
        sys.modules.get("planted", 0),
        sys.getrecursionlimit(),
        sys.getswitchinterval(),
        getattr(sys, "get_int_max_str_digits", int)(),
        gc.isenabled(),
        random.getstate(),
        np.random.get_state()[1].tolist(),
        decimal.getcontext().prec,
        locale.setlocale(locale.LC_ALL),
        len(warnings.filters),
        dict(copyreg.dispatch_table),
        dict(copyreg._extension_registry),  # type: ignore[attr-defined]
        tracemalloc.is_tracing(),
        sorted(vars(codec_traps)),
        sorted(vars(codec_traps.Trap)),
        sorted(vars(codec_traps.Kind.ONE)),
        repr(codec_traps.Described.__dict__.get("value"))[:24],
        sorted(vars(codec_traps.fire)),
        repr((codec_traps.fire.__defaults__, codec_traps.fire.__code__.co_name)),
        len(flags._value2member_map_) // 100,
        [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)],
        _umask(),
        signal.getitimer(signal.ITIMER_REAL)[0] > 0,
    ]


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def sacrifice(data: bytes, pipe: int) -> None:
    """Unpickle *data* and write what was seen; the process may end at any moment."""
    seen: list[str] = []
    watching = False

    def watch(event: str, args: tuple[object, ...]) -> None:
        if watching and event not in seen:
            seen.append(event)
            os.write(pipe, (event + "\n").encode())

    # What a shell runs in the background is started without ^C, and one technique asks for it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    codec_traps.ran.clear()
    before = world()
    sys.addaudithook(watch)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    started = time.process_time()
    watching = True
    try:
        value = pickle.loads(data)
        seen.append("token" if holds_code(value) else "other")
    except MemoryError:
        seen.append("memory")
    except BaseException as error:  # noqa: BLE001 - all of them count
        seen.append(type(error).__name__)
    watching = False
    if time.process_time() - started > SECONDS:
        seen.append("time")
    if codec_traps.ran:
        seen.append("trap")
    if os.listdir("."):
        seen.append("file")
    if world() != before:
        seen.append("state")
    os.write(pipe, "".join(each + "\n" for each in seen).encode())
    os._exit(0)


def holds_code(value: object) -> bool:
    """Whether a function or class is in *value*, or what calls one."""
    held = [value]
    if isinstance(value, list | dict):
        held += value.values() if isinstance(value, dict) else value
    return any(callable(each) or hasattr(each, "default_factory") for each in held)


def watched(data: bytes) -> list[str]:
    """What is seen of *data* in a process of its own."""
    place = os.getcwd()
    directory = f"run{os.getpid()}-{time.monotonic_ns()}"
    os.mkdir(directory)
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        os.chdir(directory)
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(null, descriptor)
        try:
            sacrifice(data, writer)
        finally:
            os._exit(70)
    os.close(writer)
    signal.setitimer(signal.ITIMER_REAL, WAIT)
    seen: set[str] = set()
    try:
        status = os.waitpid(child, 0)[1]
    except TimeoutError:
        seen.add("time")
        os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1] and 0
    signal.setitimer(signal.ITIMER_REAL, 0)
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        pass
    os.set_blocking(reader, False)
    try:
        seen.update(os.read(reader, 65_536).decode().split())
    except BlockingIOError:
        pass
    os.close(reader)
    if os.WIFSIGNALED(status):
        seen.add("time" if os.WTERMSIG(status) in (signal.SIGVTALRM, signal.SIGALRM) else "killed")
    elif os.WEXITSTATUS(status):
        seen.add("exit")
    assert os.getcwd() == place
    return sorted(seen)


def main() -> None:
    """Run the techniques that are named, or all."""

    def late(*_: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, late)
    copyreg.add_extension("codec_traps", "fire", 0xF0)
    copyreg.add_extension("codec_traps", "Keyed", 0x1F1)
    copyreg.add_extension("codec_traps", "Trap", 0x101F2)
    chosen = sys.argv[1:] or codec_techniques.TECHNIQUES
    print(json.dumps({name: watched(codec_techniques.TECHNIQUES[name].data) for name in chosen}))


if __name__ == "__main__":
    sys.modules["codec_sacrifice"] = sys.modules["__main__"]
    main()
