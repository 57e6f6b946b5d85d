"""The volunteers that are known: presets of hosts and of their availability, each with its source.

A trust mark says how its numbers were come by: **[V]** read in a program's source or in
published data, or computed from them; **[A]** in an abstract or an excerpt; **[M]** recalled
and not verified, or an assumption of ours.  No test holds anything to an [M].

``HOSTS["seti-2016-all"]()`` is a group of hosts (without a count), ``AVAILABILITY["daily"]()``
a model of their times up.  The names are those of the functions, with hyphens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from simulator.availability import Always, Daily, Model, Renewal
from simulator.distributions import (
    Clipped,
    Distribution,
    Empirical,
    Exponential,
    Fixed,
    Gamma,
    Hyperexponential,
    LogNormal,
    Normal,
    Weibull,
)
from simulator.population import ONE, Hosts

WEEK_HOURS = 168.0

FRACTION_CYCLE_HOURS = 24.0
"""Mean hours of an up- and a down-time together where only the share of time up is known [M]."""


# ---------------------------------------------------------------- availability


def always() -> Always:
    """Up from joining to leaving: a cluster's node, and the yardstick of analytic checks."""
    return Always()


def seti_all_iid() -> Renewal:
    """SETI@home, hosts whose times are random: Weibull up, log-normal down (hours) [V].

    Parameters as ComBoS (parameters.xml @1078912) and BoSS (CLIENT_AVAILABILITY_ALL_RANDOM_HOSTS)
    use them [V]; originally Javadi, Kondo, Vincent, Anderson, "Discovering statistical models of
    availability in large distributed systems", TPDS 22(11), 2011, row "all iid hosts" [M].

    Mean up 10.35 h (median 1.17), mean down 31.8 h (median 0.56): in the long run a host is
    up 0.246 of the time.  But it begins up, so that the mean over a day is 0.616, over a
    week 0.520, over 30 days 0.434, over a year 0.315.  For a long campaign cap the down-times
    (``seti-all-iid@7d``: about 0.50 at any horizon) and describe who stays away longer by a
    lifetime.
    """
    return Renewal(Weibull(0.393, 2.964), LogNormal(-0.586, 2.844))


def seti_cluster_x() -> Renewal:
    """The well-behaved hosts of SETI@home: up 0.567 of the time [V the values].

    Gamma up (mean 15.58 h), hyper-exponential down with three phases (mean 11.92 h), as in
    rolan018/combos, parameters.xml [V]; one of Javadi's clusters, which is not known [M].
    """
    phases = ((0.338, 0.029), (0.390, 30.121), (0.272, 1.069))
    return Renewal(Gamma(0.357, 43.652), Hyperexponential(phases))


def atlas_2018() -> Renewal:
    """As seti-all-iid with shorter down-times (sigma 2.444), in ComBoS's later parameters.xml [V].

    Probably a typing error or tuning there [M].
    """
    return Renewal(Weibull(0.393, 2.964), LogNormal(-0.586, 2.444))


def bce_onoff() -> Renewal:
    """BOINC's client emulator: exponential up (mean 1,000 s) and down, up 0.7 of the time [V].

    client/sim_util.cpp RANDOM_PROCESS::init; 0.7 and 1,000 s are from its sample files.
    """
    up = 1000 / 3600
    return Renewal(Exponential(up), Exponential(up / 0.7 - up))


def on_fractions_2006() -> Model:
    """SETI@home, 4 to 10 February 2006, more than 330,000 hosts: 0.612 in all [A].

    BOINC running 0.81 of the time, computing 0.84 of that, with a CPU efficiency of 0.90:
    Anderson and Fedak, "The computational and storage potential of volunteer computing",
    CCGrid 2006 (slides).  How long the times are is not told: a cycle of a day is ours [M].
    """
    return up_share(0.81 * 0.84 * 0.90)


def einstein_2010() -> Model:
    """Einstein@Home's fact sheet of 2010: hosts are active about 0.35 of the time [A].

    108,000 hosts a week gave more than 6 million CPU hours.  A cycle of a day is ours [M].
    """
    return up_share(0.35)


def daily() -> Daily:
    """On for 8 hours a day at the host's own time, give or take an hour: ours [M].

    Most hosts are not random: 21 % (TPDS 2011) to 34 % (MASCOTS 2009) of SETI@home's are [A].
    No parameters are published; this is the simplest periodic host.
    """
    return Daily(8.0)


def office() -> Daily:
    """On for 9 hours on 5 days of 7, at the host's own time: ours [M]; see daily."""
    return Daily(9.0, days=5)


def up_share(share: float) -> Model:
    """Exponential up- and down-times with this share of time up, a day together [M]."""
    if share >= 1:
        return Always()
    cycle = FRACTION_CYCLE_HOURS
    return Renewal(Exponential(cycle * share), Exponential(cycle * (1 - share)))


def with_longest_down(model: Renewal, hours: float) -> Renewal:
    """*model* with no down-time longer than so many hours: who stays away longer has left."""
    return Renewal(model.up, Clipped(model.down, 0.0, hours))


# ---------------------------------------------------------------- hosts

