"""What ``pyboinc build`` makes, started as a BOINC client starts it; in both forms."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import stat
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from clients import PROJECT, Client, state_of, until
from computers import Signpost
from cryptography.hazmat.primitives.asymmetric import rsa
from source import PACKAGE, modules
from test_layering import SLAVE_HALF, parts_of

from pyboinc import build, codec, signing
from pyboinc.build import python_form, self_contained, slave_half
from pyboinc.bundle import stored_zip
from pyboinc.errors import ConfigurationError, RejectedArchive

HERE = build.platform_here() or ""

PROGRAM = b"""
import os, sys, time
from pyboinc import pyboinc_fraction_done, pyboinc_get_input, pyboinc_return_output
from pyboinc import pyboinc_save_checkpoint
work = pyboinc_get_input()
pyboinc_fraction_done(0.5)
if work == "far away":
    os.chdir("/")
    import sqlite3, decimal
elif work == "all names":
    from pyboinc import *
    try:
        pyboinc_call("app_slave.py", 7)
    except PyboincError as error:
        work = str(error)
elif work == "fail":
    raise ValueError("seven")
elif work == "wait":
    with open("signpost", "w") as file:
        file.write("%d\\n" % os.getpid())
    time.sleep(1000)
pyboinc_save_checkpoint(work)
pyboinc_return_output({
    "work": work, "argv": sys.argv[1:], "executable": sys.executable, "here": os.listdir("."),
    "libraries": os.environ.get("LD_LIBRARY_PATH"), "version": list(sys.version_info[:2]),
    "path": sys.path,
})
"""
ZIPPED = stored_zip({"app_slave.py": PROGRAM})


@dataclass
class Form:
    """An app version in one of the two forms, and the environment that it needs."""

    directory: Path
    main: str
    environment: Mapping[str, str]
    key: rsa.RSAPrivateKey


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, rsa.RSAPrivateKey]:
    """A directory with both forms, built once, whatever number of processes the tests run in."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    place, key_file = base / "built", base / "built.pem"
    with open(base / "built.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not key_file.exists():
            key = signing.generate()
            public_key = signing.public_key(key)
            version = build.app_version("pyboinc", "1.0", HERE, public_key)
            with pytest.MonkeyPatch.context() as patch:
                # Coverage would measure PyInstaller, too, and half the speed of it.
                for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
                    patch.delenv(name)
                files = self_contained.build(version)
            build.place(version, place / "self-contained", files)
            build.place(version, place / "python3", python_form.build(version))
            signing.save(key, key_file)
        return place, signing.load(key_file)


def form(made: tuple[Path, rsa.RSAPrivateKey], name: str) -> Form:
    place, key = made
    directory = place / name / "apps" / "pyboinc" / "1.0" / HERE
    (main,) = [
        found.findtext("physical_name") or ""
        for found in ElementTree.parse(directory / "version.xml").getroot().findall("file")
        if found.find("main_program") is not None
    ]
    python = Path(sys.executable).resolve().parent
    # The self-contained form starts with nothing at all, as from ``env -i``.
    environment = {"PATH": str(python)} if name == "python3" else {}
    return Form(directory, main, environment, key)


@pytest.fixture(scope="module", params=["python3", "self-contained"])
def either(request: pytest.FixtureRequest, made: tuple[Path, rsa.RSAPrivateKey]) -> Form:
    return form(made, request.param)


class Volunteer(Client):
    """A client that has fetched an app version and one job."""

    def __init__(self, data: Path, version: Form) -> None:
        super().__init__(data)
        self.version = version
        for path in version.directory.iterdir():
            if path.name != "version.xml":
                os.link(path, self.project / path.name)
        signed = signing.sign_archive(ZIPPED, "app_slave.py", version.key)
        self.archive = self.give("slave.zip", signed, "pyb_slave_1.zip")
        self.out = self.give("out", None, "pyb_1_0_0_r7_0")

    def begin(self, work: object, *arguments: str, **more: str) -> subprocess.Popen[str]:
        """Start the job whose input is *work*."""
        self.give("in", codec.encode(work), "pyb_1_0.in")
        command = [f"../../projects/{PROJECT}/{self.version.main}", *arguments]
        return self.start(command, {**self.version.environment, **more})

    def answer(self) -> dict[str, object]:
        value = codec.decode(self.out.read_bytes(), codec.Registry({}))
        assert isinstance(value, dict)
        return value


@pytest.fixture(scope="module")
def theirs() -> rsa.RSAPrivateKey:
    """A key of somebody else's."""
    return signing.generate()


@pytest.fixture
def volunteer(tmp_path: Path, either: Form) -> Iterator[Volunteer]:
    client = Volunteer(tmp_path, either)
    yield client
    client.close()


# -- in a slot, as a client starts it


def test_a_job_runs_as_a_client_starts_it(volunteer: Volunteer) -> None:
    """App versions: from soft links to the finish file, with an environment that is empty."""
    process = volunteer.begin("seven")
    assert volunteer.ended(process) == (0, "")
    assert volunteer.answer()["work"] == "seven"
    assert (volunteer.slot / "boinc_finish_called").read_text() == "0\n"
    told = volunteer.status()
    assert told is not None
    assert told["fraction_done"] == 0.5
    assert told["current_cpu_time"] > 0
    assert [path.name for path in volunteer.slot.glob("_MEI*")] == []


def test_what_nobody_signed_is_refused(volunteer: Volunteer, theirs: rsa.RSAPrivateKey) -> None:
    """App versions: an archive that was changed, or that another key signed, does not run."""
    changed = volunteer.archive.read_bytes().replace(b"seven", b"eight")
    other = signing.sign_archive(ZIPPED, "app_slave.py", theirs)
    for data in (changed, other):
        volunteer.archive.write_bytes(data)
        status, stderr = volunteer.ended(volunteer.begin("seven"))
        assert status == 2
        assert stderr.startswith("pyboinc: the slave's archive is ")
        assert stderr.count("\n") == 1
        assert not volunteer.out.exists()
        assert not (volunteer.slot / "program").exists()


def test_a_server_gives_no_orders_on_the_command_line(
    volunteer: Volunteer, theirs: rsa.RSAPrivateKey
) -> None:
    """App versions: a job's command line, which nobody has signed, is not looked at."""
    (volunteer.slot / "key").write_text(signing.public_key(theirs))
    code = "from multiprocessing.resource_tracker import main; import os; os._exit(99)"
    for words in (["--public-key", "key"], ["-c", code], ["--multiprocessing-fork"]):
        volunteer.archive.write_bytes(signing.sign_archive(ZIPPED, "app_slave.py", theirs))
        assert volunteer.ended(volunteer.begin("seven", *words))[0] == 2
        ours = signing.sign_archive(ZIPPED, "app_slave.py", volunteer.version.key)
        volunteer.archive.write_bytes(ours)
        assert volunteer.ended(volunteer.begin("seven", *words)) == (0, "")
        assert volunteer.answer()["argv"] == []


@pytest.mark.parametrize("own", ["", "/opt/lib", "/opt/lib:/opt/other"])
def test_the_projects_directory_holds_no_libraries(volunteer: Volunteer, own: str) -> None:
    """App versions: where a client lets shared libraries be looked for, a server can put files.

    The volunteer's own directories stay.
    """
    client = f"../../projects/{PROJECT}:.:../.."
    path = f"{client}:{own}" if own else client
    assert volunteer.ended(volunteer.begin("seven", LD_LIBRARY_PATH=path)) == (0, "")
    found = str(volunteer.answer()["libraries"] or "").split(":")
    # The self-contained form unpacks its own libraries into the slot, under a name of its own.
    found = [name for name in found if "/_MEI" not in name and name]
    assert found == [name for name in own.split(":") if name]


def test_a_slave_may_go_elsewhere(volunteer: Volunteer) -> None:
    """App versions: all that is imported late is found, wherever the slave has gone."""
    assert volunteer.ended(volunteer.begin("far away")) == (0, "")
    assert volunteer.answer()["work"] == "far away"


def test_a_slave_may_import_all_names(volunteer: Volunteer) -> None:
    """App versions: ``from pyboinc import *`` works where the master's half is not."""
    assert volunteer.ended(volunteer.begin("all names")) == (0, "")
    assert "pyboinc_call is for a master program" in str(volunteer.answer()["work"])


def test_a_traceback_shows_the_slaves_frames_only(volunteer: Volunteer) -> None:
    """App versions: what a failed job says begins and ends in the slave."""
    status, stderr = volunteer.ended(volunteer.begin("fail"))
    assert status == 1
    assert [line for line in stderr.splitlines() if "File" in line] == [
        '  File "app_slave.py", line 17, in <module>'
    ]
    assert stderr.endswith("ValueError: seven\n")
    assert not (volunteer.slot / "boinc_finish_called").exists()


def test_by_hand_it_runs_anywhere(either: Form, tmp_path: Path) -> None:
    """App versions: without a client, slave.zip and in become out, however it is started."""
    for path in either.directory.iterdir():
        shutil.copy(path, tmp_path)
    archive = signing.sign_archive(ZIPPED, "app_slave.py", either.key)
    (tmp_path / "slave.zip").write_bytes(archive)
    (tmp_path / "in").write_bytes(codec.encode("seven"))
    for command in ([f"./{either.main}"], ["/bin/sh", either.main]):
        environment = either.environment or {"PATH": os.defpath}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True)
        value = codec.decode((tmp_path / "out").read_bytes(), codec.Registry({}))
        assert isinstance(value, dict) and value["work"] == "seven"
        (tmp_path / "out").unlink()


