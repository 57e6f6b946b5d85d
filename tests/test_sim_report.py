"""The page and the command of planning: self-contained, well-formed, and true to the figures."""

from __future__ import annotations

import io
import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from source import ROOT

from pyboinc import cli
from pyboinc.cli import planning
from simulator import charts, presets
from simulator.figures import FIGURES, WASTE, Summary
from simulator.planning import simulate
from simulator.plans import Plan, sweep
from simulator.report import report

DOCUMENT = ROOT / "docs" / "simulate.md"
PLAN = Plan(("seti-2016-all:20",), jobs=60, quorum=2, days=60)
SECTIONS = ["Throughput", "Jobs by state", "When it is finished", "Wasted computing", "Some hosts"]


@pytest.fixture(scope="module")
def summary() -> Summary:
    return Summary((simulate(PLAN, 1, lives=True), simulate(PLAN, 2)))


@pytest.fixture(scope="module")
def page(summary: Summary) -> str:
    return report("60 jobs", "pyboinc simulate --jobs 60", [("", summary)])


def simulate_with(*words: object) -> Result:
    return CliRunner().invoke(cli.main, ["simulate", "--processes", "1", *map(str, words)])


# ---------------------------------------------------------------- the page


class Balance(HTMLParser):
    """Every element that is opened is closed, in order."""

    ALONE = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass


def test_the_page_needs_nothing_beside_it(page: str) -> None:
    """Report: no script, no address, no file: it can be opened years later without a network."""
    for outside in (
        "http:",
        "https:",
        "//",
        "src=",
        "href=",
        "<script",
        "<link",
        "url(",
        "@import",
    ):
        assert outside not in page
    assert len(page) < 500_000


def test_the_page_is_well_formed(page: str) -> None:
    """Report: elements are closed in order, and each chart is an XML document of its own."""
    balance = Balance()
    balance.feed(page)
    assert balance.open == []
    drawn = re.findall(r"<svg.*?</svg>", page)
    assert len(drawn) == 5
    for chart in drawn:
        element = ElementTree.fromstring(chart)
        assert element.attrib["aria-label"]
        assert not re.search(
            r"nan|inf", " ".join(" ".join(e.attrib.values()) for e in element.iter())
        )


def test_the_page_tells_every_figure(page: str, summary: Summary) -> None:
    """Report: all charts, the percentiles, a line for each seed, and what the words mean."""
    for section in SECTIONS:
        assert f"<h2>{section}</h2>" in page
    assert f"{summary.percentile('days', 90):.3g} days" in page
    assert "<code>pyboinc simulate --jobs 60</code>" in page
    for name in (*FIGURES, *WASTE):
        assert f"<b>{name}</b>" in page
    for life in summary.runs[0].lives:
        assert f"host {life.number}<" in page


def test_a_sweep_is_a_table_and_its_trade_off(summary: Summary) -> None:
    """Report: each line of the sweep is in the table, a dot in the charts, and told in full."""
    page = report("a sweep", "pyboinc", [("quorum=1", summary), ("quorum=2", summary)])
    assert page.count("2. quorum=2") == 2
    assert page.count("<h2>Throughput</h2>") == 2
    assert page.count("<details open>") == 1
    assert page.count("<title>quorum=2</title>") == 2


def test_the_page_shows_what_was_typed_as_text() -> None:
    """Report: names that look like markup are shown, not obeyed."""
    run = simulate(replace(PLAN, jobs=3), 1)
    bad = "<b>&\"'"
    page = report(bad, bad, [(bad, Summary((run,))), (bad, Summary((run,)))])
    assert '<b>&"' not in page
    assert "&lt;b&gt;&amp;" in page


def test_a_batch_that_was_not_finished_has_a_page_too() -> None:
    """Report: without a finish there is no finish chart, and nothing is made up."""
    run = simulate(replace(PLAN, days=0.01), 1)
    page = report("unfinished", "pyboinc", [("", Summary((run,)))])
    assert "0 of 1 seeds were finished in time" in page
    assert "not in time" in page
    assert re.search(r"\binf\b|\bnan\b", page) is None


# ---------------------------------------------------------------- charts


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_few_and_inside(low: float, width: float) -> None:
    """Axes: round numbers within the range, at least one step and at most a dozen."""
    found = charts.ticks(low, low + width)
    slack = 1e-6 * (abs(low) + width)
    assert len(found) <= 12
    assert all(low - slack <= one <= low + width + slack for one in found)
    assert found == sorted(found)


