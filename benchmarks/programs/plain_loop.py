"""The plain loop: ``python plain_loop.py JOBS``, an interpreter for each job, one by one."""

import json
import subprocess
import sys
import time

jobs = int(sys.argv[1])
began = time.monotonic()
for number in range(jobs):
    command = [sys.executable, "plain_slave.py"]
    done = subprocess.run(command, input=b"%d" % number, stdout=subprocess.PIPE, check=True)
    assert int(done.stdout) == number
print(json.dumps({"jobs": jobs, "seconds": time.monotonic() - began}))
