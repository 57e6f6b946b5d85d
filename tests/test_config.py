"""Settings: five places in a fixed order, each value with its origin, each mistake by name."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc import config
from pyboinc.config import Settings, as_argv, load, settings, split_argv
from pyboinc.config.limits import READERS, Limits
from pyboinc.config.settings import BY_NAME, SETTINGS, Setting
from pyboinc.config.values import text_of
from pyboinc.errors import ConfigurationError
from pyboinc.faults import Kind
from pyboinc.faults.latency import Latency

NOWHERE = Path("/nowhere")

#: A value of each setting, as it is after reading, and never the default.
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "backend": st.sampled_from(["local", "boinc", "slurm"]),
    "project_dir": st.sampled_from([Path("/srv/project"), Path("here")]),
    "app": st.sampled_from(["other_app", "stars"]),
    "batch_user": st.sampled_from(["7", "ada@example.org"]),
    "signing_key": st.sampled_from([Path("/media/stick/key.pem"), Path("key.pem")]),
    "seed": st.integers(0, 2**63 - 1),
    "failure_rate": st.floats(0.01, 0.4),
    "fault": st.dictionaries(st.sampled_from(list(Kind)), st.floats(0.01, 0.06), min_size=1),
    "latency": st.builds(lambda s: Latency("exponential", (s,)), st.floats(0, 100)),
    "workers": st.integers(1, 1000),
    "hosts": st.integers(1, 10**6),
    "boinc_clients": st.integers(1, 64),
    "serve": st.sampled_from(["127.0.0.1:0", "0.0.0.0:8080", "[::1]:80"]),
    "isolation": st.sampled_from(["fork", "spawn"]),
    "quorum": st.integers(2, 1000),
    "max_errors": st.integers(1, 10**6),
    "delay_bound": st.floats(1, 1e8),
    "priority": st.integers(-(2**31), 2**31 - 1),
    "memory": st.floats(1, 1e15),
    "disk": st.floats(1, 1e15),
    "fpops": st.floats(1, 1e24),
    "max_output": st.integers(1, 2**40),
    "include": st.lists(st.sampled_from(["a.csv", "data/**/*.txt"]), min_size=1).map(tuple),
    "fresh": st.booleans(),
    "accept_changes": st.booleans(),
    "accept_copy": st.booleans(),
    "quiet": st.booleans(),
    "no_progress": st.booleans(),
}


def load_with(
    argv: tuple[str, ...] = (), environ: Mapping[str, str] | None = None, **arguments: object
) -> Settings:
    return load(NOWHERE, arguments=arguments, argv=argv, environ=environ or {})


def write(directory: Path, text: str) -> Path:
    (directory / config.FILE_NAME).write_text(text, encoding="utf-8")
    return directory


# ---------------------------------------------------------------- the table


def test_every_setting_is_an_attribute_of_its_type() -> None:
    """A setting of the table is an attribute of Settings, and the type checker knows it."""
    extra = {"limits", "notes", "color", "progress", "live"}

    assert list(VALUES) == [setting.name for setting in SETTINGS]
    assert set(typing.get_type_hints(Settings)) == set(BY_NAME) | extra


def test_defaults() -> None:
    """Nothing given: the local emulator without faults, and every origin says so."""
    found = load_with()

    assert (found.backend, found.project_dir, found.seed) == ("local", None, None)
    assert (found.failure_rate, found.fault, found.latency) == (0.0, {}, Latency())
    assert found.workers == settings.cores() >= 1
    assert (found.hosts, found.isolation, found.max_output) == (20, "auto", 64_000_000)
    assert found.limits == Limits()
    assert {found.origin(name) for name in BY_NAME} == {"default"}
    assert found.notes == ()


def test_cores_are_counted_where_affinity_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS, which has no sched_getaffinity, all cores of the machine count."""
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert settings.cores() == 1


def test_cores_are_counted_where_affinity_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox that refuses sched_getaffinity costs nothing but the answer's precision."""

    def refuse(process: int) -> set[int]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "sched_getaffinity", refuse, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert settings.cores() == 3


