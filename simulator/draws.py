"""Numbers that look random and depend on nothing but (seed, host, what, n).

What a host draws may not depend on the order in which events happen to be handled, so
nothing here is a stream of random numbers that is used up.  A number is a hash of its place::

    stream(seed, host, what) = mix(mix(mix(seed) + host) + what)
    uniform(stream, n)       = upper 53 bits of mix(stream + (n + 1) * GOLDEN), / 2**53: in [0, 1)

with 64-bit integers throughout.  ``mix`` and ``GOLDEN`` are SplitMix64's (Steele, Lea and Flood,
"Fast splittable pseudorandom number generators", OOPSLA 2014), whose n-th number is by
design a hash of its seed and n: it passes BigCrush, costs half a microsecond in Python and can
be had of many hosts at once with numpy.  ``pyboinc.faults.draws`` hashes texts and does
eight times the work; a simulated host draws some eighty numbers a day.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

GOLDEN: Final = 0x9E3779B97F4A7C15
_MASK: Final = 0xFFFFFFFFFFFFFFFF
_FIRST: Final = 0xBF58476D1CE4E5B9
_SECOND: Final = 0x94D049BB133111EB
_TO_UNIT: Final = 2.0**-53

# What is drawn: never renumbered, or recorded seeds would mean something else.
SPEED, CORES, UP, DOWN, LIFETIME, JOINING, ERROR, WRONG, BACKOFF, TRUST, NETWORK = range(11)
RELIABILITY, CONNECTION = range(11, 13)

Words = NDArray[np.uint64]


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * _FIRST) & _MASK
    word = ((word ^ (word >> 27)) * _SECOND) & _MASK
    return word ^ (word >> 31)


def stream(seed: int, host: int, what: int) -> int:
    """The key of the numbers that *host* draws for *what* (one of this module's constants)."""
    return _mix((_mix((_mix(seed & _MASK) + host) & _MASK) + what) & _MASK)


def uniform(stream: int, n: int) -> float:
    """The *n*-th number of *stream*, in [0, 1); n counts from 0."""
    word = (stream + (n + 1) * GOLDEN) & _MASK
    word = ((word ^ (word >> 30)) * _FIRST) & _MASK
    word = ((word ^ (word >> 27)) * _SECOND) & _MASK
    return ((word ^ (word >> 31)) >> 11) * _TO_UNIT


def _mix_all(words: Words) -> Words:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(_FIRST)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(_SECOND)
    return words ^ (words >> np.uint64(31))


def streams(seed: int, hosts: NDArray[np.integer], what: int) -> Words:
    """The keys of many hosts: element i is ``stream(seed, hosts[i], what)``."""
    first = np.uint64(_mix(seed & _MASK))
    return _mix_all(_mix_all(hosts.astype(np.uint64) + first) + np.uint64(what))


def uniforms(streams: Words, n: int) -> NDArray[np.float64]:
    """The *n*-th number of each of many streams: element i is ``uniform(streams[i], n)``."""
    step = np.uint64(((n + 1) * GOLDEN) & _MASK)
    return (_mix_all(streams + step) >> np.uint64(11)).astype(np.float64) * _TO_UNIT


def row(stream: int, first: int, number: int) -> NDArray[np.float64]:
    """*number* numbers of one stream, from the *first* on: cheaper than one by one."""
    steps = np.arange(first + 1, first + number + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return (_mix_all(steps + np.uint64(stream)) >> np.uint64(11)).astype(np.float64) * _TO_UNIT
