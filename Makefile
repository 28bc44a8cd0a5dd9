# memd: every target does its own set-up, into .venv/. Needs Python >= 3.11, cargo, a C compiler and make.
SHELL := /bin/sh
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PY := $(BIN)/python
RUST := $(shell find rust_core -name target -prune -o \( -name '*.rs' -o -name 'Cargo.*' \) -print 2>/dev/null)
CORE := memd/_core.abi3.so
MODEL := $(VENV)/.model
CARGO := cargo --quiet

.PHONY: help build demo serve test check check-release lint types rust-check proto-check docs-check deploy-check bench proto wheel clean tools
.DEFAULT_GOAL := help

help:  ## this page
	@echo "memd, a memory daemon for AI agents"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

tools:
	@test -n "$(PYTHON)" || { echo "memd needs Python >= 3.11 on the PATH (or: make PYTHON=/path/to/python3.11)" >&2; exit 1; }
	@command -v cargo >/dev/null || { echo "memd needs cargo, from a Rust toolchain >= 1.89, on the PATH" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "memd needs a C compiler (cc) on the PATH" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "memd needs Python's venv module (on Debian: apt install python3-venv)" >&2; exit 1; }

$(VENV)/.deps: constraints.txt clients/python/pyproject.toml | tools
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check -r constraints.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e clients/python
	@touch $@

$(VENV)/protogen/.deps: proto/requirements.txt | tools
	@$(PYTHON) -m venv $(VENV)/protogen
	@$(VENV)/protogen/bin/pip install --quiet --disable-pip-version-check -r proto/requirements.txt
	@touch $@

$(VENV)/deploy/.deps: deploy/requirements.txt | tools
	@$(PYTHON) -m venv $(VENV)/deploy
	@$(VENV)/deploy/bin/pip install --quiet --disable-pip-version-check -r deploy/requirements.txt
	@touch $@

$(CORE): $(RUST) $(VENV)/.deps pyproject.toml
	@echo "compiling the Rust core (once, about two minutes)"
	@. $(BIN)/activate && PIP_QUIET=1 maturin develop --release --locked
	@touch $@

$(MODEL): $(CORE)
	@$(BIN)/memd model install
	@touch $@

build: $(CORE) $(MODEL)  ## compile the Rust core and install the embedding model

demo: build  ## a conversation, a SIGKILL, a restart, five questions
	@$(PY) -m examples.demo

serve: build  ## run the daemon on embedded storage at a Unix socket
	@$(BIN)/memd serve

test: build $(VENV)/protogen/.deps  ## every test: Rust core, daemon, client, reliability
	@$(CARGO) test --manifest-path rust_core/Cargo.toml --locked -p memd-core
	@$(BIN)/pytest -n 2

lint: $(VENV)/.deps
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: $(CORE)
	@$(BIN)/mypy

rust-check: | tools
	@$(CARGO) fmt --manifest-path rust_core/Cargo.toml --all --check
	@PYO3_PYTHON=$(abspath $(PY)) $(CARGO) clippy --manifest-path rust_core/Cargo.toml --locked --workspace --all-targets -- -D warnings

proto-check: $(VENV)/.deps $(VENV)/protogen/.deps
	@cd proto && ../$(BIN)/buf lint
	@cd proto && ../$(BIN)/buf format --diff --exit-code >/dev/null || { echo "proto files are not formatted: run buf format -w" >&2; exit 1; }
	@$(VENV)/protogen/bin/python proto/generate.py --check

docs-check: $(CORE)
	@$(PY) -m memd.limits | diff -u docs/limits.md - || { echo "docs/limits.md is out of date: python -m memd.limits > docs/limits.md" >&2; exit 1; }

deploy-check: $(VENV)/deploy/.deps
	@$(VENV)/deploy/bin/python deploy/check.py

check: lint rust-check types proto-check docs-check deploy-check test  ## what CI runs: format, lint, types, stubs, docs, all tests

check-release: check  ## the reliability rows at ten times their size, more than an hour
	@MEMD_RELIABILITY_SIZE=R $(BIN)/pytest $$(grep -rl --include="test_*.py" "reliability.size import" tests | sort)

bench: build  ## the benchmarks, a few minutes each; docs/benchmarks.md reads them
	@$(PY) -m benches

proto: $(VENV)/protogen/.deps  ## regenerate the stubs from proto/
	@$(VENV)/protogen/bin/python proto/generate.py

wheel: $(VENV)/.deps  ## build the wheels of the daemon and of the client into dist/
	@. $(BIN)/activate && maturin build --release --locked --quiet --out dist
	@$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist clients/python

clean:  ## remove everything make has built
	@rm -rf $(VENV) dist rust_core/target memd/_core*.so
	@find . -name __pycache__ -prune -exec rm -rf {} +
