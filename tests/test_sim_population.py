"""Populations: what a host is depends on its seed and number alone; presets, texts and files."""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pyboinc.errors import ConfigurationError
from simulator import draws, presets
from simulator.availability import DAY, Always, Daily, Renewal
from simulator.distributions import Exponential, Fixed, Uniform, parse
from simulator.population import Hosts, Population
from simulator.volunteers import read_file, read_hosts

pytestmark = pytest.mark.unmeasured  # it is the simulator that works here

COLUMNS = [
    "flops",
    "cores",
    "joins",
    "leaves",
    "error_rate",
    "wrong_rate",
    "downstream",
    "upstream",
    "latency",
]


def rich_group(count: int) -> Hosts:
    """A group in which everything differs from host to host."""
    return Hosts(
        count=count,
        speed_gflops=Exponential(5),
        cores=presets.shares({4: 0.5, 8: 0.5}),
        availability=presets.seti_all_iid(),
        joining_days=Uniform(0, 30),
        lifetime_days=parse("weibull:0.58,135"),
        error_rate=Uniform(0, 0.1),
        wrong_rate=Uniform(0, 0.02),
        downstream=parse("lognormal:14,1"),
        upstream=parse("lognormal:12,1"),
        latency=Uniform(0.01, 0.2),
    )


def test_numbers_of_many_hosts_are_those_of_one(seed: int) -> None:
    """Draws: what numpy draws for many hosts at once is what one host draws."""
    hosts = np.array([0, 1, 5, 999_999])
    for n in (0, 1, 77):
        drawn = draws.uniforms(draws.streams(seed, hosts, draws.UP), n).tolist()
        one = [draws.uniform(draws.stream(seed, host, draws.UP), n) for host in hosts.tolist()]
        assert drawn == one


def test_a_host_is_the_same_in_every_population(seed: int) -> None:
    """Counter-based: more hosts after it, or groups before it split, change nothing of a host."""
    small = Population([rich_group(50)], seed)
    large = Population([rich_group(20), rich_group(500)], seed)
    for column in COLUMNS:
        assert getattr(large, column)[:50].tolist() == getattr(small, column).tolist(), column
    ones, others = (population.availability(33) for population in (small, large))
    for host in (ones, others):
        host.advance(40 * DAY)
    assert ones.uptime == others.uptime


def test_seeds_differ(seed: int) -> None:
    """Another seed gives other hosts."""
    one, other = (Population([rich_group(50)], s) for s in (seed, seed + 1))
    assert not set(one.flops.tolist()) & set(other.flops.tolist())


def test_columns_have_their_types_and_units() -> None:
    """Columns: FLOPS, whole cores, seconds, and infinity where nothing limits."""
    population = Population([replace(rich_group(1000)), replace(presets.reference(), count=1)], 3)

    assert population.size == 1001
    for column in COLUMNS:
        values = getattr(population, column)
        assert values.dtype == (np.int32 if column == "cores" else np.float64)
        assert len(values) == 1001
    assert population.flops[:1000].mean() == pytest.approx(5e9, rel=0.15)
    assert set(population.cores.tolist()) == {1, 4, 8}
    assert population.joins.max() <= 30 * DAY
    assert (population.leaves > population.joins).all()
    assert population.leaves[1000] == population.downstream[1000] == math.inf
    assert population.flops[1000] == 5e9


def test_a_host_joins_and_leaves_at_its_times() -> None:
    """Availability: begins at the host's joining and ends at its leaving."""
    group = Hosts(count=2, joining_days=Fixed(2), lifetime_days=Fixed(3))
    host = Population([group], 1).availability(1)
    assert host.next_up() == 2 * DAY
    host.advance(9 * DAY)
    assert host.uptime == 3 * DAY and host.next_up() == math.inf


