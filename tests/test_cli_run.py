"""``pyboinc init`` and ``pyboinc run``: the first five minutes, and programs run as python does."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cli_apps import make_app, master_at_work, python, typed, verb

from pyboinc import config
from pyboinc.cli import init
from pyboinc.config.settings import SETTINGS

# init


def test_init_makes_an_app_that_works(tmp_path: Path) -> None:
    """init: what it tells to type next gives the right answer, at once and on bad computers."""
    result = verb("init", tmp_path / "app")
    assert result.exit_code == 0
    assert f"cd {tmp_path / 'app'}" in result.stdout
    assert "app_master.py" in result.stdout
    run = python("app_master.py", "--failure-rate", "0.2", "--seed", "1", cwd=tmp_path / "app")
    assert (run.returncode, run.stdout) == (0, init.ANSWER + "\n"), run.stderr


def test_init_here_tells_not_to_change_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """init .: an empty directory that is there already is as good as a new one."""
    monkeypatch.chdir(tmp_path)
    result = verb("init", ".")
    assert result.exit_code == 0
    assert "cd " not in result.stdout
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"app_master.py", "app_slave.py", "app_types.py", "pyboinc.toml"}


@pytest.mark.parametrize("name", [*init.PROGRAMS, config.FILE_NAME])
def test_init_writes_nothing_over(name: str, tmp_path: Path) -> None:
    """init: one file of the same name, even a dangling link, and nothing at all is written."""
    (tmp_path / name).symlink_to("nowhere")
    result = verb("init", tmp_path)
    assert result.exit_code == 2
    assert f"{tmp_path / name} is there already" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_init_where_nothing_can_be_made(tmp_path: Path) -> None:
    """init: a file in the place of the directory is explained."""
    (tmp_path / "file").write_text("")
    result = verb("init", tmp_path / "file" / "app")
    assert result.exit_code == 2
    assert "cannot make the directory" in result.stderr


def test_the_file_of_settings_explains_every_setting_and_sets_none(tmp_path: Path) -> None:
    """init: pyboinc.toml is made from the table of settings, and changes nothing as it is."""
    text = init.settings_file()
    (tmp_path / config.FILE_NAME).write_text(text)
    assert {row.origin for row in config.load(tmp_path, environ={}).describe()} == {"default"}
    for setting in SETTINGS:
        assert (f"\n# {setting.name} = " in text) == setting.in_file
    assert max(map(len, text.splitlines())) <= 95


@pytest.mark.parametrize("setting", [one for one in SETTINGS if one.in_file], ids=lambda s: s.name)
def test_each_commented_setting_can_be_switched_on(setting: object, tmp_path: Path) -> None:
    """init: taking away the # gives a file that is accepted."""
    name = getattr(setting, "name", "")
    text = init.settings_file().replace(f"# {name} = ", f"{name} = ")
    (tmp_path / config.FILE_NAME).write_text(text)
    assert config.load(tmp_path, environ={}).origin(name) == config.FILE_NAME


# run

WHOLE = {"PYTHONVERBOSE": ""}
"""With a variable for Python itself the tests start an interpreter, and fork none."""

PROBE = """\
import __main__, sys
print(sys.argv)
print(sys.path[0])
print(__name__, __file__, __main__.__file__, __spec__, sorted(__builtins__.__dict__) == sorted(
    __import__("builtins").__dict__))
print(__main__.__dict__ is globals())
import pyboinc
import app_types
print(app_types.Input.__name__)
"""


@pytest.mark.parametrize("where", [".", "..", "../.."])
def test_a_program_finds_the_world_as_under_python(where: str, tmp_path: Path) -> None:
    """run: sys.argv, sys.path[0], __name__ and __file__ are what python would give it."""
    app = make_app(tmp_path / "app", master=PROBE)
    cwd = (app / where).resolve()
    program = os.path.relpath(app / "app_master.py", cwd)
    words = [program, "--own", "flag", "-x"]
    expected = python(*words, cwd=cwd, **WHOLE)
    found = typed("run", *words, cwd=cwd)
    assert expected.returncode == 0
    assert (found.returncode, found.stdout, found.stderr) == (0, expected.stdout, "")


def test_a_program_by_way_of_a_link_finds_the_files_beside_the_real_one(tmp_path: Path) -> None:
    """run: sys.path[0] is where the link leads to, as under python."""
    make_app(tmp_path / "app", master=PROBE)
    (tmp_path / "link.py").symlink_to("app/app_master.py")
    expected = python("link.py", cwd=tmp_path, **WHOLE)
    found = typed("run", "link.py", cwd=tmp_path)
    assert expected.returncode == 0
    assert found.stdout == expected.stdout


