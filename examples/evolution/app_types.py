"""What travels: a code to a slave, a better one back; and what is better."""

from typing import NamedTuple

LENGTH = 27  # signs in a code


class Input(NamedTuple):
    """One individual, from which the slave's search begins."""

    generation: int
    place: int  # in its generation, from 0
    code: int  # one bit for each sign


class Output(NamedTuple):
    """The best code that the search came by."""

    energy: int
    generation: int
    place: int
    code: int


def energy(code: int) -> int:
    """The sum of the squares of the code's autocorrelations; the lower, the sharper the pulse."""
    total = 0
    for shift in range(1, LENGTH):
        overlap = LENGTH - shift
        unlike = bin((code ^ (code >> shift)) & ((1 << overlap) - 1)).count("1")
        total += (overlap - 2 * unlike) ** 2
    return total