@given(st.data())
def test_the_first_place_that_gives_a_setting_counts(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Argument, then flag, then environment, then pyboinc.toml, then default; and the origin."""
    setting = data.draw(st.sampled_from(SETTINGS))
    value = VALUES[setting.name]
    places = ["argument", setting.flag, setting.variables[0]]
    if setting.in_file:
        places.append(config.FILE_NAME)
    chosen = data.draw(st.lists(st.sampled_from(places), unique=True))
    values = {place: data.draw(value) for place in chosen}

    directory = tmp_path_factory.mktemp("job")
    texts = {place: text_of(one) for place, one in values.items()}
    if config.FILE_NAME in values:
        write(directory, f"{setting.name} = {json.dumps(texts[config.FILE_NAME])}\n")
    found = load(
        directory,
        arguments={setting.name: values.get("argument")},
        argv=[f"{setting.flag}={texts[setting.flag]}"] if setting.flag in texts else [],
        environ={v: texts[v] for v in setting.variables if v in texts},
    )

    winner = next((place for place in places if place in values), "default")
    assert found.origin(setting.name) == winner
    if values:
        expected = values[winner]
        if setting.name in ("project_dir", "signing_key") and winner == config.FILE_NAME:
            expected = directory / expected
        assert getattr(found, setting.name) == expected
    if setting.name in READERS:
        assert getattr(found.limits, setting.name) == getattr(found, setting.name)


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_settings_survive_the_way_through_a_command_line(values: dict[str, Any]) -> None:
    """`pyboinc run` can hand on what it read: as_argv is the reverse of reading flags."""
    found = load(NOWHERE, argv=as_argv(values), environ={})

    assert {name: getattr(found, name) for name in values} == values


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_the_table_tells_all_that_a_help_text_needs(setting: Setting) -> None:
    """Each setting has a flag, a variable and one sentence of help, in one style."""
    assert setting.flag.startswith("--")
    assert "_" not in setting.flag
    assert all(name.isupper() for name in setting.variables)
    assert setting.help
    assert not setting.help.endswith(".")
    assert setting.is_flag == (setting.default is False)


# ---------------------------------------------------------------- flags


def test_flags_are_read_and_the_rest_is_left_to_the_program() -> None:
    """`python app_master.py --seed 7 --mine x data.csv` reads --seed and leaves the rest."""
    argv = ["--mine", "x", "--seed", "7", "data.csv", "-n", "3", "--fresh", "--latency=uniform:0,1"]

    ours, rest = split_argv(argv)

    assert [(setting.name, text) for setting, text in ours] == [
        ("seed", "7"),
        ("fresh", "true"),
        ("latency", "uniform:0,1"),
    ]
    assert rest == ["--mine", "x", "data.csv", "-n", "3"]


def test_nothing_is_read_after_two_dashes() -> None:
    """A program that has a --seed of its own gets it after --."""
    ours, rest = split_argv(["--seed=1", "--", "--seed", "many"])

    assert len(ours) == 1
    assert rest == ["--", "--seed", "many"]


def test_a_repeated_flag_adds_or_replaces() -> None:
    """--fault and --include add up; of any other flag the last counts."""
    adding = ("--fault", "crash=0.1", "--fault=late=0.2,hang=0.1", "--include", "a", "--include=b")
    replacing = ("--seed=1", "--seed=2", "--quiet", "--quiet=no", "--priority", "-5")

    found = load_with(adding + replacing)

    assert found.fault == {Kind.CRASH: 0.1, Kind.LATE: 0.2, Kind.HANG: 0.1}
    assert found.include == ("a", "b")
    assert (found.seed, found.quiet, found.priority) == (2, False, -5)


@pytest.mark.parametrize("argv", [["--seed"], ["--seed", "--fresh"]])
def test_a_flag_without_its_value_is_refused(argv: list[str]) -> None:
    """A forgotten value does not swallow the next flag."""
    with pytest.raises(ConfigurationError, match="--seed needs a value; write --seed N"):
        split_argv(argv)


def test_a_flag_that_is_nearly_ours_is_noted() -> None:
    """--failure-rat may be the program's own, but the user should know that we left it."""
    found = load_with(("--failure-rat=0.2", "--mine", "-q"))

    assert found.failure_rate == 0
    assert found.notes == (
        "--failure-rat is not a flag of PyBOINC and was left to the program (not --failure-rate?)",
    )


def test_as_argv_leaves_out_what_was_not_given() -> None:
    """What click reports as None, False or () appears on no command line."""
    values = {"seed": None, "fresh": False, "quiet": True, "fault": (), "include": ["a", "b"]}

    assert as_argv(values) == ["--quiet", "--include=a", "--include=b"]


# ---------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("text", "value"),
    [(word, True) for word in ("1", "true", "YES", " on ")]
    + [(word, False) for word in ("0", "False", "no", "off", "")],
)
def test_switches_in_the_environment(text: str, value: bool) -> None:
    """1/0, true/false, yes/no, on/off; an empty variable counts as not given."""
    assert load_with(environ={"PYBOINC_QUIET": text}).quiet is value


