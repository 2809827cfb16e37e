# Everything needs only make and a Python from 3.11 to 3.13; the first target that is run sets the rest up in .venv.

PYTHON ?= $(or $(shell command -v python3 || command -v python3.13 || command -v python3.12 || command -v python3.11),python3)
BIN := .venv/bin
ARGS ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test check soak bench lock screenshot clean

help: ## what there is
	@sed -n 's/^\([a-z][a-z]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo "  PYTHON=python3.12 chooses the Python, ARGS='--for 60s' goes to the demo, PYTEST_ARGS='-k journal' to pytest."

setup: ## the environment in .venv, from requirements.lock (about a minute the first time, 0.1 s later)
	@$(PYTHON) tools/bootstrap.py

demo: setup ## a mine being watched: simulated sensors, live board, alerts (Ctrl-C ends it)
	@$(BIN)/greenmine demo $(ARGS)

test: setup ## the tests, without the long ones
	@$(BIN)/python -m pytest -m "not soak" $(PYTEST_ARGS)

check: setup ## all that a change must pass: format, lint, wheel, mypy, imports, tests
	@$(BIN)/python tools/check.py

soak: setup ## the long fault and fuzz runs
	@$(BIN)/python -m pytest -m soak --timeout 3600 $(PYTEST_ARGS)

bench: setup ## the benchmarks, one after the other
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

lock: ## requirements.lock anew from pyproject.toml; needs uv
	@command -v uv >/dev/null || { echo "make lock needs uv; install it with: python3 -m pip install uv" >&2; exit 1; }
	uv pip compile --quiet --universal --python-version 3.11 --all-extras --generate-hashes --no-emit-index-url \
		--custom-compile-command "make lock" --output-file requirements.lock $(ARGS) pyproject.toml

screenshot: setup ## the picture in the README; needs chromium
	@$(BIN)/python tools/screenshot.py

clean: ## away with what was built and with .venv
	rm -rf .venv build dist ./*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
