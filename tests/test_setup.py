"""``pyboinc setup``: a project is prepared, all else of it stays, and it can be undone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
from cli_apps import verb
from click.testing import Result
from project_directory import (
    CONFIG,
    OLD_UPDATE_VERSIONS,
    contents,
    make_project,
    make_versions,
    put_program,
)

from pyboinc import disk, signing
from pyboinc.administration import compiling, registration, scripts
from pyboinc.administration.site import Site
from pyboinc.errors import ConfigurationError

VERSIONS = ("1.0/arm64-apple-darwin", "1.0/x86_64-pc-linux-gnu")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture(autouse=True)
def compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """No compiler, whatever this computer has: a test brings its own."""
    monkeypatch.setattr(compiling, "compiler", lambda: None)


@pytest.fixture
def built(tmp_path: Path) -> Path:
    return make_versions(tmp_path / "built", "1.0/x86_64-pc-linux-gnu", "1.0/arm64-apple-darwin")


@pytest.fixture(scope="module")
def key() -> str:
    return signing.public_key(signing.generate())


def setup(project: Path, *flags: object) -> Result:
    return verb("setup", project, "--yes", *flags)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def daemons(project: Path) -> list[dict[str, str]]:
    """The daemons that BOINC's own programs would find in config.xml."""
    root = ElementTree.parse(project / "config.xml").getroot()
    return [
        {value.tag: (value.text or "").strip() for value in daemon}
        for daemon in root.findall("daemons/daemon")
    ]


VALIDATOR = {
    "cmd": "sample_trivial_validator -d 3 --app pyboinc",
    "output": "pyboinc_validator.log",
    "pid_file": "pyboinc_validator.pid",
}
SCRIPT_VALIDATOR = (
    "script_validator -d 3 --app pyboinc --init_script pyboinc_validate"
    " --compare_script pyboinc_compare"
)
ASSIMILATOR = {
    "cmd": "script_assimilator -d 3 --app pyboinc --sleep_interval 1 --script pyboinc_assimilate",
    "output": "pyboinc_assimilator.log",
    "pid_file": "pyboinc_assimilator.pid",
}


# What it does


def test_a_project_is_prepared(project: Path, built: Path, tmp_path: Path, key: str) -> None:
    """setup: daemons, app, template, scripts, key and app versions, in one command."""
    before = contents(project)
    (tmp_path / "key.pub").write_text(key)
    result = setup(project, "--apps", built, "--public-key", tmp_path / "key.pub")
    assert result.exit_code == 0, result.output
    assert daemons(project) == [{"cmd": "feeder -d 3"}, VALIDATOR, ASSIMILATOR]
    for name in ("config.xml", "project.xml"):
        now = iter(lines(project / name))
        assert all(line in now for line in before[name][1].decode().splitlines())
    root = ElementTree.parse(project / "project.xml").getroot()
    assert [one.findtext("name") for one in root.findall("app")] == ["pyboinc"]
    assert [one.findtext("name") for one in root.findall("platform")] == [
        "x86_64-pc-linux-gnu",
        "arm64-apple-darwin",
    ]
    template = (project / "templates/pyboinc_out").read_text()
    assert "<max_nbytes>64000000</max_nbytes>" in template
    assert "<open_name>out</open_name>" in template
    for name in scripts.NAMES:
        assert os.access(project / "bin" / name, os.X_OK)
        assert (project / "bin" / name).read_text() == scripts.text(name)
    assert (project / "pyboinc/public_key").read_text() == key
    for name in (".", "batches", "failed", "kept", "archives"):
        assert (project / "pyboinc" / name).stat().st_mode & 0o7777 == 0o2775
    main = "apps/pyboinc/1.0/x86_64-pc-linux-gnu/pyboinc_1.0_x86_64-pc-linux-gnu"
    assert (project / main).read_bytes() == (built / main).read_bytes()
    assert os.access(project / main, os.X_OK)
    assert lines(project / "calls") == ["xadd", "update_versions --noconfirm"]
    assert "bin/stop && bin/start" in result.output
    assert "open sesame" not in result.output