def test_quit_is_heard(volunteer: Volunteer) -> None:
    """App versions: a task that must quit ends with status 0 and leaves nothing unpacked."""
    signpost = Signpost(volunteer.slot / "signpost")
    process = volunteer.begin("wait")
    signpost.line()
    volunteer.send("<quit/>")
    assert volunteer.ended(process) == (0, "")
    assert list(volunteer.slot.glob("_MEI*")) == []


def test_a_runtime_without_its_outer_process_ends(
    made: tuple[Path, rsa.RSAPrivateKey], tmp_path: Path
) -> None:
    """Self-contained: the inner process ends if the outer, which the client knows, is killed.

    What it had unpacked is removed at the next start.
    """
    volunteer = Volunteer(tmp_path, form(made, "self-contained"))
    signpost = Signpost(volunteer.slot / "signpost")
    outer = volunteer.begin("wait")
    inner = int(signpost.line())
    assert inner != outer.pid
    outer.kill()
    volunteer.ended(outer)
    until(lambda: state_of(inner) in ("", "Z"))
    assert len(list(volunteer.slot.glob("_MEI*"))) == 1
    assert volunteer.ended(volunteer.begin("seven")) == (0, "")
    assert list(volunteer.slot.glob("_MEI*")) == []
    volunteer.close()


