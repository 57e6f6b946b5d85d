"""What safety costs: the codec's times as ratios to those of `pickle`, in the same run.

    python benchmarks/codec.py [--seconds N]

The C unpickler runs whatever it reads; `decode` reads the same bytes with a loader of its
own, in Python.  `encode` is `pickle.dumps` and, unless the value is plainly harmless, one
reading back.  The two take turns, and each figure is the shortest CPU time of many, so that
a busy machine disturbs little.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from measuring import verdict

try:
    import numpy as np
except ImportError:  # then there are no arrays to time
    np = None  # type: ignore[assignment]

from pyboinc.codec import Registry, decode, encode

OBJECTS, ARRAYS = 10.0, 1.2  # how many times slower than pickle's own loader decode may be


class Output:
    """What most slaves return."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Point:
    """A small object, of which there may be many."""

    def __init__(self, x: float, y: float) -> None:
        self.x = x
        self.y = y


@dataclass
class Branch:
    """A part of a tree."""

    name: str
    weight: int
    branches: list[Branch]


def tree(depth: int, name: str = "b") -> Branch:
    """A tree in which each branch has four."""
    parts = [tree(depth - 1, f"{name}{n}") for n in range(4)] if depth else []
    return Branch(name, 37 * depth, parts)


# The classes of the program itself can not travel; these stand for those of an app_types.py.
TYPES = (Output, Point, Branch)
for each in TYPES:
    each.__module__ = "benchmark_types"
sys.modules["benchmark_types"] = sys.modules[__name__]

VALUES: dict[str, tuple[float, Any]] = {
    "one number": (OBJECTS, 328350),
    "a result of a sweep": (OBJECTS, {"rate": 0.01, "depth": 5, "scores": [0.9, 0.91, 0.92]}),
    "1,000 points": (OBJECTS, [Point(float(n), n / 2) for n in range(1_000)]),
    "a tree of 1,365 parts": (OBJECTS, tree(5)),
    "1,000 dictionaries": (
        OBJECTS,
        [{"id": n, "word": f"word {n}", "score": n / 7, "good": n % 3 > 0} for n in range(1_000)],
    ),
    "10,000 floats": (OBJECTS, [float(n) for n in range(10_000)]),
    "10,000 words": (OBJECTS, {f"word {n}": n for n in range(10_000)}),
}
if np is not None:
    VALUES["an array of 80 bytes"] = ARRAYS, np.arange(10.0)
    VALUES["an array of 1 kB"] = ARRAYS, np.arange(128.0)
    VALUES["100 arrays of 1 kB"] = ARRAYS, [np.arange(128.0) for _ in range(100)]
    VALUES["an array of 8 MB"] = ARRAYS, np.arange(1e6)


def best(actions: list[Callable[[], object]], seconds: float) -> list[float]:
    """The shortest CPU time of one call of each, s; they take turns for so many *seconds*."""
    times = [float("inf")] * len(actions)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for index, action in enumerate(actions):
            start = time.thread_time()
            action()
            times[index] = min(times[index], time.thread_time() - start)
    return times


def main() -> None:
    """Print one line for each kind of value, and one for each aim."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each kind of value")
    seconds = parser.parse_args().seconds
    classes = Registry({("benchmark_types", cls.__name__): cls for cls in TYPES})
    verdicts = []
    print(f"{'':22}{'decode':>12}{'ratio':>8}{'encode':>12}{'ratio':>8}   (ratios to pickle)")
    for name, (bar, content) in VALUES.items():
        value = Output(content)
        data = encode(value, "value", classes)
        read, theirs = best(
            [lambda d=data: decode(d, classes), lambda d=data: pickle.loads(d)], seconds
        )
        write, plain = best(
            [lambda v=value: encode(v, "value", classes), lambda v=value: pickle.dumps(v, 4)],
            seconds / 2,
        )
        line = f"{read * 1e6:9.1f} us{read / theirs:8.1f}{write * 1e6:9.1f} us{write / plain:8.1f}"
        print(f"{name:22}{line}", flush=True)
        verdicts.append(verdict(f"decode {name}", read / theirs, "times pickle.loads", bar, False))
    print("\n".join(verdicts))


if __name__ == "__main__":
    main()
