"""Charts as SVG text: lines, stacked areas, steps, bars, points, and the times of some hosts.

Every function returns one ``<svg>`` element without a reference to anything outside it; what
the mouse rests on is told by ``<title>``, which needs no program.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

# Okabe and Ito's colours, which can be told apart by (nearly) all eyes.
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, GREY, LIGHT = "#cc79a7", "#56b4e9", "#8a8f98", "#e3e6ea"
COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY)

WIDTH, HEIGHT = 760, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 88, 16, 26, 44

Point = tuple[float, float]


@dataclass(frozen=True)
class Series:
    """Named points in order of x."""

    name: str
    points: Sequence[Point]
    colour: str = BLUE


@dataclass(frozen=True)
class Span:
    """A time on a host's row: from, to, its colour, and what it was."""

    start: float
    end: float
    colour: str
    what: str


def ticks(low: float, high: float, about: int = 6) -> list[float]:
    """Round numbers from *low* to *high*, about so many."""
    if high <= low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)]


def number(value: float) -> str:
    """*value* as people write it: 1,200, 0.35, 12.5, 3.2M."""
    if abs(value) >= 1e6:
        return f"{value / 1e6:.3g}M"
    if abs(value) >= 1000 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def _labelled(values: Sequence[float]) -> list[tuple[float, str]]:
    """Ticks with their numbers, which have as many digits as tell them apart."""
    step = values[1] - values[0] if len(values) > 1 else 1.0
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    if max(map(abs, values), default=0) >= 1e6 or (len(values) == 1 and values[0] % 1):
        return [(value, number(value)) for value in values]
    return [(value, f"{value:,.{digits}f}") for value in values]


class _Frame:
    """The axes of a chart, and where a point lies in it."""

    def __init__(
        self,
        across: tuple[float, float],
        up: tuple[float, float],
        labels: tuple[str, str],
        height: int = HEIGHT,
    ) -> None:
        self.low, self.high = across[0], across[1] if across[1] > across[0] else across[0] + 1
        self.floor, self.ceiling = up[0], up[1] if up[1] > up[0] else up[0] + 1
        self.labels, self.height = labels, height

    def x(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        share = (value - self.floor) / (self.ceiling - self.floor)
        return round(self.height - _BOTTOM - share * (self.height - _TOP - _BOTTOM), 1)

    def path(self, points: Iterable[Point]) -> str:
        return " ".join(f"{self.x(x)},{self.y(y)}" for x, y in points)

    def axes(self) -> str:
        bottom, right = self.height - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for value, label in _labelled(ticks(self.floor, self.ceiling, 5)):
            y = self.y(value)
            parts.append(f'<line x1="{_LEFT}" y1="{y}" x2="{right}" y2="{y}" stroke="{LIGHT}"/>')
            parts.append(_text(_LEFT - 7, y + 4, label, "end"))
        for value, label in _labelled(ticks(self.low, self.high, 8)):
            parts.append(_text(self.x(value), bottom + 17, label, "middle"))
        parts.append(f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}" stroke="#555"/>')
        across, up = self.labels
        parts.append(_text((_LEFT + right) / 2, self.height - 8, across, "middle", "label"))
        middle = (_TOP + bottom) / 2
        parts.append(
            f'<text class="label" text-anchor="middle" transform="translate(16 {middle}) '
            f'rotate(-90)">{escape(up)}</text>'
        )
        return "".join(parts)

    def svg(self, *parts: str, title: str) -> str:
        return (
            f'<svg viewBox="0 0 {WIDTH} {self.height}" role="img" aria-label="{escape(title)}">'
            f"{self.axes()}{''.join(parts)}</svg>"
        )


def _text(x: float, y: float, text: str, anchor: str = "start", kind: str = "tick") -> str:
    return f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'


def _legend(names: Sequence[tuple[str, str]]) -> str:
    """Names with their colours, in the upper left corner; one name needs none."""
    parts, x = [], float(_LEFT + 8)
    for name, colour in names if len(names) > 1 else ():
        parts.append(f'<rect x="{x}" y="{_TOP - 18}" width="10" height="10" fill="{colour}"/>')
        parts.append(_text(x + 14, _TOP - 9, name))
        x += 14 + 7 * len(name) + 16
    return "".join(parts)


def _across(all_points: Iterable[Point]) -> tuple[float, float]:
    values = [x for x, _ in all_points]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _most(values: Iterable[float]) -> float:
    return max([*values, 0.0]) * 1.06 or 1.0


def lines(
    series: Sequence[Series], labels: tuple[str, str], title: str, *, legend: bool = True
) -> str:
    """Each series as a line, from 0 upward."""
    points = [point for one in series for point in one.points]
    frame = _Frame(_across(points), (0.0, _most(y for _, y in points)), labels)
    drawn = (
        f'<polyline points="{frame.path(one.points)}" fill="none" stroke="{one.colour}" '
        f'stroke-width="1.8"><title>{escape(one.name)}</title></polyline>'
        for one in series
    )
    names = [(one.name, one.colour) for one in series] if legend else []
    return frame.svg(*drawn, _legend(names), title=title)


def stacked(series: Sequence[Series], labels: tuple[str, str], title: str) -> str:
    """Each series as an area on top of those before it; all have the same x."""
    across = [x for x, _ in series[0].points]
    floor = [0.0] * len(across)
    layers = []
    for one in series:
        top = [below + y for below, (_, y) in zip(floor, one.points, strict=True)]
        layers.append((one, floor, top))
        floor = top
    frame = _Frame((min(across), max(across)), (0.0, max([*floor, 1.0])), labels)
    drawn = []
    for one, below, top in layers:
        outline = [*zip(across, top, strict=True), *reversed([*zip(across, below, strict=True)])]
        drawn.append(
            f'<polygon points="{frame.path(outline)}" fill="{one.colour}" fill-opacity="0.85">'
            f"<title>{escape(one.name)}</title></polygon>"
        )
    return frame.svg(*drawn, _legend([(one.name, one.colour) for one in series]), title=title)


def steps(
    values: Sequence[float],
    marks: Sequence[tuple[str, float]],
    labels: tuple[str, str],
    title: str,
) -> str:
    """The share of *values* that are at most x, with a line at each of *marks*."""
    ordered = sorted(value for value in values if math.isfinite(value))
    edge = max([*ordered, *(mark for _, mark in marks if math.isfinite(mark))], default=1.0)
    low = min(ordered, default=0.0)
    margin = (edge - low) * 0.08 or max(edge * 0.05, 0.01)
    frame = _Frame((max(0.0, low - margin), edge + margin), (0.0, 1.0), labels)
    points = [(frame.low, 0.0)]
    for i, value in enumerate(ordered):
        points += [(value, i / len(values)), (value, (i + 1) / len(values))]
    points.append((frame.high, len(ordered) / len(values)))
    drawn = [
        f'<polyline points="{frame.path(points)}" fill="none" stroke="{BLUE}" stroke-width="2"/>'
    ]
    drawn += [
        _dot(frame, (v, (i + 1) / len(values)), BLUE, number(v)) for i, v in enumerate(ordered)
    ]
    shown = [(name, value) for name, value in marks if math.isfinite(value)]
    at: dict[float, list[str]] = {}
    for name, value in shown:
        at.setdefault(value, []).append(name)
    for i, (value, names) in enumerate(at.items()):
        x, top = frame.x(value), frame.y(1.0)
        drawn.append(
            f'<line x1="{x}" y1="{top}" x2="{x}" y2="{frame.y(0)}" stroke="{RED}" '
            f'stroke-dasharray="4 3"/>'
        )
        drawn.append(_text(x - 4, top + 24 + 16 * i, f"{', '.join(names)}: {number(value)}", "end"))
    return frame.svg(*drawn, title=title)


def _dot(frame: _Frame, point: Point, colour: str, what: str, radius: float = 3) -> str:
    x, y = point
    return (
        f'<circle cx="{frame.x(x)}" cy="{frame.y(y)}" r="{radius}" fill="{colour}">'
        f"<title>{escape(what)}</title></circle>"
    )


def bars(values: Sequence[tuple[str, float]], title: str, unit: str = "") -> str:
    """A bar across for each named value, with its number."""
    left, row = 200, 26
    height = row * max(len(values), 1) + 12
    most = max([value for _, value in values], default=0.0) or 1.0
    parts = []
    for i, (name, value) in enumerate(values):
        y, width = 6 + i * row, round((WIDTH - left - 150) * value / most, 1)
        parts.append(_text(left - 8, y + 15, name, "end", "label"))
        parts.append(
            f'<rect x="{left}" y="{y}" width="{max(width, 1)}" height="{row - 7}" '
            f'fill="{COLOURS[i % len(COLOURS)]}" fill-opacity="0.85"/>'
        )
        parts.append(_text(left + width + 8, y + 15, f"{number(value)}{unit}", kind="label"))
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )


def points(named: Sequence[tuple[str, Point]], labels: tuple[str, str], title: str) -> str:
    """A numbered dot for each of *named*: what one gets against what it costs."""
    known = [(i, name, at) for i, (name, at) in enumerate(named, 1) if all(map(math.isfinite, at))]
    low, high = _across(at for *_, at in known)
    margin = (high - low) * 0.12 or max(high * 0.1, 0.1)
    top = _most(y for *_, (_, y) in known)
    frame = _Frame((max(0.0, low - margin), high + margin), (0.0, top), labels, HEIGHT + 60)
    drawn = []
    for i, name, at in known:
        drawn.append(_dot(frame, at, COLOURS[(i - 1) % len(COLOURS)], name, 5))
        drawn.append(_text(frame.x(at[0]) + 8, frame.y(at[1]) - 5, str(i)))
    return frame.svg(*drawn, title=title)


def timeline(rows: Sequence[tuple[str, Sequence[Span]]], days: float, title: str) -> str:
    """A row for each host: a thin grey line while it is up, its instances on top."""
    row = 18
    height = row * max(len(rows), 1) + _TOP + _BOTTOM
    frame = _Frame((0.0, days), (0.0, 1.0), ("days", ""), height)
    parts = []
    for i, (name, spans) in enumerate(rows):
        y = _TOP + i * row
        parts.append(_text(_LEFT - 7, y + 12, name, "end"))
        for span in spans:
            x, thin = frame.x(span.start), span.colour == LIGHT
            width = max(round(frame.x(min(span.end, days)) - x, 1), 0.4)
            top, tall = (y + 1, row - 3) if thin else (y + 4, row - 9)
            parts.append(
                f'<rect x="{x}" y="{top}" width="{width}" height="{tall}" fill="{span.colour}">'
                f"<title>{escape(span.what)}</title></rect>"
            )
    bottom = height - _BOTTOM
    for value, label in _labelled(ticks(0, days, 8)):
        parts.append(_text(frame.x(value), bottom + 17, label, "middle"))
    parts.append(_text(WIDTH / 2, height - 8, "days", "middle", "label"))
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">'
        f"{''.join(parts)}</svg>"
    )