def test_the_self_contained_form_needs_no_python(
    made: tuple[Path, rsa.RSAPrivateKey], tmp_path: Path
) -> None:
    """Self-contained: it runs with a root directory's worth of nothing, and is no Python itself."""
    volunteer = Volunteer(tmp_path, form(made, "self-contained"))
    assert volunteer.ended(volunteer.begin("seven")) == (0, "")
    answer = volunteer.answer()
    assert answer["executable"] == ""
    assert all("/_MEI" in str(path) or "/program" in str(path) for path in answer["path"])  # type: ignore[attr-defined]
    volunteer.close()


# -- the python3 form


@pytest.fixture
def script(made: tuple[Path, rsa.RSAPrivateKey]) -> Form:
    return form(made, "python3")


def test_the_volunteers_own_settings_change_nothing(script: Form, tmp_path: Path) -> None:
    """python3: PYTHON... variables, and modules in the slot, do not reach a job."""
    volunteer = Volunteer(tmp_path, script)
    for name in ("json", "zlib", "sitecustomize", "usercustomize", "pyboinc"):
        (volunteer.slot / f"{name}.py").write_text("raise SystemExit('theirs')\n")
    hostile = {"PYTHONPATH": ".", "PYTHONHOME": "/nowhere", "PYTHONWARNINGS": "error"}
    ended = volunteer.ended(volunteer.begin("seven", PYTHONINSPECT="1", HOME="/", **hostile))
    assert ended == (0, "")
    assert "." not in volunteer.answer()["path"]  # type: ignore[operator]
    volunteer.close()


