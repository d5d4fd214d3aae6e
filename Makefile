# voxtra. Everything below sets itself up on a Debian 12 machine with Python 3.11 and nothing prepared.

SHELL := /bin/sh
VENV := .venv
PY := $(VENV)/bin/python
ASTERISK := .asterisk/asterisk
BEGAN := $(shell date +%s)
JOBS ?= 3
LIVE_JOBS ?= 6
.DEFAULT_GOAL := help
.PHONY: help setup venv asterisk sipp lint format test demo bench lock clean

help: ## this list
	@echo 'voxtra: voice agents on Asterisk'
	@echo
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-16s %s\n", $$1, $$2 }'
	@echo
	@echo 'Settings: PYTHON=/path/to/python3  DEBIAN_MIRROR=http://.../debian  ARGS="more arguments of test, demo, bench"  JOBS=3  LIVE_JOBS=6 (tests at once)'

setup: ## the Python environment and Asterisk, side by side
	@[ -e $(VENV)/.stamp -a -e $(ASTERISK) ] || echo 'Setting up: Python packages and Asterisk side by side, once, about a minute.'
	@$(MAKE) -s --no-print-directory -j2 venv asterisk
	@[ $$(($$(date +%s) - $(BEGAN))) -lt 2 ] || echo "Set up in $$(($$(date +%s) - $(BEGAN))) s."

venv: $(VENV)/.stamp ## the Python environment, in .venv
asterisk: $(ASTERISK) ## Asterisk 22, unpacked in .asterisk

$(VENV)/.stamp: requirements.lock pyproject.toml .ci/venv
	@.ci/venv $(VENV)
	@touch $@

$(ASTERISK): asterisk/get-asterisk.sh
	@asterisk/get-asterisk.sh .asterisk
	@touch $@

sipp: .asterisk/sipp ## the load generator for the benchmarks, in .asterisk
.asterisk/sipp: asterisk/get-asterisk.sh
	@asterisk/get-asterisk.sh .asterisk sipp
	@touch $@

lint: $(VENV)/.stamp ## ruff, mypy, and the walls between rooms
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports

format: $(VENV)/.stamp ## put the code into shape
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

test: setup .asterisk/sipp ## lint, and all tests, live ones included
	@$(MAKE) --no-print-directory lint
	@$(PY) -m pytest -n $(JOBS) --dist loadfile -m 'not live' $(ARGS)
	@$(PY) -m pytest -n $(LIVE_JOBS) --dist worksteal -m live $(ARGS)

demo: setup ## a real call: a scripted caller talks to examples/receptionist.py through Asterisk
	@VOXTRA_DEMO_BEGAN=$(BEGAN) $(PY) examples/demo.py $(ARGS)

bench: setup .asterisk/sipp ## measure, and print ratios
	@$(PY) -m benchmarks $(ARGS)

lock: ## pin all packages anew (wants uv: pip install uv)
	@uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
		--all-extras --group dev \
		--upgrade --quiet --output-file requirements.lock

clean: ## remove what was built; "make clean ALL=1" also the environment and Asterisk
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find voxtra tests benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} +
	@[ -z "$(ALL)" ] || rm -rf $(VENV) .asterisk