def test_there_must_be_hosts() -> None:
    """Bad input: a population without hosts, or of absurdly many, is refused."""
    with pytest.raises(ConfigurationError, match="there are no hosts"):
        Population([Hosts(count=0)], 1)
    with pytest.raises(ConfigurationError, match="there are no hosts"):
        Population([], 1)
    with pytest.raises(ConfigurationError, match="too many"):
        Population([Hosts(count=10**9)], 1)


# ---------------------------------------------------------------- presets

# Facts B2: GFLOPS of a host (all cores), as measured; how far a fit may be off.
SPEEDS = [
    ("seti-2016-all", 5.92, 0.05),
    ("einstein-2016", 15.32, 0.04),
    ("lhc-2016", 19.14, 0.05),
    ("seti-boss", 40.9, 0.04),
    ("rakesearch", 1 / 0.0534, 0.02),
    ("combos-2016", 5.767, 0.02),
]


@pytest.mark.parametrize(("name", "gflops", "within"), SPEEDS)
def test_presets_are_as_quick_as_the_measured_hosts(
    name: str, gflops: float, within: float
) -> None:
    """Presets: the mean speed of a host is the table's (a fit may be off by what is said)."""
    population = Population(read_hosts([f"{name}:40000"]), 1)
    assert (population.flops * population.cores).mean() / 1e9 == pytest.approx(gflops, within)


@pytest.mark.parametrize("name", presets.HOSTS)
def test_presets_say_their_source_and_can_be_sent(name: str) -> None:
    """Presets: each docstring has a trust mark; a group travels to another process."""
    maker = presets.HOSTS[name]
    assert any(mark in (maker.__doc__ or "") for mark in ("[V", "[A", "[M"))
    assert pickle.loads(pickle.dumps(maker())) == maker()


@pytest.mark.parametrize("name", set(presets.AVAILABILITY) - {"always"})
def test_availability_presets_say_their_source(name: str) -> None:
    """Presets: each docstring of an availability has a trust mark."""
    assert any(mark in (presets.AVAILABILITY[name].__doc__ or "") for mark in ("[V", "[A", "[M"))


def test_combos_hosts_are_those_of_combos() -> None:
    """Presets: combos-2016 is Exp(0.1734) within [0.07, 117.71], one core, seti-all-iid."""
    population = Population(read_hosts(["combos-2016:20000"]), 1)
    assert population.flops.min() == 0.07e9
    assert population.flops.max() <= 117.71e9
    assert set(population.cores.tolist()) == {1}
    assert population.groups[0].availability == presets.seti_all_iid()


def test_cores_have_their_shares() -> None:
    """Presets: the mix of cores of seti-boss is drawn with its shares; the mean is 9.55."""
    cores = Population(read_hosts(["seti-boss:40000"]), 1).cores
    assert cores.mean() == pytest.approx(9.55, rel=0.01)
    assert (cores == 8).mean() == pytest.approx(0.344, abs=0.012)


# ---------------------------------------------------------------- texts


def test_a_number_is_so_many_usual_volunteers() -> None:
    """--hosts 200: the default preset."""
    assert read_hosts(["200"]) == read_hosts([f"{presets.DEFAULT}:200"])
    assert read_hosts(["1e3"])[0].count == 1000


def test_speed_and_availability_combine() -> None:
    """--hosts speed/availability:count, joined by + or given one by one."""
    joined = read_hosts(["lhc-2024/always:10+seti-boss/0.5:5", "einstein-2016/daily:7"])

    assert [group.count for group in joined] == [10, 5, 7]
    assert joined[0] == replace(presets.lhc_2024(), count=10, availability=Always())
    assert joined[1].availability.share == 0.5
    assert joined[2].availability == Daily(8)
    assert read_hosts(["lhc-2024/always:10", "seti-boss/0.5:5"]) == joined[:2]


