"""Where two values differ, for people: the first attribute, item or number that is another.

A restarted master must make the calls that it made before.  When one of them has another
input, the name of the field says most about why: a time, a random number, the order of a set.
"""

from __future__ import annotations

from typing import Any

_SHOWN = 60
"""Characters of a value that are shown."""


def difference(then: Any, now: Any, place: str = "") -> str | None:
    """Return where *now* differs first from *then*, and how; None if no place is found.

    *place* is what stands before the path: ``.points[3].x was 1.0 then, and is 2.0 now``.
    """
    return _Walk().compare(then, now, place)


class _Walk:
    """One comparison; what was compared before is not compared again."""

    def __init__(self) -> None:
        self._seen: set[tuple[int, int]] = set()

    def compare(self, then: Any, now: Any, place: str) -> str | None:
        if (id(then), id(now)) in self._seen:
            return None
        self._seen.add((id(then), id(now)))
        if type(then) is not type(now):
            return _said(place, then, now)
        if hasattr(then, "dtype"):
            return _array(place, then, now)
        if isinstance(then, dict):
            return self._mapping(then, now, place, "[{!r}]")
        if isinstance(then, (list, tuple)) and not hasattr(then, "_fields"):
            return self._row(then, now, place)
        if isinstance(then, (set, frozenset)):
            return None if then == now else _said(place, then, now)
        fields = _fields(then)
        if fields is not None:
            return self._mapping(fields, _fields(now) or {}, place, ".{}")
        return None if _same(then, now) else _said(place, then, now)

    def _row(self, then: Any, now: Any, place: str) -> str | None:
        for index, pair in enumerate(zip(then, now, strict=False)):
            found = self.compare(*pair, f"{place}[{index}]")
            if found:
                return found
        if len(then) != len(now):
            return f"{place or 'it'} had {len(then)} items then, and has {len(now)} now"
        return None

    def _mapping(self, then: Any, now: Any, place: str, form: str) -> str | None:
        for key in then:
            if key not in now:
                return f"{place}{form.format(key)} was there then, and is not now"
            found = self.compare(then[key], now[key], place + form.format(key))
            if found:
                return found
        for key in now:
            if key not in then:
                return f"{place}{form.format(key)} was not there then, and is now"
        return None


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the attributes of an object of a class of the user's, or None for a plain value."""
    if hasattr(value, "_fields"):
        return dict(zip(value._fields, value, strict=False))
    names = [name for base in type(value).__mro__ for name in base.__dict__.get("__slots__", ())]
    if not names and not hasattr(value, "__dict__"):
        return None
    found = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return {**found, **getattr(value, "__dict__", {})}


def _array(place: str, then: Any, now: Any) -> str | None:
    if then.shape != now.shape or then.dtype != now.dtype:
        shapes = f"{then.dtype}{list(then.shape)}", f"{now.dtype}{list(now.shape)}"
        return f"{place or 'it'} was an array {shapes[0]} then, and is {shapes[1]} now"
    flat = zip(then.reshape(-1).tolist(), now.reshape(-1).tolist(), strict=True)
    for index, (one, other) in enumerate(flat):
        if not _same(one, other):
            return _said(f"{place}.flat[{index}]", one, other)
    return None


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (one != one and other != other))


def _said(place: str, then: Any, now: Any) -> str:
    shown = [f"{value!r:.{_SHOWN}}" for value in (then, now)]
    if shown[0] == shown[1]:
        shown = [
            f"{type(value).__name__} {text}" for value, text in zip((then, now), shown, strict=True)
        ]
    return f"{place or 'it'} was {shown[0]} then, and is {shown[1]} now"
