"""``pyboinc simulate`` without a program: how long a batch will take, and what quorums cost.

The simulations are :mod:`simulator.planning`'s; here are the flags, the table, and the bar on
a terminal while they run.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyboinc.cli.options import echo_json
from pyboinc.config.settings import cores
from pyboinc.errors import ConfigurationError

if TYPE_CHECKING:
    from simulator.figures import Summary
    from simulator.planning import Watch
    from simulator.plans import Plan, Values

_Command = TypeVar("_Command", bound=Callable[..., Any])

SEEDS = 10
"""Seeds of a plan if the user does not say how many."""

BAR_AFTER = 1.0
"""Seconds after which a bar is shown."""

_DAY = 86_400.0

# What each flag of other verbs is in a plan, and by how much it is divided.
_SETTINGS = {
    "quorum": ("quorum", 1.0),
    "max_errors": ("max_errors", 1.0),
    "delay_bound": ("delay_bound_days", _DAY),
    "fpops": ("job_gflop", 1e9),
}

FLAGS = ("jobs", "job_gflop", "days", "redundancy", "policy", "sweep", "report", "fail_if")
"""The parameters of :func:`planning_flags`: they have no meaning beside a program."""


def planning_flags(command: _Command) -> _Command:
    """Give *command* the flags of planning."""
    for option in reversed(
        (
            click.option("--jobs", metavar="N", help="Plan a batch of so many jobs."),
            click.option("--job-gflop", metavar="N", help="Billions of operations in each job."),
            click.option("--days", metavar="N", help="Look on for so many days at most."),
            click.option("--redundancy", metavar="N", help="Instances at first: 0, the quorum."),
            click.option(
                "--policy",
                metavar="NAME=VALUE",
                multiple=True,
                help="Another policy of server or client.",
            ),
            click.option(
                "--sweep",
                metavar="NAME=V1,V2",
                multiple=True,
                help="Try each value, and all combinations.",
            ),
            click.option(
                "--report", type=click.Path(path_type=Path), help="Write an HTML page to this file."
            ),
            click.option(
                "--fail-if",
                metavar="CONDITION",
                multiple=True,
                help='Exit with 1 if it holds: "p95_days>7", "wrong>0".',
            ),
        )
    ):
        command = option(command)
    return command


def plan_campaign(given: dict[str, Any], as_json: bool) -> bool:
    """Do what the flags *given* say; return whether all is as wanted (``--fail-if``)."""
    from simulator.figures import Condition, find_failures
    from simulator.plans import describe, sweep

    conditions = [Condition.parse(text) for text in given["fail_if"]]
    page = given["report"]
    if page is not None:
        _check_writable(page)
    plan = _plan(given)
    points = sweep(plan, given["sweep"])
    first = 1 if given["seed"] is None else given["seed"]
    number = given["seeds"] or SEEDS
    what = describe(plan, _checked(points, first), [name for name, _ in points[0][0]])
    summaries = _simulated(points, range(first, first + number), given, page is not None)
    named = [
        (_name(values), summary) for (values, _), summary in zip(points, summaries, strict=True)
    ]
    failures = find_failures(conditions, named)
    if page is not None:
        _write_report(page, what, named)
    if as_json:
        echo_json(_data(points, summaries, failures))
    else:
        seeds = f"seed {first}" if number == 1 else f"seeds {first} to {first + number - 1}"
        click.echo(f"{what}; {seeds}\n")
        _tell_sweep(named) if len(named) > 1 else _tell_one(summaries[0], points[0][1])
    for failure in failures:
        click.echo(f"pyboinc: failed: {failure}", err=True)
    return not failures


def _plan(given: dict[str, Any]) -> Plan:
    from simulator.plans import Plan

    plan = Plan(tuple(given["hosts"] or ("200",)))
    for flag, (name, unit) in _SETTINGS.items():
        if given.get(flag) is not None:
            plan = plan.with_value(name, _divided(flag, given[flag], unit))
    for name in ("jobs", "job_gflop", "days", "redundancy"):
        if given[name] is not None:
            plan = plan.with_value(name, given[name])
    for text in given["policy"]:
        name, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(f"--policy {text}: write NAME=VALUE, as in adaptive_target=2")
        plan = plan.with_value(name.strip().replace("-", "_"), value)
    return plan


def _divided(flag: str, text: object, unit: float) -> str:
    try:
        return repr(float(str(text)) / unit)
    except ValueError:
        raise ConfigurationError(f"{flag}: {text!r} is not a number") from None


def _checked(points: Sequence[tuple[Values, Plan]], seed: int) -> list[int]:
    """The numbers of hosts; what can never end is refused before anything is simulated."""
    from simulator.plans import check

    sizes = []
    warned = set()
    for values, plan in points:
        population = plan.draw(seed)
        sizes.append(population.size)
        try:
            warning = check(plan, population)
        except ConfigurationError as error:
            where = f"{_name(values)}: " if values else ""
            raise ConfigurationError(f"{where}{error}") from None
        if warning and warning not in warned:
            warned.add(warning)
            click.echo(f"pyboinc: note: {warning}", err=True)
    return sizes


def _name(values: Values) -> str:
    return " ".join(f"{name}={value}" for name, value in values)


def _simulated(
    points: Sequence[tuple[Values, Plan]],
    seeds: Sequence[int],
    given: dict[str, Any],
    lives: bool,
) -> list[Summary]:
    from simulator.figures import Summary
    from simulator.planning import Task, simulate_all

    tasks = [Task(plan, seed, lives and seed == seeds[0]) for _, plan in points for seed in seeds]
    with _bar([task.plan.days for task in tasks]) as watch:
        runs = simulate_all(tasks, given["processes"] or cores(), watch)
    each = len(seeds)
    return [Summary(tuple(runs[i : i + each])) for i in range(0, len(runs), each)]


@contextmanager
def _bar(days: Sequence[float]) -> Iterator[Watch | None]:
    """How far all runs are, on a terminal: a bar, simulated time, and events per second."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[runs]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[pace]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("", total=len(days), visible=False, runs="", pace="")
        began = time.monotonic()

        def watch(shares: Sequence[float], events: Sequence[int], times: Sequence[float]) -> None:
            passed = time.monotonic() - began
            over = sum(share >= 1 for share in shares)
            pace = f"{math.fsum(times) / _DAY:,.0f} days, {sum(events) / passed:,.0f} events/s"
            progress.update(
                bar,
                completed=math.fsum(shares),
                visible=passed > BAR_AFTER,
                runs=f"{over} of {len(days)} runs",
                pace=pace,
            )

        yield watch


