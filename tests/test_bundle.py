"""Bundles: one archive with all that a slave needs, the same bytes on every machine."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyboinc import bundle
from pyboinc.bundle import changed_files, pack, program_digests, stored_zip
from pyboinc.errors import ConfigurationError

SLAVE = "from app_types import Input\nimport numpy, pkg.part\n"

NAMES = st.text("abcé_. ", min_size=1, max_size=6).filter(lambda name: name.strip(". ") == name)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job directory with a slave, its modules, data, and what must never travel."""
    files = {
        "app_slave.py": SLAVE,
        "app_types.py": "class Input: pass\n",
        "app_master.py": "import app_types\n",
        "pkg/__init__.py": "",
        "pkg/part.py": "import random\n",
        "data/table.csv": "1,2\n",
        "data/deep/more.csv": "3,4\n",
        "data/__pycache__/junk.csv": "",
        "plugin.py": "import helper\n",
        "helper.py": "",
        "my-notes/draft.py": "x = 1\n",
        "pyboinc_checkpoint": "12\n",
        ".pyboinc/spool": "",
        "new/12_0.out": "",
        "old/12_1.out": "",
        ".venv/lib/big.py": "",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_app_types_travels_with_a_slave_that_never_names_it(job: Path) -> None:
    """The class of the input is needed to load it, also if the slave does not import it."""
    (job / "app_slave.py").write_text("from pyboinc import pyboinc_get_input\n")
    (job / "app_types.py").write_text("import helper\n")

    packed = pack(job, "app_slave.py")

    assert packed.members == ("app_slave.py", "app_types.py", "helper.py")
    assert packed.modules == ("app_types", "helper")


def test_a_bundle_holds_the_slave_and_its_modules(job: Path) -> None:
    """What the slave imports is found and packed; the master and its results are not."""
    packed = pack(job, "./app_slave.py")

    assert packed.slave == "app_slave.py"
    assert packed.members == ("app_slave.py", "app_types.py", "pkg/__init__.py", "pkg/part.py")
    assert packed.modules == ("app_types", "pkg", "pkg.part")
    assert packed.external == ("numpy",)
    assert packed.stdlib == ("random",)
    assert packed.preload == ("numpy", "random")
    assert packed.included == ()
    with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
        assert archive.testzip() is None
        assert archive.read("app_slave.py") == SLAVE.encode()


def test_the_bytes_of_a_bundle_are_frozen(tmp_path: Path) -> None:
    """The digest names the batch's program: it is the same on every machine, in every version."""
    for name, text in {"a.py": "import b, é.c\n", "b.py": "x = 1\n", "é/c.py": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")

    packed = pack(tmp_path, "a.py")

    assert packed.members == ("a.py", "b.py", "é/c.py")
    assert packed.digest == "bb6085df537fdbde90291248671b2b8fd522f99f4d9ab8889f5c53859d1a4735"


def test_dates_and_permissions_do_not_count(job: Path) -> None:
    """A copied or restored job directory has the same bundle; a changed one has not."""
    before = pack(job, "app_slave.py")

    os.utime(job / "app_types.py", (1, 1))
    (job / "app_types.py").chmod(0o700)
    assert pack(job, "app_slave.py") == before

    (job / "app_types.py").write_text("class Input: x = 1\n")
    assert pack(job, "app_slave.py").digest != before.digest


def test_files_are_included_by_name_pattern_and_directory(job: Path) -> None:
    """Data travels when it is named; caches and PyBOINC's own files never do."""
    everything = ("data/deep/more.csv", "data/table.csv")

    assert pack(job, "app_slave.py", ["data/table.csv"]).included == ("data/table.csv",)
    assert pack(job, "app_slave.py", ["data/*.csv", "data/table.csv"]).included == everything[1:]
    assert pack(job, "app_slave.py", ["data"]).included == everything
    assert pack(job, "app_slave.py", ["**/*.csv"]).included == everything
    assert "new/12_0.out" not in pack(job, "app_slave.py", ["**/*"]).members


def test_an_included_module_brings_what_it_imports(job: Path) -> None:
    """A plug-in that is loaded by a computed name is named by include, and works."""
    packed = pack(job, "app_slave.py", ["plugin.py", "app_types.py", "pkg/__init__.py"])

    assert packed.modules == ("app_types", "pkg", "pkg.part", "plugin", "helper")
    assert packed.included == ()


def test_a_file_that_can_not_be_imported_is_data(job: Path) -> None:
    """my-notes/draft.py is no module's name: it travels as it is."""
    packed = pack(job, "app_slave.py", ["my-notes"])

    assert packed.included == ("my-notes/draft.py",)
    assert "draft" not in "".join(packed.modules)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("nothing*.csv", r"include 'nothing\*\.csv' matches no file"),
        ("new", "include 'new' matches no file"),
        ("../*.csv", "leads out of the job directory"),
        ("/etc/passwd", "leads out of the job directory"),
        ("a**b/**c", "matches no file|is not a pattern"),
        ("", "is not a pattern"),
    ],
)
def test_an_include_that_brings_nothing_is_refused(job: Path, pattern: str, says: str) -> None:
    """A misspelt pattern is found now, not by a thousand hosts."""
    with pytest.raises(ConfigurationError, match=says):
        pack(job, "app_slave.py", [pattern])


