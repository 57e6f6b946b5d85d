"""The table of settings in docs/configuration.md, made from the source.

``python tests/tables.py`` writes it anew.
"""

from __future__ import annotations

from pathlib import Path

from pyboinc.config.settings import SETTINGS, Setting
from pyboinc.config.values import text_of

DOCUMENT = Path(__file__).parent.parent / "docs" / "configuration.md"
BEGIN, END = "<!-- the settings begin -->\n", "<!-- the settings end -->\n"


def with_table(document: str) -> str:
    """The document with its table as the source has it now."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def table() -> str:
    """One line for each setting."""
    head = "| name | flag | environment | default | what it is |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(map(_row, SETTINGS))


def _row(setting: Setting) -> str:
    flag = f"{setting.flag} {setting.metavar}".rstrip()
    variables = ", ".join(f"`{name}`" for name in setting.variables)
    default = setting.default_text or text_of(setting.value_if_not_given())
    cells = [f"`{setting.name}`", f"`{flag}`", variables, default, setting.help]
    return f"| {' | '.join(cells)} |\n"


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