def test_down_times_can_be_cut_short() -> None:
    """--hosts speed/availability@24h: no down-time is longer."""
    for text, hours in [("@24h", 24), ("@2d", 48)]:
        (group,) = read_hosts([f"seti-boss/seti-all-iid{text}:5"])
        assert isinstance(group.availability, Renewal)
        assert group.availability.down.quantile(1 - 2**-53) == hours
    assert read_hosts(["seti-boss/seti-all-iid@7d:5"]) == read_hosts(["seti-boss:5"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("0", "there are no hosts; write for example 200"),
        ("seti-boss:0", "there are no hosts"),
        ("-5", "'-5' is not a number of hosts"),
        ("2.5", "'2.5' is not a number of hosts"),
        ("nan", "no preset of hosts 'nan'"),
        ("1e99", "'1e99' is not a number of hosts; give a whole number up to 10000000"),
        ("seti-boss:many", "'many' is not a number"),
        ("seti-boss", "how many hosts\\? Write seti-boss:1000"),
        ("seti-bos:5", "no preset of hosts 'seti-bos'; did you mean seti-boss\\?"),
        ("xyz:5", "no preset of hosts 'xyz'; possible are seti-2016-all, einstein"),
        ("", "no preset of hosts ''"),
        ("seti-boss:5+", "no preset of hosts ''"),
        ("seti-boss/seti-all-idd:5", "no availability 'seti-all-idd'; did you mean seti-all-iid"),
        ("seti-boss/1.5:5", "availability 1.5: a share of time up is above 0 and at most 1"),
        ("seti-boss/0:5", "a share of time up is above 0"),
        ("seti-boss/seti-all-iid@24:5", "@24: this is not the longest down-time; write"),
        ("seti-boss/seti-all-iid@-1h:5", "@-1h: this is not the longest down-time"),
        ("seti-boss/daily@24h:5", "only random down-times can be cut short"),
        ("nowhere.toml", "nowhere.toml: this file can not be read: No such file"),
    ],
)
def test_a_text_that_describes_no_hosts_is_refused(text: str, says: str) -> None:
    """Bad input: --hosts says what is wrong, and names the near presets."""
    with pytest.raises(ConfigurationError, match=says):
        read_hosts([text])


# ---------------------------------------------------------------- files

FULL = """
[[hosts]]
count = 900
preset = "seti-2016-all"
availability = "seti-all-iid"
longest_down_hours = 24
lifetime_days = "weibull:0.58,135"
joining_days = "uniform:0,30"
error_rate = "uniform:0,0.2"
wrong_rate = 0.001

[[hosts]]
count = 20
speed_gflops = 4
cores = {8 = 0.75, 16 = 0.25}
up_hours = "exponential:10"
down_hours = 2
downstream = 1e6
upstream = "lognormal:11,1"
latency = 0.05

[[hosts]]
count = 3
daily_hours = 9
days_a_week = 5

[[hosts]]
count = 4
trace = "lab.csv"
trace_period_days = 7
"""


def test_a_file_describes_groups_of_hosts(tmp_path: Path) -> None:
    """TOML: every key does what it says; a trace lies beside the file."""
    (tmp_path / "hosts.toml").write_text(FULL)
    (tmp_path / "lab.csv").write_text("host,start_days,stop_days\na,0,3.5\n")
    groups = read_hosts([str(tmp_path / "hosts.toml")])
    volunteers, cluster, office, lab = groups

    population = Population(groups, 5)
    assert population.size == 927
    assert volunteers.availability == presets.with_longest_down(presets.seti_all_iid(), 24)
    assert volunteers.speed_gflops == presets.seti_2016_all().speed_gflops
    assert population.error_rate[:900].mean() == pytest.approx(0.1, abs=0.01)
    assert set(population.wrong_rate[:900].tolist()) == {0.001}
    assert population.joins[:900].max() > 28 * DAY
    assert set(population.cores[900:920].tolist()) == {8, 16}
    assert set(population.flops[900:920].tolist()) == {4e9}
    assert set(population.downstream[900:920].tolist()) == {1e6}
    assert cluster.availability.share == pytest.approx(10 / 12)
    assert office.availability == Daily(9, 5)
    assert lab.availability.share == 0.5
    lab_host = population.availability(925)
    lab_host.advance(70 * DAY)
    assert lab_host.uptime == pytest.approx(35 * DAY)


