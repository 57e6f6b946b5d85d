"""Parsl's: ``python parsl_executor.py JOBS WORKERS [tuned]``, workers that live on.

Everything stays on this computer; the workers are up and have done a job each before the
time is taken.  *tuned*: jobs wait at the workers in advance, and nothing is encrypted.
"""

import json
import os
import sys
import time

import parsl
from no_op import no_op
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider

jobs, workers = int(sys.argv[1]), int(sys.argv[2])
# Parsl's own programs lie beside the interpreter, and its workers import no_op from here.
here = os.path.dirname(os.path.abspath(__file__))
os.environ["PATH"] = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
os.environ["PYTHONPATH"] = here
tuned = {"prefetch_capacity": 4 * workers, "encrypted": False} if sys.argv[3:] else {}
executor = HighThroughputExecutor(
    address="127.0.0.1",
    max_workers_per_node=workers,
    loopback_address="127.0.0.1",
    cores_per_worker=1,
    heartbeat_period=2,
    heartbeat_threshold=30,
    provider=LocalProvider(init_blocks=1, min_blocks=1, max_blocks=1),
    **tuned,
)
config = Config([executor], strategy="none", initialize_logging=False)
with parsl.load(config):
    app = parsl.python_app(no_op)
    for future in [app(number) for number in range(workers)]:
        future.result()
    began = time.monotonic()
    futures = [app(number) for number in range(jobs)]
    assert [future.result() for future in futures] == list(range(jobs))
    seconds = time.monotonic() - began
print(json.dumps({"jobs": jobs, "seconds": seconds}), flush=True)
