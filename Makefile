# `make demo` starts a whole cluster, `make test` runs all tests; both set up what they need in .venv.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready-$(shell cat requirements/*.lock pyproject.toml 2>/dev/null | cksum | cut -d' ' -f1)

.PHONY: help setup demo scenario test check format lint types imports unit bench bench-failover fault docs protos protos-check lock clean
help:
	@echo "make demo      start a cluster: PostgreSQL, three nodes, praefect, gateway"
	@echo "make scenario  play the failover story on a fresh cluster and check every step"
	@echo "make test      run all tests"
	@echo "make check     format, lint, types, import contracts, unit tests"
	@echo "make bench     print the benchmark table"
	@echo "make bench-failover  measure how soon reads and writes work again after a death"
	@echo "make fault     put clusters through seeded faults: SEEDS=first-last JOBS=n KEEP_GOING=1"
	@echo "make docs      regenerate docs/configuration.md from the models"
	@echo "make protos    regenerate src/praefect/proto from proto/"

$(STAMP):
	@scripts/setup "$(PYTHON)" "$(VENV)"
	@rm -f $(VENV)/.ready-*; touch $@

setup: $(STAMP)

demo: setup
	@$(BIN)/praefect demo

scenario: setup
	@$(BIN)/praefect demo --scenario

test: setup
	$(BIN)/python -m pytest -n $${PYTEST_WORKERS:-2} --dist loadfile --ignore tests/fault/scenarios/test_seeds.py $(PYTEST_ARGS)

check: format lint types imports unit

format: setup
	$(BIN)/ruff format --check .

lint: setup
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

unit: setup
	$(BIN)/python -m pytest tests/unit -q

bench: setup
	$(BIN)/python -m bench

bench-failover: setup
	$(BIN)/python -m bench.failover $(ROUNDS)

SEEDS ?= 1-3
JOBS ?= 1
fault: setup
	JOBS=$(JOBS) KEEP_GOING=$(KEEP_GOING) $(BIN)/python -m tests.fault $(SEEDS)

docs: setup
	$(BIN)/python scripts/generate-configuration-docs

protos: setup
	scripts/generate-protos $(BIN)/python

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache dist

# Writes the lock files anew; needs uv.
lock:
	uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --extra embedded -o requirements/runtime.lock pyproject.toml
	uv pip compile --universal --generate-hashes --no-header --no-emit-index-url --extra embedded --extra otel --extra sentry --group dev -o requirements/dev.lock pyproject.toml