def test_an_empty_variable_is_not_given() -> None:
    """PYBOINC_BACKEND= in a script leaves the default."""
    found = load_with(environ={"PYBOINC_BACKEND": "", "PYBOINC_DIR": "", "PYBOINC_SEED": ""})

    assert (found.backend, found.origin("backend")) == ("local", "default")


def test_a_project_makes_boinc_the_default_backend() -> None:
    """PYBOINC_DIR alone sends the jobs to that project, and the origin says why."""
    found = load_with(environ={"PYBOINC_DIR": "/srv/p", "BOINC_PROJECT_DIR": "/srv/q"})

    assert (found.backend, found.project_dir) == ("boinc", Path("/srv/p"))
    assert found.origin("backend") == "default, as PYBOINC_DIR names a project"
    assert load_with(environ={"PYBOINC_DIR": "/p", "PYBOINC_BACKEND": "local"}).backend == "local"


def test_an_administrators_variable_alone_sends_nothing_anywhere() -> None:
    """BOINC_PROJECT_DIR says where the project is, not that a trial run should go there."""
    found = load_with(environ={"BOINC_PROJECT_DIR": "/srv/q"})

    assert (found.backend, found.project_dir) == ("local", Path("/srv/q"))
    assert found.origin("project_dir") == "BOINC_PROJECT_DIR"


def test_both_names_of_the_faults_are_heard() -> None:
    """PYBOINC_FAULT, as the flag, or PYBOINC_FAULTS."""
    found = load_with(environ={"PYBOINC_FAULTS": "late=0.5"})

    assert found.fault == {Kind.LATE: 0.5}
    assert found.origin("fault") == "PYBOINC_FAULTS"


def test_a_misspelt_variable_is_refused_and_foreign_ones_are_not() -> None:
    """PYBOINC_FAILURE_RATES=0.2 must not silently do nothing; other names are not ours."""
    with pytest.raises(ConfigurationError, match="PYBOINC_FAILURE_RATES means nothing; did you"):
        load_with(environ={"PYBOINC_FAILURE_RATES": "0.2"})
    assert load_with(environ={"PYBOINC_TEST_SEED": "1", "SEED": "2"}).seed is None


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """A master need not pass os.environ."""
    monkeypatch.setenv("PYBOINC_SEED", "42")

    assert load(NOWHERE).seed == 42


@pytest.mark.parametrize(
    ("environ", "argv", "color", "progress", "live"),
    [
        ({}, (), True, True, True),
        ({"NO_COLOR": "1"}, (), False, True, True),
        ({"NO_COLOR": ""}, (), True, True, True),
        ({"TERM": "dumb"}, (), False, True, True),
        ({"CI": "true"}, (), True, True, False),
        ({"CI": "false"}, (), True, True, True),
        ({}, ("--quiet",), True, False, False),
        ({}, ("--no-progress",), True, False, False),
    ],
)
def test_customs_of_terminals_are_honoured(
    environ: dict[str, str], argv: tuple[str, ...], color: bool, progress: bool, live: bool
) -> None:
    """NO_COLOR, CI, a dumb terminal, --quiet and --no-progress do what users expect."""
    found = load_with(argv, environ)

    assert (found.color, found.progress, found.live) == (color, progress, live)


# ---------------------------------------------------------------- pyboinc.toml


