# Everything works in .venv; `make` alone prints what there is.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: crds envtest helm chart bench-controller bench-judge bench-retreat help setup demo test lint check format trials scenarios kills faults rules reference picture clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "canaryd needs Python 3.11 or newer; found $$($(PYTHON) --version 2>&1). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); } || { rm -rf $(VENV); echo "$(PYTHON) -m venv does not work here; on Debian, as root: apt-get install -y python3-venv"; exit 2; }
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[lab,messages,dev]'
	@touch $(STAMP)

setup: $(STAMP) ## the virtual environment in .venv, with everything canaryd needs

demo: $(STAMP) ## the main job: a healthy canary promoted and a faulty one rolled back, on real Envoy and Prometheus
	$(BIN)/canaryd lab demo

test: $(STAMP) ## every test but the long trials, in half an hour to three quarters on two cores
	$(BIN)/pytest -n 2 --dist loadgroup

envtest: ## etcd and kube-apiserver from Go modules, once, so that tests on a real API server run (needs Go)
	@$(PYTHON) tests/envtest/build.py

lint: $(STAMP) ## formatting, lint, types, and the rooms of docs/architecture.md
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test ## everything that CI checks

trials: $(STAMP) ## what is promised, tried again and again on the lab (half an hour; ONLY="drained grpc" for some)
	$(BIN)/python -m canaryd.lab.trials $(if $(ONLY),--only $(ONLY)) $(if $(LABS),--labs $(LABS))

scenarios: $(STAMP) ## every scenario of the library once, two labs side by side (LABS=2, most of an hour), and the table of docs/scenarios.md
	$(BIN)/canaryd lab run --all --labs $(or $(LABS),2)

bench-judge: $(STAMP) ## the judge beside its targets and its peers, simulated (REPS="400 150" SEED=1 TICKS="60 15" ONLY=...)
	$(BIN)/python -m bench.judge $(if $(REPS),--reps $(REPS)) $(if $(SEED),--seed $(SEED)) $(if $(TICKS),--ticks $(TICKS)) $(if $(ONLY),--only $(ONLY))

bench-retreat: $(STAMP) ## seconds from a verdict to the retreat that the API server has accepted
	$(BIN)/python bench/retreat.py

bench-controller: $(STAMP) ## one controller with PLANS=100 runs in flight: requests, CPU, memory, lateness
	$(BIN)/python -m bench.controller $(if $(PLANS),--plans $(PLANS)) $(if $(CODE),--code $(CODE))

rules: $(STAMP) ## plants violations of the rules in a copy of the code; each must be caught by a test
	$(BIN)/python tools/plant.py $(ONLY)

kills: $(STAMP) ## 200 kills by failpoint on real adapters: nothing is lost, and every end is as without them
	$(BIN)/python -m tests.kills.trial 200

faults: $(STAMP) ## every fault of an API server on every call of the controller, one by one: each run ends as without it
	$(BIN)/python -m tests.controller.faults

helm: ## Helm from Go modules, once, so that the chart is linted and rendered in tests (needs Go)
	@$(PYTHON) tests/envtest/helm/build.py

chart: $(STAMP) ## the files in deploy/chart that are copies, anew
	$(BIN)/python tools/chart.py

reference: $(STAMP) ## docs/plan-reference.md, docs/scenario-reference.md and docs/preflight.md, anew from the code
	$(BIN)/python tools/reference.py

crds: $(STAMP) ## deploy/crds/*.yaml, anew from the models
	$(BIN)/python tools/crds.py

picture: $(STAMP) ## the demo as it is seen in a terminal, recorded anew for the README (two minutes)
	$(BIN)/python tools/record.py docs/img/demo.svg --rows 36 --speed 3 --title "canaryd lab demo" -- $(BIN)/canaryd lab demo

format: $(STAMP) ## put the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the virtual environment and all caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
