"""Which lines are run when a place in a file is: those of the statement around it."""

from __future__ import annotations

import ast


class Statements:
    """The statements of a file."""

    def __init__(self, text: str) -> None:
        self._spans = sorted(
            _span(node) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)
        )

    def around(self, line: int) -> tuple[int, int]:
        """The first and last line of the smallest statement that has *line*.

        Of a statement with a body it is the head alone; but the head of a function is run
        when the module is imported, so what runs its body stands for it.
        """
        spans = [span for span in self._spans if span[0] <= line <= span[1]]
        first, _, last = min(spans, key=lambda span: span[1] - span[0])
        return first, last


def _span(node: ast.stmt) -> tuple[int, int, int]:
    """The first line, the last that makes the statement, and the last that is run with it."""
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    end = node.end_lineno or node.lineno
    if not body or isinstance(node, ast.ClassDef):
        return node.lineno, end, end
    head = max(node.lineno, _first_line(body[0]) - 1)
    return node.lineno, head, end if isinstance(node, ast.FunctionDef) else head


def _first_line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0) or _first_line(node.pattern)  # type: ignore[attr-defined]
