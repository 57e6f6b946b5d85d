"""How a slave's program runs and ends: exit statuses, tracebacks, modules, threads.

Each promise is kept by both ways to isolate, the fork of a warm server and the fresh
interpreter; the tests run with both.
"""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from computers import HEAD, Computer, pack

from pyboinc import codec, disk
from pyboinc.errors import ConfigurationError
from pyboinc.slave_program import Program, unpack

PACKAGE = Path(codec.__file__).parent


@pytest.fixture(scope="module", params=["fork", "spawn"])
def computer(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Computer]:
    """A computer that lives as long as these tests."""
    computer = Computer(tmp_path_factory.mktemp(request.param), request.param)
    yield computer
    computer.close()


# -- how it ends


@pytest.mark.parametrize(
    ("program", "status", "message"),
    [
        ("import sys; sys.exit(3)", 3, ""),
        ("import sys; sys.exit(259)", 3, ""),
        ("import sys; sys.exit('no water')", 1, "no water\n"),
        ("raise KeyboardInterrupt", 1, "KeyboardInterrupt\n"),
        ("pass", 1, "app_slave.py ended without an output: it must call pyboinc_return_output"),
        ("raise SystemExit", 1, "app_slave.py called sys.exit(0) without an output"),
        ("import os; os._exit(0)", 1, "ended without an output (os._exit, or another program?)"),
        ("import os; os._exit(5)", 5, ""),
        ("import os; os.execv('/bin/true', ['true'])", 1, "ended without an output"),
    ],
)
def test_exit_statuses(computer: Computer, program: str, status: int, message: str) -> None:
    """Slave: only an output and a good end give status 0; the reason is on stderr."""
    ended = computer.run(program)
    assert (ended.exit_status, ended.signal, ended.reason) == (status, False, None)
    assert message in computer.stderr()
    assert bool(message) == bool(computer.stderr())


def test_a_signal_is_told(computer: Computer) -> None:
    """Slave: one that dies by a signal is told by the signal's number."""
    ended = computer.run("import os; os.kill(os.getpid(), 15)")
    assert (ended.exit_status, ended.signal, ended.reason) == (15, True, None)


def test_an_output_counts_only_with_a_good_end(computer: Computer) -> None:
    """Slave: what fails after it has returned its output has failed."""
    ended = computer.run(HEAD + "pyboinc_return_output(1); raise ValueError('late')")
    assert ended.exit_status == 1
    assert computer.stderr().endswith("ValueError: late\n")


def test_times_are_told(computer: Computer) -> None:
    """Slave: CPU time and elapsed time are measured."""
    ended = computer.run(HEAD + "sum(range(10**6)); pyboinc_return_output(1)")
    assert ended.cpu > 0
    assert ended.elapsed > 0


# -- tracebacks


def test_a_traceback_shows_the_users_frames_only(computer: Computer) -> None:
    """Errors: a traceback has the program's own lines, by short names, and none of ours."""
    files = {"helper.py": "def divide(a, b):\n    return a / b\n"}
    ended = computer.run("import helper\n\nhelper.divide(1, 0)\n", files=files)
    assert ended.exit_status == 1
    lines = [line for line in computer.stderr().splitlines() if set(line.strip()) - set("~^")]
    assert lines == [
        "Traceback (most recent call last):",
        '  File "app_slave.py", line 3, in <module>',
        "    helper.divide(1, 0)",
        '  File "helper.py", line 2, in divide',
        "    return a / b",
        "ZeroDivisionError: division by zero",
    ]


@pytest.mark.parametrize(
    ("program", "line", "error"),
    [
        ("import pyboinc\npyboinc.pyboinc_return_output(pyboinc.pyboinc_get_input)\n", 2, "Encode"),
        ("import pyboinc\npyboinc.pyboinc_fraction_done(-1)\n", 2, "SlaveError"),
        ("import sys\nimport helper\nimport pyboinc\n", 2, "SyntaxError"),
    ],
)
def test_errors_of_the_library_point_to_the_users_line(
    computer: Computer, program: str, line: int, error: str
) -> None:
    """Errors: an error that the library raises shows the line of the program that led to it."""
    assert computer.run(program, files={"helper.py": "1 +\n"}).exit_status == 1
    stderr = computer.stderr()
    assert stderr.splitlines()[1] == f'  File "app_slave.py", line {line}, in <module>'
    assert error in stderr.splitlines()[-1]
    assert "site-packages" not in stderr
    assert "/pyboinc/" not in stderr


