"""The standard library's: ``python process_pool.py JOBS WORKERS``, a process for each job."""

import json
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from no_op import no_op

if __name__ == "__main__":
    jobs, workers = int(sys.argv[1]), int(sys.argv[2])
    with ProcessPoolExecutor(workers, max_tasks_per_child=1) as pool:
        began = time.monotonic()
        futures = [pool.submit(no_op, number) for number in range(jobs)]
        assert [future.result() for future in futures] == list(range(jobs))
        seconds = time.monotonic() - began
    print(json.dumps({"jobs": jobs, "seconds": seconds}))
