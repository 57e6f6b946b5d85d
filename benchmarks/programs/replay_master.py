"""The program that is started again: ``python replay_master.py JOBS [PyBOINC's own flags]``.

Prints one line of JSON: how many results were handled, a digest of their order, the seconds
from the first to the last of them, and this process's peak memory in bytes.
"""

import hashlib
import json
import sys
import time

from app_types import Input
from processes import peak

from pyboinc import pyboinc_call, pyboinc_master

jobs = int(sys.argv[1])
moments = []
handled = 0
order = hashlib.sha256()


def make_calls():
    for number in range(jobs):
        pyboinc_call("app_slave.py", Input(number))


def handle_result(output):
    global handled
    handled += 1
    order.update(b"%d\n" % output.number)
    if handled in (1, jobs):
        moments.append(time.monotonic())


pyboinc_master(make_calls, handle_result)
assert handled == jobs, "results are missing"
answer = {
    "jobs": handled,
    "order": order.hexdigest(),
    "seconds": moments[-1] - moments[0],
    "peak": peak(),
}
print(json.dumps(answer))