def test_a_second_run_finds_nothing_to_do(project: Path, built: Path) -> None:
    """setup: the same command again, and one without flags, change nothing."""
    assert setup(project, "--apps", built, "--validator", "script").exit_code == 0
    before = contents(project)
    for flags in (["--apps", built, "--validator", "script"], []):
        result = setup(project, *flags)
        assert (result.exit_code, contents(project)) == (0, before)
        assert "There is nothing to do." in result.output


def test_it_is_shown_before_it_is_done(project: Path, built: Path) -> None:
    """setup --dry-run: the diff of each file and each command, and nothing is changed."""
    before = contents(project)
    result = verb("setup", project, "--apps", built, "--dry-run")
    assert (result.exit_code, contents(project)) == (0, before)
    shown = result.output.splitlines()
    for line in (
        "--- a/config.xml",
        "+            <cmd>sample_trivial_validator -d 3 --app pyboinc</cmd>",
        "+        <name>pyboinc</name>",
        "--- /dev/null",
        "+++ b/bin/pyboinc_assimilate",
        "make   pyboinc/kept/",
        "run    bin/xadd  (adds the app)",
        f"run    bin/update_versions --noconfirm  (adds {', '.join(VERSIONS)})",
    ):
        assert line in shown
    assert not [line for line in shown if "open sesame" in line]


def test_nobody_is_asked_where_nobody_is(project: Path) -> None:
    """setup: without a terminal it changes nothing unless --yes is said."""
    before = contents(project)
    result = verb("setup", project)
    assert (result.exit_code, contents(project)) == (2, before)
    assert "--yes" in result.stderr


def test_an_old_server_is_answered(project: Path, built: Path) -> None:
    """setup: servers of before November 2022 ask for each version, and get a yes."""
    put_program(project / "bin/update_versions", OLD_UPDATE_VERSIONS)
    result = setup(project, "--apps", built)
    assert result.exit_code == 0, result.output
    assert "run    yes y | bin/update_versions  (adds" in result.output
    assert len(lines(project / "database")) == 2
    assert lines(project / "calls") == ["xadd", "update_versions "]


def test_a_new_version_is_added_later(project: Path, built: Path, tmp_path: Path) -> None:
    """setup --apps: a new version comes beside the old ones; nothing else is done."""
    assert setup(project, "--apps", built).exit_code == 0
    newer = make_versions(tmp_path / "newer", "1.1/x86_64-pc-linux-gnu")
    result = setup(project, "--apps", newer / "apps")
    assert result.exit_code == 0, result.output
    assert lines(project / "calls")[2:] == ["update_versions --noconfirm"]
    assert "apps/pyboinc/1.1/x86_64-pc-linux-gnu" in lines(project / "database")


@pytest.mark.parametrize("first", ["trivial", "bitwise", "script"])
def test_another_validator(project: Path, first: str) -> None:
    """setup --validator: replaces the one that setup put there; without it, it stays."""
    assert setup(project, "--validator", first).exit_code == 0
    again = setup(project)
    assert "There is nothing to do." in again.output
    assert setup(project, "--validator", "script").exit_code == 0
    commands = [one["cmd"] for one in daemons(project)]
    assert commands == ["feeder -d 3", SCRIPT_VALIDATOR, ASSIMILATOR["cmd"]]


def test_what_the_administrator_has_changed_stays(project: Path) -> None:
    """setup: another -d, another validator, a disabled daemon are somebody's decision."""
    assert setup(project).exit_code == 0
    path = project / "config.xml"
    text = path.read_text().replace("sample_trivial_validator -d 3", "my_validator -d 4")
    text = text.replace("script_assimilator -d 3", "script_assimilator -d 1")
    path.write_text(
        text.replace("<pid_file>pyboinc_a", "<disabled>1</disabled><pid_file>pyboinc_a")
    )
    before = contents(project)
    result = setup(project)
    assert (result.exit_code, contents(project)) == (0, before)
    assert "a daemon of pyboinc is disabled" in result.output
    result = setup(project, "--validator", "script")
    assert (result.exit_code, contents(project)) == (2, before)
    assert "another validator for the app pyboinc: 'my_validator -d 4 --app pyboinc'" in (
        result.stderr
    )


