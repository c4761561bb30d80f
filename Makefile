# vtool: set-up, demonstration, checks and tests. `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Debian's own interpreter, whatever else is first on PATH.
PYTHON ?= /usr/bin/python3
VENV := .venv
BIN := $(VENV)/bin
STEP := .ci/step
SEED ?= 1
FAULTS ?= 200
DEMO ?= topology/examples/kvm-pool.yaml

.PHONY: help host host-dev setup setup-dev demo check test test-board test-long test-quick paths chaos bench bench-paths bench-kvm bench-xen clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Checked every time (it takes no time): packages can be removed, and binfmt_misc is lost at a reboot.
host:
	@$(STEP) 'host packages and arm64 programs' .ci/host debian-packages.txt

host-dev:
	@$(STEP) 'host packages and arm64 programs, for the tests too' .ci/host debian-packages.txt debian-packages-dev.txt

$(VENV)/installed: pyproject.toml | host
	@$(STEP) 'Python environment' $(MAKE) --no-print-directory --silent venv EXTRA= STAMP=$@

$(VENV)/installed-dev: pyproject.toml | host-dev
	@$(STEP) 'Python environment with development tools' \
	    $(MAKE) --no-print-directory --silent venv EXTRA=[dev] STAMP=$@

.PHONY: venv
venv:
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.$(EXTRA)'
	touch $(STAMP)

setup: host $(VENV)/installed ## install what vtool needs, into the system and into .venv

setup-dev: host-dev $(VENV)/installed-dev ## the same, with development tools

demo: setup ## boot an emulated board and deploy an example to it
	$(BIN)/vtool deploy $(DEMO)

check: setup-dev ## every check that needs no board
	@$(STEP) 'ruff check' $(BIN)/ruff check .
	@$(STEP) 'ruff format' $(BIN)/ruff format --check .
	@$(STEP) 'mypy' $(BIN)/mypy
	@$(STEP) 'vermin, of what runs on boards' $(BIN)/vermin --violations --no-tips --target=3.8- vtool/deploy/on_board vtool/files/kernel_image.py
	@$(STEP) 'import-linter' $(BIN)/lint-imports --no-logo
	@$(STEP) 'yamllint' $(BIN)/yamllint --strict .
	@$(STEP) 'ansible-lint' env PATH="$(CURDIR)/$(BIN):$$PATH" ANSIBLE_COLLECTIONS_PATH="$(CURDIR)/inventory" $(BIN)/ansible-lint --offline
	@$(STEP) 'codespell' $(BIN)/codespell

test: setup-dev ## all tests: those that boot an emulated board, and in parallel those that need none
	@$(STEP) 'images, made once' $(BIN)/vtool images build
	@$(MAKE) --no-print-directory -j2 test-board test-quick

test-board: setup-dev ## the tests that boot an emulated board
	@$(STEP) 'pytest with a board' $(BIN)/pytest -m 'board and not long'

test-long: setup-dev ## what `make test` leaves out: other boot loaders, newer releases, foreign systems, an installation by pipx, every bypass and fault on a data path (two hours)
	@$(STEP) 'pytest, what takes long' $(BIN)/pytest -m long

chaos: setup-dev ## break deploys on purpose, 200 times (hours); FAULTS=20 SEED=7 for another run
	@$(BIN)/python -m tests.chaos --seed $(SEED) --faults $(FAULTS)

paths: setup-dev ## deploy every data path to an emulated board in turn, print what each showed, and record it
	@$(BIN)/python -m tests.paths --record

test-quick: setup-dev ## the tests that need no board
	@$(STEP) 'pytest without boards' $(BIN)/pytest -m 'not board and not long'

bench: setup-dev ## measure vtool against its peers; takes half an hour
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.fleet
	$(BIN)/python -m benchmarks.disks
	$(BIN)/python -m benchmarks.rings
	$(BIN)/python -m benchmarks.again
	$(BIN)/python -m benchmarks.report

bench-paths: setup-dev ## measure every deployed data path, on two emulated boards that count instructions (an hour)
	@$(MAKE) --no-print-directory -j2 bench-kvm bench-xen
	$(BIN)/vtool report bench-kvm bench-xen -o bench.html

# What is compared with each other runs on one board; each hypervisor's paths have one of their own.
bench-kvm: BOARD := board0
bench-xen: BOARD := board1
bench-kvm bench-xen: bench-%: setup-dev
	@$(STEP) 'data paths of $*, on $(BOARD)' $(BIN)/vtool bench --matrix topology/matrices/$*-paths.yaml \
	    --inventory inventory/counting.yaml --use board0=$(BOARD) -o bench-$*
	@$(BIN)/vtool board power off $(BOARD) --inventory inventory/counting.yaml

clean: ## remove the Python environment and everything that tools leave behind; the image cache stays
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .ansible
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
