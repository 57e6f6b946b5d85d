"""``pyboinc serve``: the emulated project at an address, for real BOINC clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pyboinc import config
from pyboinc.backends.local.standing import SETTINGS
from pyboinc.backends.served import check_installed
from pyboinc.cli.options import settings_flags
from pyboinc.config.settings import BY_NAME
from pyboinc.errors import ConfigurationError
from pyboinc.program import run

_ANYWHERE = "127.0.0.1:0"
_OF_A_SERVER = ("quiet", "accept_copy", "backend")


@click.command(
    short_help="Serve a project for real BOINC clients.",
    context_settings={"allow_interspersed_args": False},
)
@settings_flags
@click.argument("program", metavar="[PROGRAM|DIR]", type=click.Path(path_type=Path), default=".")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(program: Path, arguments: tuple[str, ...], **flags: Any) -> None:
    """Let real BOINC clients do the jobs of a directory.

    With the master program PROGRAM, run that, and serve as long as it runs.  With the directory
    DIR, which is the current one if it is left out, serve until ^C, whatever becomes of masters:
    one that is started in DIR meanwhile uses this server.

    It is served at --serve HOST:PORT, or else at a free port of this computer alone, which
    stays the same in later runs; what to type to attach a client is printed.
    """
    if program.is_dir():
        _stand(program, [*config.as_argv(flags), *arguments])
        return
    if flags["serve"] is None:
        flags["serve"] = _ANYWHERE
    config.flags_of_run[:] = config.as_argv(flags)
    try:
        run(program, arguments)
    finally:
        config.flags_of_run.clear()


def _stand(directory: Path, words: list[str]) -> None:
    """Serve *directory*; no program is there to take the flags behind it, so they are ours."""
    check_installed()
    from pyboinc.backends.served.standing import serve  # it needs what may be missing

    settings, rest = config.split_argv(words)
    if rest:
        raise click.UsageError(f"{directory} is a directory, and takes flags only, not {rest[0]}")
    for setting, _ in settings:
        if setting.name not in (*SETTINGS, *_OF_A_SERVER):
            raise ConfigurationError(
                f"{setting.flag} is for masters: give it to the one that is started there; the "
                f"server takes {', '.join(BY_NAME[name].flag for name in SETTINGS)}"
            )
    path = directory.absolute()
    serve(path, config.load(path, argv=words))
