"""The public names: what a user's program may import, and that it comes at the price promised."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import pyboinc


def test_the_list_of_public_names_is_sorted() -> None:
    """Public names: ``__all__`` is sorted, so that a new name has one place."""
    assert list(pyboinc.__all__) == sorted(pyboinc.__all__)


def test_the_list_of_public_names_is_complete() -> None:
    """Public names: each one in ``__all__`` exists, and none exists that is not in it."""
    assert set(pyboinc.__all__) == set(pyboinc._HOME)
    for name in pyboinc.__all__:
        assert getattr(pyboinc, name) is not None
    assert dir(pyboinc) == sorted(pyboinc.__all__)


@pytest.mark.parametrize("name", sorted(pyboinc._HOME))
def test_a_public_name_is_the_object_of_its_module(name: str) -> None:
    """Public names: ``pyboinc.X`` is the X of the module that defines it, documented there."""
    value = getattr(import_module("pyboinc." + pyboinc._HOME[name]), name)
    assert getattr(pyboinc, name) is value
    assert value.__doc__, f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error() -> None:
    """Public names: a typo is an AttributeError that names it, as for any module."""
    with pytest.raises(AttributeError, match="pyboinc_cal'"):
        pyboinc.pyboinc_cal  # noqa: B018  the access is the test


def test_import_pyboinc_loads_nothing_but_itself() -> None:
    """Quick start: ``import pyboinc`` loads no third party and no other module of the package."""
    program = (
        "import sys; before = set(sys.modules); import pyboinc; "
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    loaded = run.stdout.split()
    ours = [name for name in loaded if name.split(".")[0] == "pyboinc"]
    assert ours == ["pyboinc"]
    foreign = {name.split(".")[0] for name in loaded} - sys.stdlib_module_names - {"pyboinc"}
    assert foreign == set()


INTERRUPTED = """
import signal, sys

class Interrupt:
    def find_spec(self, name, path, target=None):
        if name == "pyboinc.records":
            signal.raise_signal(signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Interrupt())
from pyboinc import pyboinc_master
print("imported")
"""
"""A program that hears ^C while it imports a master."""


def test_interrupted_while_it_is_imported() -> None:
    """Interrupts: ^C before the program has begun is one line and exit code 130, no traceback."""
    run = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False
    )
    line = "pyboinc: stopped before any job was made; run the same command to start\n"
    assert (run.returncode, run.stdout, run.stderr) == (130, "", line)
