"""The command line: ``pyboinc VERB``, one module for each verb.

A verb's module is imported when the verb is used, so that ``pyboinc run`` does not wait
for what ``pyboinc doctor`` needs.  Every error of PyBOINC becomes its message on stderr
and the exit code of its class (:mod:`pyboinc.errors`); nobody sees a traceback for a
mistake in what was typed.
"""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any

import click

from pyboinc import __version__, disk
from pyboinc.errors import PyboincError
from pyboinc.spelling import nearest

VERBS = (
    "init",
    "run",
    "serve",
    "simulate",
    "status",
    "errors",
    "replay",
    "rerun",
    "cancel",
    "clean",
    "config",
    "doctor",
    "keygen",
    "sign",
    "build",
    "setup",
)
"""In the order in which they are needed; each is ``command`` in the module of its name."""

EXIT_CODES = """\b
Exit codes:
  0    all jobs are handled, or the command did what was asked
  1    a job or a handler failed
  2    wrong usage or configuration
  3    not finished yet, or another process holds the directory
  4    the checkpoint does not match the program, or the directory is a copy
  130  interrupted with ^C"""


class Verbs(click.Group):
    """The group of all verbs: found by name, loaded when used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, for ``--help``."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the verb *cmd_name*, or None."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"{__name__}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb that ``args`` begin with; for an unknown one, say which is near."""
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            near = nearest(name, VERBS)
            hint = f"did you mean {near}?" if near else f"there is {', '.join(VERBS)}."
            if name.endswith(".py"):
                hint = f"to run a program: pyboinc run {name}"
            ctx.fail(f"there is no verb {name!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Do what was asked; an error of ours ends the command with its message and code."""
        _show_anything()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(130)
        except PyboincError as error:
            _fail(ctx, error)
        except BrokenPipeError:
            raise  # click ends quietly when nobody reads on
        except OSError as error:
            _fail(ctx, disk.explain("use", error.filename or "a file", error))


def _show_anything() -> None:
    """Let stdout take letters that it does not have, as stderr does: strangers write any text."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fail(ctx: click.Context, error: PyboincError) -> None:
    click.echo(f"pyboinc: {error}", err=True)
    ctx.exit(error.exit_code)


@click.group(
    cls=Verbs,
    subcommand_metavar="VERB [ARGS]...",
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, "-V", "--version", message="%(prog)s %(version)s")
def main() -> None:
    """Run Python jobs on volunteers' computers, and first on this one.

    Begin with `pyboinc init my_app`.  DIR is the directory of a master program; it may be
    left out for the current one.
    """