# What the tables of speeds do not tell.  Errors: "roughly 5 % of jobs fail or time out" (BOINC's
# wiki, GSoC_13 [V]); wrong outputs: ours [M].
_ERROR_RATE, _WRONG_RATE = Fixed(0.05), Fixed(0.01)


def _volunteers(speed: Distribution, cores: Distribution = ONE) -> Hosts:
    """Hosts of this speed, up as seti-all-iid with down-times of at most a week."""
    return Hosts(
        speed_gflops=speed,
        cores=cores,
        availability=with_longest_down(seti_all_iid(), WEEK_HOURS),
        error_rate=_ERROR_RATE,
        wrong_rate=_WRONG_RATE,
    )


def seti_2016_all() -> Hosts:
    """SETI@home, 29 March 2016, all 3,502,444 hosts: 5.9 GFLOPS, all cores together [V].

    Log-normal fit of the table "count gflops" (ComBoS, Traces/seti/src), within its extremes.
    """
    return _volunteers(Clipped(LogNormal(1.2666, 0.9861), 0.07, 158.4))


def einstein_2016() -> Hosts:
    """Einstein@Home, March 2016, 62,813 hosts: 15.3 GFLOPS, all cores together [V].

    Log-normal fit of ComBoS's Traces/einstein/src; its mean is 2 % above the table's.
    """
    return _volunteers(LogNormal(2.3717, 0.8699))


def lhc_2016() -> Hosts:
    """LHC@home, March 2016, 8,882 hosts: 19.1 GFLOPS, all cores together [V].

    Log-normal fit of ComBoS's Traces/lhc/src; its mean is 3 % above the table's.
    """
    return _volunteers(LogNormal(2.7646, 0.6537))


def seti_boss() -> Hosts:
    """SETI@home, processors of about 2020, 12,316 hosts: 9.55 cores of 4.21 GFLOPS [V].

    BoSS, traces/seti/cpu_list.csv: the speed of a core has a standard deviation of 0.79; its
    correlation with the number of cores (0.16) is left out.  The 6.5 % of hosts whose number
    of cores is not listed here get 18, so that the mean is the table's.
    """
    mix = {4: 0.235, 6: 0.053, 8: 0.344, 9: 0.028, 12: 0.149, 16: 0.094, 18: 0.065, 23: 0.02}
    return _volunteers(Clipped(Normal(4.21, 0.79), 0.5, 10.0), shares({**mix, 31: 0.012}))


def lhc_2024() -> Hosts:
    """LHC@home, 2024, 2,272 hosts: 38.4 cores of 4.48 GFLOPS [V].

    BoSS, traces/lhc/cpu_list.csv: the quantiles of the number of cores, of which the largest
    is ours so that the mean is the table's; the correlation with the speed (-0.26) is left out.
    """
    cores = Empirical(((0, 1), (0.05, 4), (0.25, 8), (0.5, 18), (0.75, 48), (0.95, 128), (1, 192)))
    return _volunteers(Clipped(Normal(4.48, 1.41), 0.5, 12.0), cores)


def rakesearch() -> Hosts:
    """RakeSearch, 209 hosts: exponential, 18.7 GFLOPS, all cores together [V].

    The fallback in ComBoS's Traces/boom_host_cpu: rate 0.0534.
    """
    return _volunteers(Exponential(1 / 0.0534))


def combos_2016() -> Hosts:
    """ComBoS's own volunteers, for comparisons with it: as its parameters.xml @1078912 [V].

    Exponential speeds (rate 0.1734) within [0.07, 117.71] GFLOPS, one core; seti-all-iid as it
    is; 95 % of the results succeed, and 95 % of those are right.
    """
    return Hosts(
        speed_gflops=Clipped(Exponential(1 / 0.1734), 0.07, 117.71),
        availability=seti_all_iid(),
        error_rate=Fixed(0.05),
        wrong_rate=Fixed(0.05),
    )


def reference() -> Hosts:
    """A host without a fault: one core of 5 GFLOPS, always up, never wrong; for checks [M]."""
    return Hosts(speed_gflops=Fixed(5.0))


def shares(values: dict[int, float]) -> Empirical:
    """The distribution of some whole numbers, each with its share; the shares need not make 1."""
    total = sum(values.values())
    points, below = [], 0.0
    for value in sorted(values):
        upto = below + values[value] / total
        # A hair apart: quantiles rise, and a number between two values is not drawn in practice.
        points += [(below, float(value)), (upto - 1e-12, float(value))]
        below = upto
    points[-1] = (1.0, points[-1][1])
    return Empirical(tuple(points))


# ---------------------------------------------------------------- by name

_Made = TypeVar("_Made")


def _named(*functions: Callable[[], _Made]) -> dict[str, Callable[[], _Made]]:
    return {function.__name__.replace("_", "-"): function for function in functions}


AVAILABILITY: dict[str, Callable[[], Model]] = _named(
    always,
    seti_all_iid,
    seti_cluster_x,
    atlas_2018,
    bce_onoff,
    on_fractions_2006,
    einstein_2010,
    daily,
    office,
)

HOSTS = _named(
    seti_2016_all,
    einstein_2016,
    lhc_2016,
    seti_boss,
    lhc_2024,
    rakesearch,
    combos_2016,
    reference,
)

DEFAULT = "seti-2016-all"
