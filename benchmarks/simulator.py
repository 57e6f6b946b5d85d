"""Host-days a second and bytes a host of the simulator, beside SimPy's own rate of events.

    python benchmarks/simulator.py [--sizes 1000,10000,100000] [--hours 24] [--policies] [--python]

The workload is that of a published simulator in C, ComBoS (arcos-combos/combos on GitHub, 2016),
as it was measured on a computer with two cores: quorum 2, tasks of 7.56e12 FLOP, files of a
kilobyte, speeds Exp(0.1734) GFLOPS within 0.07 to 117.71, availability ``seti-all-iid``, 5 %
errors, 5 % wrong outputs, hosts that ask for one more job when they have none: about 38 results a
host-day.  It did 358, 257 and 173 host-days a second at 1,000, 10,000 and 100,000 hosts, with
63 KB a host.  The bar is ten times that, in at most 4 KB.

SimPy's own rate is that of bare timeouts with one callback, as many pending as there are hosts,
in a process of its own right before.  Times are seconds of a processor, for one is all that is
used; how long a long run took is said besides.
With --policies the first size is run again with one thing left out at a time: what it costs.

The engine is the compiled one if this environment has it (``python -m simulator.compiled``), then
Python's: --python leaves the compiled one out.
"""

from __future__ import annotations

import argparse
import json
import os
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
    started = time.process_time()
    environment.run(until=max(3.0, 300_000 / pending))
    return count / (time.process_time() - started)


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
    began, started = time.perf_counter(), time.process_time()
    world = World(Population([group], 1), Policies().changed(**{**wishes, **changes}), seed=1)
    limits = Limits(2, delay_bound=1e8, input_bytes=kilobyte, output_bytes=kilobyte)
    world.endless(flops=7.56e12, limits=limits)
    world.run(hours * 3600)
    seconds = time.process_time() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    days = size * hours / 24
    return {
        "rate": days / seconds,
        "bytes": grown * 1024 / size,
        "results": world.measures.sent / days,
        "microseconds": seconds / world.measures.sent * 1e6,
        "elapsed": time.perf_counter() - began,
    }


def engines() -> list[str]:
    """What can be measured here: the compiled engine, if there is one, and Python's."""
    import simulator

    return ["compiled", "Python"] if simulator.ENGINE == "compiled" else ["Python"]


def apart(engine: str, *arguments: str) -> dict[str, float]:
    """Measure in a process of its own, so that memory and garbage are those of one run."""
    command = [sys.executable, __file__, "--apart", *arguments]
    environment = {**os.environ, "PYBOINC_SIMULATOR": engine.lower()}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def show(size: int, hours: float, rounds: int, contestants: list[str]) -> None:
    """Measure one size and print a line for each engine and how it stands to the bars."""
    events = 0.0
    runs: dict[str, list[dict[str, float]]] = {engine: [] for engine in contestants}
    for left in reversed(range(rounds)):  # in turns
        events = max(events, apart("", "yardstick", str(size))["rate"])
        if not left:
            print(f"{size:>9,} hosts: SimPy alone {events:,.0f} events/s", flush=True)
        for engine in contestants:
            runs[engine].append(apart(engine, "run", str(size), str(hours), "{}"))
            if not left:  # at once: with a million hosts the next engine takes an hour
                show_engine(size, engine, runs[engine], events)


def show_engine(size: int, engine: str, runs: list[dict[str, float]], events: float) -> None:
    """Print the best of an engine's *runs*, beside SimPy's *events* a second."""
    best = max(runs, key=lambda run: run["rate"])
    rate, bytes_of_host = best["rate"], min(run["bytes"] for run in runs)
    took = f", {best['elapsed']:,.0f} s in all" if best["elapsed"] > 60 else ""
    print(
        f"{engine:>9}: {rate:,.0f} host-days/s ({best['results']:.1f} results a host-day, "
        f"{best['microseconds']:.1f} us each{took}), {bytes_of_host:,.0f} bytes a host; a "
        f"result takes the time of {best['microseconds'] * events / 1e6:.1f} SimPy events"
    )
    if size in BARS:
        word = "met" if rate >= BARS[size] else "MISSED"
        print(f"{word:>9} the bar of {BARS[size]:,} host-days/s: {rate / BARS[size]:.2f} of it")
    word = "met" if bytes_of_host <= MOST_BYTES else "MISSED"
    print(f"{word:>9} the bar of {MOST_BYTES:,} bytes a host", flush=True)


def show_policies(size: int, hours: float, rounds: int, engine: str) -> None:
    """What each thing costs: the time of a result with all, less that without it."""
    wishes: dict[str, dict[str, float]] = {"with all": {}, **LEFT_OUT}
    everything: dict[str, float] = {}
    for changes in LEFT_OUT.values():
        everything |= changes
    wishes["all of these"] = everything
    times: dict[str, float] = dict.fromkeys(wishes, float("inf"))
    for _ in range(rounds):
        for name, changes in wishes.items():
            found = apart(engine, "run", str(size), str(hours), json.dumps(changes))
            times[name] = min(times[name], found["microseconds"])
    print(f"what each costs, {engine}:")
    for name, microseconds in times.items():
        costs = times["with all"] - microseconds
        said = f"costs {costs:+.1f} us a result" if name != "with all" else ""
        print(f"  {name:28} {microseconds:6.1f} us a result  {said}", flush=True)


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
    parser.add_argument("--python", action="store_true", help="without the compiled engine")
    options = parser.parse_args()
    sizes = [int(one) for one in options.sizes.split(",")]
    contestants = engines()[-1:] if options.python else engines()
    for size in sizes:
        show(size, options.hours, options.rounds if size < 50_000 else 1, contestants)
    if options.policies:
        for engine in contestants:
            show_policies(sizes[0], options.hours, options.rounds, engine)


if __name__ == "__main__":
    main()
