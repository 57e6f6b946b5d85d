"""What the source says of itself, read with ``ast``: for the tests of layering and of the map.

``python tests/source.py`` writes the map of the code in CONTRIBUTING.md anew.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "pyboinc"
SIMULATOR = ROOT / "simulator"


@dataclass(frozen=True)
class Import:
    """One imported module, by its full name."""

    name: str
    line: int
    when_used: bool  # inside a function, so that start-up does not pay for it


@dataclass(frozen=True)
class Module:
    """One file of the package."""

    path: Path
    name: str  # dotted: pyboinc.backends.local.store; a package by its own name
    tree: ast.Module

    @functools.cached_property
    def imports(self) -> list[Import]:
        """Every import that runs, with relative ones resolved; not those for type checkers."""
        return list(self._imports(self.tree, when_used=False))

    def _imports(self, node: ast.AST, when_used: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield Import(alias.name, child.lineno, when_used)
            elif isinstance(child, ast.ImportFrom):
                for alias in child.names:
                    yield Import(self._target(child, alias.name), child.lineno, when_used)
            else:
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from self._imports(child, when_used or function)

    def _target(self, node: ast.ImportFrom, imported: str) -> str:
        """What ``from a import b`` imports: the module a.b where there is one, else a."""
        package = self.name.split(".")
        if self.path.name != "__init__.py":
            package.pop()
        base = package[: len(package) + 1 - node.level] if node.level else []
        name = ".".join([*base, *([node.module] if node.module else [])])
        submodule = ROOT.joinpath(*name.split("."), imported)
        is_module = submodule.with_suffix(".py").exists() or (submodule / "__init__.py").exists()
        return f"{name}.{imported}" if is_module else name


@functools.cache
def modules() -> list[Module]:
    """Every module of the two packages, sorted by path."""
    return [
        Module(path, _name(path), ast.parse(path.read_bytes(), str(path)))
        for package in (PACKAGE, SIMULATOR)
        for path in sorted(package.rglob("*.py"))
        if "templates" not in path.parts  # what `pyboinc init` copies is not ours to import
    ]


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MAP = ROOT / "CONTRIBUTING.md"
MAP_BEGINS, MAP_ENDS = "<!-- the map begins -->\n```text\n", "```\n<!-- the map ends -->\n"


def map_of_the_code() -> str:
    """A line for each file: its name, and the first line of its docstring."""
    lines = []
    for folder in sorted({module.path.parent for module in modules()}):
        lines.append(f"{folder.relative_to(ROOT)}/")
        files = [module for module in modules() if module.path.parent == folder]
        width = max(len(module.path.name) for module in files)
        for module in files:
            says = (ast.get_docstring(module.tree) or "").partition("\n")[0]
            lines.append(f"    {module.path.name:{width}}  {says}")
    return "\n".join(lines) + "\n"


def with_map(text: str) -> str:
    """The text of CONTRIBUTING.md with the map as it should be."""
    before, _, rest = text.partition(MAP_BEGINS)
    _, _, after = rest.partition(MAP_ENDS)
    return before + MAP_BEGINS + map_of_the_code() + MAP_ENDS + after


if __name__ == "__main__":
    MAP.write_text(with_map(MAP.read_text()))
