"""One job: square one number."""

from app_types import Output

from pyboinc import pyboinc_get_input, pyboinc_return_output

pyboinc_return_output(Output(pyboinc_get_input().number ** 2))