def test_a_program_with_a_syntax_error_shows_it(computer: Computer) -> None:
    """Errors: a slave that can not be compiled shows the line."""
    assert computer.run("def f(:\n    pass\n").exit_status == 1
    assert 'File "app_slave.py", line 1' in computer.stderr()
    assert "SyntaxError" in computer.stderr()


def test_a_slave_that_is_not_there_is_named(computer: Computer) -> None:
    """Errors: a program that the archive lacks is named."""
    assert computer.run(slave="other.py").exit_status == 1
    assert "other.py" in computer.stderr()


def test_the_programs_own_hook_shows_its_errors(computer: Computer) -> None:
    """Errors: a sys.excepthook of the slave's own is called, as in any program."""
    hook = "import sys\nsys.excepthook = lambda *error: sys.stderr.write('mine\\n')\n1 / 0\n"
    assert computer.run(hook).exit_status == 1
    assert computer.stderr() == "mine\n"


def test_a_chain_of_errors_is_shown(computer: Computer) -> None:
    """Errors: the cause of an error is shown with it."""
    program = "try:\n    1 / 0\nexcept ArithmeticError as e:\n    raise ValueError('x') from e\n"
    computer.run(program)
    assert "direct cause" in computer.stderr()
    assert computer.stderr().index("ZeroDivisionError") < computer.stderr().index("ValueError")


# -- the program as a program


def test_a_slave_is_an_ordinary_program(computer: Computer) -> None:
    """Program: __main__, __file__, sys.argv, source text and data files are as at home."""
    program = """
import inspect, os, sys
import helper
if __name__ == "__main__":
    def mine():
        return 'mine'
    beside = open(os.path.join(os.path.dirname(__file__), "data.txt")).read()
    pyboinc_return_output([
        beside,
        inspect.getsource(helper.other),
        inspect.getsource(mine),
        os.path.basename(sys.argv[0]), len(sys.argv),
        sys.modules["__main__"].mine is mine,
        helper.__file__ == os.path.join(sys.path[0], "helper.py"),
        callable(exit) and callable(help),
    ])
"""
    files = {"helper.py": "def other():\n    return 'other'\n", "data.txt": "seven"}
    beside, other, mine, argv0, argc, *flags = computer.answer(program, files=files)
    assert (beside, argv0, argc, flags) == ("seven", "app_slave.py", 1, [True, True, True])
    assert other == "def other():\n    return 'other'\n"
    assert "return 'mine'" in mine


def test_local_packages_are_found(computer: Computer) -> None:
    """Program: packages, relative imports, reload and modules that replace themselves work."""
    program = """
import importlib
import circle_a, package.inner, stand_in
from package import value, other
again = importlib.reload(circle_a)
pyboinc_return_output([
    package.inner.doubled, value, other.__name__, package.__path__ != [], circle_a.seen(),
    again is circle_a, stand_in, importlib.import_module("package.other").number,
])
"""
    files = {
        "package/__init__.py": "value = 21\n",
        "package/inner.py": "from . import value\nfrom .other import number\n"
        "doubled = number * value\n",
        "package/other.py": "number = 2\n",
        "circle_a.py": "import circle_b\ndef seen():\n    return circle_b.circle_a is not None\n",
        "circle_b.py": "import circle_a\n",
        "stand_in.py": "import sys\nsys.modules[__name__] = 'stands in'\n",
        "not-a-module.py": "",
        "no-package/inner.py": "",
    }
    expected = [42, 21, "package.other", True, True, True, "stands in", 2]
    assert computer.answer(program, files=files) == expected


