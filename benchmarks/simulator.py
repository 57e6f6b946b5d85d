"""Host-days a second and bytes a host of the simulator, beside SimPy's own rate of events.

    python benchmarks/simulator.py [--sizes 1000,10000,100000] [--hours 24] [--policies]

The workload is that of a published simulator in C, ComBoS (arcos-combos/combos on GitHub, 2016),
as it was measured on a computer with two cores: quorum 2, tasks of 7.56e12 FLOP, files of a
kilobyte, speeds Exp(0.1734) GFLOPS within 0.07 to 117.71, availability ``seti-all-iid``, 5 %
errors, 5 % wrong outputs, hosts that ask for one more job when they have none: about 38 results a
host-day.  It did 358, 257 and 173 host-days a second at 1,000, 10,000 and 100,000 hosts, with
63 KB a host.  The bar is ten times that, in at most 4 KB.

SimPy's own rate is that of bare timeouts with one callback, as many pending as there are hosts,
in a process of its own right before.  With --policies the first size is run again with one
thing left out at a time: what it costs.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

# This file is named like the package that it measures, which is not to be found beside it.
sys.path[:] = [one for one in sys.path if Path(one).resolve() != Path(__file__).resolve().parent]

BARS = {1_000: 3500, 10_000: 2500, 100_000: 1700}
"""Host-days a second."""
MOST_BYTES = 4096

LEFT_OUT: dict[str, dict[str, float]] = {
    "daemons that sleep": dict.fromkeys(
        ("transitioner_interval", "validator_interval", "assimilator_interval", "deleter_interval"),
        0.0,
    ),
    "the data server": {"files": 0.0},
    "one result per host": {"one_result_per_host": 0.0},
    "hosts that are off": {"off": 0.0},
    "errors and wrong outputs": {"bad": 0.0},
}


def simpy_rate(pending: int) -> float:
    """Bare timeouts a second of SimPy, with *pending* of them at any time."""
    import simpy

    environment = simpy.Environment()
    count = 0

    def again(_: simpy.events.Event) -> None:
        nonlocal count
        count += 1
        simpy.events.Timeout(environment, 1.0).callbacks.append(again)

    for number in range(pending):
        simpy.events.Timeout(environment, number / pending).callbacks.append(again)
    started = time.perf_counter()
    environment.run(until=max(3.0, 300_000 / pending))
    return count / (time.perf_counter() - started)


def simulate(size: int, hours: float, changes: dict[str, float]) -> dict[str, float]:
    """Run the workload once, and say what it took."""
    from simulator import presets
    from simulator.distributions import Clipped, Exponential, Fixed
    from simulator.policies import Limits, Policies
    from simulator.population import Hosts, Population
    from simulator.world import World

    kilobyte = changes.pop("files", 1024.0)
    group = Hosts(
        count=size,
        speed_gflops=Clipped(Exponential(1 / 0.1734), 0.07, 117.71),
        availability=presets.always() if "off" in changes else presets.seti_all_iid(),
        error_rate=Fixed(changes.get("bad", 0.05)),
        wrong_rate=Fixed(changes.pop("bad", 0.05)),
    )
    changes.pop("off", None)  # not a policy
    wishes = {"buffer_min": 0.0, "daily_result_quota": 0, "jobs_at_a_time": 1, "bandwidth": 80e6}
    wishes["feeder_slots"] = max(100, size // 4)  # nobody is told that there is no work
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    world = World(Population([group], 1), Policies().changed(**{**wishes, **changes}), seed=1)
    limits = Limits(2, delay_bound=1e8, input_bytes=kilobyte, output_bytes=kilobyte)
    world.endless(flops=7.56e12, limits=limits)
    world.run(hours * 3600)
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    days = size * hours / 24
    return {
        "rate": days / seconds,
        "bytes": grown * 1024 / size,
        "results": world.measures.sent / days,
        "microseconds": seconds / world.measures.sent * 1e6,
    }


def apart(*arguments: str) -> dict[str, float]:
    """Measure in a process of its own, so that memory and garbage are those of one run."""
    command = [sys.executable, __file__, "--apart", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def show(size: int, hours: float, rounds: int) -> None:
    """Measure one size and print its line and how it stands to the bar."""
    events = max(apart("yardstick", str(size))["rate"] for _ in range(rounds))
    runs = [apart("run", str(size), str(hours), "{}") for _ in range(rounds)]
    best = max(runs, key=lambda run: run["rate"])
    rate, size_of_host = best["rate"], min(run["bytes"] for run in runs)
    print(
        f"{size:>9,} hosts: {rate:,.0f} host-days/s ({best['results']:.1f} results a host-day, "
        f"{best['microseconds']:.1f} us each), {size_of_host:,.0f} bytes a host; SimPy alone "
        f"{events:,.0f} events/s: {best['microseconds'] * events / 1e6:.1f} of its events a result"
    )
    if size in BARS:
        word = "met" if rate >= BARS[size] else "MISSED"
        print(f"{word:>9} the bar of {BARS[size]:,} host-days/s: {rate / BARS[size]:.2f} of it")
    word = "met" if size_of_host <= MOST_BYTES else "MISSED"
    print(f"{word:>9} the bar of {MOST_BYTES:,} bytes a host", flush=True)


def show_policies(size: int, hours: float, rounds: int) -> None:
    """What each thing costs: the time of a result with all, less that without it."""
    wishes: dict[str, dict[str, float]] = {"with all": {}, **LEFT_OUT}
    times: dict[str, float] = dict.fromkeys(wishes, float("inf"))
    for _ in range(rounds):
        for name, changes in wishes.items():
            found = apart("run", str(size), str(hours), json.dumps(changes))
            times[name] = min(times[name], found["microseconds"])
    for name, microseconds in times.items():
        costs = times["with all"] - microseconds
        said = f"costs {costs:+.1f} us a result" if name in LEFT_OUT else ""
        print(f"  {name:28} {microseconds:6.1f} us a result  {said}")


def main() -> None:
    """Measure what was asked for."""
    if sys.argv[1:2] == ["--apart"]:
        what, size, *rest = sys.argv[2:]
        found = (
            {"rate": simpy_rate(int(size))}
            if what == "yardstick"
            else simulate(int(size), float(rest[0]), json.loads(rest[1]))
        )
        print(json.dumps(found))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--policies", action="store_true", help="what each one costs")
    options = parser.parse_args()
    sizes = [int(one) for one in options.sizes.split(",")]
    for size in sizes:
        show(size, options.hours, options.rounds if size < 50_000 else 1)
    if options.policies:
        show_policies(sizes[0], options.hours, options.rounds)


if __name__ == "__main__":
    main()