def test_a_computer_without_python_is_told_so(script: Form, tmp_path: Path) -> None:
    """python3: without Python, and with one that is too old, a line says what is needed."""
    text = (script.directory / script.main).read_bytes()
    program = tmp_path / "program"
    program.write_bytes(text.replace(b'PATH="', b'PATH=/nowhere; : "', 1))
    run = subprocess.run(["/bin/sh", program], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    assert "no python3 on this computer; it needs Python 3.8" in run.stderr
    main = slave_half.main_program("key").decode().replace("(3, 8)", "(4, 0)")
    run = subprocess.run([sys.executable, "-c", main], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    assert "python3 is 3." in run.stderr


def oldest_python() -> str | None:
    """Return a Python 3.8 that starts, where there is one."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [*root.glob("versions/3.8.*/bin/python3.8"), shutil.which("python3.8")]
    for path in filter(None, found):
        if subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return str(path)
    return None


def test_the_oldest_python_runs_it(script: Form, tmp_path: Path) -> None:
    """python3: Python 3.8 runs the file, where it is found."""
    oldest = oldest_python()
    if oldest is None:
        return
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(oldest)
    volunteer = Volunteer(tmp_path / "data", script)
    process = volunteer.begin("seven", PATH=f"{tmp_path}/bin")
    assert volunteer.ended(process) == (0, "")
    assert volunteer.answer()["version"] == [3, 8]
    volunteer.close()


def test_the_same_bytes_come_out_again(made: tuple[Path, rsa.RSAPrivateKey]) -> None:
    """python3: what is built depends on the sources and the key, on no date and no order."""
    place, key = made
    version = build.app_version("pyboinc", "1.0", HERE, signing.public_key(key))
    files = python_form.build(version)
    assert build.place(version, place / "python3", files) is False


def test_only_the_slave_half_travels(script: Form) -> None:
    """Volunteers: the list of what travels is that of layering, and nothing else is in the file."""
    data = (script.directory / script.main).read_bytes()
    inside = set(zipfile.ZipFile(io.BytesIO(data)).namelist()) - {"pyboinc/", "pyboinc/codec/"}
    assert inside == {"__main__.py", *slave_half.files()}
    halves = {one.name for one in modules() if set(parts_of(one.name)) <= SLAVE_HALF}
    assert set(slave_half.modules()) == halves
    for name, text in slave_half.files().items():
        assert (PACKAGE.parent / name).read_bytes() == text


# -- directories and names


def test_the_directory_is_as_a_server_wants_it(either: Form) -> None:
    """App versions: names hold app, version and platform; programs can be executed; version.xml."""
    assert either.directory.parts[-4:] == ("apps", "pyboinc", "1.0", HERE)
    root = ElementTree.parse(either.directory / "version.xml").getroot()
    assert root.findtext("api_version") == "7.0.0"
    named = {found.findtext("physical_name") for found in root.findall("file")}
    there = {path.name for path in either.directory.iterdir()} - {"version.xml"}
    assert named == there
    for name in there:
        assert name.startswith(f"pyboinc_1.0_{HERE}")
        assert stat.S_IMODE((either.directory / name).stat().st_mode) == 0o755


def test_names_are_for_ever(script: Form, tmp_path: Path) -> None:
    """App versions: what is there is never replaced; the same is fine, other files are refused."""
    version = build.app_version("pyboinc", "1.0", HERE, signing.public_key(script.key))
    files = python_form.build(version)
    assert build.place(version, tmp_path, files) is True
    assert build.place(version, tmp_path, files) is False
    with pytest.raises(ConfigurationError, match="give the next --version"):
        build.place(version, tmp_path, {**files, "version.xml": b""})
    assert (version.directory(tmp_path) / "version.xml").read_bytes() == files["version.xml"]
    assert os.listdir(version.directory(tmp_path).parent) == [HERE]


@pytest.mark.parametrize(
    ("app", "version", "platform", "why"),
    [
        ("py boinc", "1.0", HERE, "an app's name"),
        ("../x", "1.0", HERE, "an app's name"),
        ("pyboinc", "1", HERE, "two numbers"),
        ("pyboinc", "1.0.0", HERE, "two numbers"),
        ("pyboinc", "1.0", "windows_x86_64", "no platform 'windows_x86_64'"),
    ],
)
def test_names_that_can_not_be(
    script: Form, app: str, version: str, platform: str, why: str
) -> None:
    """App versions: a name that a server would not take is refused here."""
    with pytest.raises(ConfigurationError, match=why):
        build.app_version(app, version, platform, signing.public_key(script.key))


def test_what_is_no_public_key_is_not_built_in() -> None:
    """App versions: a key that would check nothing is refused before anything is built."""
    with pytest.raises(RejectedArchive, match="no public key"):
        build.app_version("pyboinc", "1.0", HERE, "no key")


def test_platforms_have_boincs_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """App versions: this computer's platform by BOINC's name, or none if BOINC has none."""
    assert HERE in build.PLATFORMS
    unknown = os.uname_result(["Plan9", "", "", "", "mips"])
    monkeypatch.setattr(os, "uname", lambda: unknown)
    assert build.platform_here() is None


def test_packages_must_be_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: Form
) -> None:
    """Self-contained: a package that is not there is told, no PyInstaller, and its failure."""
    version = build.app_version("pyboinc", "1.0", HERE, signing.public_key(script.key))
    for name in ("no_such_package", "a-b"):
        with pytest.raises(ConfigurationError, match=f"--with {name}: there is no package"):
            self_contained.build(version, [name])
    with monkeypatch.context() as patch:
        patch.setattr(self_contained, "find_spec", lambda name: None)
        with pytest.raises(ConfigurationError, match=r"pip install 'pyboinc\[build\]'"):
            self_contained.build(version)
    monkeypatch.setattr(self_contained, "_options", lambda *arguments: ["--no-such-option"])
    with pytest.raises(ConfigurationError, match="(?s)PyInstaller failed:\n.*no-such-option"):
        self_contained.build(version)


def test_slaves_find_the_standard_library(made: tuple[Path, rsa.RSAPrivateKey]) -> None:
    """Self-contained: the standard library is in it, but for what needs a screen or a developer."""
    found = set(self_contained.standard_modules())
    assert {"json.decoder", "sqlite3", "multiprocessing.pool", "xml.etree.ElementTree"} <= found
    assert not {"tkinter", "test", "idlelib"} & {name.split(".")[0] for name in found}


def test_libraries_of_packages_stay_as_they_are(tmp_path: Path) -> None:
    """App versions: what makes Python smaller would leave numpy's libraries unusable."""
    assert "--strip" not in self_contained._options(tmp_path, "runtime", ["numpy"])
