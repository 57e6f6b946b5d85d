"""Settings from everywhere, and where each one came from.

A setting can be given in four places; the first of them that gives it counts::

    argument of pyboinc_master  >  flag  >  environment  >  pyboinc.toml  >  default

What is given must be right in every place, also where another place wins: a mistake in
``pyboinc.toml`` is better found on the day it is made.  An empty environment variable,
and an argument None, count as not given.

Every master imports this module, so it does without argparse, and reads TOML only
where there is a ``pyboinc.toml``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pyboinc.config import limits
from pyboinc.config.limits import Limits
from pyboinc.config.settings import BY_FLAG, BY_NAME, BY_VARIABLE, SETTINGS, Setting
from pyboinc.config.values import text_of
from pyboinc.errors import ConfigurationError
from pyboinc.faults import FaultPlan, Kind, check_probabilities
from pyboinc.faults.latency import Latency
from pyboinc.spelling import advice, nearest

#: The file of settings in a job directory.
FILE_NAME = "pyboinc.toml"

#: Flags that ``pyboinc run`` has read before it runs a program, which does not see them:
#: they count as if they stood before the program's own.
flags_of_run: list[str] = []


class Given(NamedTuple):
    """A value as somebody gave it: what, its origin in short, and its place for a message."""

    value: object
    origin: str
    place: str


class Row(NamedTuple):
    """One line of ``pyboinc config``."""

    name: str
    value: str
    origin: str
    help: str


class Settings:
    """All settings, each in its proper type; immutable.

    ``settings.origin("seed")`` says who gave it: "argument", "--seed", "PYBOINC_SEED",
    "pyboinc.toml" or "default".
    """

    backend: str
    project_dir: Path | None
    app: str
    batch_user: str | None
    signing_key: Path | None
    #: None: not given, so the master draws one and records it.
    seed: int | None
    failure_rate: float
    fault: Mapping[Kind, float]
    latency: Latency
    workers: int
    hosts: int
    boinc_clients: int
    serve: str | None
    isolation: str
    quorum: int
    max_errors: int
    delay_bound: float
    priority: int
    memory: float
    disk: float
    fpops: float
    max_output: int
    include: tuple[str, ...]
    fresh: bool
    accept_changes: bool
    accept_copy: bool
    quiet: bool
    no_progress: bool
    #: The limits of a job whose call sets none.
    limits: Limits
    #: What is no error but worth a line on stderr, such as a flag that is nearly one of ours.
    notes: tuple[str, ...]
    #: Whether colours may be used on a terminal: NO_COLOR is not set, and it is not a dumb one.
    color: bool
    #: Whether progress is shown at all.
    progress: bool
    #: Whether progress may be a live display if stderr is a terminal; not in CI.
    live: bool

    def __init__(
        self,
        values: Mapping[str, Any],
        origins: Mapping[str, str],
        environ: Mapping[str, str],
        notes: Iterable[str] = (),
    ) -> None:
        quiet_terminal = values["quiet"] or values["no_progress"]
        vars(self).update(
            values,
            limits=Limits(**{name: values[name] for name in limits.READERS}),
            notes=tuple(notes),
            color=not environ.get("NO_COLOR") and environ.get("TERM") != "dumb",
            progress=not quiet_terminal,
            live=not quiet_terminal and environ.get("CI", "").lower() in ("", "0", "false"),
            _origins=dict(origins),
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"settings can not be changed: {name}")

    def origin(self, name: str) -> str:
        """Who gave the setting *name*; ``KeyError`` for a name that is none."""
        origin: str = vars(self)["_origins"][name]
        return origin

    def fault_plan(self, seed: int) -> FaultPlan:
        """The faults that these settings ask for, drawn from *seed*."""
        return FaultPlan(self.failure_rate, self.fault, seed)

    def describe(self) -> list[Row]:
        """Every setting with its value, origin and explanation, in the order of the table."""
        rows = []
        for setting in SETTINGS:
            text = text_of(getattr(self, setting.name)) or setting.default_text
            rows.append(Row(setting.name, text, self.origin(setting.name), setting.help))
        return rows


def load(
    job_directory: Path,
    *,
    arguments: Mapping[str, object] | None = None,
    argv: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """The settings of a master in *job_directory*.

    *argv* is what follows the program's name on its command line; flags that are not
    PyBOINC's are left to the program.  *environ* is ``os.environ`` if not given.
    ``ConfigurationError`` for a value that can not be, naming the place it came from,
    and for an unknown name in *arguments* or in the file.
    """
    environ = os.environ if environ is None else environ
    flags, rest = split_argv([*flags_of_run, *argv])
    sources = (
        _from_arguments(arguments or {}),
        _from_flags(flags),
        _from_environment(environ),
        _from_file(Path(job_directory) / FILE_NAME),
    )
    values, origins = {}, {}
    for setting in SETTINGS:
        found = [
            _read(setting, source[setting.name]) for source in sources if setting.name in source
        ]
        default = (setting.value_if_not_given(), "default")
        values[setting.name], origins[setting.name] = found[0] if found else default
    _choose_backend(values, origins)
    check_probabilities(values["fault"], values["failure_rate"])
    return Settings(values, origins, environ, _notes(rest))


def _read(setting: Setting, given: Given) -> tuple[Any, str]:
    try:
        return setting.read(given.value), given.origin
    except ValueError as error:
        raise ConfigurationError(f"{given.place}: {given.value!r} {error}") from None


def _choose_backend(values: dict[str, Any], origins: dict[str, str]) -> None:
    """The default backend is boinc if a project was named, by a name that is PyBOINC's own.

    BOINC_PROJECT_DIR is in the environment of many an administrator; alone it must not
    send a trial run to a real project.
    """
    if values["backend"] is None:
        named = origins["project_dir"] not in ("default", "BOINC_PROJECT_DIR")
        values["backend"] = "boinc" if named else "local"
        if named:
            origins["backend"] = f"default, as {origins['project_dir']} names a project"


# ---------------------------------------------------------------- the four places


def _from_arguments(arguments: Mapping[str, object]) -> dict[str, Given]:
    for name in arguments:
        if name not in BY_NAME:
            raise ConfigurationError(f"there is no setting {name!r}; {advice(name, BY_NAME)}")
    return {
        name: Given(value, "argument", f"argument {name}")
        for name, value in arguments.items()
        if value is not None
    }


def split_argv(argv: Sequence[str]) -> tuple[list[tuple[Setting, str]], list[str]]:
    """PyBOINC's own flags in *argv* with their values, and everything else in its order.

    Both ``--flag=value`` and ``--flag value``; flags are never abbreviated, and nothing
    is read after ``--``.  ``ConfigurationError`` if the value of a flag is missing.
    """
    ours: list[tuple[Setting, str]] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        setting = BY_FLAG.get(name)
        if word == "--":
            rest += [word, *words]
        elif setting is None:
            rest.append(word)
        elif equals:
            ours.append((setting, value))
        elif setting.is_flag:
            ours.append((setting, "true"))
        else:
            ours.append((setting, _value_after(setting, next(words, None))))
    return ours, rest


def _value_after(setting: Setting, word: str | None) -> str:
    if word is None or word.startswith("--"):
        raise ConfigurationError(
            f"{setting.flag} needs a value; write {setting.flag} {setting.metavar} ({setting.help})"
        )
    return word


def as_argv(values: Mapping[str, object]) -> list[str]:
    """The command line that gives these settings again: the reverse of :func:`split_argv`.

    For a command that has read the flags itself and starts a master.  None, False and an
    empty sequence count as not given; a sequence is given one by one.
    """
    words = []
    for name, value in values.items():
        setting = BY_NAME[name]
        if setting.is_flag:
            words += [setting.flag] if value else []
        elif isinstance(value, list | tuple):
            words += [f"{setting.flag}={text_of(one)}" for one in value]
        elif value is not None:
            words.append(f"{setting.flag}={text_of(value)}")
    return words


def _from_flags(flags: Iterable[tuple[Setting, str]]) -> dict[str, Given]:
    texts: dict[str, str] = {}
    for setting, text in flags:
        if setting.multiple and setting.name in texts:
            text = f"{texts[setting.name]},{text}"
        texts[setting.name] = text  # of one that is not multiple, the last counts
    return {
        name: Given(text, BY_NAME[name].flag, BY_NAME[name].flag) for name, text in texts.items()
    }


def _from_environment(environ: Mapping[str, str]) -> dict[str, Given]:
    for variable in environ:
        if variable.startswith("PYBOINC_") and variable not in BY_VARIABLE:
            near = nearest(variable, BY_VARIABLE, cutoff=0.9)
            if near:
                raise ConfigurationError(
                    f"the environment variable {variable} means nothing; did you mean {near}?"
                )
    given: dict[str, Given] = {}
    for variable, setting in BY_VARIABLE.items():
        text = environ.get(variable)
        if text and setting.name not in given:
            given[setting.name] = Given(text, variable, variable)
    return given


def _from_file(path: Path) -> dict[str, Given]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(
            f"{path} can not be read: {error.strerror}; mend that, and run the same command"
        ) from None
    given: dict[str, Given] = {}
    for key, value in _parse_toml(path, data).items():
        if key == "limits":
            pairs = _table(path, key, value, limits.READERS)
        elif key == "faults":
            pairs = {"fault": _table(path, key, value, Kind)}
        else:
            pairs = {key: value}
        for name, one in pairs.items():
            where = f"[{key}] in {path}" if key == "faults" else f"{name} in {path}"
            _check_name(name, where, given)
            given[name] = Given(_from_where(path, name, one), FILE_NAME, where)
    return given


def _parse_toml(path: Path, data: bytes) -> dict[str, Any]:
    import tomllib  # slow to import, and most job directories have no such file

    try:
        return tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from None


def _table(path: Path, key: str, value: object, names: Iterable[str]) -> dict[str, object]:
    """The table [*key*] of the file, which holds nothing but *names*."""
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{key} in {path} is not a table; write [{key}], then name = value"
        )
    for name in value:
        if name not in list(names):
            raise ConfigurationError(f"[{key}] in {path} has no {name!r}; {advice(name, names)}")
    return value


def _check_name(name: str, where: str, given: Mapping[str, Given]) -> None:
    possible = [setting.name for setting in SETTINGS if setting.in_file]
    if name in BY_NAME and name not in possible:
        flag = BY_NAME[name].flag
        raise ConfigurationError(f"{where}: this is for one run only; give {flag} to that run")
    if name not in possible:
        raise ConfigurationError(
            f"{where}: there is no such setting; {advice(name, [*possible, 'faults', 'limits'])}"
        )
    if name in given:
        raise ConfigurationError(f"{where} is given twice, also as {given[name].place}")


_PATHS = ("project_dir", "signing_key")


def _from_where(path: Path, name: str, value: object) -> object:
    """A path of a project or a key in the file is meant from where the file is."""
    if name in _PATHS and isinstance(value, str):
        return path.parent / Path(value).expanduser()
    return value


def _notes(rest: Sequence[str]) -> list[str]:
    """A line for each flag left to the program that is one letter away from one of ours."""
    notes = []
    for word in rest:
        name = word.partition("=")[0]
        near = nearest(name, BY_FLAG, cutoff=0.9) if name.startswith("--") else None
        if near:
            notes.append(
                f"{name} is not a flag of PyBOINC and was left to the program (not {near}?)"
            )
    return notes