def test_an_app_of_another_name(project: Path) -> None:
    """setup --app: the name is in the app, its daemons, their files and the template."""
    assert setup(project, "--app", "science").exit_code == 0
    assert [one.get("pid_file") for one in daemons(project)[1:]] == [
        "science_validator.pid",
        "science_assimilator.pid",
    ]
    assert (project / "templates/science_out").is_file()
    result = setup(project)
    assert result.exit_code == 2
    assert "is set up for the app science" in result.stderr


CC = """\
#!/bin/sh
echo "$*" >> {calls}
case $* in *-static*) exit 1 ;; esac
while [ "$1" != -o ]; do shift; done
echo '#!/bin/sh' > "$2"
chmod +x "$2"
"""
"""A C compiler without static libraries, and what it makes runs."""


def test_results_are_delivered_by_a_compiled_program(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_jobs: None
) -> None:
    """setup: where there is a C compiler the assimilator is twice as quick; compiled once."""
    before, calls = contents(project), tmp_path / "calls"
    put_program(tmp_path / "cc", CC.format(calls=calls))
    monkeypatch.setattr(compiling, "compiler", lambda: str(tmp_path / "cc"))
    assert setup(project).exit_code == 0
    assert daemons(project)[2]["cmd"].endswith(" --script pyboinc_deliver")
    program = project / "bin/pyboinc_deliver"
    assert os.access(program, os.X_OK)
    assert len(lines(calls)) == 2
    assert "There is nothing to do." in setup(project).output
    assert len(lines(calls)) == 2
    put_program(program, "of another computer")
    assert setup(project).exit_code == 0
    assert program.read_text() == "#!/bin/sh\n"
    assert setup(project, "--remove").exit_code == 0
    (project / "calls").unlink()
    assert contents(project) == before


@pytest.mark.parametrize("text", ["exit 1", "exit 0", "kill -9 $$"])
def test_a_compiler_that_does_not_work(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """setup: without one, with a broken one or with --no-compiler the script does it alone."""
    put_program(tmp_path / "cc", f"#!/bin/sh\n{text}\n")
    assert compiling.compiled(str(tmp_path / "none")) is None
    monkeypatch.setattr(compiling, "compiler", lambda: str(tmp_path / "cc"))
    result = setup(project)
    assert result.exit_code == 0
    assert "no C compiler: the script alone delivers" in result.output
    assert daemons(project)[2] == ASSIMILATOR
    monkeypatch.setattr(compiling, "compiled", lambda compiler: b"never")
    assert "There is nothing to do." in setup(project).output
    assert setup(project, "--remove", "--force").exit_code == 0
    assert setup(project, "--no-compiler").exit_code == 0
    assert daemons(project)[2] == ASSIMILATOR


def test_scripts_of_an_older_pyboinc_are_replaced(project: Path) -> None:
    """setup: after an upgrade the same command brings the scripts up to date."""
    assert setup(project).exit_code == 0
    put_program(project / "bin/pyboinc_validate", "#!/bin/sh\n# of an older PyBOINC\n")
    result = setup(project)
    assert "-# of an older PyBOINC" in result.output
    assert (project / "bin/pyboinc_validate").read_text() == scripts.text("pyboinc_validate")


def test_modes_do_not_depend_on_the_umask(project: Path) -> None:
    """setup: what is made can be read by the web server and changed by the project's group."""
    program = [sys.executable, "-m", "pyboinc", "setup", str(project), "--yes"]
    subprocess.run(program, check=True, umask=0o077, capture_output=True)
    assert (project / "templates/pyboinc_out").stat().st_mode & 0o777 == 0o664
    assert (project / "bin/pyboinc_assimilate").stat().st_mode & 0o777 == 0o775
    assert (project / "pyboinc/batches").stat().st_mode & 0o7777 == 0o2775
    assert (project / "config.xml").stat().st_mode & 0o777 == 0o664
    (backup,) = project.glob("config.xml.before-pyboinc-*")
    assert backup.stat().st_mode & 0o777 == 0o664


# What it refuses


def no_project(project: Path) -> None:
    (project / "config.xml").unlink()


def no_xml(project: Path) -> None:
    (project / "config.xml").write_text("<boinc><config>")


def no_project_xml(project: Path) -> None:
    (project / "project.xml").unlink()


def no_assimilator(project: Path) -> None:
    (project / "bin/script_assimilator").unlink()


def another_assimilator(project: Path) -> None:
    text = CONFIG.format(root=project, host="here")
    theirs = "<daemon><cmd>my_assimilator --app pyboinc</cmd></daemon>"
    (project / "config.xml").write_text(text.replace("</daemons>", f"{theirs}</daemons>"))


def another_template(project: Path) -> None:
    (project / "templates/pyboinc_out").write_text("<mine/>")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (no_project, "is no BOINC project"),
        (no_xml, "config.xml can not be read"),
        (no_project_xml, "has no project.xml"),
        (no_assimilator, "bin/script_assimilator is missing"),
        (another_assimilator, "another assimilator for the app pyboinc: 'my_assimilator"),
        (another_template, "templates/pyboinc_out is there already"),
    ],
)
def test_a_project_that_is_not_as_it_should_be(project: Path, harm, words: str) -> None:  # type: ignore[no-untyped-def]  # one of the functions above
    """setup: says what is the matter, and changes nothing."""
    harm(project)
    before = contents(project)
    result = setup(project)
    assert (result.exit_code, contents(project)) == (2, before)
    assert words in result.stderr


