"""``pyboinc status``: how far the batch is, beside the master at work or without one."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from pyboinc import disk
from pyboinc.backends import Counts
from pyboinc.cli.batch import Batch, looked_at
from pyboinc.cli.options import directory_argument, echo_json, json_flag
from pyboinc.pace import counts_text, rate_text, span_text, time_left
from pyboinc.progress import Display

RECENT = 60.0
"""Seconds of the past that the rate is measured over."""

PERIOD = 1.0
"""Seconds between two looks of ``--watch``, at least."""


@dataclass(frozen=True, slots=True)
class Status:
    """How far a batch is; what ``--json`` prints (docs/command_line.md says what each is).

    ``trickle``: what a slave said last, as ``Backend.last_trickle()`` tells it.
    ``called``: whether make_calls has returned; before, a batch without jobs is not finished.
    """

    directory: str
    program: str
    backend: str
    batch: str | None
    seed: int
    starts: int
    process: int | None
    jobs: Counts
    handled: int
    rate: float | None
    time_left: float | None
    quarantined: int
    trickle: tuple[str, float, str] | None = None
    called: bool = True

    @property
    def finished(self) -> bool:
        """Whether every job that there is has been handled."""
        return self.called and self.handled >= self.jobs.total

    @property
    def exit_code(self) -> int:
        """0 all handled, 1 all handled but some of them failed, 3 not finished."""
        if not self.finished:
            return 3
        return 1 if self.jobs.failed else 0

    def as_data(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        data = asdict(self)
        jobs, _ = data.pop("jobs"), data.pop("called")
        if self.trickle is not None:
            data["trickle"] = dict(zip(("name", "time", "text"), self.trickle, strict=True))
        retries, handled = jobs.pop("retries"), data.pop("handled")
        more = {"running": self.process is not None, "finished": self.finished}
        return {**data, **more, "jobs": {**jobs, "handled": handled}, "retries": retries}


def status_of(batch: Batch, now: float) -> Status:
    """Return how far *batch* is at the time *now* (seconds since the epoch)."""
    journal = batch.journal
    handled, calls = len(journal.handled), journal.calls
    counts = batch.counts(calls)
    holder = batch.holder
    rate = _rate(batch, now) if holder is not None and handled < calls else None
    return Status(
        directory=str(batch.path),
        program=batch.record.program,
        backend=batch.record.backend,
        batch=batch.record.batch,
        seed=batch.record.seed,
        starts=batch.record.starts + 1,
        process=holder,
        jobs=counts,
        handled=handled,
        rate=rate,
        time_left=time_left(calls - counts.done - counts.failed, rate) if rate else None,
        quarantined=_quarantined(batch),
        trickle=_last_trickle(batch),
        called=bool(journal.phases),
    )


def _rate(batch: Batch, now: float) -> float | None:
    """Jobs per second that got their outcome in the last minute, or since the master started.

    A file keeps the time it was written at when it is moved, so a master that handles
    earlier results again does not look like a quick one.
    """
    started = os.stat(batch.directory.state / "lock").st_mtime
    window = min(RECENT, now - started)
    outcomes = batch.directory.outcomes().items()
    times = [_written(directory / arrival.file) for arrival, directory in outcomes]
    recent = sum(now - window <= one <= now for one in times)
    return recent / window if window >= 1.0 and recent >= 3 else None


def _last_trickle(batch: Batch) -> tuple[str, float, str] | None:
    if batch.record.batch is None:
        return None
    ask = getattr(batch.backend, "last_trickle", lambda: None)
    found: tuple[str, float, str] | None = ask()
    return found


def _written(path: Path) -> float:
    try:
        return os.stat(path, follow_symlinks=False).st_mtime
    except FileNotFoundError:  # moved while we look
        return 0.0


def _quarantined(batch: Batch) -> int:
    place = batch.directory.state / "quarantine"
    return sum(name.endswith(".reason") for name in disk.listing_if_any(place))


def describe(status: Status, batch: Batch, now: float) -> str:
    """Return *status* at the time *now* (s) for people; the last line is what to do next."""
    running = (
        "not running" if status.process is None else f"running, process {status.process or '?'}"
    )
    times = "once" if status.starts == 1 else f"{status.starts} times"
    begun = f"seed {status.seed}, started {times}"
    lines = [
        f"{status.program or 'a master'} in {status.directory} ({running})",
        f"  batch {status.batch or '-'}, backend {status.backend}, {begun}",
        f"  {counts_text(status.jobs, status.handled)}",
    ]
    if status.process is not None and not status.finished:
        lines.append(f"  {rate_text(status.rate)}, {span_text(status.time_left)} left")
        if status.trickle is not None:
            name, when, text = status.trickle
            shown = "".join(filter(str.isprintable, " ".join(text.split())))[:200]
            lines.append(f"  {name} said {span_text(max(0.0, now - when))} ago: {shown}")
    if status.quarantined:
        files = "file was" if status.quarantined == 1 else "files were"
        lines.append(f"  {status.quarantined} {files} refused: see .pyboinc/quarantine")
    return "\n".join(lines + [f"  {advice}" for advice in _advice(status, batch)])


def _advice(status: Status, batch: Batch) -> list[str]:
    advice = []
    if status.jobs.failed:
        advice.append(f"what failed:  pyboinc errors{batch.directory_given}")
    if status.process is None and not status.finished:
        advice.append(f"to go on:     {batch.command}")
    return advice


@click.command(short_help="Say how far a batch is.")
@directory_argument
@json_flag
@click.option("--watch", is_flag=True, help="Go on until all is handled.")
def command(directory: Path, as_json: bool, watch: bool) -> None:
    """Say how far the batch in DIR is.

    Exits with 0 if all jobs are handled, 1 if all are and some of them failed, 3 if not
    all are handled yet.
    """
    status = _watch(directory, as_json) if watch else None
    with looked_at(directory) as batch:
        status = status or status_of(batch, time.time())
        if as_json:
            echo_json(status.as_data(), None if watch else 1)
        else:
            click.echo(describe(status, batch, time.time()))
    sys.exit(status.exit_code)


def _watch(directory: Path, as_json: bool) -> Status:
    """Look again and again, until all is handled; return how it ended."""
    with looked_at(directory) as batch:
        display = Display(batch.settings, sys.stdout)
    try:
        while True:
            began = time.monotonic()
            with looked_at(directory) as batch:
                status = status_of(batch, time.time())
            if status.finished:
                return status
            if as_json:
                echo_json(status.as_data(), None)
            else:
                display.show(status.jobs, status.handled)
            # A look at 100,000 jobs takes a while: leave the computer to the slaves.
            time.sleep(max(PERIOD, 10 * (time.monotonic() - began)))
    finally:
        display.close()