def test_a_module_that_fails_may_be_tried_again(computer: Computer) -> None:
    """Program: an import that failed leaves nothing behind, as in any program."""
    program = """
import sys
tries = []
for _ in range(2):
    try:
        import helper
    except ValueError as error:
        tries.append([str(error), "helper" in sys.modules])
pyboinc_return_output(tries)
"""
    files = {"helper.py": "raise ValueError('no')\n"}
    assert computer.answer(program, files=files) == [["no", False], ["no", False]]


def test_a_program_as_the_design_document_writes_it(computer: Computer) -> None:
    """Design document: a slave that imports nothing has the functions and its types' names."""
    program = "pyboinc_return_output(double(pyboinc_get_input()))\n"
    files = {"app_types.py": "def double(x):\n    return 2 * x\n"}
    ended = computer.run(program, files=files)
    assert (ended.exit_status, computer.stderr()) == (0, "")
    assert computer.output() == 14
    computer.run("pyboinc_return_output(pyboinc_get_input())\n")
    assert computer.output() == 7


def test_each_job_has_modules_of_its_own(computer: Computer) -> None:
    """Isolation: what a job does to its modules, its own or the library's, the next never sees."""
    program = """
import helper, json
seen = helper.count, getattr(json, "count", 0)
helper.count += 1
json.count = helper.count
pyboinc_return_output(seen)
"""
    for _ in range(3):
        assert computer.answer(program, files={"helper.py": "count = 0\n"}) == (0, 0)


def test_ends_are_tidy(computer: Computer) -> None:
    """End: threads are waited for, atexit handlers run, what was printed is written."""
    program = """
import atexit, sys, threading
order = []
def late():
    main.join()
    order.append("thread")
main = threading.main_thread()
threading.Thread(target=lambda: order.append("thread")).start()
def last():
    sys.stderr.write(" ".join([*order, "atexit, no end of line"]))
atexit.register(last)
pyboinc_return_output(1)
"""
    assert computer.answer(program) == 1
    assert computer.stderr() == "thread atexit, no end of line"


def test_closed_streams_are_no_error(computer: Computer) -> None:
    """End: a slave that has closed or replaced stdout and stderr ends as well as others."""
    program = "import sys\nsys.stdout.close(); sys.stderr = None\npyboinc_return_output(1)\n"
    assert computer.answer(program) == 1


def test_imports_in_threads_go_the_ordinary_way(computer: Computer) -> None:
    """Program: threads that import the same module at once all get it whole."""
    program = """
import threading
found = []
def look():
    import helper
    found.append(helper.whole)
threads = [threading.Thread(target=look) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
pyboinc_return_output(found)
"""
    helper = "import time\ntime.sleep(0.01)\nwhole = True\n"
    assert computer.answer(program, files={"helper.py": helper}) == [True] * 8


# -- archives


def test_an_archive_is_unpacked_whole(tmp_path: Path) -> None:
    """Archives: files are unpacked read-only; one that was spoilt is mended."""
    archive = pack(tmp_path / "a.zip", {"app_slave.py": "pass\n", "data/x.txt": "x", "empty/": ""})
    for spoil in ("", "spoilt", None):
        unpack(str(archive), str(tmp_path / "a"))
        data = tmp_path / "a" / "data" / "x.txt"
        assert data.read_text() == "x"
        assert data.stat().st_mode & 0o777 == 0o444
        data.unlink()
        if spoil is not None:
            data.write_text(spoil)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["app_slave.py", "data"]


def test_unpacking_that_is_cut_short_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives: a kill leaves nothing among the files, and one temporary file that is known."""
    archive = pack(tmp_path / "a.zip", {"app_slave.py": "pass\n", "data/x.txt": "x"})

    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", kill)
        with pytest.raises(KeyboardInterrupt):
            unpack(str(archive), str(tmp_path / "a"))
    assert [path.name for path in tmp_path.glob(".unpacked.*.tmp")]
    unpack(str(archive), str(tmp_path / "a"))
    disk.remove_temporaries(tmp_path, "unpacked")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["a", "a.zip", "a/app_slave.py", "a/data", "a/data/x.txt"]


def test_an_archive_that_can_not_be_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Archives: on a full disk it is named, and nothing half written is left."""

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    archive = pack(tmp_path / "a.zip", {"app_slave.py": "pass\n"})
    monkeypatch.setattr(os, "chmod", full)
    with pytest.raises(ConfigurationError, match="can not be used: .* No space left"):
        unpack(str(archive), str(tmp_path / "a"))
    assert list((tmp_path / "a").iterdir()) == []
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["a.zip"]