# ---------------------------------------------------------------- what is told


def _tell_one(summary: Summary, plan: Plan) -> None:
    mean = summary.mean
    lines = [
        ("finished", f"{_percentiles(summary, 'days')}  {_in_time(summary, plan)}"),
        ("last 10 %", _percentiles(summary, "tail_days")),
        ("throughput", f"{mean('jobs_per_day'):,.0f} jobs a day"),
        ("jobs", _jobs(summary)),
        ("instances", _instances(summary)),
        ("wasted", f"{_percent(mean('wasted'))} of the computing: {_causes(summary)}"),
        ("server", _server(summary)),
    ]
    if mean("data_load"):
        lines.append(("data server", f"busy for {_percent(mean('data_load'))} of the time"))
    for name, text in lines:
        click.echo(f"{name:12}{text}")


def _jobs(summary: Summary) -> str:
    mean = summary.mean
    return (
        f"{mean('done'):,.0f} done ({mean('done') - mean('wrong'):,.1f} right,"
        f" {mean('wrong'):,.1f} wrong but accepted), {mean('failed'):,.1f} failed,"
        f" {mean('unfinished'):,.1f} left"
    )


def _instances(summary: Summary) -> str:
    sent, missed = summary.mean("results_per_job"), summary.mean("missed")
    return f"{_decimals(sent)} sent per job done; {missed:,.0f} missed their deadline"


def _causes(summary: Summary) -> str:
    told = [(cause, share) for cause, share in summary.waste().items() if share >= 5e-4]
    return ", ".join(f"{cause} {_percent(share)}" for cause, share in told) or "for nothing"


def _server(summary: Summary) -> str:
    messages, results = summary.mean("messages_per_day"), summary.mean("results_per_day")
    load = _percent(summary.mean("server_load"))
    return (
        f"{messages:,.0f} requests and {results:,.0f} instances a day"
        f" ({load} of what one computer can send)"
    )


def _in_time(summary: Summary, plan: Plan) -> str:
    over = sum(math.isfinite(value) for value in summary.values("days"))
    return f"({over} of {len(summary.runs)} runs within {plan.days:g} days)"


def _percentiles(summary: Summary, name: str) -> str:
    parts = [f"P{p} {_decimals(summary.percentile(name, p))}" for p in (50, 90, 99)]
    return f"{', '.join(parts)} days"


def _decimals(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _tell_sweep(named: Sequence[tuple[str, Summary]]) -> None:
    width = max(len(name) for name, _ in named)
    click.echo(
        f"{'':{width}}  {'P50':>7} {'P90':>7} {'P99':>7}  {'jobs/day':>9} {'sent/job':>8}"
        f" {'wasted':>7} {'wrong':>7} {'failed':>7} {'left':>7}"
    )
    for name, summary in named:
        mean = summary.mean
        times = " ".join(f"{_decimals(summary.percentile('days', p)):>7}" for p in (50, 90, 99))
        sent = mean("results_per_job")
        click.echo(
            f"{name:{width}}  {times}  {mean('jobs_per_day'):>9,.0f}"
            f" {_decimals(sent):>8} {_percent(mean('wasted')):>7} {mean('wrong'):>7.1f}"
            f" {mean('failed'):>7.1f} {mean('unfinished'):>7.1f}"
        )
    click.echo("\ndays until all is finished, and means over the seeds")


def _data(
    points: Sequence[tuple[Values, Plan]], summaries: Sequence[Summary], failures: Sequence[str]
) -> dict[str, Any]:
    """What ``--json`` prints; what never came, or can not be told, is null."""
    return {
        "failures": list(failures),
        "points": [
            {
                "values": dict(values),
                "hosts": summary.runs[0].hosts,
                "days": {f"p{p}": _finite(summary.percentile("days", p)) for p in (50, 90, 99)},
                "waste": summary.waste(),
                "runs": [
                    {
                        "seed": run.seed,
                        "events": run.events,
                        **{name: _finite(value) for name, value in run.figures.items()},
                    }
                    for run in summary.runs
                ],
            }
            for (values, _), summary in zip(points, summaries, strict=True)
        ],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------- the page


def _check_writable(path: Path) -> None:
    """Refuse a page that can not be written before anything is simulated."""
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise ConfigurationError(f"--report {path}: this is no file in a directory that is there")


def _write_report(path: Path, what: str, named: Sequence[tuple[str, Summary]]) -> None:
    from simulator.report import report

    command = " ".join(["pyboinc", *map(_quoted, sys.argv[1:])])
    try:
        path.write_text(report(what, command, named), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--report {path} can not be written: {error.strerror}") from None


def _quoted(word: str) -> str:
    from shlex import quote

    return quote(word)
