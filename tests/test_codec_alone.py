"""There is no other way in: nothing in the tree unpickles what a volunteer may have sent."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest
from source import ROOT

# What turns bytes into objects by running what is in them, by the name it is imported by.
LOADERS = {
    "pickle": {"load", "loads", "Unpickler", "_load", "_loads", "_Unpickler"},
    "_pickle": {"load", "loads", "Unpickler"},
    "cPickle": {"*"},
    "cloudpickle": {"*"},
    "dill": {"*"},
    "jsonpickle": {"*"},
    "joblib": {"*"},
    "shelve": {"*"},
    "torch": {"load"},
    "yaml": {"load", "unsafe_load", "full_load"},
    "pandas": {"read_pickle"},
    "marshal": {"load", "loads"},
    "multiprocessing": {"*"},
    "xmlrpc": {"*"},
    "numpy": {"load"},
}

ALLOWED = {
    ("benchmarks/codec.py", "pickle.loads"): (
        "the other side of the comparison, on bytes that the benchmark itself has made"
    ),
    ("benchmarks/programs/plain_replay.py", "pickle.loads"): (
        "the other side of the comparison, on files that the benchmark itself has made"
    ),
    ("pyboinc/backends/local/forkserver.py", "marshal.loads"): (
        "orders from the master's own process to its fork server, over a pipe that no slave has"
    ),
    ("pyboinc/backends/local/keeper.py", "marshal.loads"): (
        "what the fork server tells of a slave's end, over a pipe that no slave has"
    ),
    ("pyboinc/backends/local/frames.py", "marshal.loads"): (
        "messages between the master and its keepers, over a socket that no slave has"
    ),
    ("simulator/campaign/processes.py", "pickle.loads"): (
        "what a fork of this very process says of a run, over a pipe that no master has"
    ),
    ("simulator/planning.py", "multiprocessing.*"): (
        "forecasts, made by processes that run no program of anybody's"
    ),
}
"""Every exception, with its reason.  None of them ever reads an output."""

FOLDERS = ("pyboinc", "simulator", "ops", "examples", "benchmarks")
SOURCES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


@functools.cache
def loaders(source: str) -> list[str]:
    """Every use of a loader in *source*, as ``module.name``."""
    return list(_loaders(source))


def _loaders(source: str) -> Iterator[str]:
    tree = ast.parse(source)
    modules: dict[str, str] = {}  # what a module is called here -> its top-level name
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                if "*" in LOADERS.get(top, ()):
                    yield f"{top}.*"
                modules[alias.asname or top] = top
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            top = node.module.split(".")[0]
            for alias in node.names:
                if {"*", alias.name} & LOADERS.get(top, set()) or (
                    alias.name == "*" and top in LOADERS
                ):
                    yield f"{top}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("np.load", "numpy.load"):
            yield "numpy.load"
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            yield "numpy.load"
        if (
            isinstance(node, ast.Constant)
            and node.value in LOADERS
            and _imports_by_name(tree, node)
        ):
            yield f"{node.value}.*"
        if not isinstance(node, ast.Name) or node.id not in modules:
            continue
        top = modules[node.id]
        if top in LOADERS and top != "numpy":
            used = next((each for each in _attributes(tree) if each.value is node), None)
            if used is None or used.attr in LOADERS[top]:  # handed on whole, or used to load
                yield f"{top}.{used.attr if used else '*'}"


def _attributes(tree: ast.AST) -> Iterator[ast.Attribute]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))


def _imports_by_name(tree: ast.AST, name: ast.Constant) -> bool:
    return any(
        isinstance(call, ast.Call)
        and name in call.args
        and ast.unparse(call.func).split(".")[-1] in ("import_module", "__import__", "loaded")
        for call in ast.walk(tree)
    )


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_unpickles(path: Path) -> None:
    """Data never runs: no file but the codec turns bytes into objects, but for what is ALLOWED."""
    name = str(path.relative_to(ROOT))
    found = set(loaders(path.read_text(encoding="utf-8")))

    assert {use for use in found if (name, use) not in ALLOWED} == set()


def test_every_exception_is_still_needed() -> None:
    """ALLOWED has no entry that nothing uses any more."""
    used = {
        (str(path.relative_to(ROOT)), use) for path in SOURCES for use in loaders(path.read_text())
    }

    assert set(ALLOWED) <= used


def test_the_codec_itself_only_writes_pickles() -> None:
    """The codec: it has the pickler's dumps and nothing else of `pickle`."""
    paths = sorted((ROOT / "pyboinc/codec").glob("*.py"))
    assert len(paths) > 10
    for path in paths:
        assert list(loaders(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle\npickle.loads(b'')",
        "import pickle as p\np.load(f)",
        "from pickle import loads as dumps",
        "from _pickle import Unpickler",
        "from pickle import *",
        "import pickle\nf = pickle",
        "import pickle\ngetattr(pickle, 'lo' + 'ads')",
        "def f():\n    import cloudpickle",
        "import joblib",
        "import numpy as np\nnp.load(path)",
        "import marshal\nmarshal.loads(b'')",
        "import importlib\nimportlib.import_module('pickle')",
        "x = __import__('pickle').loads",
        "from multiprocessing.connection import Client",
        "import pandas as pd\npd.read_pickle(path)",
    ],
)
def test_this_test_sees_every_way(source: str) -> None:
    """The watcher is watched: each way to load a pickle is noticed."""
    assert list(loaders(source))


def test_this_test_lets_writing_pass() -> None:
    """The watcher is watched: writing a pickle is no fault, nor is the rest of numpy."""
    source = "import pickle, numpy as np, marshal\npickle.dumps(1)\nnp.zeros(3)\nmarshal.dumps(1)"

    assert list(loaders(source)) == []
