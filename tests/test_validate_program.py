"""The validator's program on a project's server: yes, no, or later; no volunteer pays for us."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from masters import TYPES
from project_directory import make_project

from pyboinc.administration import scripts, validate
from pyboinc.administration.validate import BROKEN, LATER, NO, YES, Unknown
from pyboinc.backends.boinc.project import Project
from pyboinc.codec import encode
from pyboinc.errors import ConfigurationError, PyboincError
from pyboinc.run_record import RunRecord

RULES = """
from pyboinc import close_to
compare = close_to(1e-6)
def validate(output):
    import os
    if output == "hang":
        while True: pass
    if output == "exit": os._exit(0)
    if output == "abort": os.abort()
    return output >= 0
"""


class Server:
    """A project's directory with one batch, number 7, whose job directory is beside it."""

    def __init__(self, path: Path) -> None:
        self.project, self.job = path / "project", path / "job"
        self.batches = self.project / "pyboinc" / "batches"
        for directory in (self.batches, self.project / "upload/3f", self.job / ".pyboinc"):
            directory.mkdir(parents=True)
        self.say(TYPES + RULES)
        self.register(f"{self.job}/new")
        self.record()

    def say(self, text: str) -> None:
        """Write app_types.py."""
        sys.modules.pop("app_types", None)
        (self.job / "app_types.py").write_text(text)

    def register(self, *lines: str) -> None:
        """Write the registration of the batch."""
        (self.batches / "7").write_text("".join(f"{line}\n" for line in lines))

    def record(self, batch: str | None = "7") -> None:
        """Write what the batch was begun with."""
        record = RunRecord("token", "boinc", 1, "app_master.py", modules=["app_types"], batch=batch)
        (self.job / ".pyboinc/run.json").write_text(json.dumps(asdict(record)))

    def upload(self, value: Any, instance: int = 0, workunit: str = "pyb_7_3") -> str:
        """Upload an output, bytes as they are, and return its path."""
        path = self.project / "upload/3f" / f"{workunit}_{instance}_r1804289383_0"
        path.write_bytes(value if isinstance(value, bytes) else encode(value))
        return str(path)


def here(load: Callable[[], Any], judge: Callable[[Any], str]) -> str:
    """As the program does it, but in this very process."""
    try:
        rules = load()
    except PyboincError as error:
        raise Unknown(str(error)) from None
    return judge(rules)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A project, with everything in its place."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(validate, "_apart", here)
    server = Server(tmp_path)
    monkeypatch.setenv("BOINC_PROJECT_DIR", str(server.project))
    yield server
    sys.modules.pop("app_types", None)


