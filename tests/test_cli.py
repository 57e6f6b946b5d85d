"""The command line as a whole: verbs, help, mistakes in typing, and what every error becomes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_apps import python, typed, verb

import pyboinc
from pyboinc import cli, config
from pyboinc.config.settings import SETTINGS
from pyboinc.errors import ConfigurationError, DirectoryBusy, Interrupted, PyboincError


def test_version() -> None:
    """--version names the program and its version."""
    result = verb("--version")
    assert (result.exit_code, result.stdout) == (0, f"pyboinc {pyboinc.__version__}\n")


def test_the_module_is_the_command(tmp_path: Path) -> None:
    """``python -m pyboinc`` is ``pyboinc``, also in what it says of itself."""
    run = typed("--help", cwd=tmp_path)
    assert run.returncode == 0
    assert run.stdout.startswith("Usage: pyboinc [OPTIONS] VERB")


def test_help_names_every_verb_and_exit_code() -> None:
    """Help: all verbs in the order of use, each explained, and what the exit codes mean."""
    text = verb("--help").stdout
    places = [text.index(f"\n  {name} ") for name in cli.VERBS]
    assert places == sorted(places)
    assert "..." not in text.partition("Commands:")[2], "a short help does not fit"
    for code in ("0 ", "1 ", "2 ", "3 ", "4 ", "130 "):
        assert f"\n    {code}" in text


@pytest.mark.parametrize("name", cli.VERBS)
def test_each_verb_explains_itself(name: str) -> None:
    """Help: ``pyboinc VERB --help`` works for each, and each flag is explained."""
    result = verb(name, "--help")
    assert result.exit_code == 0
    command = cli.main.get_command(click.Context(cli.main), name)
    assert command is not None
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]}"


def test_a_verb_loads_its_own_module_only() -> None:
    """Quick start: the verbs that are not used are not imported, nor is rich."""
    program = (
        "import sys; from pyboinc.cli import main; main(['config'], standalone_mode=False);"
        "print(*sorted(name for name in sys.modules if name.startswith(('pyboinc.cli.', 'rich'))),"
        " file=sys.stderr)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stderr.split() == ["pyboinc.cli.config", "pyboinc.cli.options"]


def test_what_is_no_verb_is_none() -> None:
    """Verbs: asked by name (as shell completion does), an unknown one is None and no error."""
    assert cli.main.get_command(click.Context(cli.main), "stauts") is None


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["stauts"], "did you mean status?"),
        (["qqq"], "there is init, run, serve, simulate"),
        (["app_master.py"], "to run a program: pyboinc run app_master.py"),
        (["--nonsense"], "--nonsense"),
        (["status", "--jsn"], "--json"),
        (["run", "--failure-rat", "0.1", "x.py"], "--failure-rate"),
        (["replay"], "JOB"),
        (["status", "no/such/directory"], "no/such/directory"),
        (["rerun"], "--failed, or --job JOB"),
    ],
)
def test_a_mistake_in_typing_is_explained(words: list[str], hint: str) -> None:
    """Usage: exit code 2, what is wrong, and what is near; no traceback."""
    result = verb(*words)
    assert result.exit_code == 2
    assert hint in result.stderr
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (ConfigurationError("seed is wrong"), 2, "pyboinc: seed is wrong\n"),
        (DirectoryBusy("somebody is there"), 3, "pyboinc: somebody is there\n"),
        (PyboincError("it failed"), 1, "pyboinc: it failed\n"),
        (KeyboardInterrupt(), 130, ""),
        (Interrupted("stopped"), 130, ""),
        (PermissionError(13, "no", "/some/file"), 2, "pyboinc: cannot use /some/file: Permission"),
        (OSError("strange"), 2, "pyboinc: cannot use a file: strange"),
    ],
)
def test_every_error_becomes_its_message_and_exit_code(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors: nobody sees a traceback for what can be said in a sentence."""

    def fail(*_: object, **__: object) -> config.Settings:
        raise error

    monkeypatch.setattr(config, "load", fail)
    result = verb("config")
    assert result.exit_code == code
    assert result.stderr.startswith(message)
    assert (not message) == (not result.stderr)
    assert "Traceback" not in result.output


def test_output_that_nobody_reads_on_is_no_error(tmp_path: Path) -> None:
    """Pipes: ``pyboinc config | head -1`` ends without a word on stderr."""
    command = f"{sys.executable} -m pyboinc config --json | true"
    run = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert run.stderr == ""