@pytest.mark.parametrize(
    "ending",
    [
        "raise SystemExit(7)",
        "raise SystemExit('a last word')",
        "sys.exit()",
        "raise KeyError('gone')",
        "os.kill(os.getpid(), 9)",
        "def deep():\n    1 / 0\ndeep()",
        "import app_missing",
        "raise KeyboardInterrupt",
    ],
)
def test_a_program_ends_as_under_python(ending: str, tmp_path: Path) -> None:
    """run: exit code, standard output and traceback are python's, with no frame of ours."""
    (tmp_path / "own.py").write_text(f"import os, sys, pyboinc\nprint('began')\n{ending}\n")
    expected = python("own.py", cwd=tmp_path, **WHOLE)
    found = typed("run", "own.py", cwd=tmp_path)
    # A shell shows 130 for a death by SIGINT, which is how python itself ends.
    code = 130 if expected.returncode == -signal.SIGINT else expected.returncode
    text = expected.stderr.replace('"own.py"', f'"{tmp_path / "own.py"}"')
    assert (found.returncode, found.stdout) == (code, expected.stdout)
    assert found.stderr.replace('"own.py"', f'"{tmp_path / "own.py"}"') == text


def test_an_error_in_what_a_program_imports_shows_only_the_users_frames(tmp_path: Path) -> None:
    """run: also where PyBOINC imports app_types for a program that does not import pyboinc."""
    (tmp_path / "app_types.py").write_text("import os\nos.nonsense\n")
    (tmp_path / "own.py").write_text("print('never')\n")
    run = typed("run", "own.py", cwd=tmp_path)
    assert run.returncode == 1
    assert run.stdout == ""
    assert "app_types.py" in run.stderr
    assert "cli" not in run.stderr
    assert "importlib" not in run.stderr


