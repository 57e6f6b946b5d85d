"""The half sentence that helps after a wrong name: "did you mean crash?"."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(name: str, possible: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The one of *possible* that *name* was probably meant to be, or None.

    *cutoff* is how alike they must be, from 0 to 1.
    """
    from difflib import get_close_matches  # slow to import, and needed for errors only

    near = get_close_matches(name, list(possible), 1, cutoff)
    return near[0] if near else None


def advice(name: str, possible: Iterable[str]) -> str:
    """What to write instead of *name*: the nearest of *possible*, or all of them."""
    names = list(possible)
    near = nearest(name, names)
    return f"did you mean {near}?" if near else f"possible are {', '.join(names)}"