@pytest.mark.parametrize("app", ["", "a b", "../x", "1", "ü", "<x>"])
def test_names_that_no_app_can_have(project: Path, app: str) -> None:
    """setup --app: nothing that could mean something else in XML, SQL or a shell."""
    result = setup(project, "--app", app)
    assert result.exit_code == 2
    assert "an app can not be called" in result.stderr


def test_somebody_else_s_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """setup: only the project's owner; what root would make the daemons could not use."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    result = setup(project)
    assert result.exit_code == 2
    assert "pyboinc setup" in result.stderr
    assert "sudo -u" in result.stderr


def test_files_of_boinc_never_change(project: Path, built: Path) -> None:
    """setup --apps: other bytes under an old name are refused, as BOINC refuses them."""
    assert setup(project, "--apps", built).exit_code == 0
    for path in built.rglob("pyboinc_*"):
        path.write_bytes(b"another one")
    result = setup(project, "--apps", built)
    assert result.exit_code == 2
    assert "build a new version" in result.stderr


def test_what_is_no_directory_of_versions(project: Path, built: Path, tmp_path: Path) -> None:
    """setup --apps: a wrong directory, and a link in a right one, are refused."""
    assert "has no apps/pyboinc" in setup(project, "--apps", tmp_path).stderr
    (tmp_path / "empty/apps/pyboinc").mkdir(parents=True)
    assert "holds no app version" in setup(project, "--apps", tmp_path / "empty").stderr
    (built / "apps/pyboinc/1.0/arm64-apple-darwin/link").symlink_to("/etc/passwd")
    assert "is no plain file" in setup(project, "--apps", built).stderr


def test_a_key_is_looked_at(project: Path, tmp_path: Path, key: str) -> None:
    """setup --public-key: no other file, and never another key by mistake."""
    wrong, right = tmp_path / "wrong", tmp_path / "right"
    wrong.write_text("no key")
    result = setup(project, "--public-key", wrong)
    assert result.exit_code == 2
    assert "this is no public key" in result.stderr
    assert "no public key yet" in setup(project).output
    right.write_text(key)
    assert setup(project, "--public-key", right).exit_code == 0
    right.write_text(signing.public_key(signing.generate()))
    result = setup(project, "--public-key", right)
    assert result.exit_code == 2
    assert "is another key" in result.stderr
    assert setup(project, "--public-key", right, "--force").exit_code == 0
    assert (project / "pyboinc/public_key").read_text() == right.read_text()


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("xadd", "echo no database; exit 255"),
        ("xadd", "exit 0"),
        ("update_versions", "echo 'Error: no .sig file for x, and no code signing private key'"),
        ("update_versions", "exit 1"),
    ],
)
def test_boinc_s_programs_are_not_believed(
    project: Path, built: Path, program: str, text: str
) -> None:
    """setup: their exit codes tell little; what they say is shown, and it goes on from there."""
    good = (project / "bin" / program).read_text()
    put_program(project / "bin" / program, f"#!/bin/sh\n# --noconfirm\n{text}\n")
    result = setup(project, "--apps", built)
    assert result.exit_code == 3
    assert f"bin/{program} did not do what it is for" in result.stderr
    assert daemons(project) == [{"cmd": "feeder -d 3"}]
    put_program(project / "bin" / program, good)
    result = setup(project, "--apps", built)
    assert result.exit_code == 0, result.output
    assert len(daemons(project)) == 3
    assert "There is nothing to do." in setup(project).output


# Undoing it


@pytest.fixture
def no_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that answers only when one asks for unfinished jobs: there are none."""
    monkeypatch.setattr(registration, "look_if_possible", lambda login, app: None)
    none = registration.Registered(True, frozenset(), frozenset(), 0)
    monkeypatch.setattr(registration, "look", lambda login, app: none)


