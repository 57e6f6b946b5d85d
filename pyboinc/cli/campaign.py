"""``pyboinc simulate app_master.py``: a master program against volunteers in virtual time.

The program is run in a copy of its directory, once without faults and then against simulated
volunteers whose computers fail, while it is killed and started again.  It must print the same
each time.  The runs are :mod:`simulator.campaign`'s; here are the flags, and what is told.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyboinc import config
from pyboinc.cli.options import echo_json
from pyboinc.config import Settings
from pyboinc.config.settings import cores
from pyboinc.errors import ConfigurationError
from pyboinc.faults.draws import new_seed

if TYPE_CHECKING:
    from simulator.campaign.check import Check, Options, Verdict

_Command = TypeVar("_Command", bound=Callable[..., Any])

USUAL = Path("app_master.py")
"""The program that is meant if none is named."""

SETTINGS = (
    *("failure_rate", "fault", "memory", "disk", "max_output", "include", "workers", "isolation"),
)
"""The settings that have a meaning beside a program alone."""

FLAGS = (*SETTINGS, "master_crashes", "every_crash_point", "crash_at", "trace")
"""The parameters that have."""

_SHOWN = 3
"""Runs with a difference that are shown in full."""


def campaign_flags(command: _Command) -> _Command:
    """Give *command* the flags that say where a master is killed."""
    for option in reversed(
        (
            click.option(
                "--master-crashes",
                metavar="K",
                type=click.IntRange(1),
                help="Kill the master at K points that the seed chooses.",
            ),
            click.option(
                "--every-crash-point", is_flag=True, help="Kill the master at each step in turn."
            ),
            click.option(
                "--crash-at",
                metavar="N",
                multiple=True,
                type=click.IntRange(1),
                help="Kill it before its N-th step; given again, for its next start.",
            ),
            click.option(
                "--trace",
                type=click.Path(path_type=Path),
                help="Write all that happens to this file.",
            ),
        )
    ):
        command = option(command)
    return command


def try_program(program: Path, arguments: Sequence[str], given: dict[str, Any]) -> bool:
    """Do the runs that the flags *given* ask for; return whether each was as without faults."""
    with _only_imports():
        from simulator.campaign.check import Check, campaign_of

        if given["trace"] is not None:
            _write_trace(given["trace"], ())
        settings, words = _settings(program, given)
        hosts = given["hosts"] or (str(settings.hosts),)
        options = _options(program, arguments, given, settings, [*_host_flags(hosts), *words])
        campaign = campaign_of(options)
    try:
        # Its processes boot while this one imports what the volunteers need.
        with _only_imports(), _one_thread():
            from simulator.campaign.volunteers import Volunteers

        check = Check(options, campaign, Volunteers(hosts))
        return _checked(check, given["as_json"], given["trace"])
    finally:
        campaign.close()


@contextmanager
def _only_imports() -> Iterator[None]:
    """What is made here stays to the end, so nobody looks through it for garbage."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Numpy is imported without the threads of its linear algebra, which nobody needs here."""
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _settings(program: Path, given: dict[str, Any]) -> tuple[Settings, list[str]]:
    """Return the settings for the program, and the flags that give them again."""
    from simulator.campaign.check import OWN_SETTINGS, settings_for

    words = config.as_argv({name: given.get(name) for name in OWN_SETTINGS})
    return settings_for(program, words), words


def _host_flags(hosts: Sequence[str]) -> list[str]:
    return [word for one in hosts for word in ("--hosts", one)]


def _options(
    program: Path,
    arguments: Sequence[str],
    given: dict[str, Any],
    settings: Settings,
    flags: Sequence[str],
) -> Options:
    from simulator.campaign.check import Options

    if given["every_crash_point"] and (given["master_crashes"] or given["crash_at"]):
        raise ConfigurationError(
            "--every-crash-point kills the master once in each run; leave --master-crashes and "
            "--crash-at out"
        )
    seed = given["seed"]
    if seed is None:
        seed = new_seed() if settings.seed is None else settings.seed
    return Options(
        program=program,
        settings=settings,
        flags=tuple(flags),
        arguments=tuple(arguments),
        seed=seed,
        seeds=given["seeds"] or 1,
        kills=given["master_crashes"] or 0,
        at=given["crash_at"],
        every=given["every_crash_point"],
        processes=given["processes"] or cores(),
    )


def _checked(check: Check, as_json: bool, trace: Path | None) -> bool:
    """Do all runs and tell of them; return whether each did as the fault-free one."""
    from simulator.campaign.check import summary

    calm = check.calm()
    if not as_json:
        click.echo(f"without faults: exit code {calm.last.code}, {summary(calm)}")
    cases = check.cases()
    verdicts = []
    with _bar(len(cases)) as step:
        for verdict in check.verdicts(cases):
            verdicts.append(verdict)
            step()
    verdicts.sort(key=lambda one: (one.case.seed, one.case.at))
    if trace is not None:
        _write_trace(trace, verdicts)
    different = [one for one in verdicts if one.differences]
    unsteady = check.unsteady() if different else ""
    if as_json:
        runs = [one.as_dict() for one in verdicts]
        echo_json({"same": not different, "unsteady": unsteady, "runs": runs})
    else:
        _tell(verdicts, different, unsteady)
    return not different


def _tell(verdicts: Sequence[Verdict], different: Sequence[Verdict], unsteady: str) -> None:
    from simulator.campaign.check import summary

    if len(verdicts) <= 20:
        for one in verdicts:
            click.echo(f"{one.case}: {summary(one.run)}{': NOT THE SAME' * bool(one.differences)}")
    for one in different[:_SHOWN]:
        click.echo(f"\n{one.case}:")
        for line in one.differences:
            click.echo(f"  {line}")
        for life in one.run.lives[:-1]:
            click.echo(f"  the master was killed before {life.point}")
        click.echo(f"  repeat:  {one.repeat}")
    if unsteady:
        click.echo(f"\n{unsteady}")
    number = len(verdicts)
    runs = f"{number} run{'s' * (number > 1)}"
    if different:
        click.echo(f"\n{len(different)} of {runs} did not do as without faults")
    else:
        click.echo(f"{runs} with faults: the same answer as without")


def _write_trace(path: Path, verdicts: Sequence[Verdict]) -> None:
    lines = [line for one in verdicts for line in one.run.trace]
    try:
        path.write_text("".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise ConfigurationError(f"--trace {path} can not be written: {error.strerror}") from None


@contextmanager
def _bar(length: int) -> Iterator[Any]:
    """Show how many runs are done, on a terminal."""
    if length < 5 or not sys.stderr.isatty():
        yield lambda: None
        return
    with click.progressbar(length=length, file=sys.stderr, label="runs") as bar:
        yield lambda: bar.update(1)
