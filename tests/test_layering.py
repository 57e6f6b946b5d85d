"""Who may know whom: the parts of DESIGN section 2, read from the source with ``ast``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest
from source import Module, modules

PARTS = {
    "cli": ["cli", "cli.*", "__main__"],
    "administration": ["administration", "administration.*"],
    "master": [
        "master",
        "calls",
        "endings",
        "mishaps",
        "opening",
        "outcomes",
        "program",
        "progress",
        "report",
    ],
    "plugin": ["pytest_plugin"],
    "trial": ["trial"],
    "live": ["live", "pace"],
    "local": ["backends.local", "backends.local.*"],
    "served": ["backends.served", "backends.served.*"],
    "simulated": ["backends.simulated", "backends.simulated.*"],
    "boinc": ["backends.boinc", "backends.boinc.*"],
    "backends": ["backends"],
    "project": ["project", "project.*"],
    "campaign": ["simulator.campaign", "simulator.campaign.*"],
    "simulator": ["simulator", "simulator.*"],
    "jobdir": [
        "jobdir",
        "compact",
        "compressed",
        "copies",
        "moving",
        "quarantine",
        "removal",
        "run_record",
        "records",
        "disk",
        "locks",
        "stderr",
    ],
    "bundle": ["bundle", "discovery", "classes", "differences"],
    "signing": ["signing"],
    "validation": ["validation"],
    "build": ["build", "build.*"],
    "config": ["config", "config.*"],
    "faults": ["faults", "faults.*", "spelling"],
    "slave": ["slave", "slave_*", "boinc_api"],
    "codec": ["codec", "codec.*"],
    "errors": ["errors"],
    "names": [""],  # pyboinc itself: the public names, which it looks up when they are used
}
"""The modules of each part, without the leading ``pyboinc.``; a star stands for any ending."""

BELOW = {
    "cli": "administration boinc master live local served campaign simulator backends project"
    " jobdir bundle signing build config faults slave codec errors names",
    "administration": "boinc backends validation jobdir bundle signing codec config slave errors"
    " names",
    "master": "live backends validation jobdir bundle codec config faults errors names",
    "plugin": "campaign simulated errors names",
    "trial": "master simulated local jobdir config errors names",
    "live": "backends config errors names",
    "local": "backends project validation jobdir bundle config faults slave codec errors names",
    "simulated": "local backends project validation jobdir bundle config faults slave codec errors"
    " names",
    "served": "live local backends project jobdir validation bundle signing config faults slave"
    " codec errors names",
    "boinc": "backends jobdir signing slave config errors names",
    "backends": "jobdir bundle codec config errors names",
    "project": "errors",
    "campaign": "simulated local simulator master project bundle config faults errors names",
    "simulator": "project faults errors",
    "jobdir": "codec config errors names",
    "bundle": "codec config faults errors names",
    "signing": "jobdir slave errors names",
    "validation": "bundle jobdir codec errors names",
    "build": "jobdir bundle slave errors names",
    "config": "faults errors names",
    "faults": "errors",
    "slave": "codec errors names",
    "codec": "errors names",
    "errors": "",
    "names": "",
}
"""What each part may import, beside itself."""

SLAVE_HALF = {"names", "slave", "codec", "errors"}
"""The parts that travel to volunteers."""

THIRD_PARTY = {
    "cli": {"click", "rich"},
    "live": {"rich"},
    "codec": {"numpy"},
    "local": {"numpy"},
    "served": {"aiohttp", "cryptography"},
    "boinc": {"pymysql"},
    "signing": {"cryptography"},
    "simulator": {"numpy", "simpy"},
    "campaign": {"numpy", "simpy"},
    "plugin": {"pytest"},
}
"""Which part may import what from a package index."""

AT_START = {"cli", "live", "served", "simulator", "campaign", "plugin"}
"""The parts that may do so at their start; the others only when it is used."""

OURS = ("pyboinc", "simulator")
"""The packages; what a slave carries is all in the first."""

LONGEST = 430
"""Lines of a file: about 400, so that it can be read in one sitting."""

MODULES = modules()
pytestmark = pytest.mark.unmeasured
each_module = pytest.mark.parametrize("module", MODULES, ids=lambda module: module.name)


def parts_of(name: str) -> list[str]:
    """The parts whose patterns fit; of a package in a package, the inner one alone."""
    short = name.removeprefix("pyboinc").removeprefix(".")
    fitting = [
        (len(pattern.rstrip("*")), part)
        for part, patterns in PARTS.items()
        for pattern in patterns
        if (short.startswith(pattern[:-1]) if pattern.endswith("*") else short == pattern)
    ]
    longest = max((length for length, _ in fitting), default=0)
    return [part for length, part in fitting if length == longest]


def own_imports(module: Module) -> Iterator[tuple[str, int]]:
    """The modules of the package that this one imports.

    ``backends`` finds a backend by name: what it imports only then is a name looked up, as
    an entry point is, and no knowledge of that backend.
    """
    for found in module.imports:
        looked_up = module.name == "pyboinc.backends" and found.when_used
        if found.name.split(".")[0] in OURS and not looked_up:
            yield found.name, found.line


@each_module
def test_every_module_belongs_to_one_part(module: Module) -> None:
    """Layering: each file has its place; a new one is put in PARTS, with its part's rights."""
    assert len(parts_of(module.name)) == 1, f"say in PARTS where {module.name} belongs"


@each_module
def test_imports_point_downward(module: Module) -> None:
    """Layering: a part imports only the parts that DESIGN puts below it."""
    (part,) = parts_of(module.name)
    allowed = {part, *BELOW[part].split()}
    wrong = [
        f"line {line}: {name}"
        for name, line in own_imports(module)
        if not set(parts_of(name)) <= allowed
    ]
    assert wrong == [], f"{part} may import {', '.join(sorted(allowed))}"


def test_there_is_no_circle() -> None:
    """Layering: no module imports itself by way of others, whenever the import happens."""
    graph = {
        module.name: {name for name, _ in own_imports(module) if name != "pyboinc"}
        for module in MODULES
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle: " + " -> ".join(error.args[1]))


@each_module
def test_the_slave_half_is_standard_library_alone(module: Module) -> None:
    """Volunteers: what travels imports the standard library and what travels, no more."""
    (part,) = parts_of(module.name)
    if part not in SLAVE_HALF:
        return
    wrong = []
    for found in module.imports:
        top = found.name.split(".")[0]
        travels = top == "pyboinc" and set(parts_of(found.name)) <= SLAVE_HALF
        by_the_data = found.when_used and top == "numpy"
        if not (top in sys.stdlib_module_names or travels or by_the_data):
            wrong.append(f"line {found.line}: {found.name}")
    assert wrong == []


@each_module
def test_third_parties_are_imported_where_they_are_needed(module: Module) -> None:
    """Quick start: what comes from an index is imported by few, and by most only when used."""
    (part,) = parts_of(module.name)
    for found in module.imports:
        top = found.name.split(".")[0]
        if top in OURS or top in sys.stdlib_module_names:
            continue
        assert top in THIRD_PARTY.get(part, set()), f"line {found.line}: {found.name}"
        assert found.when_used or part in AT_START, f"line {found.line}: {found.name} at start"


@each_module
def test_every_file_can_be_read_in_one_sitting(module: Module) -> None:
    """Readability: no file is much longer than 400 lines."""
    assert len(module.path.read_bytes().splitlines()) <= LONGEST