@pytest.mark.parametrize(
    ("program", "hint"),
    [
        ("app_mister.py", "did you mean app_master.py?"),
        ("quite_different", "pyboinc init DIR"),
        ("app", "app/app_master.py"),
        ("empty", "name the program: a file"),
        ("broken.py", "broken.py, line 2: not valid Python"),
    ],
)
def test_what_is_no_program_is_explained(
    program: str, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """run: exit code 2, with what was probably meant."""
    make_app(tmp_path)
    make_app(tmp_path / "app")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.py").write_text("import pyboinc\nprint(\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    result = verb("run", program)
    assert result.exit_code == 2
    assert hint in result.stderr


def test_a_program_that_may_not_be_read_is_explained(tmp_path: Path) -> None:
    """run: whatever the system says about the file is said in a sentence."""
    loop = tmp_path / "loop.py"
    loop.symlink_to("loop.py")
    result = verb("run", loop)
    assert result.exit_code == 2
    assert "loop.py" in result.stderr
    assert "Traceback" not in result.stderr


SHOWS_SETTINGS = """\
import sys
from pathlib import Path
from pyboinc import config
found = config.load(Path("."), argv=sys.argv[1:])
for name in ("seed", "fault", "fresh", "include", "quiet"):
    print(name, getattr(found, name), found.origin(name))
print(sys.argv[1:])
"""


def test_flags_before_the_program_are_settings_and_not_the_programs(tmp_path: Path) -> None:
    """run: one table of settings; a program with strict flags of its own is not disturbed."""
    (tmp_path / "own.py").write_text(SHOWS_SETTINGS)
    flags = ["--seed", "7", "--fault", "crash=0.1", "--fault", "late=0.2", "--fresh"]
    run = typed(
        "run", *flags, "--include", "a.csv", "own.py", "file", cwd=tmp_path, PYBOINC_SEED="5"
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == [
        "seed 7 --seed",
        "fault {<Kind.CRASH: 'crash'>: 0.1, <Kind.LATE: 'late'>: 0.2} --fault",
        "fresh True --fresh",
        "include ('a.csv',) --include",
        "quiet False default",
        "['file']",
    ]


def test_a_flag_after_the_program_wins(tmp_path: Path) -> None:
    """run: ``pyboinc run --seed 7 app.py --seed 8`` means 8, as a later flag does."""
    (tmp_path / "own.py").write_text(SHOWS_SETTINGS)
    run = typed("run", "--seed", "7", "own.py", "--seed", "8", cwd=tmp_path)
    assert run.stdout.splitlines()[0] == "seed 8 --seed"
    assert run.stdout.splitlines()[-1] == "['--seed', '8']"


NAMES = (
    "print(pyboinc_call.__name__, Input.__name__, 'hidden' in globals(), '_private' in globals())"
)


@pytest.mark.parametrize(
    ("exported", "hidden"), [("", True), ("__all__ = ['Input', '_private']\n", False)]
)
def test_a_program_as_the_design_document_prints_it_finds_its_names(
    exported: str, hidden: bool, tmp_path: Path
) -> None:
    """run: the public names of pyboinc and app_types, __all__ respected, for who imports none."""
    types = f"{exported}class Input: pass\nhidden = _private = 1\n"
    (tmp_path / "app_types.py").write_text(types)
    (tmp_path / "own.py").write_text(NAMES)
    run = typed("run", "own.py", cwd=tmp_path)
    assert run.stdout == f"pyboinc_call Input {hidden} {not hidden}\n", run.stderr


def test_a_program_that_imports_pyboinc_gets_nothing_else(tmp_path: Path) -> None:
    """run: an ordinary program's globals are its own."""
    (tmp_path / "own.py").write_text("import os, pyboinc\nprint('pyboinc_call' in globals())\n")
    assert typed("run", "own.py", cwd=tmp_path).stdout == "False\n"
    (tmp_path / "own.py").write_text("print('pyboinc_call' in globals())\n")
    assert typed("run", "own.py", cwd=tmp_path).stdout == "True\n"


def test_in_safe_path_mode_the_programs_directory_is_first(tmp_path: Path) -> None:
    """run: ``python -P`` has no place of its own in sys.path, so none is taken away."""
    make_app(tmp_path, master="import pyboinc, app_types, json\nprint(app_types.Input.__name__)\n")
    run = python("-P", "-m", "pyboinc", "run", "app_master.py", cwd=tmp_path)
    assert (run.returncode, run.stdout) == (0, "Input\n"), run.stderr


def test_one_interrupt_stops_a_master_and_says_how_to_go_on(tmp_path: Path) -> None:
    """run: ^C ends with 130, and the same command then gives the answer of an undisturbed run.

    The results were computed and still on their way when it was stopped: each is computed
    anew in a slot of its own, and not among the files of another.
    """
    verb("init", tmp_path / "app")
    with master_at_work(tmp_path / "app", "--seed", "3") as master:
        master.send_signal(signal.SIGINT)
        assert master.wait(60) == 130
        assert master.stderr is not None
        said = master.stderr.read()
    assert "stopped with 0 of 100 handled; to go on: python app_master.py" in said
    assert "Traceback" not in said
    shown = verb("status", tmp_path / "app")
    assert shown.exit_code == 3
    assert "0 of 100 handled: 0 done, 0 failed, 0 running, 100 queued" in shown.stdout
    run = typed("run", "app_master.py", cwd=tmp_path / "app")
    assert (run.returncode, run.stdout) == (0, init.ANSWER + "\n"), run.stderr


def test_templates_are_not_executable_nor_odd(tmp_path: Path) -> None:
    """init: plain files with ordinary modes, under the user's umask."""
    subprocess.run(
        [sys.executable, "-m", "pyboinc", "init", "app"], cwd=tmp_path, check=True, umask=0o027
    )
    for path in (tmp_path / "app").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


IN_A_TERMINAL = """\
import os, pty, sys
sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))
"""


def test_an_interrupt_on_a_terminal_takes_the_live_display_away(tmp_path: Path) -> None:
    """run: ^C typed at a terminal, as people do; the last line stands below a clean screen."""
    verb("init", tmp_path / "app")
    master = [sys.executable, "-m", "pyboinc", "run", "--latency", "60", "app_master.py"]
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *master],
        cwd=tmp_path / "app",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80", "CI": ""},
        bufsize=0,
    ) as terminal:
        assert terminal.stdin is not None
        assert terminal.stdout is not None
        shown = b""
        while b" left" not in shown:
            data = terminal.stdout.read(65536)
            assert data, shown
            shown += data
        terminal.stdin.write(b"\x03")
        while data := terminal.stdout.read(65536):
            shown += data
        assert terminal.wait(60) == 130
    last = shown.decode().rsplit("\x1b[2K", 1)[1]
    assert last == "pyboinc: stopped with 0 of 100 handled; to go on: python app_master.py\r\n"