EMPTY_DAEMONS = CONFIG[: CONFIG.index("<daemons>")] + "<daemons/>\n</boinc>\n"
NO_DAEMONS = CONFIG[: CONFIG.index("    <daemons>")] + "</boinc>\n"
ON_ONE_LINE = " ".join(CONFIG.split("\n")[1:])


@pytest.mark.parametrize(
    "config", [CONFIG, EMPTY_DAEMONS, NO_DAEMONS, ON_ONE_LINE, CONFIG.replace("\n", "\r\n")]
)
@pytest.mark.parametrize("validators", [[None], ["script", "trivial"]])
def test_what_was_added_goes(
    tmp_path: Path, built: Path, config: str, validators: list[str | None], no_jobs: None
) -> None:
    """setup --remove: every file is as before, to the byte."""
    project = make_project(tmp_path / "project", config)
    before = contents(project)
    for validator in validators:
        flags = ["--validator", validator] if validator else []
        assert setup(project, "--apps", built, *flags).exit_code == 0
        assert len(daemons(project)) in (2, 3)
    (project / "pyboinc/failed/7").write_text("a line\n")
    result = setup(project, "--remove")
    assert result.exit_code == 0, result.output
    for name in ("calls", "database"):
        (project / name).unlink()
    assert contents(project) == before
    assert "There is nothing to do." in setup(project, "--remove").output


def test_what_others_changed_since_stays(project: Path, no_jobs: None) -> None:
    """setup --remove: their lines, and our files that they have edited, are kept and named."""
    assert setup(project).exit_code == 0
    path = project / "config.xml"
    edited = path.read_text().replace("trivial_validator -d 3", "trivial_validator -d 4")
    path.write_text(edited.replace("<tasks>", "<tasks><!-- since -->"))
    (project / "bin/pyboinc_compare").write_text("mine")
    result = setup(project, "--remove")
    assert result.exit_code == 0, result.output
    assert daemons(project) == [{"cmd": "feeder -d 3"}]
    was = CONFIG.format(root=project, host=os.uname().nodename.partition(".")[0])
    assert path.read_text() == was.replace("<tasks>", "<tasks><!-- since -->")
    assert (project / "bin/pyboinc_compare").read_text() == "mine"
    assert "bin/pyboinc_compare stays" in result.output
    assert list(project.glob("config.xml.before-pyboinc-*"))


