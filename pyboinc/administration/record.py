"""What `pyboinc setup` did to a project: kept in the project, so that it can be taken back.

It is written before anything is done, so that also what was cut short half-way is known.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pyboinc.administration.xml_text import Edit
from pyboinc.errors import ConfigurationError

NAME = "setup.json"
FORMAT = 1


@dataclass
class Record:
    """What was changed, by paths relative to the project."""

    app: str
    edits: dict[str, list[Edit]] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    """The SHA-256 of all that was ever put into each file."""
    directories: list[str] = field(default_factory=list)
    backups: dict[str, str] = field(default_factory=dict)
    """The file that each backup is of."""
    texts: dict[str, list[str]] = field(default_factory=dict)
    """The SHA-256 of all that was ever made of a file that is somebody else's."""
    built: list[str] = field(default_factory=list)
    """The programs that were compiled, each with the SHA-256 of its source."""
    registered: list[str] = field(default_factory=list)
    """What the project's database was told of."""

    def text(self) -> bytes:
        """Return it as it is kept."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n").encode()


def load(ours: Path) -> Record | None:
    """Return the record of the project whose directory of ours is *ours*, if there is one."""
    path = ours / NAME
    try:
        known = json.loads(path.read_text("utf-8"))
        written = known.pop("format")
        known["edits"] = {
            name: [Edit(*edit) for edit in edits] for name, edits in known["edits"].items()
        }
        made = Record(**known)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ConfigurationError(
            f"{path} is damaged; remove it, and `pyboinc setup` finds anew what is there (what it "
            "has added to config.xml and project.xml must then be taken out by hand)"
        ) from None
    if written != FORMAT:
        raise ConfigurationError(
            f"{path} was written by a newer PyBOINC: use that one, or a newer one"
        )
    return made
