# driftproof: everything from a fresh clone, with nothing but Python >= 3.11 and make.
#
#   make verify    settle the claims, train the smoke recipe, write report/index.html
#   make test      lint, types, layers, claims and the tests
#   make longer    the slow tests of seconds, which CI runs too
#   make help      the other targets
#
#   make test PYTHON=python3.12          another interpreter
#   make verify VENV=$HOME/driftproof    another place for the environment

PYTHON ?= python3
VENV ?= .venv
JOBS ?= 2

bin := $(VENV)/bin
ready := $(VENV)/.driftproof-ready

.DEFAULT_GOAL := help
.PHONY: help env verify report papers test longer lint quick strict check compiled pythons portability bench clean

help: ## List the targets
	@grep -E '^[a-z]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 18

env: $(ready) ## Make the environment, if something that it depends on has changed

# The marker is written last: an installation that was interrupted is taken up again.
$(ready): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "driftproof needs Python >= 3.11; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; exit 1; }
	@test -x $(bin)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the environment below $(VENV): a few minutes the first time"
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --config-settings editable_mode=compat --editable ".[torch,jax,hub,data,dev]"
	@touch $@

# A claim that is refuted or unsettled must not hide the report that shows it: the status comes last.
# It trains anew in a folder of its own, and removes that one alone.
verify: $(ready) ## Settle every claim, train the smoke recipe, write report/index.html
	@status=0; run=$$(mktemp -d) || exit 2; trap 'rm -rf "$$run"' EXIT; \
	$(bin)/driftproof verify --json report/verify.json --html report || status=$$?; \
	case $$status in 0|1|3) ;; *) exit $$status ;; esac; \
	$(bin)/driftproof train tweedie --smoke --out "$$run" && \
	mkdir -p report/runs/tweedie && cp "$$run/report.json" report/runs/tweedie/ && \
	$(bin)/driftproof report report && \
	echo "Open $(CURDIR)/report/index.html" && \
	exit $$status

papers: $(ready) ## Take the last report as the record and write the pages from it
	$(bin)/python papers/refresh.py --take report

report: $(ready) ## Rebuild report/index.html from the last results
	@$(bin)/driftproof report report

# The types take one core, so they are checked beside the claims; the tests come last, so that their summary
# closes the output.
test: $(ready) ## Lint, types, layers, claims, packaging, tests
	@$(MAKE) --no-print-directory -j 2 lint quick
	@$(MAKE) --no-print-directory check

# One thread a process: the arrays here are small, and threads that wait for each other are slower than one.
verify quick strict check longer: export OMP_NUM_THREADS = 1
verify quick strict check longer: export OPENBLAS_NUM_THREADS = 1
verify quick strict check longer: export MKL_NUM_THREADS = 1

# Where images say so, Python keeps no bytecode, and each of the processes that the tests start would compile anew.
quick check longer: compiled
compiled: $(ready)
	@$(bin)/python -m compileall -q driftproof theory numerics backends validation tests

lint: $(ready) ## Style, types and layers
	$(bin)/ruff check .
	$(bin)/ruff format --check .
	$(bin)/mypy
	$(bin)/mypy papers/refresh.py
	$(bin)/lint-imports

quick: $(ready) ## Every claim at a tenth of the Monte Carlo
	$(bin)/driftproof verify --quick

strict: $(ready) ## Every public function under array-api-strict (longer has it too)
	$(bin)/python -m pytest -q -n $(JOBS) -m "" -k array_api_strict tests/test_parity.py

# worksteal: a file stays with one worker, so that what its tests share is made once.
check: $(ready) ## The tests and doctests
	$(bin)/python -m pytest -q -n $(JOBS) --dist worksteal

# The gradients at every point: quick asks for a part of them.
longer: $(ready) ## What CI runs after make test: the slow tests of seconds, not those of minutes
	$(bin)/driftproof verify GRADIENT-LAW-1 GRADIENT-PROCESS-1 GRADIENT-DISTANCE-1
	$(bin)/python -m pytest -q -n $(JOBS) --dist worksteal -m "slow(ci=True) and not gpu and not hostile"

pythons: $(ready) ## The wheel under every Python found, with the oldest and the newest dependencies
	$(bin)/python tests/pythons.py

portability: $(ready) ## The numerical tests on other processors (minutes; check has a short form)
	$(bin)/python tests/portability.py --jobs $(JOBS)

bench: $(ready) ## Compare with the peers, as ratios
	$(bin)/driftproof bench --json report/bench.json

clean: ## Remove what was made, the environment included; trainings in runs stay
	rm -rf $(VENV) report build dist *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
