# `make demo` shows it at work, `make test` proves it.  Both need only Python 3.11 or
# newer, make and a package index; everything else goes into .venv.

RECENT = import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python; do \
	$$python -c '$(RECENT)' 2>/dev/null && echo $$python && break; done)

# uv, which makes the environments of the tests, does not read which index pip is to use, nor
# whose certificates: those that the system trusts will do.
INDEX = $(shell .venv/bin/python -m pip config list 2>/dev/null | sed -n "s/^[^=]*\.index-url='\(.*\)'/\1/p" | tail -n 1)

# pyenv keeps old interpreters out of PATH; where there is none, tox says SKIP.
OLDEST = $(wildcard $(shell pyenv root 2>/dev/null)/versions/3.8.*/bin/python)

# What some tests need beside Python: a program, and Debian's package that has it.  Where it can
# not be installed, these tests are left out, and say so; under CI that fails the run.  Debian's own
# Python is what a real client finds, as on a volunteer's computer.
NEEDED = strace:strace mariadb-install-db:mariadb-server-core my_print_defaults:mariadb-client-core \
	php:php-cli objcopy:binutils cc:gcc cc:libc6-dev boinc:boinc-client chromium:chromium \
	chromedriver:chromium-driver /usr/bin/python3:python3
# Debian starts the services of what it installs, unless this program says no.
POLICY = /usr/sbin/policy-rc.d

.PHONY: demo test needed compiled sweep flakes mutants clean

demo: .venv/installed                  ## sum of squares on emulated volunteers, three instances in ten failing
	@rm -rf .venv/demo && cp -R examples/sum_of_squares .venv/demo
	.venv/bin/python .venv/demo/app_master.py --seed 7 --failure-rate 0.3 --latency exponential:1

test: .venv/installed needed           ## lint, types, all tests with coverage, the slave half on 3.8
	.venv/bin/python -m pip install --quiet "tox>=4.22" "tox-uv>=1.25"
	UV_NATIVE_TLS=true $(INDEX:%=UV_DEFAULT_INDEX="%") \
		.venv/bin/python -m tox run-parallel --parallel-live $(OLDEST:%=--discover %)

needed:                                ## what tests need beside Python, if it may be installed
	@missing=; for each in $(NEEDED); do \
		command -v $${each%%:*} > /dev/null || missing="$$missing $${each#*:}"; done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		ours=; test -e $(POLICY) || { ours=$(POLICY); printf '#!/bin/sh\nexit 101\n' > $(POLICY); chmod 755 $(POLICY); }; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
			apt-get install -qq --yes --no-install-recommends $$missing > /dev/null || \
			echo "Some tests are left out: $$missing could not be installed"; \
		test -z "$$ours" || rm -f "$$ours"; \
	else echo "Some tests are left out; they need: apt-get install$$missing"; fi

compiled: .venv/installed              ## the simulator's inner modules as a library, about 3 times as quick
	.venv/bin/python -m pip install --quiet --editable ".[dev,examples,simulate,compiled]"
	.venv/bin/python -m simulator.compiled
	.venv/bin/python -m pytest --quiet tests/test_sim_engine.py

sweep: .venv/installed                 ## every fault that can be enumerated; hours.  PARTS="fuzz" runs some
	.venv/bin/python -m pip install --quiet --editable ".[dev,examples,simulate]"
	PYTHONPATH=tests .venv/bin/python -m sweep --record $(PARTS)

flakes: .venv/installed                ## the tests of recovery, a hundred times under load; hours.  RUNS=10 SEED=1
	.venv/bin/python -m pip install --quiet --editable ".[dev,examples,simulate]"
	.venv/bin/python tests/flakes.py $(RUNS:%=--runs %) $(SEED:%=--seed %) $(TESTS)

mutants: .venv/installed               ## does a test notice a change?  Hours.  ONLY="project" SAMPLE=300 SEED=1
	.venv/bin/python -m pip install --quiet --editable ".[dev,examples,simulate,mutants]"
	PYTHONPATH=tests .venv/bin/python -m mutants --record $(SAMPLE:%=--sample %) $(SEED:%=--seed %) $(ONLY)

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "PyBOINC needs Python 3.11 or newer; name it: make PYTHON=..."; exit 1; }
	$(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --editable .
	touch $@

clean:                                 ## what the two commands made
	rm -rf .venv .tox .mutants .coverage .coverage.*