def test_a_file_gives_every_kind_of_value(tmp_path: Path) -> None:
    """pyboinc.toml takes TOML's own numbers, switches and lists, and two tables."""
    write(
        tmp_path,
        """
        seed = 7
        quiet = true
        latency = 0.5
        include = ["a.csv", "data/*"]
        project_dir = "../project"
        quorum = 2

        [faults]
        crash = 0.1
        lost_upload = 0.05

        [limits]
        delay_bound = 3600
        memory = 1e9
        """,
    )

    found = load(tmp_path, environ={})

    assert (found.seed, found.quiet, found.latency) == (7, True, Latency("constant", (0.5,)))
    assert found.include == ("a.csv", "data/*")
    assert found.project_dir == tmp_path / "../project"
    assert found.fault == {Kind.CRASH: 0.1, Kind.LOST_UPLOAD: 0.05}
    assert found.limits == Limits(quorum=2, delay_bound=3600.0, memory=1e9)
    assert found.origin("delay_bound") == found.origin("fault") == "pyboinc.toml"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sed = 1", "sed in .*pyboinc.toml: there is no such setting; did you mean seed"),
        ("[fault_rates]", "fault_rates in .*did you mean faults"),
        ("zzz = 1", "possible are backend, project_dir, .*faults, limits"),
        ("[faults]\ncrsh = 1", r"\[faults\] in .*pyboinc.toml has no 'crsh'; did you mean crash"),
        ("[faults]\ncrash = 2", r"\[faults\] in .*fault crash: 2 is not a probability"),
        ("[limits]\nseed = 1", r"\[limits\] in .*has no 'seed'; possible are delay_bound"),
        ("limits = 3", r"limits in .*is not a table; write \[limits\]"),
        ("quorum = 1\n[limits]\nquorum = 2", "quorum in .* is given twice"),
        ("fault = 'crash=1'\n[faults]\nlate = 1", r"\[faults\] in .* is given twice, also as"),
        ("fresh = true", "fresh in .*for one run only; give --fresh to that run"),
        ("seed = true", "seed in .*pyboinc.toml: True is not a whole number"),
        ("include = 3", "include in .*: 3 is not a list of file names"),
        ("project_dir = 3", "project_dir in .*: 3 is not a path"),
        ("seed = x\n", r"pyboinc\.toml is not TOML: .*line 1"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    """One message with the file, the key, the value and what is allowed."""
    with pytest.raises(ConfigurationError, match=says):
        load(write(tmp_path, text), environ={})


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    """Bytes that are no UTF-8, or a directory of that name, are one clear message."""
    (tmp_path / config.FILE_NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match=r"pyboinc\.toml is not TOML"):
        load(tmp_path, environ={})

    (tmp_path / config.FILE_NAME).unlink()
    (tmp_path / config.FILE_NAME).mkdir()
    with pytest.raises(ConfigurationError, match=r"pyboinc\.toml can not be read: Is a directory"):
        load(tmp_path, environ={})


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"sed": 1}, "there is no setting 'sed'; did you mean seed"),
        ({"seed": -1}, "argument seed: -1 is out of range; give a whole number from 0 to"),
        ({"seed": 1.5}, r"argument seed: 1\.5 is not a whole number"),
        ({"failure_rate": 1.5}, r"argument failure_rate: 1\.5 is not a probability; give a number"),
        ({"failure_rate": True}, "argument failure_rate: True is not a probability"),
        ({"failure_rate": float("nan")}, "nan is not a probability"),
        ({"failure_rate": None, "fault": 3}, "argument fault: 3 is not a set of faults"),
        ({"fault": {"crsh": 0.1}}, "argument fault: .*no fault 'crsh'; did you mean crash"),
        ({"fault": {"crash": "x"}}, "fault crash: 'x' is not a probability"),
        ({"failure_rate": 0.9, "fault": {"wrong": 0.2}}, "failure_rate, wrong sum to 1.1"),
        ({"latency": "soon"}, "argument latency: 'soon' is not possible: latency 'soon' can not"),
        ({"latency": [1]}, r"argument latency: \[1\] is not a latency"),
        ({"latency": -1}, "argument latency: -1 is not possible: .*seconds can not be -1"),
        ({"isolation": "thread"}, "'thread' is not possible; give one of auto, fork, spawn"),
        ({"isolation": 1}, "argument isolation: 1 is not possible"),
        ({"backend": "my backend"}, "'my backend' is not a name; give one word"),
        ({"backend": 1}, "1 is not a name"),
        ({"quiet": [1]}, r"quiet: \[1\] is neither true nor false; give 1/0, true/false"),
        ({"include": ["a", 1]}, "is not a list of file names"),
        ({"project_dir": "a\0b"}, "is not a path"),
        ({"workers": 0}, "workers: 0 is out of range; give a whole number from 1 to 1000"),
        ({"max_output": "64 MB"}, "max_output: '64 MB' is not a whole number"),
    ],
)
def test_a_value_that_can_not_be_is_refused(arguments: dict[str, Any], says: str) -> None:
    """A wrong value is one clear message: where it came from, what it is, what is allowed."""
    with pytest.raises(ConfigurationError, match=says):
        load_with(**arguments)


