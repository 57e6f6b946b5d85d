"""A job without PyBOINC: reads a number from stdin, writes it to stdout."""

import sys

sys.stdout.write(sys.stdin.read())
