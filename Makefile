# Everything works in .venv; `make` alone prints what there is.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format trials kills rules clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "canaryd needs Python 3.11 or newer; found $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv does not work here; as root: apt-get install -y python3-venv"; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[lab,dev]'
	@touch $(STAMP)

setup: $(STAMP) ## the virtual environment in .venv, with everything canaryd needs

demo: $(STAMP) ## the main job: a healthy canary promoted and a faulty one rolled back, on real Envoy and Prometheus
	$(BIN)/canaryd lab demo

test: $(STAMP) ## every test that fits in ten minutes on two cores
	$(BIN)/pytest -n 2 --dist loadgroup

check: $(STAMP) ## formatting, lint, types, the rooms, and the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) test

format: $(STAMP) ## put the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
