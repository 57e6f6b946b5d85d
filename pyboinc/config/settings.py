"""The table of settings: every name, flag and variable that PyBOINC listens to, once.

``python app_master.py --seed 7``, ``pyboinc run --seed 7 app_master.py``, PYBOINC_SEED,
``pyboinc.toml`` and the tables of the documentation are all made from this table.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pyboinc.config import limits, values
from pyboinc.faults.latency import Latency


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: how it is named everywhere, read, explained, and what it is if not given."""

    name: str
    #: From text or a Python value to the proper type; ValueError says why not.
    read: values.Reader
    default: Any
    help: str
    #: What stands for the value in a help text; empty for a flag that takes none.
    metavar: str = ""
    #: May be given several times on the command line; the texts are joined by commas.
    multiple: bool = False
    #: Its environment variables where PYBOINC_<NAME> is not the only one: the first counts.
    environment: tuple[str, ...] = ()
    #: May stand in pyboinc.toml: not so what is meant for one run only.
    in_file: bool = True
    #: How the default is explained where its value depends on the machine.
    default_text: str = ""

    @property
    def flag(self) -> str:
        """The name on the command line, ``--failure-rate``."""
        return "--" + self.name.replace("_", "-")

    @property
    def variables(self) -> tuple[str, ...]:
        """The environment variables; the first that is not empty counts."""
        return self.environment or ("PYBOINC_" + self.name.upper(),)

    @property
    def is_flag(self) -> bool:
        """True if it is switched on by its name alone."""
        return not self.metavar

    def value_if_not_given(self) -> Any:
        """The default, worked out now if it depends on the machine."""
        return self.default() if callable(self.default) else self.default


def cores() -> int:
    """The number of processor cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # macOS, or a sandbox that forbids it
        return os.cpu_count() or 1


def _limit(name: str, metavar: str, help: str) -> Setting:  # noqa: A002  # named as in Setting
    default = getattr(limits.Limits(), name)
    return Setting(name, limits.READERS[name], default, help, metavar)


_NO_FAULTS: MappingProxyType[Any, float] = MappingProxyType({})
_ISOLATION = ("auto", "fork", "spawn")

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "backend",
        values.word,
        None,
        "where the jobs run: local, boinc, or one from an installed package",
        "NAME",
        default_text="boinc if project_dir is given, else local",
    ),
    Setting(
        "project_dir",
        values.directory,
        None,
        "the directory of the BOINC project",
        "DIR",
        environment=("PYBOINC_DIR", "BOINC_PROJECT_DIR"),
        default_text="none",
    ),
    Setting(
        "app",
        values.word,
        "pyboinc",
        "the name of the application at the BOINC project",
        "NAME",
    ),
    Setting(
        "batch_user",
        values.word,
        None,
        "whose batch it is at the BOINC project: a user's e-mail address or number",
        "USER",
        default_text="the project's first user",
    ),
    Setting(
        "signing_key",
        values.file,
        None,
        "the private key that slaves for volunteers are signed with",
        "FILE",
        default_text="none: pyboinc sign does it",
    ),
    Setting(
        "seed",
        values.whole(0, 2**63 - 1),
        None,
        "the seed of every fault and delay",
        "N",
        default_text="drawn once for a job directory",
    ),
    Setting(
        "failure_rate",
        values.probability,
        0.0,
        "the probability that an instance fails, by the documented mix",
        "P",
    ),
    Setting(
        "fault",
        values.faults,
        _NO_FAULTS,
        "the probability of each kind of fault, on top of the failure rate",
        "KIND=P,...",
        multiple=True,
        environment=("PYBOINC_FAULT", "PYBOINC_FAULTS"),
        default_text="none",
    ),
    Setting(
        "latency",
        values.latency,
        Latency(),
        "the delay of a result in seconds: 0.5, uniform:0.1,2, exponential:0.5,"
        " lognormal:MU,SIGMA or weibull:SHAPE,SCALE",
        "SECONDS",
    ),
    Setting(
        "workers",
        values.whole(1, 1_000),
        cores,
        "how many slaves run at once on this computer",
        "N",
        default_text="the number of cores; none where real clients work",
    ),
    Setting(
        "hosts", values.whole(1, 1_000_000), 20, "how many emulated volunteers' computers", "N"
    ),
    Setting(
        "boinc_clients",
        values.whole(0, 64),
        0,
        "how many real BOINC clients are started to do the work",
        "N",
    ),
    Setting(
        "serve",
        values.address,
        None,
        "the address where real BOINC clients find the emulated project",
        "HOST:PORT",
        default_text="none; 127.0.0.1:0 with boinc_clients",
    ),
    Setting(
        "isolation",
        values.choice(*_ISOLATION),
        "auto",
        "how a slave's process is made: auto, fork (quick) or spawn (a fresh interpreter)",
        "HOW",
    ),
    _limit("quorum", "N", "how many instances of a job must agree on its output"),
    _limit("max_errors", "N", "a job fails when more than so many of its instances failed"),
    _limit("delay_bound", "SECONDS", "how long an instance may take until it is reported"),
    _limit("priority", "N", "jobs of a larger priority go first"),
    _limit("memory", "BYTES", "how much memory an instance may use"),
    _limit("disk", "BYTES", "how much disk an instance may use"),
    _limit("fpops", "N", "the estimated number of floating-point operations of an instance"),
    Setting(
        "max_output",
        values.whole(1, 2**40),
        64_000_000,
        "the largest output that is accepted, in bytes",
        "BYTES",
    ),
    Setting(
        "include",
        values.file_names,
        (),
        "more files that the slave needs: names or patterns in the job directory",
        "PATTERN",
        multiple=True,
        default_text="none",
    ),
    Setting(
        "fresh",
        values.boolean,
        False,
        "set the jobs of earlier runs aside and start anew",
        in_file=False,
    ),
    Setting(
        "accept_changes",
        values.boolean,
        False,
        "go on with the jobs of earlier runs although the program was changed",
        in_file=False,
    ),
    Setting(
        "accept_copy",
        values.boolean,
        False,
        "go on in a copy of a job directory: the original is gone, or not used any more",
        in_file=False,
    ),
    Setting("quiet", values.boolean, False, "say nothing but errors"),
    Setting("no_progress", values.boolean, False, "show no progress"),
)

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_FLAG: dict[str, Setting] = {setting.flag: setting for setting in SETTINGS}
BY_VARIABLE: dict[str, Setting] = {v: s for s in SETTINGS for v in s.variables}