def test_nothing_is_removed_while_somebody_waits(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """setup --remove: batches, outputs nobody took, unfinished jobs, and when nobody can tell."""
    assert setup(project).exit_code == 0
    assert "can not be told" in setup(project, "--remove").stderr
    two = registration.Registered(True, frozenset(), frozenset(), 2)
    monkeypatch.setattr(registration, "look", lambda login, app: two)
    assert "2 jobs of the app pyboinc are not finished" in setup(project, "--remove").stderr
    (project / "pyboinc/kept/7").mkdir()
    (project / "pyboinc/kept/7/7_0.out").write_text("an output")
    assert "no master has taken" in setup(project, "--remove").stderr
    (project / "pyboinc/batches/7").write_text("/x/new\n")
    result = setup(project, "--remove")
    assert result.exit_code == 2
    assert "1 batches are not over (7)" in result.stderr
    assert len(daemons(project)) == 3
    result = setup(project, "--remove", "--force")
    assert result.exit_code == 0, result.output
    assert len(daemons(project)) == 1
    assert (project / "pyboinc/kept/7/7_0.out").read_text() == "an output"


# Cut short


class Crash(BaseException):
    """What no program expects."""


def crash_at(number: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Let the step *number* be the last that is reached."""
    reached = 0

    def count(step: str, subject: str) -> None:
        nonlocal reached
        reached += 1
        if reached == number:
            raise Crash

    monkeypatch.setattr(disk, "before_step", count)
    yield reached
    monkeypatch.setattr(disk, "before_step", disk._nothing)


def crashes(project: Path, number: int, monkeypatch: pytest.MonkeyPatch, *flags: object) -> bool:
    """Type a command that is cut short before its step *number*; return whether it was."""
    crash = crash_at(number, monkeypatch)
    next(crash)
    try:
        setup(project, *flags)
    except Crash:
        return True
    finally:
        next(crash, None)
    return False


def test_what_was_cut_short_is_completed_or_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_jobs: None
) -> None:
    """setup: before each of its steps a crash; the next run completes it, --remove undoes it."""
    built = make_versions(tmp_path / "built", "1.0/arm64-apple-darwin")
    number, cut = 0, True
    while cut:
        number += 1
        project = make_project(tmp_path / f"project{number}")
        before = contents(project)
        cut = crashes(project, number, monkeypatch, "--apps", built)
        if number % 2:
            assert setup(project, "--apps", built).exit_code == 0
            assert [one["cmd"] for one in daemons(project)[1:]] == [
                VALIDATOR["cmd"],
                ASSIMILATOR["cmd"],
            ]
            assert "There is nothing to do." in setup(project, "--apps", built).output
        assert setup(project, "--remove").exit_code == 0
        for name in ("calls", "database"):
            (project / name).unlink(missing_ok=True)
        assert contents(project) == before, f"cut short before step {number}"
    assert number > 30


def test_a_removal_that_was_cut_short_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_jobs: None
) -> None:
    """setup --remove: before each of its steps a crash; the next run completes it."""
    number, cut = 0, True
    while cut:
        number += 1
        project = make_project(tmp_path / f"project{number}")
        before = contents(project)
        assert setup(project).exit_code == 0
        cut = crashes(project, number, monkeypatch, "--remove")
        assert setup(project, "--remove").exit_code == 0
        (project / "calls").unlink()
        assert contents(project) == before, f"cut short before step {number}"
    assert number > 15


def test_a_record_that_is_damaged_or_newer(project: Path) -> None:
    """setup: it does not guess what an earlier run has done."""
    assert setup(project).exit_code == 0
    path = project / "pyboinc/setup.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    assert "newer PyBOINC" in setup(project).stderr
    path.write_text("{")
    assert "is damaged" in setup(project).stderr


# The database


def test_a_database_that_does_not_answer(project: Path) -> None:
    """setup: what it can not be asked is taken from what BOINC's programs said."""
    login = Site(project, "pyboinc").project.login
    assert registration.look_if_possible(login, "pyboinc") is None


def test_a_site_is_no_site(tmp_path: Path) -> None:
    """setup: a directory that is no project is named."""
    with pytest.raises(ConfigurationError, match="is no BOINC project"):
        Site(tmp_path, "pyboinc")
