"""What safety costs: the codec's times as ratios to those of `pickle`, in the same run.

    python benchmarks/codec.py [--repeat N]

The C unpickler runs whatever it reads; `decode` reads the same bytes with a loader of its
own, in Python.  `encode` is `pickle.dumps` and, unless the value is plainly harmless, one
reading back.  Each figure is the best of many, so that a busy machine disturbs little.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

try:
    import numpy as np
except ImportError:  # then there are no arrays to time
    np = None  # type: ignore[assignment]

from pyboinc.codec import Registry, decode, encode


class Output:
    """What most slaves return."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Point:
    """A small object, of which there may be many."""

    def __init__(self, x: float, y: float) -> None:
        self.x = x
        self.y = y


# The classes of the program itself can not travel; these stand for those of an app_types.py.
Output.__module__ = Point.__module__ = "benchmark_types"
sys.modules["benchmark_types"] = sys.modules[__name__]

VALUES: dict[str, Any] = {
    "one number": Output(328350),
    "a result of a sweep": Output({"rate": 0.01, "depth": 5, "scores": [0.9, 0.91, 0.92]}),
    "1,000 points": Output([Point(float(n), n / 2) for n in range(1_000)]),
    "10,000 floats": Output([float(n) for n in range(10_000)]),
    "10,000 words": Output({f"word {n}": n for n in range(10_000)}),
}
if np is not None:
    VALUES["an array of 10"] = Output(np.arange(10.0))
    VALUES["an array of 8 MB"] = Output(np.arange(1e6))


def best(action: Callable[[], object], repeat: int) -> float:
    """The shortest time of one call, s."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print one line for each kind of value."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeat", type=int, default=2_000, help="at most so many calls each")
    repeat = parser.parse_args().repeat
    classes = Registry({("benchmark_types", cls.__name__): cls for cls in (Output, Point)})
    print(f"{'':22}{'decode':>12}{'ratio':>8}{'encode':>12}{'ratio':>8}   (ratios to pickle)")
    for name, value in VALUES.items():
        data = encode(value, "value", classes)
        times = max(5, min(repeat, 20_000_000 // len(data)))
        ours = best(lambda d=data: decode(d, classes), times)
        theirs = best(lambda d=data: pickle.loads(d), times)
        write = best(lambda v=value: encode(v, "value", classes), times)
        plain = best(lambda v=value: pickle.dumps(v, 4), times)
        line = f"{ours * 1e6:9.1f} us{ours / theirs:8.1f}{write * 1e6:9.1f} us{write / plain:8.1f}"
        print(f"{name:22}{line}")


if __name__ == "__main__":
    main()
