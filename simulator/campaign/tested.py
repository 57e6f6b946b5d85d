"""Simulations in a test suite: as a function, with what is dear to start kept between calls."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyboinc import config
from pyboinc.config.settings import BY_NAME
from pyboinc.errors import ConfigurationError
from pyboinc.spelling import advice
from simulator.campaign import Campaign, Life, Run
from simulator.campaign.check import (
    DAY,
    OWN_SETTINGS,
    Check,
    Options,
    campaign_of,
    settings_for,
)
from simulator.campaign.volunteers import Volunteers

KEPT = 4
"""Programs whose slaves and masters are kept ready between simulations."""

HOSTS = 50
"""Volunteers of a simulation that does not say how many."""


@dataclass(frozen=True)
class Simulated:
    """What became of one simulation that did as without faults.

    ``stdout`` and ``exit_code`` are those of the program; ``days`` is virtual time; ``jobs``,
    ``failed`` and ``retries`` are numbers; ``killed_before`` has the step before each kill.
    """

    stdout: str
    exit_code: int
    days: float
    jobs: int
    failed: int
    retries: int
    killed_before: tuple[str, ...]
    repeat: str


class Different(AssertionError):
    """A program that did something else than without faults."""


class Simulations:
    """Simulates programs; to be closed."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Campaign] = OrderedDict()

    def __call__(
        self,
        program: Path,
        seed: int,
        *,
        hosts: int | str | Sequence[str] = HOSTS,
        master_crashes: int = 0,
        crash_at: Sequence[int] = (),
        every_crash_point: bool = False,
        arguments: Sequence[str] = (),
        **settings: Any,
    ) -> list[Simulated]:
        """Do what ``pyboinc simulate`` does, whose flags the keywords are.

        Raises :class:`Different` if a run is not as the one without faults.
        """
        texts = [str(hosts)] if isinstance(hosts, int | str) else list(hosts)
        words = config.as_argv(_checked(settings))
        options = Options(
            program=program,
            settings=settings_for(program, words),
            flags=(*(word for text in texts for word in ("--hosts", text)), *words),
            arguments=tuple(arguments),
            seed=seed,
            kills=master_crashes,
            at=tuple(crash_at),
            every=every_crash_point,
        )
        return self._simulated(Check(options, self._campaign(options), Volunteers(texts)))

    def _campaign(self, options: Options) -> Campaign:
        """Return the campaign of a program as it is now, if need be a new one."""
        key = options.master, _state(options.program), options.settings.workers
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        while len(self._kept) >= KEPT:
            self._kept.popitem(last=False)[1].close()
        campaign = self._kept[key] = campaign_of(options)
        return campaign

    def _simulated(self, check: Check) -> list[Simulated]:
        check.calm()
        simulated = []
        for verdict in check.verdicts(check.cases()):
            if verdict.differences:
                parts = [f"{verdict.case}:", *verdict.differences, check.unsteady()]
                parts += [f"the master was killed before {one}" for one in _points(verdict.run)]
                raise Different("\n".join([*filter(None, parts), f"repeat:  {verdict.repeat}"]))
            simulated.append(_of(verdict.run, verdict.run.last, verdict.repeat))
        return simulated

    def close(self) -> None:
        """End all that was kept."""
        while self._kept:
            self._kept.popitem()[1].close()


def _of(run: Run, last: Life, repeat: str) -> Simulated:
    return Simulated(
        stdout=last.stdout,
        exit_code=last.code,
        days=run.time / DAY,
        jobs=len(run.calls),
        failed=run.failed,
        retries=run.retries,
        killed_before=_points(run),
        repeat=repeat,
    )


def _points(run: Run) -> tuple[str, ...]:
    return tuple(life.point for life in run.lives[:-1])


def _checked(settings: dict[str, Any]) -> dict[str, Any]:
    for name in settings:
        if name not in OWN_SETTINGS:
            known = [*OWN_SETTINGS, "hosts", "master_crashes", "crash_at", "every_crash_point"]
            raise ConfigurationError(f"there is no {name!r} to simulate; {advice(name, known)}")
    return {name: BY_NAME[name].read(value) for name, value in settings.items()}


def _state(program: Path) -> Hashable:
    """Return what changes when a file beside *program* does."""
    found = []
    for path in sorted(program.absolute().parent.rglob("*")):
        status = path.lstat()
        found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)
