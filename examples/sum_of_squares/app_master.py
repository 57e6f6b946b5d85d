"""The sum of the squares of 0 to 99: the program of BOINC's design document.

Covers: the three files of an app; ``python app_master.py`` and nothing else.

Scenario: a hundred inputs, one job each.  Every square is worked out by a process of its
own on the emulated project; the master adds them up in whatever order they arrive.
"""

from app_types import Input

from pyboinc import pyboinc_call, pyboinc_master

squares = []


def make_calls():
    for number in range(100):
        pyboinc_call("app_slave.py", Input(number))


def handle_result(output):
    squares.append(output.square)


pyboinc_master(make_calls, handle_result)
print("The answer is", sum(squares))
