"""bin/pyboinc_validate and bin/pyboinc_compare: what the daemon is told, whatever happens here."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pyboinc.administration import scripts

SHELLS = [name for name in ("sh", "dash", "bash") if shutil.which(name)]


def install(project: Path, python: str) -> Path:
    """Put both scripts into a project; return the directory that its daemons work in."""
    for name in ("bin", "tmp_host"):
        (project / name).mkdir(parents=True)
    for name in (scripts.VALIDATE, scripts.COMPARE):
        (project / "bin" / name).write_text(scripts.text(name, python))
        (project / "bin" / name).chmod(0o755)
    return project / "tmp_host"


def interpreter(place: Path, end: str) -> str:
    """An interpreter that tells how it was called and ends in a certain way."""
    program = place / "my python"
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$BOINC_PROJECT_DIR" "$@"\n{end}\n')
    program.chmod(0o755)
    return str(program)


def call(
    name: str, *words: str, cwd: Path, shell: str = "sh", path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Call a script as the daemon does; what lies in *path* is found before other programs."""
    environment = {**os.environ, "PATH": f"{path or cwd}:{os.environ['PATH']}"}
    command = [shell, f"../bin/{name}", *words]
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_the_judge_is_asked(tmp_path: Path, shell: str) -> None:
    """Validation: the scripts hand on all paths, and say which project they are of."""
    project = tmp_path / "my project"
    daemon = install(project, interpreter(tmp_path, "exit 0"))
    start = f"{project}|-P|-m|pyboinc.administration.validate|"
    done = call(scripts.VALIDATE, "../upload/a b", "*", cwd=daemon, shell=shell)
    assert (done.returncode, done.stdout) == (0, f"{start}../upload/a b|*|")
    done = call(scripts.COMPARE, "one", "two", cwd=daemon, shell=shell)
    assert (done.returncode, done.stdout) == (0, f"{start}--compare|one|two|")


@pytest.mark.parametrize("name", [scripts.VALIDATE, scripts.COMPARE])
@pytest.mark.parametrize(("end", "status"), [(0, 0), (20, 1), (3, 3)])
def test_a_judgement(tmp_path: Path, name: str, end: int, status: int) -> None:
    """Validation: yes and no are handed on, and so is a comparison that is put off."""
    daemon = install(tmp_path / "project", interpreter(tmp_path, f"exit {end}"))
    done = call(name, "x", cwd=daemon)
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("end", ["exit 1", "exit 2", "exit 4", "exit 127", "kill -9 $$", "gone"])
def test_what_is_broken_is_waited_for(tmp_path: Path, shell: str, end: str) -> None:
    """Validation: an interpreter that is broken, killed or gone is no fault of a volunteer's.

    "Try again later" would have BOINC send the job to others at once, and give it up in the end.
    """
    if end == "gone":
        daemon = install(tmp_path / "project", str(tmp_path / "my python"))
    else:
        daemon = install(tmp_path / "project", interpreter(tmp_path, end))
    # Each time it sleeps somebody works at it; the third time it is mended.
    python = f'"{tmp_path}/my python"'
    mend = f'[ -e two ] && printf "#!/bin/sh\\n" >{python} && chmod +x {python}'
    sleep(tmp_path, f"{mend}\n[ -e one ] && touch two\ntouch one")
    done = call(scripts.VALIDATE, "x", cwd=daemon, shell=shell, path=tmp_path / "tools")
    assert done.returncode == 0
    assert done.stderr.count("nothing is judged until that is mended") == 1


DAEMON = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: None)  # it notes that, and goes on to the next result
status = os.system(sys.argv[1])
print("went on with status", status, flush=True)
"""


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("between", ["", "; exit $?"], ids=["called", "a shell between"])
def test_daemons_that_are_to_stop(tmp_path: Path, shell: str, between: str) -> None:
    """Validation: who waits hears of bin/stop, and ends the daemon before that takes an answer.

    A daemon that is asked to end takes it first, and has the job done again.  Some shells stay
    between the daemon and what it calls by ``system()``.
    """
    project = tmp_path / "project"
    daemon = install(project, interpreter(tmp_path, "exit 1"))
    sleep(tmp_path, f'touch "{project}/stop_daemons"')
    ended = subprocess.run(
        [sys.executable, "-c", DAEMON, f"{shell} ../bin/pyboinc_validate x{between}"],
        cwd=daemon,
        env={**os.environ, "PATH": f"{tmp_path / 'tools'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == -signal.SIGKILL
    assert "went on" not in ended.stdout
    assert "the daemons are to stop" in ended.stderr


def sleep(place: Path, instead: str) -> None:
    """Let something else happen, where the scripts sleep."""
    (place / "tools").mkdir()
    (place / "tools/sleep").write_text(f"#!/bin/sh\n{instead}\n:\n")
    (place / "tools/sleep").chmod(0o755)
