"""What travels in the benchmarks: a number, and how long a slave is to be busy.

Plain classes, as in BOINC's design document.  A dataclass would be measured too: each job
runs its modules afresh, and the decorator takes about as long as all the rest of a no-op job.
"""


class Input:
    def __init__(self, number, busy=0.0):
        self.number = number
        self.busy = busy  # seconds


class Output:
    def __init__(self, number):
        self.number = number
