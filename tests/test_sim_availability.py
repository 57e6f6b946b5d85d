"""When simulated hosts are up: the walk, its means over a horizon, daily windows and traces."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import fmean, stdev

import pytest

from pyboinc.errors import ConfigurationError
from simulator import presets
from simulator.availability import DAY, HOUR, Always, Availability, Daily, Model, Renewal, Trace
from simulator.distributions import Exponential, Fixed
from simulator.draws import UP, stream
from simulator.traces import read_traces
from simulator.volunteers import availability_named

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here

WEEK = 7 * DAY
MODELS: dict[str, Callable[[], Model]] = {
    **presets.AVAILABILITY,
    "trace": lambda: Trace((10.0, 3600.0), (1800.0, 90000.0), 100_000.0),
    "shifted": lambda: Trace((0.0, 3600.5), (1800.25, 90000.0), 90_000.0, shifted=True),
}


def intervals(model: Model, key: int, until: float) -> list[tuple[float, float]]:
    """The up-times as the model gives them, cycle after cycle: what a walk must agree with."""
    found, start, n = [], 0.0, 0
    while start < until:
        end, resume = model.cycle(key, n, start)
        found.append((start, end))
        start, n = resume, n + 1
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("step", [300.0, 7 * HOUR, 5 * DAY])
def test_the_walk_agrees_with_the_intervals(name: str, step: float, seed: int) -> None:
    """Availability: uptime, is_up, next_up and when are those of the model's intervals."""
    model = MODELS[name]()
    key = stream(seed, 1, UP)
    ups = intervals(model, key, 60 * DAY)
    host = Availability(model, key)
    for i in range(1, min(100, int(40 * DAY / step))):
        now = i * step
        host.advance(now)
        uptime = math.fsum(min(end, now) - start for start, end in ups if start < now)
        assert host.uptime == pytest.approx(uptime, abs=1e-6)
        assert host.is_up == any(start <= now < end for start, end in ups)
        later = [max(start, now) for start, end in ups if end > max(start, now)]
        if later:
            assert host.next_up() == later[0]
        else:
            assert host.next_up() >= 60 * DAY
        wanted = host.uptime + 3 * HOUR
        time = host.when(wanted)
        if time < 60 * DAY:
            assert math.fsum(min(end, time) - start for start, end in ups if start < time) == (
                pytest.approx(wanted, abs=1e-6)
            )


@pytest.mark.parametrize("name", MODELS)
def test_how_often_one_looks_makes_no_difference(name: str, seed: int) -> None:
    """Laziness: a host that was looked at a thousand times is where one looked at once is."""
    model = MODELS[name]()
    often, once = (Availability(model, stream(seed, 2, UP), joins=1234.5) for _ in range(2))
    for i in range(1000):
        often.advance(1234.5 + i * 1000)
        often.when(often.uptime + i)
        often.next_up()
    once.advance(1234.5 + 999_000)
    assert (often.uptime, often.is_up, often.next_up()) == (
        once.uptime,
        once.is_up,
        once.next_up(),
    )


# Facts B1: the mean share of time up, from joining on, of hosts that begin up; with a cap on
# down-times (hours).  They are given to two or three digits.
MEANS = [
    (math.inf, 24, 0.616, 0.0005),
    (math.inf, 100, 0.548, 0.0005),
    (math.inf, 168, 0.520, 0.0005),
    (math.inf, 720, 0.434, 0.0005),
    (math.inf, 8760, 0.315, 0.0005),
    (24, 24, 0.62, 0.005),
    (24, 100, 0.65, 0.005),
    (24, 720, 0.70, 0.005),
    (24, 8760, 0.71, 0.005),
    (168, 720, 0.50, 0.01),
    (168, 8760, 0.50, 0.01),
]


@pytest.mark.parametrize(("cap", "hours", "share", "digits"), MEANS)
def test_seti_hosts_are_up_as_long_as_they_were(
    cap: float, hours: float, share: float, digits: float, seed: int
) -> None:
    """Presets: seti-all-iid's mean share of time up is the known one, over a day and a year.

    Within 4.5 standard errors of the mean over some hosts (a false alarm in 150,000 runs),
    and 0.01 for the sampling of the known figures.
    """
    model = presets.seti_all_iid()
    if cap < math.inf:
        model = presets.with_longest_down(model, cap)
    shares = []
    for host in range(150 if hours > 8000 else 1000):
        availability = Availability(model, stream(seed, host, UP))
        availability.advance(hours * HOUR)
        shares.append(availability.uptime / (hours * HOUR))
    error = stdev(shares) / math.sqrt(len(shares))
    assert fmean(shares) == pytest.approx(share, abs=4.5 * error + digits + 0.01)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("always", 1.0),
        ("seti-all-iid", 0.246),
        ("seti-cluster-x", 0.567),
        ("bce-onoff", 0.7),
        ("on-fractions-2006", 0.612),
        ("einstein-2010", 0.35),
        ("daily", 1 / 3),
        ("office", 45 / 168),
    ],
)
def test_the_long_run_share_of_presets(name: str, share: float) -> None:
    """Presets: the share of time up in the long run is the published one."""
    assert presets.AVAILABILITY[name]().share == pytest.approx(share, abs=6e-4)


