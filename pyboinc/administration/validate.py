"""What a project's validator asks of an output: is it valid, and do these two agree?

    python -m pyboinc.administration.validate PATH...
    python -m pyboinc.administration.validate --compare PATH... PATH...

``bin/pyboinc_validate`` and ``bin/pyboinc_compare`` call it for each result.  The paths are all
that they are told: the batch stands in a file's name, and ``pyboinc/batches/`` says which job
directory that is of.  The rule is :mod:`pyboinc.validation`'s: nothing is unpickled, but
the author's own ``validate`` and ``compare`` run here, as the user whose daemon this is.

The exit status is 0 for yes and 20 for no.  What can not be known is no fault of a volunteer's:

* of a batch that nobody knows any more the answer is yes: the output came too late, or its batch
  was given up; it is delivered to nobody, and who computed it did what he was asked for;
* if the rules of one batch can not be had (its job directory is away, its ``app_types.py`` does not
  load), its outputs are valid, for the master looks at each once more; and two of them that differ
  are compared later (3), for which BOINC has another host do the job meanwhile;
* if it is the project itself that is broken (4, or what Python ends with), the script waits.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from pyboinc import disk
from pyboinc.errors import PyboincError, RejectedResult
from pyboinc.run_record import parse_record
from pyboinc.stderr import say
from pyboinc.validation import Rules

YES, LATER, BROKEN, NO = 0, 3, 4, 20

PATIENCE = 60.0
"""Seconds that the author's functions may take; then the output is not valid."""

MAX_OUTPUT = 64_000_000
"""Bytes of an output that are read at least; what is larger, the project has let through."""

_LOADED = "loaded"
"""What a child says first when it has the rules."""

_NAME = re.compile(r"pyb_([0-9]{1,18})_[0-9_]+_r[0-9]+_[0-9]+")


class Unknown(Exception):
    """The rules of one batch can not be had; the message says why."""


class Broken(Exception):
    """The project is not as it should be; the message says what is wrong."""


def main(arguments: Sequence[str]) -> int:
    """Judge, and return the exit status; a line on stderr says why it is not 0."""
    compare = list(arguments[:1]) == ["--compare"]
    paths = [Path(one) for one in arguments[compare:]]
    half = len(paths) // 2 if compare else len(paths)
    if not paths or (compare and len(paths) % 2):
        say("usage: python -m pyboinc.administration.validate [--compare] PATH...")
        return BROKEN
    sys.dont_write_bytecode = True  # the job directory is somebody else's
    name = paths[0].name
    try:
        why = _why_not(paths[:half], paths[half:])
    except Unknown as unknown:
        say(f"pyboinc: {name} is {'compared later' if compare else 'not looked at'}: {unknown}")
        return LATER if compare else YES
    except Broken as broken:
        say(f"pyboinc: {name} can not be judged: {broken}")
        return BROKEN
    if why:
        say(f"pyboinc: {name} {why}")
    return NO if why else YES


def _why_not(paths: Sequence[Path], others: Sequence[Path]) -> str:
    """Return what is wrong with outputs, or with their agreement with *others*; or nothing."""
    outputs = []
    for path in (*paths, *others):
        try:
            outputs.append(_read(path))
        except RejectedResult as refusal:
            return f"is not valid: {path.name}: {refusal}"
    first, second = outputs[: len(paths)], outputs[len(paths) :]
    registered = None if first == second else _directory(paths[0].name)
    if registered is None:
        return ""
    directory, batch = registered
    modules = _modules(directory, batch)
    if modules is None:
        return ""

    def judge(rules: Rules) -> str:
        if second:
            agree = all(map(rules.same, first, second))
            return "" if agree else f"does not agree with {others[0].name}"
        wrong = next(filter(None, map(rules.refusal, first)), "")
        return wrong and f"is not valid: {wrong}"

    most = max(MAX_OUTPUT, *map(len, outputs))
    return _apart(lambda: Rules.load(directory, modules, most), judge)


def _directory(name: str) -> tuple[Path, str] | None:
    """Return the job directory that waits for the output *name*, and its batch; or None."""
    match = _NAME.fullmatch(name)
    directory = _registered(match[1]) if match else None
    return None if match is None or directory is None else (directory, match[1])


def _registered(batch: str) -> Path | None:
    """Return the job directory of a batch, None if nobody knows it any more.

    A registration has two lines: where outputs go, and the directory.  The second is not needed
    where outputs go into that directory's own new/.
    """
    project = Path(os.environ.get("BOINC_PROJECT_DIR") or Path.cwd().parent)
    batches = project / "pyboinc" / "batches"
    try:
        lines = (batches / batch).read_text().splitlines()
    except FileNotFoundError:
        if batches.is_dir():
            return None
        raise Broken(f"{batches} is not there; pyboinc setup {project} makes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Broken(f"the registration of batch {batch} can not be read: {error}") from None
    if not lines:
        raise Unknown(f"{batches / batch} is empty; the batch's master writes it again")
    return Path(lines[1]) if lines[1:] else Path(lines[0]).parent


def _read(path: Path) -> bytes:
    """Return the content of an uploaded file; :class:`RejectedResult` if it is no file at all."""
    try:
        return disk.read_bounded(path, max(MAX_OUTPUT, os.lstat(path).st_size))
    except FileNotFoundError:
        if path.parent.is_dir():
            raise RejectedResult("there is no such file") from None
        raise Broken(f"{path.parent} is not there") from None
    except RejectedResult as refusal:
        if isinstance(refusal.__cause__, PermissionError):
            raise Broken(str(refusal)) from None
        raise
    except OSError as error:
        raise Broken(str(error)) from None


def _modules(directory: Path, batch: str) -> Sequence[str] | None:
    """Return the modules of a batch; None if its directory has begun another one since."""
    path = directory / ".pyboinc" / "run.json"
    try:
        record = parse_record(path, path.read_bytes())
    except (OSError, PyboincError) as error:
        raise Unknown(f"the job directory of batch {batch} can not be read: {error}") from None
    return record.modules if record.batch in (None, batch) else None


def _apart(load: Callable[[], Rules], judge: Callable[[Rules], str]) -> str:
    """Return what *judge* says of the rules that *load* gives, in a child of this process.

    The author's code may end it, or never end; then that is the verdict, or, if it comes to
    no rules at all, they can not be had.  The child says first whether it has them.
    """
    said, child = os.pipe(), os.fork()
    if child == 0:
        _child(said[1], load, judge)
    os.close(said[1])
    text, deadline = b"", time.monotonic() + PATIENCE
    while select.select([said[0]], [], [], max(0.0, deadline - time.monotonic()))[0]:
        data = os.read(said[0], 1 << 16)
        text += data
        if not data:
            break
    late = time.monotonic() >= deadline
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    loaded, _, verdict = text.decode().partition("\n")
    if loaded != _LOADED:
        raise Unknown(loaded or "app_types.py ends the process that imports it, or never ends")
    if verdict.endswith("\n"):  # it was said to its end
        return verdict[:-1]
    how = f"took longer than {PATIENCE:g} s" if late else "ended its process"
    return f"is not valid: app_types.py {how}"


def _child(pipe: int, load: Callable[[], Rules], judge: Callable[[Rules], str]) -> NoReturn:
    """Load the rules, judge, and tell it; whatever happens, this process ends here."""
    try:
        try:
            rules = load()
        except PyboincError as error:
            os.write(pipe, str(error).replace("\n", " ").encode())
            os._exit(1)
        os.write(pipe, f"{_LOADED}\n".encode())
        os.write(pipe, f"{judge(rules)}\n".encode())
        sys.stdout.flush()
    finally:
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