def test_ticks_of_a_point() -> None:
    """Axes: a range without an inside has one tick."""
    assert charts.ticks(3, 3) == [3]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (12, "12"), (1200, "1,200"), (0.1234, "0.123"), (3.25e6, "3.25M"), (12.5, "12.5")],
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    """Axes: a number has the digits that one can read."""
    assert charts.number(value) == text


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 12, ["0", "2", "4", "6", "8", "10", "12"]),
        (14.25, 14.5, ["14.25", "14.30", "14.35", "14.40", "14.45", "14.50"]),
        (0, 2e6, ["0", "500,000", "1M", "1.5M", "2M"]),
    ],
)
def test_no_two_ticks_are_labelled_alike(low: float, high: float, labels: list[str]) -> None:
    """Axes: the numbers have as many digits as tell them apart."""
    assert [label for _, label in charts._labelled(charts.ticks(low, high))] == labels


def test_charts_of_nothing_are_charts() -> None:
    """Charts: no values, or all the same, are no reason to fail."""
    for chart in (
        charts.lines([], ("x", "y"), "t"),
        charts.lines([charts.Series("a", [(1, 0)])], ("x", "y"), "t"),
        charts.stacked([charts.Series("a", [(0, 0)])], ("x", "y"), "t"),
        charts.steps([5.0], [("P50", 5.0), ("P90", math.inf)], ("x", "y"), "t"),
        charts.bars([], "t"),
        charts.bars([("a", 0.0)], "t"),
        charts.points([("a", (math.inf, 1))], ("x", "y"), "t"),
        charts.timeline([], 1.0, "t"),
    ):
        ElementTree.fromstring(chart)


# ---------------------------------------------------------------- the command


def test_a_plan_is_told_in_a_few_lines() -> None:
    """pyboinc simulate: percentiles, throughput, jobs, waste and the server, and exit code 0."""
    result = simulate_with("--jobs", 60, "--hosts", "seti-2016-all:20", "--quorum", 2, "--seeds", 2)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].endswith("quorum 2, delay bound 7 days; seeds 1 to 2")
    names = [line.partition("  ")[0] for line in lines[2:]]
    assert names == ["finished", "last 10 %", "throughput", "jobs", "instances", "wasted", "server"]


def test_every_flag_has_its_effect(tmp_path: Path) -> None:
    """pyboinc simulate: each flag changes the plan; --json tells all figures of all runs."""
    hosts = tmp_path / "hosts.toml"
    hosts.write_text("[[hosts]]\ncount = 4\npreset = 'reference'\n")
    words = [
        *("--jobs", 12, "--fpops", 72e12, "--days", 30, "--quorum", 2, "--redundancy", 3),
        *("--max-errors", 3, "--delay-bound", 864000, "--seed", 5, "--seeds", 2),
        *("--policy", "report_delay=60", "--policy", "bandwidth=1e6"),
        *("--hosts", hosts, "--hosts", "reference:2", "--sweep", "input-bytes=0,1e6", "--json"),
    ]
    result = simulate_with(*words)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    idle, loaded = data["points"]
    assert (idle["values"], loaded["values"]) == ({"input_bytes": "0"}, {"input_bytes": "1e6"})
    assert [run["seed"] for run in idle["runs"]] == [5, 6]
    assert idle["hosts"] == 6
    figures = idle["runs"][0]
    assert set(FIGURES) < set(figures)
    assert figures["results"] == 36, "12 jobs of 3 instances each"
    assert 1 <= figures["days"] < 1.25, "each host does 6 of them, or one does a seventh"
    assert figures["data_load"] == 0 < loaded["runs"][0]["data_load"]
    assert data["failures"] == []