def test_too_much_is_refused(job: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that no volunteer should download is refused, naming the largest file."""
    monkeypatch.setattr(bundle, "LARGEST", 1_000)
    (job / "data/table.csv").write_bytes(bytes(2_000))

    with pytest.raises(ConfigurationError, match=r"1,000 at most; the largest is data/table\.csv"):
        pack(job, "app_slave.py", ["data"])


def test_a_slave_runs_from_its_archive(tmp_path: Path) -> None:
    """On the slave's side: its own directory in the archive, and the top of it."""
    files = {
        "slaves/app_slave.py": "import app_types, helper, space.leaf, pkg.part\n"
        "print(app_types.VALUE, helper.VALUE, space.leaf.VALUE, pkg.part.VALUE)\n",
        "slaves/helper.py": "VALUE = 2\n",
        "app_types.py": "VALUE = 1\n",
        "space/leaf.py": "VALUE = 3\n",
        "pkg/__init__.py": "",
        "pkg/part.py": "VALUE = 4\n",
    }
    for name, text in files.items():
        (tmp_path / "job" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "job" / name).write_text(text)
    packed = pack(tmp_path / "job", "slaves/app_slave.py")
    archive = tmp_path / f"{packed.digest}.zip"
    archive.write_bytes(packed.data)
    program = (
        "import sys, zipimport\nsys.path[:0] = sys.argv[1:]\n"
        "exec(zipimport.zipimporter(sys.argv[1]).get_code('app_slave'))\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, str(archive / "slaves"), str(archive)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )

    assert done.stdout == "1 2 3 4\n"


@given(st.dictionaries(PATHS, st.binary(max_size=50), max_size=6))
def test_every_archive_is_a_proper_zip_file(files: dict[str, bytes]) -> None:
    """Any zip tool reads what was packed, whatever the names; the order does not count."""
    inner = {f"{i}/{name}": data for i, (name, data) in enumerate(files.items())}

    data = stored_zip(inner)

    assert data == stored_zip(dict(reversed(inner.items())))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        members = {info.filename: archive.read(info) for info in archive.infolist()}
    assert {name: one for name, one in members.items() if not name.endswith("/")} == inner
    assert all(f"{name.rpartition('/')[0]}/" in members for name in inner)


def test_unpacked_files_can_be_read_by_all(tmp_path: Path) -> None:
    """The archive's members have ordinary modes, whatever they had on the master's disk."""
    with zipfile.ZipFile(io.BytesIO(stored_zip({"a/b.txt": b"x"}))) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}

    assert modes == {"a/": 0o40755, "a/b.txt": 0o100644}


def test_a_changed_program_is_noticed_file_by_file(job: Path) -> None:
    """On resume the user reads which files are not what they were."""
    programs = ["app_master.py", "app_slave.py"]
    before = program_digests(job, programs)
    assert set(before) >= {"app_master.py", "app_slave.py", "app_types.py", "pkg/part.py"}
    assert changed_files(before, program_digests(job, programs)) == []

    (job / "app_slave.py").write_text("import app_types, helper\n")
    (job / "helper.py").write_text("x = 1\n")
    after = program_digests(job, programs)

    assert changed_files(before, after) == [
        "app_slave.py changed",
        "helper.py is new",
        "pkg/__init__.py is gone",
        "pkg/part.py is gone",
    ]


def test_changed_data_is_noticed_too(job: Path) -> None:
    """Outputs depend on the included files as much as on the slave."""
    before = program_digests(job, ["app_slave.py"], ["data/*.csv"])

    (job / "data/table.csv").write_text("1,3\n")
    after = program_digests(job, ["app_slave.py"], ["data/*.csv"])

    assert changed_files(before, after) == ["data/table.csv changed"]
