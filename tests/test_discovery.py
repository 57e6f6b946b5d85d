"""Discovery: exactly the files that Python would load, found without running any of them."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from pyboinc.discovery import Discovery, Import, imports_of, local_modules
from pyboinc.errors import ConfigurationError

Job = Callable[[Mapping[str, str]], Path]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A function that writes files (relative path -> text) and returns their job directory."""

    def write(files: Mapping[str, str]) -> Path:
        for name, text in files.items():
            path = tmp_path / "job" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return tmp_path / "job"

    return write


def modules_of(directory: Path, program: str = "app_slave.py") -> list[str]:
    return list(Discovery(directory, program).modules)


# ---------------------------------------------------------------- reading one file


def read(text: str, package: str = "") -> list[Import]:
    return imports_of(text.encode(), Path("x.py"), package)


def test_imports_are_read_in_the_order_of_the_text() -> None:
    """The warm server can import in the order in which the slave would."""
    text = "import b, a.c as x\nfrom d import e, f as g\nif 1:\n    import h\nelse:\n    import i\n"

    assert [(one.module, one.names) for one in read(text)] == [
        ("b", ()),
        ("a.c", ()),
        ("d", ("e", "f")),
        ("h", ()),
        ("i", ()),
    ]


def test_an_import_in_a_function_is_deferred() -> None:
    """What only a call would import is packed, but not imported ahead."""
    text = (
        "def f():\n import a\nasync def g():\n import b\nh = lambda: __import__('c')\n"
        "class K:\n import d\n"
    )

    assert {one.module: one.deferred for one in read(text)} == {
        "a": True,
        "b": True,
        "c": True,
        "d": False,
    }


def test_imports_by_name_are_read_if_the_name_is_there() -> None:
    """importlib.import_module with a literal counts; a computed name is for `include`."""
    text = (
        "import_module('a.b')\nimportlib.import_module('.c', __package__)\n"
        "importlib.import_module('.d', 'other.place')\nimport_module('..e', package='x.y')\n"
        "__import__('f')\nimport_module(name)\nimport_module()\nprint('g')\nimport_module(1)\n"
    )

    names = [one.module for one in read(text, "pkg")]

    assert names == ["a.b", "pkg.c", "other.place.d", "x.e", "f"]


def test_relative_imports_start_from_the_package() -> None:
    """`from . import y` and its kin, as far up as there are packages."""
    text = "from . import y\nfrom .z import q\nfrom ..up import w\nfrom ... import top\n"

    found = [(one.module, one.names) for one in read(text, "a.b")]

    assert found == [("a.b", ("y",)), ("a.b.z", ("q",)), ("a.up", ("w",))]
    assert read("from . import y") == []


def test_what_never_runs_is_left_out() -> None:
    """`if TYPE_CHECKING:` is for the type checker; its else is not."""
    text = (
        "if TYPE_CHECKING:\n import a\nelse:\n import b\nif typing.TYPE_CHECKING:\n import c\n"
        "if not TYPE_CHECKING:\n import d\n"
    )

    assert [one.module for one in read(text)] == ["b", "d"]


def test_generated_code_may_be_nested_deeply() -> None:
    """A table of a thousand terms is no reason to fail."""
    assert [one.module for one in read("import a\nx = " + " + ".join(["1"] * 1500))] == ["a"]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (b"import a\nprint 'x'\n", r"x\.py, line 2: not valid Python \(.*\): print 'x'"),
        (b"x = '\xff'", r"x\.py.*: not valid Python"),
        (b"x = 1\0", r"x\.py.*: not valid Python \(.*null bytes\)"),
        (b"(" * 500, r"x\.py.*: not valid Python"),
        (b"x = " + b"-" * 100_000 + b"1", r"x\.py: not valid Python"),
    ],
)
def test_what_is_not_python_is_named_with_its_line(source: bytes, says: str) -> None:
    """One clear message with file, line and text, on the master, before any job is made."""
    with pytest.raises(ConfigurationError, match=says):
        imports_of(source, Path("x.py"), "")


def test_a_doubtful_escape_is_no_business_of_ours() -> None:
    """Python's warnings about the user's text are not shown twice (here they would be errors)."""
    assert [one.module for one in read(r"import a; x = '\d'")] == ["a"]


# ---------------------------------------------------------------- following imports


