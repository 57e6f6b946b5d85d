"""The report of planned campaigns: one HTML file that needs nothing beside it.

No script, no font, no address: it can be sent by mail and opened years later.  Figures are
tables, charts are SVG in the page (:mod:`simulator.charts`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from simulator import charts
from simulator.availability import DAY
from simulator.charts import BLUE, GREEN, GREY, LIGHT, ORANGE, PURPLE, RED, SKY, Series, Span
from simulator.figures import FIGURES, WASTE, HostLife, Run, Summary

BINS = 60
"""Equal parts of a campaign whose throughput is drawn."""

MOST_LINES = 20
"""Runs whose throughput is drawn."""

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1d2329;background:#fff;max-width:860px;
margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem;margin-bottom:.2rem}h2{font-size:1.15rem;margin:2.2rem 0 .2rem}
p,li{color:#444}svg{width:100%;height:auto;display:block}
svg text{font-size:12px;fill:#444}svg .tick{font-size:11px;fill:#666}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;width:100%}
th,td{padding:.3rem .6rem;text-align:right;border-bottom:1px solid #e3e6ea}
th{color:#555;font-weight:600}th:first-child,td:first-child{text-align:left}
.wide{overflow-x:auto}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.7rem;
margin:1rem 0}
.tile{border:1px solid #e3e6ea;border-radius:8px;padding:.6rem .8rem}
.tile b{display:block;font-size:1.35rem}.tile span{color:#666;font-size:.85rem}
code{background:#f3f5f7;padding:.1rem .3rem;border-radius:4px;overflow-wrap:anywhere}
details{border-top:1px solid #e3e6ea;padding:.6rem 0}summary{cursor:pointer;font-weight:600}
footer{color:#777;font-size:.85rem;margin-top:3rem}
"""

_ENDS = {
    "success": BLUE,
    "wrong": PURPLE,
    "error": RED,
    "deadline missed": ORANGE,
    "aborted": GREY,
}


def report(title: str, command: str, points: Sequence[tuple[str, Summary]]) -> str:
    """The page about the named *points* of a sweep (one without a name if there is no sweep).

    *command* is what makes it anew.
    """
    body = [f"<h1>{escape(title)}</h1>", f"<p>Repeat: <code>{escape(command)}</code></p>"]
    if len(points) == 1:
        body.append(_campaign(points[0][1]))
    else:
        body.append(_trade_off(points))
        for number, (name, summary) in enumerate(points):
            head = f"<summary>{number + 1}. {escape(name)}</summary>"
            opened = " open" if not number else ""
            body.append(f"<details{opened}>{head}{_campaign(summary)}</details>")
    body.append(_words())
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def days(value: float) -> str:
    """A number of days in words; what never comes is told as that."""
    return f"{value:.3g} days" if math.isfinite(value) else "not in time"


def percent(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.3g} %"


# ---------------------------------------------------------------- one campaign


def _campaign(summary: Summary) -> str:
    first = summary.runs[0]
    parts = [
        _tiles(summary),
        "<h2>Throughput</h2><p>Jobs done per day; the first seed in blue, others grey.</p>",
        _throughput(summary),
        f"<h2>Jobs by state</h2><p>Seed {first.seed}.</p>",
        _states(first),
        "<h2>When it is finished</h2>",
        _finish(summary),
        "<h2>Wasted computing</h2><p>Share of all computing, mean over the seeds.</p>",
        charts.bars(
            [(cause, 100 * share) for cause, share in summary.waste().items()],
            "wasted computing by cause",
            " %",
        ),
    ]
    if first.lives:
        says = "Light: the host is on. Coloured: an instance from being sent to being reported"
        parts.append(f"<h2>Some hosts</h2><p>{says} ({_key()}). Seed {first.seed}.</p>")
        parts.append(_lives(first))
    parts += ["<h2>Each seed</h2>", _seeds(summary)]
    return "".join(parts)


def _key() -> str:
    return ", ".join(
        f'<span style="color:{colour}">&#9632;</span> {escape(end)}'
        for end, colour in _ENDS.items()
    )


def _tiles(summary: Summary) -> str:
    days_of = [
        (days(summary.percentile("days", p)), f"P{p} of the time to finish") for p in (50, 90, 99)
    ]
    rest = [
        (days(summary.percentile("tail_days", 50)), "of it for the last 10 % (P50)"),
        (charts.number(summary.mean("jobs_per_day")), "jobs done a day"),
        (_cell("results_per_job", summary.mean("results_per_job")), "instances sent per job done"),
        (percent(summary.mean("wasted")), "of the computing wasted"),
        (f"{summary.mean('wrong'):.3g}", "wrong outputs accepted"),
        (f"{summary.mean('failed'):.3g}", "jobs failed"),
        (f"{charts.number(summary.mean('messages_per_day'))}", "requests to the server a day"),
    ]
    tiles = "".join(
        f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in [*days_of, *rest]
    )
    return f'<div class="tiles">{tiles}</div>'


def _throughput(summary: Summary) -> str:
    series = [
        Series(f"seed {run.seed}", _rates(run), "#c9ced6" if number else BLUE)
        for number, run in enumerate(summary.runs[:MOST_LINES])
    ]
    return charts.lines(series[::-1], ("days", "jobs done per day"), "throughput", legend=False)


