"""PyBOINC's turn: ``python app_master.py JOBS [BUSY] [PyBOINC's own flags]``.

Prints one line of JSON: the seconds from the first call to the last handled result, and
what each process behind this one has cost by then.
"""

import json
import sys
import time

from app_types import Input
from processes import costs

from pyboinc import pyboinc_call, pyboinc_master

numbers = [word for word in sys.argv[1:3] if word.replace(".", "", 1).isdigit()]
jobs = int(numbers[0])
busy = float(numbers[1]) if len(numbers) > 1 else 0.0
moments = {}
handled = set()


def make_calls():
    moments["first call"] = time.monotonic()
    for number in range(jobs):
        pyboinc_call("app_slave.py", Input(number, busy))


def handle_result(output):
    moments.setdefault("first result", time.monotonic())
    handled.add(output.number)
    if len(handled) == jobs:
        moments["last result"] = time.monotonic()
        moments["costs"] = costs()


pyboinc_master(make_calls, handle_result)
assert handled == set(range(jobs)), "results are missing"
answer = {
    "jobs": jobs,
    "seconds": moments["last result"] - moments["first call"],
    "until_first": moments["first result"] - moments["first call"],
    "costs": moments["costs"],
}
print(json.dumps(answer))
