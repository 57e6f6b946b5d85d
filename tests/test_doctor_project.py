"""``pyboinc doctor --project``: what a first-time user trips over, a line each, with the cure."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from cli_apps import verb
from project_directory import host, make_project, put_program

from pyboinc import signing
from pyboinc.administration import compiling, registration
from pyboinc.administration.registration import Registered
from pyboinc.cli import project_findings, project_places
from pyboinc.cli.findings import Finding
from pyboinc.cli.project_findings import Examined
from pyboinc.cli.project_places import Person

WELL = Registered(True, frozenset({"linux"}), frozenset({(100, "linux")}), 0)
KEY = signing.public_key(signing.generate())


OURS = ("pyboinc_validator", "pyboinc_assimilator")


class Crontab:
    """What `crontab -l` prints."""

    stdout = "*/5 * * * * cd /x && bin/start --cron\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project in which all is well: set up, and its daemons run (their process is this one)."""
    root = make_project(tmp_path / "project")
    (tmp_path / "key.pub").write_text(KEY)
    put_program(root / "bin/start", "#!/usr/bin/env sh\n")
    text = (root / "config.xml").read_text()
    more = "".join(
        f"<daemon><cmd>{name} -d 3</cmd></daemon>" for name in ("transitioner", "file_deleter")
    )
    (root / "config.xml").write_text(text.replace("</daemons>", f"{more}</daemons>"))
    monkeypatch.setattr(compiling, "compiler", lambda: None)
    assert verb("setup", root, "--yes", "--public-key", tmp_path / "key.pub").exit_code == 0
    for path in (root / "upload", root / "download", root / "templates"):
        path.chmod(0o2775)
    for name in (
        "feeder",
        "transitioner",
        "file_deleter",
        "pyboinc_validator",
        "pyboinc_assimilator",
    ):
        pid_file(root, name).write_text(f"{os.getpid()}\n")
    monkeypatch.setattr(registration, "look", lambda login, app: WELL)
    monkeypatch.setattr(project_findings, "batches", lambda one: iter(()))
    checks = tuple(x for x in project_findings.CHECKS if x.__name__ != "batches")
    monkeypatch.setattr(project_findings, "CHECKS", checks)
    # What this computer's users and cron are is not for a test to say.
    me = pwd.getpwuid(os.geteuid())
    monkeypatch.setattr(project_places, "_WEB_SERVERS", (me.pw_name,))
    run = subprocess.run
    monkeypatch.setattr(
        subprocess,
        "run",
        lambda words, **how: Crontab if words[0] == "crontab" else run(words, **how),
    )
    return root


def pid_file(root: Path, name: str) -> Path:
    return root / f"pid_{host()}" / f"{name}.pid"


def everything(root: Path) -> list[Finding]:
    one = Examined(root, "pyboinc")
    checks = project_findings.CHECKS + project_places.CHECKS
    return [finding for check in checks for finding in check(one)]


def bad(found: list[Finding]) -> list[Finding]:
    return [one for one in found if one.good is False]


def test_a_project_in_which_all_is_well(project: Path, tmp_path: Path) -> None:
    """doctor --project: exit code 0; a line for each thing, OK or a note."""
    result = verb("doctor", tmp_path, "--project", project)
    shown = result.stdout.splitlines()
    assert result.exit_code == 0, result.stdout
    assert shown[-1] == "All is well."
    assert all(line.startswith(("OK    ", "note  ", "        ")) for line in shown[:-1])
    for line in (
        f"OK    the project {project}, for the app pyboinc",
        f"OK    config.xml says <host>{host()}</host>, this computer is {host()}",
        "OK    sh is on PATH: for bin/start",
        "OK    validator: sample_trivial_validator -d 3 --app pyboinc",
        "OK    daemons running: 5 of 5",
        "OK    bin/pyboinc_assimilate",
        "OK    templates/pyboinc_out",
        "OK    the database none lets nobody in",
        "OK    app versions: 1.00 linux",
        "OK    bin/start --cron is in your crontab",
        "note  the trivial validator takes every output that came: a quorum compares nothing",
        "note  BOINC's private key code_sign_private lies on this server",
    ):
        assert line in shown
    assert "open sesame" not in result.stdout


def test_a_project_that_is_none(tmp_path: Path) -> None:
    """doctor --project: a directory without a config.xml, and one whose config.xml is broken."""
    result = verb("doctor", "--project", tmp_path)
    assert result.exit_code == 2
    assert "is no BOINC project: it has no config.xml" in result.stdout
    assert result.stdout.endswith("1 to mend.\n")
    (tmp_path / "config.xml").write_text("<boinc>")
    assert "config.xml can not be read" in verb("doctor", "--project", tmp_path).stdout


