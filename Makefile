# leadglass: `make help` lists what there is. Everything installed comes from the hashed lists in requirements/.

PYTHON ?= python3
SECONDS ?= 60
VENV := .venv
BIN := $(VENV)/bin
# Three workers on the build machine's two cores: a third of the time a test waits for the disk or a peer. The long tests take two, as they
# load the cores themselves. `worksteal` keeps neighbours together, as they share archives that take seconds to found.
WORKERS ?= 3
LONG_WORKERS ?= 2
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
PIP_INSTALL := $(PIP) install --no-deps --only-binary :all: --require-hashes

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev peers demo test test-long check conformance format bench fuzz lock clean
.DELETE_ON_ERROR:

help: ## what you are reading
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/runtime.stamp ## virtual environment with what the archive and the survey need
setup-dev: $(VENV)/dev.stamp ## the same and what tests and checks need

$(VENV)/bin/python:
	@sh tools/make-venv $(PYTHON) $(VENV)

$(VENV)/runtime.stamp: requirements/runtime.txt pyproject.toml | $(VENV)/bin/python
	@echo "installing what leadglass needs (requirements/runtime.txt) into $(VENV)"
	@$(PIP_INSTALL) -r requirements/runtime.txt
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/runtime.stamp
	@echo "installing what the tests and checks need (requirements/dev.txt) into $(VENV)"
	@$(PIP_INSTALL) -r requirements/dev.txt
	@touch $@

$(VENV)/peers.stamp: requirements/peers-build.txt requirements/peers.txt tools/install-pypi-peers | $(VENV)/bin/python
	@echo "installing the peers that come from PyPI (requirements/peers.txt) into $(VENV)/peers"
	@sh tools/install-pypi-peers $(PYTHON) $(VENV)/peers
	@test ! -x $(VENV)/peers/bin/sslyze || touch $@

peers: $(VENV)/peers.stamp ## the independent programs we are tested against (dcmtk, Orthanc, nmap, Chromium ...): Debian packages, as root
	@sh tools/install-peers
	@sh tools/install-npm $(VENV)/npm

demo: setup ## an archive that gives a stranger nothing beside one that gives him everything
	@$(BIN)/leadglass demo $(DEMO)

test: setup-dev peers ## every test but the long ones, and every example (10 minutes at most)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not long"

test-long: setup-dev peers ## every test, the long ones too
	@$(BIN)/python -m pytest -n $(LONG_WORKERS) --dist worksteal --timeout 3600 --hypothesis-profile long

check: setup-dev ## format, lint, types, the walls between the packages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tools.conformance --check
	$(BIN)/python -m tools.results_schema --check

conformance: setup-dev ## write what docs/ says from the code and the tests anew: conformance, interoperability, results.schema.json
	@$(BIN)/python -m tools.conformance
	@$(BIN)/python -m tools.results_schema
	@$(BIN)/python -m tests.matrix.document

format: setup-dev ## put every file into the one format
	$(BIN)/ruff format .

bench: setup-dev peers ## side by side with Orthanc, on disk
	@$(BIN)/python -m bench $(BENCH)

fuzz: setup-dev ## every fuzz target for SECONDS (60) each
	@$(BIN)/python fuzz/run.py --seconds $(SECONDS) $(FUZZ)

lock: ## resolve the versions in requirements/ anew
	@sh tools/lock $(PYTHON)

clean: ## remove what the targets above made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