def _rates(run: Run) -> list[tuple[float, float]]:
    """Jobs done per day in equal parts of the run, read between its samples."""
    times = [sample.time / DAY for sample in run.samples]
    done = [float(sample.done) for sample in run.samples]
    end = times[-1] or 1.0
    edges = [end * i / BINS for i in range(BINS + 1)]
    counts = _between(times, done, edges)
    width = end / BINS
    return [
        ((left + right) / 2, (after - before) / width)
        for (left, right), (before, after) in zip(pairwise(edges), pairwise(counts), strict=True)
    ]


def _between(known: Sequence[float], values: Sequence[float], at: Sequence[float]) -> list[float]:
    """The straight line through (known, values), at each of *at*, which rises as *known* does."""
    found, place = [], 0
    for where in at:
        while place < len(known) - 2 and known[place + 1] < where:
            place += 1
        low, high = known[place], known[min(place + 1, len(known) - 1)]
        first, last = values[place], values[min(place + 1, len(known) - 1)]
        found.append(first + (last - first) * ((where - low) / (high - low) if high > low else 1))
    return found


def _states(run: Run) -> str:
    times = [sample.time / DAY for sample in run.samples]
    layers = [
        ("done", GREEN, [sample.done for sample in run.samples]),
        ("failed", RED, [sample.failed for sample in run.samples]),
        ("in progress", SKY, [sample.running for sample in run.samples]),
        ("nothing sent yet", LIGHT, [sample.waiting for sample in run.samples]),
    ]
    series = [
        Series(name, list(zip(times, map(float, values), strict=True)), colour)
        for name, colour, values in layers
    ]
    return charts.stacked(series, ("days", "jobs"), "jobs by state")


def _finish(summary: Summary) -> str:
    finished = [value for value in summary.values("days") if math.isfinite(value)]
    says = f"<p>{len(finished)} of {len(summary.runs)} seeds were finished in time.</p>"
    if len(finished) < 2:  # a distribution of one value is no picture
        return says
    marks = [(f"P{p}", summary.percentile("days", p)) for p in (50, 90, 99)]
    return says + charts.steps(
        summary.values("days"), marks, ("days", "share of seeds finished"), "time to finish"
    )


def _lives(run: Run) -> str:
    end = max((sample.time for sample in run.samples), default=DAY) / DAY
    rows = [(f"host {life.number}", _spans(life)) for life in run.lives]
    return charts.timeline(rows, end, "some hosts")


def _spans(life: HostLife) -> list[Span]:
    speed = f"{life.gflops:.3g} GFLOPS a core"
    ups = [Span(start / DAY, end / DAY, LIGHT, f"on ({speed})") for start, end in life.ups]
    works = [
        Span(work.sent / DAY, work.over / DAY, _ENDS[work.ended], f"{work.job}: {work.ended}")
        for work in life.works
    ]
    return ups + works


# ---------------------------------------------------------------- tables

_COLUMNS = (
    ("days", "days"),
    ("tail_days", "tail"),
    ("jobs_per_day", "jobs/day"),
    ("results_per_job", "sent/job"),
    ("wasted", "wasted"),
    ("wrong", "wrong"),
    ("failed", "failed"),
    ("unfinished", "left"),
    ("missed", "missed"),
)


def _cell(name: str, value: float) -> str:
    if name == "wasted":
        return percent(value)
    return charts.number(value) if math.isfinite(value) else "-"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{name}</th>" for name in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{cells}</tr>{lines}</table></div>'


def _seeds(summary: Summary) -> str:
    rows = [
        [str(run.seed), *[_cell(name, run.figures[name]) for name, _ in _COLUMNS]]
        for run in summary.runs
    ]
    return _table(["seed", *[head for _, head in _COLUMNS]], rows)


def _trade_off(points: Sequence[tuple[str, Summary]]) -> str:
    """What the points of the sweep cost, as a table and two charts."""
    rows = [
        [
            f"{i}. {escape(name)}",
            *[_cell("days", summary.percentile("days", p)) for p in (50, 90, 99)],
            *[_cell(figure, summary.mean(figure)) for figure, _ in _COLUMNS[2:]],
        ]
        for i, (name, summary) in enumerate(points, 1)
    ]
    head = ["", "P50 days", "P90 days", "P99 days", *[head for _, head in _COLUMNS[2:]]]
    against = [
        ("results_per_job", "instances sent per job"),
        ("wrong", "wrong outputs accepted"),
    ]
    drawn = [
        charts.points(
            [(n, (s.percentile("days", 90), s.mean(figure))) for n, s in points],
            ("P90 of the days to finish", label),
            label,
        )
        for figure, label in against
    ]
    return "<h2>Trade-off</h2>" + _table(head, rows) + "".join(drawn)


def _words() -> str:
    words = {**FIGURES, **WASTE}
    items = "".join(
        f"<li><b>{escape(name)}</b>: {escape(what)}</li>" for name, what in words.items()
    )
    return (
        f"<details><summary>What the figures mean</summary><ul>{items}</ul></details>"
        "<footer>Made by pyboinc simulate. A percentile is that of the seeds: the smallest value"
        " that so many per cent of them do not exceed. How good the presets of hosts are stands"
        " in docs/simulate.md.</footer>"
    )
