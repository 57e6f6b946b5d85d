"""``pyboinc serve``: a master program whose project real BOINC clients find at an address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyboinc import config
from pyboinc.cli.options import settings_flags
from pyboinc.program import run

_ANYWHERE = "127.0.0.1:0"


@click.command(
    short_help="Run a master program for real BOINC clients.",
    context_settings={"allow_interspersed_args": False},
)
@settings_flags
@click.argument("program", type=click.Path(path_type=Path), default="app_master.py")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(program: Path, arguments: tuple[str, ...], **flags: Any) -> None:
    """Run the master program PROGRAM, and let real BOINC clients do its jobs.

    PROGRAM is app_master.py if it is left out, and may be a directory with one.  It is served
    at --serve HOST:PORT, or else at a free port of this computer alone, which stays the same in
    later runs; what to type to attach a client is printed.  ^C ends it, and the same command
    goes on.
    """
    if program.is_dir():
        program = program / "app_master.py"
    if flags["serve"] is None:
        flags["serve"] = _ANYWHERE
    config.flags_of_run[:] = config.as_argv(flags)
    try:
        run(program, arguments)
    finally:
        config.flags_of_run.clear()
