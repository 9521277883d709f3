# make demo   install what the package needs and run the whole loop once, with live progress
# make test   install what the tests need too, and run the whole suite
#
# Everything lives in .venv, at the versions that constraints.txt pins. torch is installed first, in a step of its
# own, so that a build for the CPU that is at hand is used instead of the several gigabytes of the CUDA one.

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
PIP     = $(PY) -m pip -qq --disable-pip-version-check
PINS   := -c constraints.txt --build-constraint constraints.txt
EXTRAS := langchain,classic,postgres

.DEFAULT_GOAL := help
.PHONY: help demo test lint types check examples wheel readme bench clean

help:  ## list the targets
	@grep -hE '^[a-z%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(VENV)/.runs  ## install and run `agent-memory demo`
	$(VENV)/bin/agent-memory demo

test: $(VENV)/.tests  ## install and run every test
	$(PY) -m pytest -q $(ARGS)

lint: $(VENV)/.tests  ## ruff
	$(PY) -m ruff check .

types: $(VENV)/.tests  ## mypy, strict
	$(PY) -m mypy

check: lint types test  ## lint, types, tests

examples: $(VENV)/.tests  ## run every example
	@set -e; for example in examples/[0-9]*.py; do echo "== $$example"; $(PY) $$example; done

wheel: $(VENV)/.tests  ## build the wheel into dist/ (without a download: the build tools are in .venv)
	rm -rf dist
	$(PY) -m build --quiet --no-isolation --wheel --outdir dist .

readme: $(VENV)/.tests  ## write the parts of README.md that are derived: file map, results
	$(PY) .ci/readme.py

bench:  ## list the benchmarks; `make bench-NAME ARGS=…` runs one
	@ls benchmarks/*.py | sed -E 's|benchmarks/(.*)\.py|make bench-\1|'

bench-%: $(VENV)/.bench  ## run benchmarks/NAME.py
	PYTHONPATH=. $(PY) benchmarks/$*.py $(ARGS)

clean:  ## remove what was built, and .venv
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Each step leaves a mark in .venv; a changed pin or requirement runs it again.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; make PYTHON=...")'
	@echo "installing torch into $(VENV) (a minute or two) …"
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@$(PIP) install $$(grep '^pip==' constraints.txt)
	@$(PIP) install $(PINS) torch
	@touch $@

$(VENV)/.runs: $(VENV)/.torch pyproject.toml
	@echo "installing agent-memory and what it needs (a minute or two) …"
	@$(PIP) install $(PINS) -e .
	@touch $@

$(VENV)/.tests: $(VENV)/.runs
	@echo "installing what the tests need into $(VENV) …"
	@$(PIP) install $(PINS) -e ".[$(EXTRAS)]" --group test --group lint --group build
	@touch $@

$(VENV)/.bench: $(VENV)/.tests
	@echo "installing what the benchmarks need into $(VENV) …"
	@$(PIP) install $(PINS) --group bench
	@touch $@
