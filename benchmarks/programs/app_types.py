"""What travels in the benchmarks: a number, and how long a slave is to be busy."""

from dataclasses import dataclass


@dataclass
class Input:
    number: int
    busy: float = 0.0  # seconds


@dataclass
class Output:
    number: int