def test_the_longest_down_time_goes_with_the_preset_too(tmp_path: Path) -> None:
    """TOML: longest_down_hours alone shortens the down-times of the preset."""
    file = tmp_path / "h.toml"
    file.write_text("[[hosts]]\ncount = 3\nlongest_down_hours = 12\n")
    (group,) = read_file(file)
    assert isinstance(group.availability, Renewal)
    assert group.availability.down.quantile(1 - 2**-53) == 12


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("preset = 'seti-boss'", "how many hosts\\? Add count = 100"),
        ("count = true", "count: True is not a number of hosts"),
        ("count = -1", "count: -1 is not a number of hosts"),
        ("count = 5\nsped_gflops = 3", "no key 'sped_gflops'; did you mean speed_gflops"),
        ("count = 5\npreset = 'seti-bos'", "no preset of hosts 'seti-bos'; did you mean"),
        ("count = 5\npreset = ['a']", "no preset of hosts"),
        ("count = 5\nspeed_gflops = -1", "speed_gflops = -1 can not be; give 1e-06 to"),
        ("count = 5\nspeed_gflops = 'normal:1,9'", "speed_gflops = 'normal:1,9' can not be"),
        ("count = 5\nspeed_gflops = 'fast'", "'fast' is not a number"),
        ("count = 5\nspeed_gflops = [1]", "neither a number nor a distribution"),
        ("count = 5\nerror_rate = 1.5", "error_rate = 1.5 can not be; give 0 to 1, a probability"),
        ("count = 5\nlifetime_days = nan", "neither a number nor"),
        ("count = 5\ncores = {}", "cores = {} can not be; write for example"),
        ("count = 5\ncores = {four = 1}", "can not be; write for example"),
        ("count = 5\ncores = 0.2", "cores = 0.2 can not be; give 1 to 4096"),
        ("count = 5\nup_hours = 3", "up_hours needs down_hours"),
        ("count = 5\ndown_hours = 3", "down_hours goes with up_hours alone"),
        ("count = 5\nup_hours = 3\ndown_hours = 2\ntrace = 'a'", "there are up_hours and trace"),
        ("count = 5\navailability = 'never'", "no availability 'never'"),
        ("count = 5\navailability = true", "no availability 'True'"),
        ("count = 5\ndaily_hours = 25", "daily_hours = 25 can not be"),
        ("count = 5\ndaily_hours = 8\ndays_a_week = 'x'", "days_a_week = 'x' can not be"),
        ("count = 5\ntrace = 'none.csv'", "none.csv can not be read"),
        ("count = 5\ntrace_period_days = 1", "trace_period_days goes with trace alone"),
        ("count = 5\nlongest_down_hours = -1", "longest_down_hours = -1 can not be"),
        ("count = 5\navailability='daily'\nlongest_down_hours = 1", "only random down-times"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, table: str, says: str) -> None:
    """Bad input: the file, the number of the table and the key at fault are told."""
    file = tmp_path / "hosts.toml"
    file.write_text(f"[[hosts]]\ncount = 1\n[[hosts]]\n{table}\n")
    with pytest.raises(ConfigurationError, match=r"hosts.toml, \[\[hosts\]\] number 2.*" + says):
        read_file(file)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("count = 5", "no key 'count'; write tables"),
        ("", "there are no hosts in it; write tables"),
        ("hosts = 5", "there are no hosts in it"),
        ("hosts = [5]", "number 1: this is not a table"),
        ("[[hosts", "this is not TOML"),
    ],
)
def test_a_file_without_tables_is_refused(tmp_path: Path, text: str, says: str) -> None:
    """Bad input: a file that is no list of groups says what to write."""
    file = tmp_path / "hosts.toml"
    file.write_text(text)
    with pytest.raises(ConfigurationError, match=says):
        read_file(file)
