"""``pyboinc simulate``: a batch and its volunteers, in virtual time.

With a master program it is run against simulated volunteers (:mod:`pyboinc.cli.campaign`);
without one a batch is planned (:mod:`pyboinc.cli.planning`).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from pyboinc.cli import campaign, planning
from pyboinc.cli.options import json_flag, some_settings_flags
from pyboinc.errors import ConfigurationError

_SETTINGS = ("quorum", "max_errors", "delay_bound", "fpops")


@click.command(short_help="Try a program, or plan a batch, in virtual time.")
@click.argument("program", type=click.Path(path_type=Path), required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--hosts", metavar="HOSTS", multiple=True, help="How many volunteers, or which.")
@click.option("--seed", type=click.IntRange(0), help="The seed of all that happens.")
@click.option("--seeds", type=click.IntRange(1), help="Do it with so many seeds.")
@campaign.campaign_flags
@planning.planning_flags
@some_settings_flags(*_SETTINGS, *campaign.SETTINGS)
@click.option(
    "--processes", type=click.IntRange(1), help="How many runs at once. Default: one a core."
)
@json_flag
def command(program: Path | None, arguments: tuple[str, ...], **given: Any) -> None:
    """Try the master PROGRAM on volunteers in virtual time, or plan a batch without one.

    A program is run in a copy of its directory, first without faults, then with those that are
    asked for.  If it prints something else, or ends with another exit code, this command ends with
    1 and says how to repeat that.  ARGUMENTS after `--` are the program's own.

    Without a program: how long a batch takes, and what quorum and deadline cost.
    """
    import_simulator()
    tried = [name for name in campaign.FLAGS if given[name]]
    planned = [name for name in planning.FLAGS if given[name]]
    if program is None and tried and not planned:
        program = campaign.USUAL
    if program is None:
        _refuse(tried, "without a program; name it: pyboinc simulate app_master.py")
        sys.exit(0 if planning.plan_campaign(given, given["as_json"]) else 1)
    _refuse(planned, f"beside a program, which makes its own jobs; leave it or {program} out")
    sys.exit(0 if campaign.try_program(program, arguments, given) else 1)


def _refuse(names: list[str], why: str) -> None:
    """Say that a flag has no meaning here."""
    if names:
        raise ConfigurationError(f"--{names[0].replace('_', '-')} has no meaning {why}")


def import_simulator() -> None:
    """Say what to install if the simulator's packages are missing."""
    for name in ("numpy", "simpy"):
        if find_spec(name) is None:
            raise ConfigurationError(
                f"the simulator needs {name}; install it: python -m pip install 'pyboinc[simulate]'"
            )
