# Everything runs in the virtual environment .venv, which `make setup` makes. PYTHON=... chooses the interpreter.
BIN := $(CURDIR)/.venv/bin
# TESTS=... runs some of the tests: `make unit TESTS=tests/unit/ssh`.
TESTS ?=
# Tests of one cluster stay together, the longest first. Where they look at seconds, two run beside each other; of the
# others three, as they wait for a third of their time: both engines' contract, and the rest.
BESIDE := -n 2 --no-loadscope-reorder
CLUSTER_TESTS_BESIDE ?= 3
SHELL_FILES = $(shell git ls-files --cached --others --exclude-standard '*.sh' .ci/run)
DOCKER_FILES = $(shell git ls-files --cached --others --exclude-standard '*Dockerfile*')
# Unit tests wait more than they work.
UNIT_TESTS_BESIDE ?= 8
# cms keeps its variables in the user's home; commands that are run here leave that alone.
export CLOUDMESH_CONFIG_DIR ?= $(CURDIR)/.venv/cloudmesh
# Each of the processes that run tests would compile all of them anew, and each cms the plugin.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup check test test-tools slow-parts engines images unit clusters clear-tests test-faults test-kubernetes test-vm demo bench \
	docs clean

help: ## show the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

setup: ## make .venv, and see to a Docker engine and a C compiler
	@sh tools/setup.sh

check: setup ## formatting, lint, types, the order of the rooms, shell scripts, Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python docs/rooms.py --check
	$(if $(SHELL_FILES),$(BIN)/shellcheck $(SHELL_FILES))
	$(if $(DOCKER_FILES),$(BIN)/hadolint $(DOCKER_FILES))

test-tools: setup
	@sh tools/setup.sh tests

unit: test-tools ## tests that need no Docker engine; seconds
	$(BIN)/python -m pytest -q $(BESIDE) -n $(UNIT_TESTS_BESIDE) -m "not cluster and not vm" $(or $(TESTS),tests/unit)

clear-tests: setup
	@$(BIN)/python tools/clear_tests.py

# What is slow to make is made before the tests, which have bounds of time, or need it. Images wait for downloads while
# engines take the processors.
slow-parts: setup
	@$(MAKE) --no-print-directory -j 2 engines images

engines:
	$(BIN)/cms cluster engines
	$(BIN)/cms cluster engines -p kubernetes

images:
	$(BIN)/cms cluster image build

# Unit tests have what the tests on clusters leave of the processors. Of the faults there is a sample.
test: slow-parts test-tools clear-tests ## unit tests, and those on real clusters of local hosts; three quarters of an hour
	@$(MAKE) --no-print-directory -j 2 UNIT_TESTS_BESIDE=4 unit clusters

clusters:
	$(BIN)/python -m pytest -v --durations=25 $(BESIDE) -n $(CLUSTER_TESTS_BESIDE) -m "cluster and (sample or not faults)" $(or $(TESTS),tests)

test-faults: slow-parts test-tools clear-tests ## hosts, clients, links, disks and mirrors that fail, and what kill leaves, on real clusters
	$(BIN)/python -m pytest -v --durations=25 $(BESIDE) -m faults --faults-page=docs/faults.md $(or $(TESTS),tests)

test-kubernetes: slow-parts clear-tests ## the cases that both providers share, on Kubernetes
	TEST_PROVIDERS=kubernetes $(BIN)/python -m pytest -v --durations=25 $(BESIDE) -m cluster tests/contract \
		tests/faults/test_residue.py tests/faults/test_interrupted.py

test-vm: setup ## one story on two software-emulated machines with kernels of their own, per provider; very long
	@sh tests/vm/setup.sh
	$(BIN)/python -m pytest -v --log-cli-level=INFO -m vm tests/vm

demo: setup ## one cluster from nothing to a Spark result, and gone again
	@PATH="$(BIN):$$PATH" sh examples/demo.sh

bench: setup ## the figures of the README
	$(BIN)/python bench/startup.py
	$(BIN)/cms cluster image build spark
	$(BIN)/python bench/class_data.py

docs: setup ## docs/commands and docs/job-file.md from the code, the picture of docs/architecture.md from its imports
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/rooms.py

clean: ## remove what building and testing made; clusters stay
	rm -rf build dist *.egg-info .venv .mypy_cache .ruff_cache .pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
