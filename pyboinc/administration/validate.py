"""What a project's validator asks of an output: is it valid, and do these two agree?

    python -m pyboinc.administration.validate PATH...
    python -m pyboinc.administration.validate --compare PATH... PATH...

``bin/pyboinc_validate`` and ``bin/pyboinc_compare`` call it for each result.  The paths are all
that they are told: the batch stands in a file's name, and ``pyboinc/batches/`` says which job
directory that is of.  The rule is :mod:`pyboinc.validation`'s: nothing is unpickled, but
the author's own ``validate`` and ``compare`` run here, as the user whose daemon this is.

The exit status is 0 for yes, 20 for no, and anything else for "try again later": what can not
be known now (a directory that can not be reached, an ``app_types.py`` that does not load) is no
fault of a volunteer's.  An output of a batch that nobody knows any more is valid: it came too
late, or its batch was given up, nobody waits for it, and who computed it has done what he was
asked for.  A wrong one gains nothing there, for it is delivered to nobody.
"""

from __future__ import annotations

import faulthandler
import os
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from pyboinc import disk
from pyboinc.errors import PyboincError, RejectedResult
from pyboinc.run_record import RunRecord, parse_record
from pyboinc.stderr import say
from pyboinc.validation import Rules

YES, LATER, NO = 0, 3, 20

PATIENCE = 60.0
"""Seconds that the author's functions may take; then the output is not valid."""

MAX_OUTPUT = 64_000_000
"""Bytes of an output that are read at least; what is larger, the project has let through."""

_NAME = re.compile(r"pyb_([0-9]{1,18})_[0-9_]+_r[0-9]+_[0-9]+")


class Later(Exception):
    """It can not be said now; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Judge, and return the exit status; a line on stderr says why it is not 0."""
    compare = list(arguments[:1]) == ["--compare"]
    paths = [Path(one) for one in arguments[compare:]]
    half = len(paths) // 2 if compare else len(paths)
    if not paths or (compare and len(paths) % 2):
        say("usage: python -m pyboinc.administration.validate [--compare] PATH...")
        return LATER
    sys.dont_write_bytecode = True  # the job directory is somebody else's
    try:
        why = _why_not(paths[:half], paths[half:])
    except Later as later:
        say(f"pyboinc: {paths[0].name} is judged later: {later}")
        return LATER
    if why:
        say(f"pyboinc: {paths[0].name} {why}")
    return NO if why else YES


def _why_not(paths: Sequence[Path], others: Sequence[Path]) -> str:
    """Return what is wrong with outputs, or with their agreement with *others*; or nothing."""
    known = _known(paths[0].name)
    if known is None:
        return ""
    outputs = []
    for path in (*paths, *others):
        try:
            outputs.append(_read(path))
        except RejectedResult as refusal:
            return f"is not valid: {path.name}: {refusal}"
    rules = _rules(*known, max(MAX_OUTPUT, *map(len, outputs)))
    _bound_time(paths[0].name)
    if others:
        pairs = zip(outputs[: len(paths)], outputs[len(paths) :], strict=True)
        agree = all(rules.same(*pair) for pair in pairs)
        return "" if agree else f"does not agree with {others[0].name}"
    wrong = next(filter(None, map(rules.refusal, outputs)), "")
    return wrong and f"is not valid: {wrong}"


def _known(name: str) -> tuple[Path, RunRecord] | None:
    """Return the job directory that waits for the output *name*, and its record; or None."""
    match = _NAME.fullmatch(name)
    directory = _registered(match[1]) if match else None
    if match is None or directory is None:
        return None
    path = directory / ".pyboinc" / "run.json"
    try:
        record = parse_record(path, path.read_bytes())
    except (OSError, PyboincError) as error:
        raise Later(f"its job directory can not be read: {error}") from None
    if record.batch is None:
        raise Later(f"{directory} is just beginning its batch")
    return (directory, record) if record.batch == match[1] else None


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
        raise Later(f"{batches} is not there; pyboinc setup {project} makes it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise Later(f"the registration of batch {batch} can not be read: {error}") from None
    if not lines:
        raise Later(f"{batches / batch} is empty; the batch's master writes it again")
    return Path(lines[1]) if lines[1:] else Path(lines[0]).parent


def _read(path: Path) -> bytes:
    """Return the content of an uploaded file; :class:`RejectedResult` if it is no file at all."""
    try:
        return disk.read_bounded(path, max(MAX_OUTPUT, os.lstat(path).st_size))
    except FileNotFoundError:
        if path.parent.is_dir():
            raise RejectedResult("there is no such file") from None
        raise Later(f"{path.parent} is not there") from None
    except RejectedResult as refusal:
        if isinstance(refusal.__cause__, PermissionError):
            raise Later(str(refusal)) from None
        raise
    except OSError as error:
        raise Later(str(error)) from None


def _rules(directory: Path, record: RunRecord, max_output: int) -> Rules:
    try:
        return Rules.load(directory, record.modules, max_output)
    except PyboincError as error:
        raise Later(str(error)) from None


def _bound_time(name: str) -> None:
    """End this process if the author's functions do not end: a thread can, mostly.

    It can not while they are in a library that keeps it from running; then the interpreter's
    own watchdog ends it, which is "try again later".
    """

    def give_up() -> None:
        say(f"pyboinc: {name} is not valid: app_types.py took longer than {PATIENCE:g} s")
        os._exit(NO)

    timer = threading.Timer(PATIENCE, give_up)
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(2 * PATIENCE, exit=True)


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)  # nothing that app_types.py has left running is waited for