def test_what_never_came_is_null() -> None:
    """--json: infinite days are null, so that any program can read it."""
    result = simulate_with("--jobs", 500, "--hosts", 5, "--days", 0.1, "--seeds", 1, "--json")
    data = json.loads(result.stdout, parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert data["points"][0]["days"] == {"p50": None, "p90": None, "p99": None}


def test_a_condition_that_holds_ends_with_one() -> None:
    """--fail-if: exit code 1, and stderr says which condition, with what value."""
    words = ["--jobs", 10, "--hosts", "reference:5", "--seeds", 2]
    bad = simulate_with(*words, "--fail-if", "p95_days>0.001", "--fail-if", "wrong>0")
    assert bad.exit_code == 1
    assert re.search(r"failed: p95_days>0.001: it is 0\.\d+\n", bad.stderr)
    assert "wrong>0" not in bad.stderr
    assert simulate_with(*words, "--fail-if", "p95_days>7").exit_code == 0


def test_a_page_is_written(tmp_path: Path) -> None:
    """--report: the file is the page, with the charts of some hosts."""
    file = tmp_path / "out.html"
    result = simulate_with("--jobs", 10, "--hosts", 5, "--seeds", 2, "--report", file)
    assert result.exit_code == 0
    assert "<h2>Some hosts</h2>" in file.read_text("utf-8")


def test_a_page_that_can_not_be_written_is_told() -> None:
    """Bad input: a full disk is an error with the file's name, not a traceback."""
    result = simulate_with("--jobs", 3, "--hosts", 5, "--seeds", 1, "--report", "/dev/full")
    assert result.exit_code == 2
    assert "--report /dev/full can not be written: No space left" in result.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hosts", "0"], "there are no hosts"),
        (["--hosts", "seti-2016-al:5"], "did you mean seti-2016-all"),
        (["--hosts", "5", "--quorum", "9"], "needs as many hosts"),
        (["--hosts", "5", "--sweep", "quorum=2,9"], "quorum=9: a quorum of 9 needs"),
        (["--job-gflop", "1e9"], "none of 200 hosts can do a job"),
        (["--jobs", "-4"], "jobs: -4 can not be"),
        (["--delay-bound", "soon"], "delay_bound: 'soon' is not a number"),
        (["--policy", "bandwidth"], "write NAME=VALUE"),
        (["--policy", "adaptive_targt=2"], "did you mean adaptive_target"),
        (["--fail-if", "days"], "can not be read"),
        (["--report", "/nowhere/x.html"], "no file in a directory that is there"),
    ],
)
def test_bad_input_is_refused_before_anything_is_simulated(words: list[str], says: str) -> None:
    """Bad input: exit code 2 and one sentence on stderr, nothing on stdout."""
    result = simulate_with(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_slow_hosts_are_noted() -> None:
    """pyboinc simulate: a note on stderr when many hosts can not meet the deadline."""
    result = simulate_with("--hosts", 40, "--job-gflop", 1e6, "--jobs", 2, "--seeds", 1)
    assert "pyboinc: note:" in result.stderr
    assert result.exit_code == 0


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyboinc simulate: without the extra it says what to install."""
    monkeypatch.setattr("pyboinc.cli.simulate.find_spec", lambda name: None)
    result = simulate_with("--hosts", 5)
    assert result.exit_code == 2
    assert "python -m pip install 'pyboinc[simulate]'" in result.stderr


class Terminal(io.StringIO):
    """A stderr that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_how_far_the_runs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress: a bar with the runs that are over, simulated days and events per second."""
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setattr(planning, "BAR_AFTER", -1.0)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with planning._bar([10.0, 10.0]) as watch:
        assert watch is not None
        watch([1.0, 0.5], [5000, 300], [864_000.0, 432_000.0])
    shown = terminal.getvalue()
    assert "1 of 2 runs" in shown and "75 %" in shown and "15 days" in shown
    assert "events/s" in shown


# ---------------------------------------------------------------- the document


def test_the_document_names_everything() -> None:
    """docs/simulate.md: every figure, cause, preset and flag stands in it, with what it is."""
    text = DOCUMENT.read_text("utf-8")
    for name, says in FIGURES.items():
        assert f"| `{name}` | {says} |" in text
    for name, says in WASTE.items():
        assert f"| {name} | {says} |" in text
    for name in (*presets.HOSTS, *presets.AVAILABILITY):
        assert f"| `{name}` |" in text
    for flag in planning.FLAGS:
        assert f"--{flag.replace('_', '-')} " in text


EXAMPLE = re.compile(r"(?<=```console\n)\$ (pyboinc simulate --[^\n]*)\n(.*?)(?=```)", re.DOTALL)


def test_the_document_shows_what_is_printed() -> None:
    """docs/simulate.md: its smaller examples print those lines, but for the numbers.

    ``python tests/test_sim_report.py`` writes into it what all of them print.
    """
    examples = EXAMPLE.findall(DOCUMENT.read_text("utf-8"))
    assert len(examples) == 3
    for command, shown in examples:
        if "10000" not in command:  # a minute of a laptop
            assert _shape(_printed(command)) == _shape(shown), command


def _printed(command: str) -> str:
    return str(simulate_with(*command.split()[2:]).output)


def _shape(text: str) -> list[str]:
    return [re.sub(r"[\d.,]+", "#", " ".join(line.split())) for line in text.splitlines()]


def test_the_file_of_hosts_in_the_document_can_be_read(tmp_path: Path) -> None:
    """docs/simulate.md: its TOML file and its trace are what the simulator reads."""
    text = DOCUMENT.read_text("utf-8")
    (file,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    (trace,) = re.findall(r"    (host,start,stop\n(?:    .*\n)+)", text)
    (tmp_path / "hosts.toml").write_text(file)
    (tmp_path / "laboratory.csv").write_text(trace.replace("    ", ""))
    plan = Plan((str(tmp_path / "hosts.toml"),), jobs=5)
    assert simulate(plan, 1).hosts == 950
    assert sweep(plan, ["hosts=200,einstein-2016/daily:5"])


if __name__ == "__main__":
    DOCUMENT.write_text(
        EXAMPLE.sub(
            lambda found: f"$ {found[1]}\n{_printed(found[1])}", DOCUMENT.read_text("utf-8")
        )
    )