def change(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A harm: a file of the project says something else."""

    def harm(root: Path) -> None:
        text = (root / name).read_text()
        assert old in text
        (root / name).write_text(text.replace(old, new))

    return harm


def gone(name: str) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        path = root / name.format(host=host())
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return harm


def mode(name: str, number: int) -> Callable[[Path], None]:
    def harm(root: Path) -> None:
        (root / name).mkdir(exist_ok=True)
        (root / name).chmod(number)

    return harm


def touched(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).touch()


def dead(root: Path) -> None:
    pid_file(root, "pyboinc_assimilator").write_text(f"{2**22 + 1}\n")
    log = root / f"log_{host()}" / "pyboinc_assimilator.log"
    log.write_text("begun\nhandler error 256; exiting\n\n")


def no_python(root: Path) -> None:
    put_program(root / "bin/start", "#!/usr/bin/env python-that-is-not-there\n")


def moved_python(root: Path) -> None:
    path = root / "bin/pyboinc_validate"
    path.write_text(re.sub("^python=.*", "python='/no where/python'", path.read_text(), flags=re.M))


SETUP = "pyboinc setup"
config, template = partial(change, "config.xml"), partial(change, "templates/pyboinc_out")

HARMS = [
    (
        config(f"<host>{host()}</host>", "<host>old</host>"),
        "<host>old</host>",
        "in config.xml: <host>",
    ),
    (no_python, "python-that-is-not-there is not on PATH: for bin/start", "install it"),
    (
        config("<cmd>feeder -d 3 </cmd>", "<cmd>x</cmd>"),
        "no feeder in config.xml",
        "",
    ),
    (
        config("script_assimilator -d", "x -d"),
        "no assimilator for pyboinc",
        SETUP,
    ),
    (
        config("--script pyboinc_a", "--script a"),
        "the assimilator is not ours",
        "take it out",
    ),
    (gone("pid_{host}/feeder.pid"), "not running: feeder", "no log yet"),
    (
        dead,
        "not running: script_assimilator --app pyboinc",
        "ends with: handler error 256;",
    ),
    (touched("stop_daemons"), "stop_daemons is there: its daemons end", "bin/start"),
    (touched("stop_sched"), "stop_sched is there: volunteers get no jobs", "bin/start"),
    (gone("bin/pyboinc_assimilate"), "bin/pyboinc_assimilate is missing", SETUP),
    (
        change("bin/pyboinc_assimilate", "kept", "lost"),
        "is not that of this PyBOINC",
        SETUP,
    ),
    (moved_python, "validate calls /no where/python, which is gone", SETUP),
    (gone("templates/pyboinc_out"), "templates/pyboinc_out: No such file", SETUP),
    (
        template("<OUTFILE_0/>", "<OUTFILE_0 />"),
        "lacks <OUTFILE_0/>",
        "--force",
    ),
    (template(">out<", ">output<"), "lacks <open_name>out", "--force"),
    (gone("keys/code_sign_public"), "keys/code_sign_public", "make_project"),
    (gone("pyboinc/public_key"), "no public key of PyBOINC", "pyboinc keygen"),
    (
        change("pyboinc/public_key", "pyboinc", "other"),
        "public_key can not be used",
        "no public key",
    ),
    (gone("pyboinc"), "the project is not prepared for PyBOINC", SETUP),
    (gone("pyboinc/kept"), "pyboinc/kept is missing", SETUP),
    (mode("pyboinc/batches", 0o755), "pyboinc/: 1 directories", "chmod g+rwxs"),
    (mode("download/1a", 0o755), "download/: 1 directories", "chmod g+rwx"),
    (mode("upload", 0o755), "upload/: 1 directories", "chmod g+rwx"),
]


@pytest.mark.parametrize(("harm", "text", "remedy"), HARMS, ids=[text for _, text, _ in HARMS])
def test_what_is_wrong_has_a_line(
    project: Path, harm: Callable[[Path], None], text: str, remedy: str
) -> None:
    """doctor --project: one thing is wrong; its line names it, and what to type."""
    harm(project)
    found = bad(everything(project))
    assert [one for one in found if text in one.text and remedy in one.remedy], found
    # The assimilator has no script, no log and no process if it is not in config.xml at all.
    assert len(found) <= 3, found


def test_a_daemon_that_is_disabled_is_a_note(project: Path) -> None:
    """doctor --project: what somebody has switched off is no fault, and not expected to run."""
    change("config.xml", "<output>pyboinc_v", "<disabled>1</disabled><output>pyboinc_v")(project)
    pid_file(project, "pyboinc_validator").unlink()
    found = everything(project)
    assert bad(found) == []
    assert [one for one in found if one.good is None and one.text.endswith("(disabled)")]
    assert [one for one in found if one.text == "daemons running: 4 of 4"]


def test_a_pid_file_with_nonsense(project: Path) -> None:
    """doctor --project: an empty or damaged pid file is a daemon that does not run."""
    for text in ("", "x", "99999999999999999999"):
        pid_file(project, "feeder").write_text(text)
        assert "not running: feeder" in [one.text for one in bad(everything(project))]


@pytest.mark.parametrize(
    ("known", "text"),
    [
        (WELL._replace(app=False), "the app pyboinc is registered"),
        (WELL._replace(versions=frozenset()), "app versions: none"),
    ],
)
def test_an_app_that_is_not_registered(
    project: Path, monkeypatch: pytest.MonkeyPatch, known: Registered, text: str
) -> None:
    """doctor --project: the app, and a version of it, or no volunteer gets a job."""
    monkeypatch.setattr(registration, "look", lambda login, app: known)
    (finding,) = bad(everything(project))
    assert finding.text.startswith(text)
    assert "pyboinc setup" in finding.remedy


def test_a_database_that_does_not_answer(
    tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """doctor --project: the database's own words, and no password."""
    monkeypatch.undo()
    (finding,) = project_findings.database(Examined(project, "pyboinc"))
    assert (finding.good, finding.text) == (False, "the database none can not be asked")
    assert "open sesame" not in finding.remedy


def test_the_compiled_assimilator_runs_here(project: Path) -> None:
    """doctor --project: a project that was moved to a computer of another kind."""
    config("--script pyboinc_assimilate", "--script pyboinc_deliver")(project)
    for text, good in (("#!/bin/sh\n", True), ("of another kind", False)):
        put_program(project / "bin/pyboinc_deliver", text)
        found = everything(project)
        (finding,) = [one for one in found if one.text.startswith("bin/pyboinc_deliver")]
        assert finding.good is good
        assert bad(found) == ([] if good else [finding])


# Users


def test_who_may_pass(tmp_path: Path) -> None:
    """doctor: the mode's part for owner, group or others: the first that fits, as in a kernel."""
    path = tmp_path / "x"
    path.mkdir()
    path.chmod(0o750)
    found = path.stat()
    owner = Person(found.st_uid or 77, frozenset())
    member, stranger = Person(4001, frozenset({found.st_gid})), Person(4002, frozenset())
    assert member.may(path, 5)
    assert not member.may(path, 2)
    assert not stranger.may(path, 1)
    assert Person(0, frozenset()).may(path, 7)
    if found.st_uid:
        assert owner.may(path, 7)
    assert stranger.barrier(path / "deeper") is not None
    assert stranger.name == "4002"


def test_a_user_who_does_not_belong(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """doctor --project: neither owner nor in the group, and a web server that is not either."""
    monkeypatch.setattr(project_places, "me", lambda: Person(4001, frozenset()))
    monkeypatch.setattr(project_places, "person", lambda number: Person(number, frozenset()))
    monkeypatch.setattr(project_places, "_WEB_SERVERS", (pwd.getpwall()[-1].pw_name,))
    found = bad(list(project_places.users(Examined(project, "pyboinc"))))
    assert ["usermod -a -G" in one.remedy for one in found] == [True] * len(found)
    assert found[0].text.startswith("4001, of a project of ")
    monkeypatch.setattr(project_places, "_WEB_SERVERS", ())
    assert len(bad(list(project_places.users(Examined(project, "pyboinc"))))) == 1


def test_the_job_directory(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """doctor --project DIR: new/ for the assimilator, the types for the validator."""
    job = tmp_path / "job"
    (job / "new").mkdir(parents=True)
    (job / "app_types.py").write_text("")
    group = os.getegid()
    daemon = Person(4001, frozenset({group}))
    monkeypatch.setattr(project_places, "person", lambda number: daemon)
    monkeypatch.setattr(Person, "barrier", lambda self, path: None)
    one = Examined(project, "pyboinc")
    (job / "new").chmod(0o755)
    (job / "app_types.py").chmod(0o600)
    first, second = project_places.job_directory(one, job)
    assert (first.good, second.good) == (False, False)
    assert "chmod 2775" in first.remedy
    assert "chmod o+r" in second.remedy
    os.chown(job / "new", -1, group)
    (job / "new").chmod(0o2775)
    (job / "app_types.py").chmod(0o644)
    assert [one.good for one in project_places.job_directory(one, job)] == [True, True]
    monkeypatch.setattr(Person, "barrier", lambda self, path: tmp_path)
    (barred,) = project_places.job_directory(one, job)
    assert barred.remedy == f"chmod o+x {tmp_path}"
    result = verb("doctor", job, "--project", project)
    assert f"can not pass {tmp_path}" in result.stdout


def test_outputs_that_are_kept_are_told_of(project: Path) -> None:
    """doctor --project: outputs that nobody has taken are a note."""
    (project / "pyboinc/kept/7").mkdir()
    (project / "pyboinc/kept/7/7_0.out").touch()
    found = everything(project)
    assert bad(found) == []
    assert [one for one in found if one.text.startswith("1 outputs are kept in")]