Said = Callable[[], str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What was said on stderr since the last time."""
    return lambda: capsys.readouterr().err


def test_an_output_is_judged(server: Server, said: Said) -> None:
    """Validator: valid, not valid by the author's word, not valid for the loader."""
    assert validate.main([server.upload(1.0)]) == YES
    assert said() == ""
    assert validate.main([server.upload(-1.0)]) == NO
    why = "is not valid: validate in app_types.py says that it is not valid"
    assert said() == f"pyboinc: pyb_7_3_0_r1804289383_0 {why}\n"
    assert validate.main([server.upload(b"cos\nsystem\n(S'touch here'\ntR.")]) == NO
    assert "not a pickle of protocol" in said()
    assert validate.main([server.upload("text")]) == NO
    assert "raised TypeError: '>=' not supported" in said()


def test_two_outputs_are_compared(server: Server, said: Said) -> None:
    """Validator: the author's tolerance, whichever issue of a job the files are of."""
    one, near, far = (server.upload(value, i) for i, value in enumerate((1.0, 1.0 + 1e-9, 2.0)))
    again = server.upload(1.0, 0, "pyb_7_3_2")
    assert validate.main(["--compare", one, near]) == YES
    assert validate.main(["--compare", again, one]) == YES
    assert validate.main(["--compare", one, far]) == NO
    assert "does not agree with pyb_7_3_2_r1804289383_0" in said()
    server.say(TYPES)
    assert validate.main(["--compare", one, near]) == NO
    assert validate.main(["--compare", one, again]) == YES
    assert validate.main(["--compare", one, one, one, far]) == NO
    assert validate.main(["--compare", one, near, one, near]) == YES


def test_an_output_that_is_not_there(server: Server) -> None:
    """Validator: no file, a link or a directory is no output; a directory that is gone is ours."""
    path = Path(server.upload(1.0))
    path.unlink()
    assert validate.main([str(path)]) == NO
    path.symlink_to(server.job / "app_types.py")
    assert validate.main([str(path)]) == NO
    path.unlink()
    path.mkdir()
    assert validate.main([str(path)]) == NO
    assert validate.main([str(server.project / "upload/fff" / path.name)]) == BROKEN


def test_a_batch_that_nobody_knows_any_more(server: Server, said: Said) -> None:
    """Validator: an output that comes too late is valid; whoever computed it loses nothing."""
    late = server.upload(-1.0, workunit="pyb_6_3")
    assert validate.main([late]) == YES
    assert validate.main(["--compare", late, server.upload(3.0, 1, "pyb_6_3")]) == YES
    other = server.upload(-1.0, workunit="by_hand")
    assert validate.main([other]) == YES
    server.record(batch="8")  # the directory has begun anew
    assert validate.main([server.upload(-1.0)]) == YES
    assert said() == ""


UNKNOWN: dict[str, tuple[Callable[[Server], Any], str]] = {
    "empty registration": (lambda s: s.register(), "is empty"),
    "job directory is away": (lambda s: s.job.rename(s.job.with_name("x")), "can not be read"),
    "record is damaged": (lambda s: (s.job / ".pyboinc/run.json").write_text("{"), "not a check"),
    "half an app_types.py": (lambda s: s.say("def validate(output"), "can not be read: '\\(' was"),
    "missing library": (lambda s: s.say("import no_such\n" + RULES), "install here what it"),
    "author's mistake": (lambda s: s.say("def validate(): pass"), "can not be called as"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_the_rules_of_one_batch_can_not_be_had(server: Server, said: Said, what: str) -> None:
    """Validator: no volunteer pays for that, and no other batch waits; the log says why."""
    one, other = server.upload(-1.0), server.upload(-2.0, 1)
    breaks, why = UNKNOWN[what]
    breaks(server)
    assert validate.main([one]) == YES, "its master looks at it once more"
    assert re.search(f"is not looked at: .*{why}", said())
    assert validate.main(["--compare", one, one]) == YES, "equal to the byte"
    assert validate.main(["--compare", one, other]) == LATER
    assert re.search(f"is compared later: .*{why}", said())


OURS: dict[str, tuple[Callable[[Server], Any], str]] = {
    "setup was not run": (lambda s: s.batches.rename(s.project / "x"), "pyboinc setup .* makes it"),
    "registration is no file": (
        lambda s: [(s.batches / "7").unlink(), (s.batches / "7").mkdir()],
        "registration of batch 7 can not be read",
    ),
}


@pytest.mark.parametrize("what", OURS)
def test_a_project_that_is_broken(server: Server, said: Said, what: str) -> None:
    """Validator: what is wrong with all batches is for the administrator; nothing is judged."""
    one = server.upload(-1.0)
    breaks, why = OURS[what]
    breaks(server)
    assert validate.main([one]) == BROKEN
    assert re.search(f"can not be judged: .*{why}", said())


@pytest.mark.parametrize("words", [(), ("--compare",), ("--compare", "one")])
def test_called_in_another_way(words: tuple[str, ...], said: Said) -> None:
    """Validator: paths that are missing are no verdict."""
    assert validate.main(words) == BROKEN
    assert said().startswith("usage: ")


def test_an_output_that_may_not_be_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, said: Said
) -> None:
    """Validator: permissions on the server are the administrator's affair."""
    one = server.upload(1.0)

    def refuse(path: object, *arguments: object, **more: object) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", refuse)
    assert validate.main([one]) == BROKEN
    assert "cannot be opened: Permission denied" in said()


def test_outputs_that_go_elsewhere(server: Server) -> None:
    """Registration: a second line names the job directory if outputs do not go into its new/."""
    server.register(f"{server.project}/pyboinc/kept/7", str(server.job))
    assert validate.main([server.upload(1.0)]) == YES
    assert validate.main([server.upload(-1.0)]) == NO


def test_a_quorum_that_would_compare_nothing(tmp_path: Path) -> None:
    """Quorum: where the validator takes all outputs for the same it is refused, and says why."""
    root = make_project(tmp_path / "project")
    project, config = Project(root, "pyboinc"), root / "config.xml"
    project.check_quorum(2)
    daemon = "<daemon><cmd> sample_{}_validator -d 3 --app {} </cmd></daemon></daemons>"
    text = config.read_text()
    for kind, app in (("bitwise", "pyboinc"), ("trivial", "another")):
        config.write_text(text.replace("</daemons>", daemon.format(kind, app)))
        project.check_quorum(2)
    config.write_text(text.replace("</daemons>", daemon.format("trivial", "pyboinc")))
    project.check_quorum(1)
    with pytest.raises(ConfigurationError, match=r"compare nothing: .*--validator script"):
        project.check_quorum(2)


# ---------------------------------------------------------------- as the daemon calls it


@pytest.fixture
def call(server: Server) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Calls a script of the project's as its daemon does."""
    daemon = server.project / "tmp_host"
    daemon.mkdir()
    (server.project / "bin").mkdir()
    for name in (scripts.VALIDATE, scripts.COMPARE):
        (server.project / "bin" / name).write_text(scripts.text(name, sys.executable))
        (server.project / "bin" / name).chmod(0o755)

    def call(name: str, *paths: str) -> subprocess.CompletedProcess[str]:
        command = [f"../bin/{name}", *paths]
        return subprocess.run(command, cwd=daemon, capture_output=True, text=True, check=False)

    return call


def test_the_scripts(server: Server, call: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """Validator: the whole way, from the daemon's command to its exit status; no file is left."""
    good, bad = server.upload(1.0), server.upload(-1.0, 1)
    before = sorted(server.job.rglob("*"))
    assert call(scripts.VALIDATE, good).returncode == 0
    refused = call(scripts.VALIDATE, bad)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "pyb_7_3_1_r1804289383_0 is not valid: validate in app_types.py says" in refused.stderr
    assert call(scripts.COMPARE, good, good).returncode == 0
    assert call(scripts.COMPARE, good, bad).returncode == 1
    server.say("import no_such\n" + RULES)
    assert call(scripts.COMPARE, good, bad).returncode == 3
    assert sorted(server.job.rglob("*")) == before, "nothing is written into the job directory"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("hang", "is not valid: app_types.py took longer than 1 s"),
        ("exit", "is not valid: app_types.py ended its process"),
        ("abort", "is not valid: app_types.py ended its process"),
        (1.0, ""),
    ],
)
def test_what_an_author_s_function_does_is_its_verdict(
    server: Server, value: object, why: str
) -> None:
    """Validator: one job's output does not hold up the daemon, and with it every other master."""
    program = (
        "import sys; from pyboinc.administration import validate; validate.PATIENCE = 1.0; "
        "sys.exit(validate.main(sys.argv[1:]))"
    )
    if value != "hang":
        program = program.replace("1.0", "60.0")
    command = [sys.executable, "-P", "-c", program, server.upload(value)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == (NO if why else YES), run.stderr
    assert why in run.stderr


def test_an_app_types_that_ends_who_imports_it(server: Server) -> None:
    """Validator: then the batch's rules can not be had, and nobody else is concerned."""
    server.say("import os\ndef validate(output): return True\nos._exit(0)\n")
    command = [sys.executable, "-P", "-m", "pyboinc.administration.validate", server.upload(1.0)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == YES
    assert "is not looked at: app_types.py ends the process that imports it" in run.stderr
