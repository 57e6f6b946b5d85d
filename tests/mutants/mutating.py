"""The mutants of a file: mutmut's, each as the whole text of the changed file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import libcst
from libcst.metadata import CodeRange, MetadataWrapper, PositionProvider
from mutmut.mutation.file_mutation import create_mutations


@dataclass(frozen=True)
class Mutant:
    """One change: where it is, how the changed line was and is, and the file with it."""

    file: str
    function: str
    lines: tuple[int, int]
    before: str
    after: str
    text: str
    name: str


def mutants_of(root: Path, file: str) -> list[Mutant]:
    """All mutants of *file*, in the order of its lines; none twice, none that changes nothing."""
    source = (root / file).read_text(encoding="utf-8")
    module, mutations, _, _ = create_mutations(file, source)
    wrapper = MetadataWrapper(module, unsafe_skip_copy=True)
    places = wrapper.resolve(PositionProvider)
    lines = source.splitlines(keepends=True)
    found: dict[str, Mutant] = {}
    for mutation in mutations:
        function = mutation.contained_by_top_level_function
        place = places.get(mutation.original_node)
        if isinstance(function, libcst.FunctionDef) and isinstance(place, CodeRange):
            new = module.code_for_node(mutation.mutated_node)
            mutant = _mutant(file, lines, function.name.value, place, new)
            if mutant.text != source:
                found.setdefault(mutant.text, mutant)
    return sorted(found.values(), key=lambda mutant: (mutant.lines, mutant.after))


def _mutant(file: str, lines: list[str], function: str, place: CodeRange, new: str) -> Mutant:
    """The mutant with the text *new* in that place."""
    first, last = place.start.line, place.end.line
    head = lines[first - 1][: place.start.column]
    tail = lines[last - 1][place.end.column :]
    before = "".join(lines[first - 1 : last])
    after = head + new + tail
    text = "".join(lines[: first - 1]) + after + "".join(lines[last:])
    around = "".join(lines[max(0, first - 6) : last + 5])  # tells equal changes apart
    digest = hashlib.sha256("\n".join([file, function, around, after]).encode()).hexdigest()
    said = (" ".join(each.split()) for each in (before, after))
    return Mutant(file, function, (first, last), *said, text, digest[:12])
