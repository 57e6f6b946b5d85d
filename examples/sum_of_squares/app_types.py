"""What travels: a number to a slave, its square back."""

from typing import NamedTuple


class Input(NamedTuple):
    number: int


class Output(NamedTuple):
    square: int
