"""Codes of signs with little autocorrelation, bred over generations.

Covers: ``handle_result`` that makes the next calls; a search that can be killed and resumed
in any generation.

Scenario: a radar pulse coded by 27 signs is the sharper, the less it resembles itself when
shifted: the lower its *energy*.  Finding the best code is a classic hard problem (low
autocorrelation binary sequences).  A slave improves one individual by a local search.
When the last of a generation has arrived, the master breeds the next from the best.

The answer does not depend on the order of arrival: nothing is bred before a generation is
complete, and each child has random numbers of its own, drawn from its place.
"""

import random

from app_types import LENGTH, Input

from pyboinc import pyboinc_call, pyboinc_master

SEED = 2
POPULATION = 12  # individuals in a generation
PARENTS = 5  # the best of all so far breed
MUTATION = 0.15  # the probability that a sign is flipped at birth
GENERATIONS = 6

arrived = []  # of the generation that is being waited for
parents = []  # best first


def make_calls():
    for place in range(POPULATION):
        dice = random.Random(f"{SEED} 0 {place}")
        pyboinc_call("app_slave.py", Input(0, place, dice.getrandbits(LENGTH)))


def handle_result(output):
    arrived.append(output)
    if len(arrived) == POPULATION:
        parents[:] = select(parents + arrived)
        arrived.clear()
        print(f"generation {output.generation}: the lowest energy is {parents[0].energy}")
        if output.generation + 1 < GENERATIONS:
            breed(output.generation + 1)


def select(individuals):
    """The best of different codes; sorted by what they are, never by when they arrived."""
    different = {each.code: each for each in sorted(individuals, reverse=True)}
    return sorted(different.values())[:PARENTS]


def breed(generation):
    for place in range(POPULATION):
        dice = random.Random(f"{SEED} {generation} {place}")
        mother, father = dice.sample(parents, 2)
        low_signs = (1 << dice.randrange(1, LENGTH)) - 1
        child = (mother.code & low_signs) | (father.code & ~low_signs)
        for sign in range(LENGTH):
            child ^= (dice.random() < MUTATION) << sign
        pyboinc_call("app_slave.py", Input(generation, place, child))


pyboinc_master(make_calls, handle_result)

best = parents[0]
print(f"{best.code:0{LENGTH}b}".replace("0", "-").replace("1", "+"))
print(f"has energy {best.energy} and merit factor {LENGTH**2 / 2 / best.energy:.2f}")
