"""One job: a tabu search from the given code.

Each step flips the sign that leaves the lowest energy, even if that is higher than before,
but none that was flipped a moment ago: so the search climbs out of a valley that is not the
deepest.
"""

from app_types import LENGTH, Output, energy

from pyboinc import pyboinc_fraction_done, pyboinc_get_input, pyboinc_return_output

STEPS = 60
REST = 6  # steps in which a flipped sign stays as it is

individual = pyboinc_get_input()
code = individual.code
best = (energy(code), code)
free_again = [0] * LENGTH

for step in range(STEPS):
    free = [sign for sign in range(LENGTH) if free_again[sign] <= step]
    lowest, sign = min((energy(code ^ (1 << sign)), sign) for sign in free)
    code ^= 1 << sign
    free_again[sign] = step + 1 + REST
    best = min(best, (lowest, code))
    pyboinc_fraction_done((step + 1) / STEPS)

pyboinc_return_output(Output(best[0], individual.generation, individual.place, best[1]))