def test_a_slave_without_imports_is_alone(job: Job) -> None:
    """BOINC's design document writes slaves that import nothing at all."""
    found = Discovery(job({"app_slave.py": "x = 1"}), "app_slave.py")

    assert list(found.files) == ["app_slave.py"]
    assert found.modules == {}


def test_everything_that_is_imported_is_found(job: Job) -> None:
    """Modules, packages with all their parents, submodules by either form, functions, try."""
    directory = job(
        {
            "app_slave.py": (
                "from app_types import Input\nimport pkg.deep.leaf as leaf\nfrom pkg import other\n"
                "try:\n    import optional\nexcept ImportError:\n    pass\n"
                "def f():\n    import late\n"
            ),
            "app_types.py": "import helper\nimport app_types",
            "helper.py": "import app_types",
            "pkg/__init__.py": "from .made import value",
            "pkg/made.py": "value = 1",
            "pkg/deep/__init__.py": "",
            "pkg/deep/leaf.py": "from . import sibling\nfrom ...too.far import up",
            "pkg/deep/sibling.py": "from .. import value",
            "pkg/other.py": "",
            "pkg/unused.py": "",
            "optional.py": "",
            "late.py": "",
            "unused.py": "",
            "app_master.py": "",
        }
    )

    assert modules_of(directory) == [
        "app_types",
        "helper",
        "pkg",
        "pkg.made",
        "pkg.deep",
        "pkg.deep.leaf",
        "pkg.deep.sibling",
        "pkg.other",
        "optional",
        "late",
    ]


def test_discovery_finds_what_python_loads(job: Job) -> None:
    """Held against Python itself: the files that a real run of the program imports."""
    directory = job(
        {
            "app_slave.py": "import one, pkg.sub\nfrom pkg import *\nfrom space import inner\n"
            "import importlib\nimportlib.import_module('pkg.named')\nfrom both import x\n",
            "one.py": "import json, os.path",
            "pkg/__init__.py": "__all__ = ['starred', 'value']\nvalue = 1",
            "pkg/starred.py": "from .sub import thing",
            "pkg/sub.py": "thing = 1",
            "pkg/named.py": "from . import sub as again",
            "space/inner.py": "from .other import y",
            "space/other.py": "y = 1",
            "both/__init__.py": "x = 1",
            "both.py": "raise SystemExit('the package goes first')",
            "json/no_package.py": "",
            "left_out.py": "",
        }
    )
    program = (
        "import runpy, sys; sys.path.insert(0, ''); runpy.run_path('app_slave.py')\n"
        "print(*[m for m in sys.modules if (getattr(sys.modules[m], '__file__', '') or '')"
        f".startswith({str(directory)!r})])"
    )

    done = subprocess.run(
        [sys.executable, "-B", "-c", program],
        cwd=directory,
        check=True,
        capture_output=True,
        text=True,
    )

    assert sorted(modules_of(directory)) == sorted(done.stdout.split())


def test_nothing_is_run_while_reading(job: Job) -> None:
    """Finding the files has no side effect: no module of the user's is imported."""
    directory = job({"app_slave.py": "import boom", "boom.py": "raise SystemExit('run')"})

    assert modules_of(directory) == ["boom"]
    assert "boom" not in sys.modules


@pytest.mark.parametrize(
    ("init", "taken"),
    [
        ("__all__ = ['a']", ["a"]),
        ("__all__: list[str] = ['a']", ["a"]),
        ("__all__ = ['a']\n__all__ += ('b',)", ["a", "b"]),
        ("", []),
        ("__all__: list[str]", ["a", "b"]),
        ("__all__ = [name for name in 'ab']", ["a", "b"]),
        ("__all__ = ['a', b]", ["a", "b"]),
    ],
)
def test_a_star_takes_what_all_names(job: Job, init: str, taken: list[str]) -> None:
    """`from pkg import *` loads the submodules in __all__; all of them if it can't be read."""
    directory = job(
        {
            "app_slave.py": "from pkg import *",
            "pkg/__init__.py": init,
            "pkg/a.py": "",
            "pkg/b.py": "",
            "pkg/data.csv": "",
        }
    )

    assert modules_of(directory) == ["pkg", *(f"pkg.{name}" for name in taken)]


