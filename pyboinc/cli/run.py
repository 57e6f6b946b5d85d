"""``pyboinc run``: a master program, run as ``python`` would run it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyboinc import config
from pyboinc.cli.options import settings_flags
from pyboinc.program import run


@click.command(
    short_help="Run a master program.", context_settings={"allow_interspersed_args": False}
)
@settings_flags
@click.argument("program", type=click.Path(path_type=Path))
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(program: Path, arguments: tuple[str, ...], **flags: Any) -> None:
    """Run the master program PROGRAM, with ARGUMENTS in its sys.argv.

    The flags before PROGRAM are settings of PyBOINC; the program does not see them.  It ends
    with the exit code of the program.
    """
    config.flags_of_run[:] = config.as_argv(flags)
    try:
        run(program, arguments)
    finally:
        config.flags_of_run.clear()