# pyboinc config


def test_config_shows_every_setting_with_its_origin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """config: name, value and who said so, for every setting of the table."""
    (tmp_path / "pyboinc.toml").write_text("quorum = 3\nseed = 5\n")
    monkeypatch.setenv("PYBOINC_SEED", "9")
    result = verb("config", tmp_path)
    assert result.exit_code == 0
    rows = {line.split()[0]: line.split() for line in result.stdout.splitlines()}
    assert list(rows) == [setting.name for setting in SETTINGS]
    assert rows["quorum"] == ["quorum", "3", "pyboinc.toml"]
    assert rows["seed"] == ["seed", "9", "PYBOINC_SEED"]
    assert rows["hosts"][-1] == "default"


def test_config_as_json(tmp_path: Path) -> None:
    """config --json: the same rows, with their explanations."""
    rows = json.loads(verb("config", tmp_path, "--json").stdout)
    assert [row["name"] for row in rows] == [setting.name for setting in SETTINGS]
    assert set(rows[0]) == {"name", "value", "origin", "help"}


def test_a_mistake_in_the_file_of_settings_is_named(tmp_path: Path) -> None:
    """config: the file, the key and what is near, with exit code 2."""
    (tmp_path / "pyboinc.toml").write_text("quorm = 3\n")
    result = verb("config", tmp_path)
    assert result.exit_code == 2
    assert "pyboinc.toml" in result.stderr
    assert "quorum" in result.stderr


# A directory without a batch


@pytest.mark.parametrize("name", ["status", "errors", "cancel", "clean"])
def test_without_a_batch_a_verb_says_so(name: str, tmp_path: Path) -> None:
    """No batch: exit code 2, and what to do; nothing is made there."""
    result = verb(name, tmp_path)
    assert result.exit_code == 2
    assert f"there is no batch in {tmp_path}" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [("replay", "1"), ("rerun", "--failed")])
def test_without_a_batch_there_is_nothing_to_do_again(
    words: tuple[str, ...], tmp_path: Path
) -> None:
    """No batch: the same for verbs with more arguments."""
    result = verb(*words, tmp_path)
    assert result.exit_code == 2
    assert "there is no batch" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_batch_of_another_world_is_refused(tmp_path: Path) -> None:
    """Damage: a run.json that is none, or of a newer PyBOINC, is named, never guessed at."""
    state = tmp_path / ".pyboinc"
    state.mkdir()
    (state / "run.json").write_text("nonsense")
    result = verb("status", tmp_path)
    assert result.exit_code == 2
    assert "run.json" in result.stderr
    (state / "run.json").write_text('{"format": 99}')
    result = verb("status", tmp_path)
    assert result.exit_code == 4
    assert "newer PyBOINC" in result.stderr
    (state / "run.json").unlink()
    assert verb("status", tmp_path).exit_code == 2


def test_the_library_is_not_slower_for_the_command(tmp_path: Path) -> None:
    """Quick start: ``import pyboinc`` alone loads nothing of the command line."""
    run = python("-c", "import pyboinc, sys; print('click' in sys.modules)", cwd=tmp_path)
    assert run.stdout == "False\n"


# The document


@pytest.mark.parametrize("name", cli.VERBS)
def test_the_document_describes_every_verb_and_flag(name: str) -> None:
    """docs/command_line.md: a section for each verb, in which each of its own flags stands."""
    text = (Path(__file__).parent.parent / "docs" / "command_line.md").read_text("utf-8")
    section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert f"\n    pyboinc {name}" in section
    command = cli.main.get_command(click.Context(cli.main), name)
    assert command is not None
    settings = {setting.flag for setting in SETTINGS} if name in ("run", "serve") else set()
    for parameter in command.params:
        for flag in set(parameter.opts) - settings:
            if flag.startswith("--"):
                assert flag in section


def test_the_document_has_every_exit_code() -> None:
    """docs/command_line.md: the exit codes are those of the help."""
    text = (Path(__file__).parent.parent / "docs" / "command_line.md").read_text("utf-8")
    for line in cli.EXIT_CODES.splitlines()[2:]:
        code, meaning = line.split(maxsplit=1)
        assert f"| {code} | {meaning} |" in text