def test_a_star_from_a_module_or_a_bare_directory_takes_no_more(job: Job) -> None:
    """Only a package's __init__.py can name submodules."""
    files = {"app_slave.py": "from m import *\nfrom space import *", "m.py": "", "space/a.py": ""}

    assert modules_of(job(files)) == ["m"]


def test_a_missing_module_is_left_to_python(job: Job) -> None:
    """A submodule that is not there is an attribute, or an error with a traceback of its own."""
    text = "import pkg.no.such, README, absent\nfrom pkg import value"
    files = {"app_slave.py": text, "pkg/__init__.py": "", "README": "a file, not a directory"}

    assert modules_of(job(files)) == ["pkg"]


def test_the_jobs_own_directories_hold_no_modules(job: Job) -> None:
    """new/, old/ and the like are PyBOINC's, also if a program imports such a name."""
    files = {"app_slave.py": "import new, old.x", "new/__init__.py": "", "old/x.py": ""}

    found = Discovery(job(files), "app_slave.py")

    assert found.modules == {}
    assert found.external == ["new", "old"]


def test_names_are_matched_in_their_exact_case(job: Job) -> None:
    """Where the file system ignores case, Python does not, and neither do we."""
    assert modules_of(job({"app_slave.py": "import Helper", "helper.py": ""})) == []


# ---------------------------------------------------------------- a slave in a sub-directory


def test_a_slave_in_a_sub_directory_finds_both_directories(job: Job) -> None:
    """Its own directory, as Python has it, and the job directory, for app_types."""
    directory = job(
        {
            "slaves/app_slave.py": "import app_types, helper",
            "slaves/helper.py": "",
            "app_types.py": "",
        }
    )

    found = local_modules(directory, "slaves/app_slave.py")

    assert found == {
        "app_types": directory / "app_types.py",
        "helper": directory / "slaves/helper.py",
    }


def test_a_module_in_both_directories_is_refused(job: Job) -> None:
    """The master would take the one in the job directory for the slave's."""
    files = {"slaves/app_slave.py": "import both", "slaves/both.py": "", "both/__init__.py": ""}

    with pytest.raises(ConfigurationError, match=r"there are .*slaves/both\.py and .*rename one"):
        Discovery(job(files), "slaves/app_slave.py")


# ---------------------------------------------------------------- what is not local


def test_foreign_modules_are_told_apart(job: Job) -> None:
    """What must be installed, what Python brings, and in which order to load it ahead."""
    directory = job(
        {
            "app_slave.py": (
                "from __future__ import annotations\nimport types_of_mine\nimport numpy as np\n"
                "from sklearn import svm\nimport os, sys\nfrom pyboinc import pyboinc_get_input\n"
                "def f():\n    import scipy\nimport numpy.linalg"
            ),
            "types_of_mine.py": "import random\nfrom xml.etree import *",
        }
    )

    found = Discovery(directory, "app_slave.py")

    assert found.external == ["numpy", "sklearn", "scipy"]
    assert found.stdlib == ["random", "xml", "os", "sys"]
    assert found.preload == [
        "random",
        "xml.etree",
        "numpy",
        "sklearn",
        "sklearn.svm",
        "os",
        "sys",
        "numpy.linalg",
    ]


def test_a_local_module_goes_before_an_installed_one(job: Job) -> None:
    """As Python does it: a numpy.py in the job directory is what `import numpy` means."""
    found = Discovery(job({"app_slave.py": "import numpy", "numpy.py": ""}), "app_slave.py")

    assert list(found.modules) == ["numpy"]
    assert found.external == []


def test_a_mere_directory_does_not_hide_an_installed_module(job: Job) -> None:
    """A directory of data called numpy/ or json/ is no package: the real module goes first."""
    files = {"app_slave.py": "import numpy, json, data.part", "numpy/x.txt": "", "json/x.txt": ""}

    found = Discovery(job({**files, "data/part.py": ""}), "app_slave.py")

    assert list(found.modules) == ["data.part"]
    assert (found.external, found.stdlib) == (["numpy"], ["json"])


def test_a_local_namesake_of_the_standard_library_is_refused(job: Job) -> None:
    """Whether a slave got random.py or the real one would depend on the order of imports."""
    with pytest.raises(ConfigurationError, match=r"random\.py has the name of .* rename the file"):
        Discovery(job({"app_slave.py": "import random", "random.py": ""}), "app_slave.py")