@pytest.mark.parametrize("name", ["../x.py", "/x.py", "a//x.py", "./x.py", "a\\x.py"])
def test_an_archive_stays_in_its_directory(tmp_path: Path, name: str) -> None:
    """Archives: a member that would be written elsewhere is refused, and named."""
    archive = pack(tmp_path / "a.zip", {name: "pass\n"})
    with pytest.raises(ConfigurationError, match="can not be used: a member named"):
        unpack(str(archive), str(tmp_path / "a"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_what_is_no_archive_is_named(tmp_path: Path, computer: Computer) -> None:
    """Archives: a damaged or missing archive is named when a run of it is started."""
    (tmp_path / "a.zip").write_bytes(b"PK no zip")
    for name in ("a.zip", "missing.zip"):
        with pytest.raises(ConfigurationError, match=name):
            computer.start(archive=tmp_path / name)


def test_an_input_may_name_the_programs_modules_only(tmp_path: Path) -> None:
    """Data never runs: the classes that an input may hold are those of the archive's modules."""
    unpack(
        str(pack(tmp_path / "a.zip", {"app_slave.py": "", "a.py": "", "b/__init__.py": ""})),
        str(tmp_path / "a"),
    )
    program = Program(str(tmp_path / "a"), "app_slave.py")
    assert program.classes.modules == {"a", "b"}
    assert program.find_spec("os") is None


def test_files_that_can_not_be_listed_are_no_program(tmp_path: Path) -> None:
    """Slave: a directory that can not be read is an error, never a program without modules."""
    with pytest.raises(FileNotFoundError, match="missing"):
        Program(str(tmp_path / "missing"), "app_slave.py")


def test_the_runners_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Runner: called without an archive and a program it says what it wants."""
    from pyboinc import slave_runner

    with pytest.raises(ConfigurationError, match="ARCHIVE SLAVE"):
        slave_runner.main([])


def test_the_slave_half_runs_on_the_oldest_python(tmp_path: Path) -> None:
    """Volunteers: Python 3.8 runs a slave, where it is found; everywhere it can read the code.

    (``tox -e lint`` and ``tox -e slave38`` look closer.)
    """
    kinds = ("__init__.py", "boinc_api.py", "errors.py", "slave*.py", "codec/*.py")
    for path in [path for kind in kinds for path in PACKAGE.glob(kind)]:
        ast.parse(path.read_text(), feature_version=(3, 8))
    oldest = shutil.which("python3.8")
    # What pyenv puts on the path may be there and yet start nothing.
    if oldest and subprocess.run([oldest, "-c", ""], capture_output=True).returncode == 0:
        pack(tmp_path / "a.zip", {"app_slave.py": HEAD + "pyboinc_return_output([1])\n"})
        ended = subprocess.run(
            [oldest, "-W", "error", "-m", "pyboinc.slave_runner", "a.zip", "app_slave.py"],
            cwd=tmp_path,
            env={"PYTHONPATH": str(PACKAGE.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        assert codec.decode((tmp_path / "out").read_bytes(), codec.Registry({})) == [1]


def test_an_output_is_what_the_program_returned(computer: Computer) -> None:
    """Slave: output and input go through the same codec as the master's."""
    value = {"list": [1, 2.5, None], "text": "sieben", "bytes": b"\0", "tuple": (True,)}
    assert computer.answer("pyboinc_return_output(pyboinc_get_input())", value) == value
    assert codec.decode((computer.slot / "in").read_bytes(), codec.Registry({})) == value
