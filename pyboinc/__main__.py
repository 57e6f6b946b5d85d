"""``python -m pyboinc`` is ``pyboinc``."""

from pyboinc.cli import main

main(prog_name="pyboinc")
