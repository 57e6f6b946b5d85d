"""``pyboinc simulate``: a batch and its volunteers, in virtual time.

With a master program it is run against simulated volunteers; without one a batch is planned
(:mod:`pyboinc.cli.planning`).
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click

from pyboinc.cli.options import json_flag, some_settings_flags
from pyboinc.cli.planning import plan_campaign, planning_flags
from pyboinc.errors import ConfigurationError

_SETTINGS = ("quorum", "max_errors", "delay_bound", "fpops")


@click.command(short_help="Try a batch on volunteers in virtual time.")
@click.argument("program", type=click.Path(path_type=Path), required=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.option("--hosts", metavar="HOSTS", multiple=True, help="How many volunteers, or which.")
@click.option("--seed", type=click.IntRange(0), help="The seed of all that happens.")
@click.option("--seeds", type=click.IntRange(1), help="Do it with so many seeds.")
@planning_flags
@some_settings_flags(*_SETTINGS)
@click.option(
    "--processes", type=click.IntRange(1), help="How many runs at once. Default: one a core."
)
@json_flag
def command(program: Path | None, arguments: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Plan a batch: how long it takes, and what quorum and deadline cost."""
    import_simulator()
    if program is not None:
        raise ConfigurationError(f"{program}: a program can not be simulated yet; leave it out")
    sys.exit(0 if plan_campaign(given, as_json) else 1)


def import_simulator() -> None:
    """Say what to install if the simulator's packages are missing."""
    for name in ("numpy", "simpy"):
        if find_spec(name) is None:
            raise ConfigurationError(
                f"the simulator needs {name}; install it: python -m pip install 'pyboinc[simulate]'"
            )
