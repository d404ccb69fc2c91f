# `make demo` and `make test` need nothing but Python >= 3.11 and make.
# Everything is installed into .venv and nowhere else.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OLDEST := $(VENV)-oldest

.PHONY: help install demo test test-slow test-oldest lint format docs bench-vaeac \
	bench-tables16 bench-inference clean
.DEFAULT_GOAL := help

help:
	@echo "make demo          complete the bundled penguins table and draw a picture"
	@echo "make test          lint, types and tests"
	@echo "make test-slow     the tests marked slow, which make test leaves out"
	@echo "make test-oldest   the tests with the oldest versions that are allowed"
	@echo "make lint          ruff and mypy only"
	@echo "make format        let ruff rewrite the files"
	@echo "make docs          run the examples and build docs/_build/html"
	@echo "make bench-vaeac   the tables of the VAEAC paper, beside its figures (hours)"
	@echo "make bench-tables16  sixteen tables, beside published figures (an hour)"
	@echo "make bench-inference  coverage of pooled intervals, by simulation (hours)"
	@echo "make clean         remove all that was made here, .venv included"



# Made again only when what it is made from has changed.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "skimpute needs Python >= 3.11, $(PYTHON) is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[dev]'
	@touch $@

install: $(READY)

demo: $(READY)
	$(BIN)/skimpute demo --output-dir demo

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(BIN)/pytest -q --durations=10 --numprocesses auto --dist worksteal

test-slow: $(READY)
	$(BIN)/pytest -q --durations=10 -m slow

# A second environment, made anew each time: this is run before a release only. No
# doctests, since printed numbers move between versions, and warnings stay warnings, since
# old packages warn of one another.
test-oldest:
	$(PYTHON) -m venv --clear $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints-oldest.txt --editable '.[test]'
	$(OLDEST)/bin/pytest -q --override-ini addopts= --override-ini filterwarnings=default \
		-m 'not slow' tests

# Long, resumed where they stopped. They read the folder SKIMPUTE_DATA; ARGS go to the
# script: make bench-vaeac ARGS="--methods mice default --seeds 0"
bench-vaeac: $(READY)
	$(BIN)/python examples/benchmarks/vaeac_tables.py $(ARGS)
	$(BIN)/python examples/benchmarks/vaeac_tables_summary.py
	$(BIN)/python examples/benchmarks/vaeac_paper.py

bench-tables16: $(READY)
	$(BIN)/python examples/benchmarks/tables16.py $(ARGS)
	$(BIN)/python examples/benchmarks/tables16_summary.py

bench-inference: $(READY)
	$(BIN)/python examples/benchmarks/inference.py $(ARGS)

docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

clean:
	rm -rf $(VENV) $(OLDEST) build dist *.egg-info demo \
		docs/_build docs/auto_examples docs/generated docs/sg_execution_times.rst \
		.mypy_cache .pytest_cache .ruff_cache
	find skimpute tests docs examples -name __pycache__ -type d -prune -exec rm -rf {} +