@pytest.mark.parametrize("name", ["seti-cluster-x", "bce-onoff", "einstein-2010", "0.9", "office"])
def test_hosts_come_to_the_long_run_share(name: str, seed: int) -> None:
    """Availability: over a long time hosts are up for the share that their model tells."""
    model = availability_named(name)
    shares, few = [], name == "bce-onoff"  # its cycles are short, and many
    for host in range(20 if few else 60):
        availability = Availability(model, stream(seed, host, UP))
        first, last = (WEEK, 2 * WEEK) if few else (10 * WEEK, 30 * WEEK)
        availability.advance(first)
        before = availability.uptime
        availability.advance(last)
        shares.append((availability.uptime - before) / (last - first))
    error = stdev(shares) / math.sqrt(len(shares))
    assert fmean(shares) == pytest.approx(model.share, abs=4.5 * error + 1e-3)


def test_a_host_is_up_when_it_joins_and_never_after_it_left() -> None:
    """Availability: up from joining on, down for ever from leaving on."""
    model = Renewal(Fixed(2), Fixed(1))
    host = Availability(model, 7, joins=HOUR, leaves=5 * HOUR)

    host.advance(HOUR)
    assert host.is_up and host.uptime == 0
    assert host.when(2.5 * HOUR) == pytest.approx(4.5 * HOUR, abs=1e-5)
    assert host.when(3.5 * HOUR) == math.inf
    host.advance(6 * HOUR)
    assert not host.is_up and host.next_up() == math.inf
    assert host.uptime == pytest.approx(3 * HOUR, abs=1e-5)


def test_a_host_that_leaves_while_down_does_not_come_back() -> None:
    """Availability: who leaves in a down-time has the uptime that it had."""
    host = Availability(Renewal(Fixed(2), Fixed(1)), 7, leaves=2.5 * HOUR)
    host.advance(2.75 * HOUR)
    assert host.next_up() == math.inf
    assert host.uptime == pytest.approx(2 * HOUR, abs=1e-5)


def test_always_up() -> None:
    """Availability: a host that is always up has an uptime of all its time."""
    host = Availability(Always(), 7, joins=5)
    host.advance(105)
    assert (host.uptime, host.is_up, host.next_up()) == (100, True, 105)
    assert host.when(1e7) == 1e7 + 5
    assert host.when(3) == 105, "what is reached already is reached now"


def test_a_task_that_nobody_waits_for_is_not_followed() -> None:
    """Availability: what would be after the given time may be told as never."""
    host = Availability(Renewal(Fixed(1), Fixed(1)), 7)
    assert host.when(10 * HOUR, until=40 * HOUR) == pytest.approx(19 * HOUR, abs=1e-3)
    assert host.when(10 * HOUR, until=9 * HOUR) == math.inf
    assert Availability(Renewal(Fixed(500), Fixed(100)), 7).when(1e12) == math.inf


def test_preempted_work_takes_as_long_as_it_must(seed: int) -> None:
    """Analytic D2-c: exponential up-times, W of work: E[turnaround] = W (1 + E[down]/E[up]).

    Within 4.5 standard errors.
    """
    model = Renewal(Exponential(2), Exponential(3))
    times = [Availability(model, stream(seed, host, UP)).when(5 * HOUR) for host in range(4000)]
    error = stdev(times) / math.sqrt(len(times))
    assert fmean(times) == pytest.approx(5 * HOUR * (1 + 3 / 2), abs=4.5 * error)


def test_daily_hosts_have_their_own_time_of_day(seed: int) -> None:
    """Daily: eight hours in each day, at times of day that differ from host to host."""
    first = []
    for number in range(200):
        ups = intervals(Daily(8.0), stream(seed, number, UP), 10 * DAY)
        whole = [(start, end) for start, end in ups[1:] if end < 10 * DAY]
        assert {end - start for start, end in whole} == {8 * HOUR}
        gaps = [after[0] - before[1] for before, after in pairwise(whole)]
        assert all(15 * HOUR <= gap <= 17 * HOUR for gap in gaps)
        first.append(whole[0][0] % DAY)
    quarters = [sum(q <= time / DAY * 4 < q + 1 for time in first) for q in range(4)]
    assert min(quarters) > 20, "50 are expected in each quarter of the day"


def test_office_hosts_rest_two_days_in_seven(seed: int) -> None:
    """Weekly: five windows in every seven days."""
    ups = intervals(Daily(9.0, days=5), stream(seed, 1, UP), 70 * DAY)
    assert 48 <= len([up for up in ups if up[1] > up[0]]) <= 51