def test_a_namesake_that_python_never_takes_is_no_trouble(job: Job) -> None:
    """Builtin and frozen modules go before any file, so time.py and os.py are never meant."""
    found = Discovery(
        job({"app_slave.py": "import time, os", "time.py": "", "os.py": ""}), "app_slave.py"
    )

    assert found.modules == {}


def test_a_compiled_module_is_refused(job: Job) -> None:
    """A .so runs on hosts like this one only; with its .py beside it the .py is taken."""
    directory = job({"app_slave.py": "import fast", "fast.cpython-311-x86_64-linux-gnu.so": ""})

    with pytest.raises(ConfigurationError, match="imports fast, which is compiled"):
        Discovery(directory, "app_slave.py")
    assert modules_of(job({"fast.py": ""})) == ["fast"]


# ---------------------------------------------------------------- the job directory's border


def test_the_program_may_be_named_in_any_way_that_leads_to_it(job: Job, tmp_path: Path) -> None:
    """Relative, absolute, with ./, or by way of a link to the job directory."""
    directory = job({"app_slave.py": ""})
    link = tmp_path / "link"
    link.symlink_to(directory)

    for name in ("app_slave.py", "./x/../app_slave.py", str(directory / "app_slave.py")):
        assert list(Discovery(link, name).files) == ["app_slave.py"]
    assert list(Discovery(directory, str(link / "app_slave.py")).files) == ["app_slave.py"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("app_slve.py", r"app_slve\.py does not exist in .*job; did you mean app_slave\.py\?"),
        (
            "slaves/x.py",
            r"slaves/x\.py does not exist .*; did you mean slaves/y\.py\?",
        ),
        ("slaves", r"slaves is not a file in the job directory .*; possible are app_slave\.py"),
        ("../outside.py", r"\.\./outside\.py is outside the job directory"),
        ("/etc/passwd", "/etc/passwd is outside the job directory"),
    ],
)
def test_a_program_that_is_not_there_is_named(job: Job, name: str, says: str) -> None:
    """One clear message, with the name that was probably meant."""
    directory = job({"app_slave.py": "", "slaves/y.py": ""})

    with pytest.raises(ConfigurationError, match=says):
        Discovery(directory, name)


def test_an_empty_job_directory_offers_nothing(tmp_path: Path) -> None:
    """Without any program beside it, the message ends after the fact."""
    with pytest.raises(ConfigurationError, match=f"app_slave.py does not exist in .*{tmp_path}$"):
        Discovery(tmp_path, "app_slave.py")


def test_a_link_out_of_the_job_directory_is_refused(job: Job, tmp_path: Path) -> None:
    """A link must not send a file to strangers that the user did not put there."""
    directory = job({"app_slave.py": "import secret, inner", "inner.py": ""})
    (tmp_path / "key.py").write_text("KEY = 1")
    (directory / "secret.py").symlink_to(tmp_path / "key.py")

    with pytest.raises(ConfigurationError, match=r"secret\.py is a link that leads out .*key\.py"):
        Discovery(directory, "app_slave.py")

    (directory / "secret.py").unlink()
    (directory / "secret.py").symlink_to("inner.py")
    assert modules_of(directory) == ["secret", "inner"]


def test_a_file_that_can_not_be_read_is_named(job: Job) -> None:
    """A dangling link, or a loop of links, is one clear message."""
    directory = job({"app_slave.py": "import gone"})
    (directory / "gone.py").symlink_to("nothing.py")
    with pytest.raises(ConfigurationError, match=r"gone\.py can not be read: No such file"):
        Discovery(directory, "app_slave.py")

    (directory / "nothing.py").symlink_to("gone.py")
    with pytest.raises(ConfigurationError, match=r"gone\.py can not be read: Too many levels"):
        Discovery(directory, "app_slave.py")


def test_a_directory_that_can_not_be_listed_is_named(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that fails nothing is packed without the modules that could not be seen."""

    def fail(directory: Path) -> list[str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    directory = job({"app_slave.py": "import inner", "inner.py": ""})
    monkeypatch.setattr(os, "listdir", fail)
    with pytest.raises(ConfigurationError, match=r"job can not be read: Input/output error"):
        Discovery(directory, "app_slave.py")