def test_a_mistake_counts_also_where_another_place_wins() -> None:
    """A wrong variable is found on the day it is set, whatever the flags of that day."""
    with pytest.raises(ConfigurationError, match="PYBOINC_SEED: 'x' is not a whole number"):
        load_with(("--seed=1",), {"PYBOINC_SEED": "x"})


def test_values_may_come_from_numpy_or_as_text() -> None:
    """What a scientist has at hand is taken: numpy's numbers, paths, lists, 64e6."""
    found = load_with(
        seed=np.uint32(7),
        failure_rate=np.float64(0.25),
        quiet=np.bool_(True),
        max_output="64e6",
        project_dir="~/p",
        include="a.csv, b.csv",
        fault={Kind.LATE: np.float32(0.5), "lost-upload": 0},
        latency=Latency("constant", (1.0,)),
        isolation=" Fork ",
    )

    assert (found.seed, found.failure_rate, found.quiet) == (7, 0.25, True)
    assert (type(found.seed), found.max_output) == (int, 64_000_000)
    assert found.project_dir == Path.home() / "p"
    assert found.include == ("a.csv", "b.csv")
    assert found.fault == {Kind.LATE: 0.5, Kind.LOST_UPLOAD: 0.0}
    assert (found.latency.sample(0), found.isolation) == (1.0, "fork")


# ---------------------------------------------------------------- what a master does with them


def test_settings_describe_themselves() -> None:
    """`pyboinc config` shows every setting with its value and origin."""
    rows = {row.name: row for row in load_with(("--fault=late=0.5", "--fresh")).describe()}

    assert list(rows) == [setting.name for setting in SETTINGS]
    assert rows["fault"][1:3] == ("late=0.5", "--fault")
    assert rows["fresh"][1:3] == ("true", "--fresh")
    assert rows["seed"][1:3] == ("drawn once for a job directory", "default")
    assert rows["memory"].value == "500000000"
    assert rows["include"].value == "none"


def test_settings_can_not_be_changed() -> None:
    """What was read stays as it was; an unknown name is an AttributeError or a KeyError."""
    found = load_with()

    with pytest.raises(AttributeError, match="seed"):
        found.seed = 1
    with pytest.raises(AttributeError):
        found.sede  # type: ignore[attr-defined]  # noqa: B018  # the point of the test
    with pytest.raises(KeyError):
        found.origin("sede")
    assert isinstance(load_with().fault, MappingProxyType)


def test_settings_make_the_plan_of_faults() -> None:
    """The failure rate and the faults reach the emulator as one plan with the run's seed."""
    plan = load_with(failure_rate=0.5, fault="late=0.25").fault_plan(seed=3)

    assert (plan.failure_rate, plan.probabilities, plan.seed) == (0.5, {Kind.LATE: 0.25}, 3)


def test_reading_settings_loads_nothing_slow(tmp_path: Path) -> None:
    """Every master reads settings at its start: no argparse, tomllib, difflib or statistics."""
    program = (
        "import sys; before = set(sys.modules)  # of coverage, if it measures this\n"
        "from pathlib import Path; from pyboinc.config import load\n"
        "load(Path('.'), argv=['--seed', '7', 'mine'], environ={'PYBOINC_QUIET': '1'})\n"
        "print(*set(sys.modules) - before)"
    )
    command = [sys.executable, "-c", program]

    done = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)

    slow = {"argparse", "tomllib", "difflib", "statistics", "hashlib", "random", "numpy", "json"}
    assert slow.isdisjoint(done.stdout.split())
