"""How the instances end that hosts are given, drawn for many of them at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from simulator import draws
from simulator.distributions import Numbers
from simulator.lives import Happens

if TYPE_CHECKING:
    from simulator.population import Population

AT_A_TIME: Final = 64
"""Instances of a host of which it is drawn at once how they end."""

_HOSTS: Final = 1024
"""Hosts whose first ones are drawn together, at a twentieth of the price."""

_RIGHT, _WRONG, _ERROR = int(Happens.RIGHT), int(Happens.WRONG), int(Happens.ERROR)

_ALL_RIGHT = bytes([_RIGHT]) * AT_A_TIME


class Reliability:
    """The ends of all hosts' instances: a byte for each, which is right, wrong or an error."""

    __slots__ = ("_blocks", "_population", "_seed")

    def __init__(self, population: Population, seed: int) -> None:
        self._population = population
        self._seed = seed
        self._blocks: dict[int, bytes] = {}

    def ends(self, host: int, first: int, errors: float, wrong: float) -> bytes:
        """How the instances of *host* will end from its *first*, a multiple of AT_A_TIME, on."""
        if not errors and not wrong:
            return _ALL_RIGHT
        if first:
            stream = draws.stream(self._seed, host, draws.ERROR)
            chances = draws.row(stream, first, AT_A_TIME)
            return _ends(chances, errors, wrong)
        number, place = divmod(host, _HOSTS)
        block = self._blocks.get(number)
        if block is None:
            block = self._blocks[number] = self._block(number * _HOSTS)
        return block[place * AT_A_TIME : (place + 1) * AT_A_TIME]

    def _block(self, start: int) -> bytes:
        """The first ends of many hosts, one host's after the other's."""
        population = self._population
        stop = min(start + _HOSTS, population.size)
        streams = draws.streams(self._seed, np.arange(start, stop), draws.ERROR)
        chances = np.stack([draws.uniforms(streams, n) for n in range(AT_A_TIME)], axis=1)
        errors, wrong = population.error_rate[start:stop], population.wrong_rate[start:stop]
        return _ends(chances, errors[:, np.newaxis], wrong[:, np.newaxis])


def _ends(chances: Numbers, errors: float | Numbers, wrong: float | Numbers) -> bytes:
    ends = np.full(chances.shape, _RIGHT, np.uint8)
    ends[chances < errors + (1.0 - errors) * wrong] = _WRONG
    ends[chances < errors] = _ERROR
    return ends.tobytes()
