# Needs Python 3.11 or newer and make. Everything else goes into $(VENV), once.
#
#   make demo    the whole story on real data, in under a minute after the installation
#   make test    the tests
#   make check   everything that a change must pass: format, lint, types, floors, tests
#   make bench   the benchmarks
#   make clean   remove what building and testing left behind (make distclean: the .venv too)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
DEMO_DIR ?= demo
PYTEST_ARGS ?=
# How many processes run the tests; a file's tests stay in one of them. Two more than two cores:
# somebody always waits for a broker, a database or a process.
JOBS ?= 4
# Compiled modules are kept even where the environment says not to: else every process that a test
# starts compiles half the library again. Schemathesis is used as a library: as a plugin it would
# only be loaded by every one of them.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(JOBS) --dist loadfile \
  -p no:schemathesis $(PYTEST_ARGS)

.PHONY: demo test check bench clean distclean
.DEFAULT_GOAL := test

demo: $(VENV)/.installed-ml
	@$(BIN)/audit demo --dir $(DEMO_DIR)

test: $(VENV)/.installed-test
	@$(PYTEST)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --strict audit consumers
	$(BIN)/lint-imports
	$(PYTEST)

bench: $(VENV)/.installed-test
	@$(BIN)/python tests/benchmarks/run.py

clean:
	rm -rf build dist demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find audit consumers tests -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# A stamp is written after its installation succeeded, so a broken one is repeated. The larger sets
# hold the smaller ones, so each also stamps those.

$(VENV)/.installed-ml: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) ..."
	@$(PIP_INSTALL) --editable ".[ml]"
	@touch $@

$(VENV)/.installed-test: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) ..."
	@$(PIP_INSTALL) --editable ".[test]"
	@touch $(VENV)/.installed-ml $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV) ..."
	@$(PIP_INSTALL) --editable ".[dev]"
	@touch $(VENV)/.installed-ml $(VENV)/.installed-test $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments: install its venv package (Debian: apt install python3-venv)" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV)
