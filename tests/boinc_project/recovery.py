"""The program that is killed on a stand-in project, and what must come of it all the same."""

from __future__ import annotations

from boinc_project.masters import BoincPlace
from boinc_project.world import World

PROGRAM = """
import os
from app_types import Input
from pyboinc import pyboinc_call, pyboinc_master

handled = []

def note(index):
    handled.append(index)
    with open("handled.log", "a") as log:
        print(os.getpid(), index, file=log)

def make_calls():
    for number in (0, 1, 13):
        pyboinc_call("app_slave.py", Input(number), max_errors=1)

def handle_result(output, job):
    note(job.index)
    global total
    total += output.value
    if job.index == 1:
        pyboinc_call("app_slave.py", Input(10))

def handle_error(failure):
    note(failure.index)
    print("failed:", failure.cause)

total = 0
pyboinc_master(make_calls, handle_result, handle_error)
print("handled", sorted(handled), "answer", total)
"""
"""Four jobs: one of them fails, and one is called for by a handler."""

SLAVE = """
from app_types import Output
from pyboinc import pyboinc_get_input, pyboinc_return_output

number = pyboinc_get_input().number
if number == 13:
    raise ValueError("unlucky")
pyboinc_return_output(Output(number ** 2))
"""

EXPECTED = "failed: ValueError: unlucky\nhandled [0, 1, 2, 3] answer 101\n"
FILES = {"app_master.py": PROGRAM, "app_slave.py": SLAVE}


def check_recovery(place: BoincPlace, world: World, killed: bool) -> None:
    """Check that a master that was killed is gone on with as if it had not been."""
    if not place.crashed():
        return  # how many outcomes are handled together is a matter of timing
    assert killed
    place.check_at_rest()
    recorded = place.recorded()
    with world.at_work():
        run = place.run()
    if recorded:
        assert place.logged()[-1][: len(recorded)] == recorded
    place.check(run, EXPECTED)