@pytest.mark.parametrize(("hours", "days"), [(0, 7), (24, 7), (8, 0), (8, 8)])
def test_a_window_that_can_not_be_is_refused(hours: float, days: int) -> None:
    """Daily: absurd hours or days are an error with what is allowed."""
    with pytest.raises(ConfigurationError, match="give hours above 0 and below 24"):
        Daily(hours, days)


def test_one_host_costs_few_bytes() -> None:
    """Memory: the state of a host's availability is at most 300 bytes."""
    host = Availability(presets.seti_all_iid(), stream(1, 5, UP))
    host.advance(123456.7)
    parts = ["end", "_leaves", "_n", "_now", "offset", "resume", "_stream"]
    assert sys.getsizeof(host) + sum(sys.getsizeof(getattr(host, part)) for part in parts) <= 300


# ---------------------------------------------------------------- traces


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_trace_says_when_its_hosts_are_up(tmp_path: Path) -> None:
    """Traces: hosts are up as their lines say, the record is repeated, lines may be mixed."""
    file = write(tmp_path / "t.csv", "host,start,stop\na,10,20\nb,0,50\na,40,60\n\nb,70,100\n")
    traces = read_traces(file)
    host = Availability(traces.of(0), 7)
    assert host.next_up() == 10
    assert host.when(15) == 45
    assert host.when(30 + 5) == 115, "the record of 100 s begins again"
    host.advance(50)
    assert (host.uptime, host.is_up) == (20, True)
    assert Availability(traces.of(1), 7).is_up
    assert traces.share == pytest.approx((0.3 + 0.8) / 2)


def test_hosts_that_share_a_record_are_not_up_together(tmp_path: Path) -> None:
    """Traces: with more hosts than records the later ones begin elsewhere in them."""
    traces = read_traces(write(tmp_path / "t.csv", "host,start_hours,stop_hours\na,1,2\na,3,7\n"))
    up = {Availability(traces.of(number), stream(1, number, UP)).next_up() for number in range(9)}
    assert len(up) > 3
    assert max(up) < 7 * HOUR


def test_a_trace_with_other_columns_and_a_period(tmp_path: Path) -> None:
    """Traces: days, columns that are not ours, and a period longer than the last stop."""
    file = write(tmp_path / "t.csv", "who,Host,start_days,stop_days\nx,a,0,1\n")
    trace = read_traces(file, period=4 * DAY).of(0)
    assert trace.share == 0.25
    assert Availability(trace, 7).when(1.5 * DAY) == 4.5 * DAY


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: it should name the columns host,start,stop, not ''"),
        ("host,from,to\na,1,2\n", "line 1: it should name the columns"),
        ("host,start,stop\n", "there is no up-time in it"),
        ("host,start,stop\na,1,2\na,x,4\n", "line 3: 'a,x,4' has no two numbers"),
        ("host,start,stop\na,1\n", "line 2: it has 2 columns, too few"),
        ("host,start,stop\na,5,2\n", "line 2: an up-time from 5 to 2 can not be"),
        ("host,start,stop\na,-5,2\n", "line 2: an up-time from -5 to 2"),
        ("host,start,stop\na,nan,2\n", "line 2: an up-time from nan"),
        ("host,start,stop\na,1,1e300\n", "line 2: an up-time from 1 to 1e300"),
        ("host,start,stop\na,1,9\nb,1,2\na,8,12\n", "line 4: host a was up until 9 s"),
        ('host,start,stop\na,"1,2\n', "not a CSV file"),
    ],
)
def test_a_bad_line_of_a_trace_is_named(tmp_path: Path, text: str, says: str) -> None:
    """Bad input: a trace that can not be read is told with its file and line."""
    file = write(tmp_path / "trace.csv", text)
    with pytest.raises(ConfigurationError, match=f"trace.csv.*{says}"):
        read_traces(file)


def test_a_trace_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    """Bad input: bytes that are no text, and a file that is missing, are told by name."""
    file = tmp_path / "trace.csv"
    file.write_bytes(b"host,start,stop\n\xff\xfe,1,2\n")
    with pytest.raises(ConfigurationError, match="trace.csv.*not a CSV file in UTF-8"):
        read_traces(file)
    with pytest.raises(ConfigurationError, match="none.csv can not be read: No such file"):
        read_traces(tmp_path / "none.csv")


def test_a_period_is_not_shorter_than_the_record(tmp_path: Path) -> None:
    """Bad input: a period that ends before the last stop is refused."""
    file = write(tmp_path / "t.csv", "host,start,stop\na,1,200\n")
    with pytest.raises(ConfigurationError, match="period of 100 s ends before the last stop"):
        read_traces(file, period=100)
