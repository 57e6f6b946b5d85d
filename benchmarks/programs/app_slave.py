"""One job: nothing, or a core kept busy for as long as the input says."""

import time

from app_types import Output

from pyboinc import pyboinc_get_input, pyboinc_return_output

began = time.monotonic()
job = pyboinc_get_input()
while time.monotonic() - began < job.busy:
    pass
pyboinc_return_output(Output(job.number))
