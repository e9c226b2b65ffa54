# Everything runs in .venv, which the first call of any target creates from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# two files at a time; each process has one thread (tests/conftest.py)
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

DATA ?= runs/demo/corpus

.DEFAULT_GOAL := help
.PHONY: FORCE help demo check test test-all test-long test-gpu test-due chaos layouts compare fuzz test-ray lint format lock clean

help:  ## list all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## render a corpus, train on it, index it for searches and evaluate; results are in runs/demo
	@$(BIN)/python -m jobs.demo

check: lint  ## lint, and run all tests that start neither Ray nor another process
	@$(PYTEST) -m "not long" --in-process

test: $(INSTALLED)  ## run all tests except the long groups
	@$(PYTEST) -m "not long"

test-all: $(INSTALLED)  ## run all tests
	@$(PYTEST)

test-long: $(INSTALLED)  ## run groups of long tests: GROUP="learning chaos layouts jobs", or a part of these
	@$(PYTEST) --long="$(GROUP)"  # one word: pytest would take "jobs" for the folder of that name

test-gpu: $(INSTALLED)  ## run the tests that need a GPU; all others are run without one
	@$(BIN)/python -m pytest --gpu

test-due: $(INSTALLED)  ## run the long groups that are due by rotation or by recent changes, one after another
	@groups="$$($(BIN)/python -m tests.long_groups)" && \
		echo "to repeat: make test-long GROUP=\"$$groups\"" && \
		for group in $$groups; do $(MAKE) --no-print-directory test-long GROUP="$$group" || exit 1; done

chaos: $(INSTALLED)  ## train while processes are killed at random, and for 1,000 steps; print the cost of each failure
	@$(BIN)/python -m tests.chaos

layouts: $(INSTALLED)  ## train 200 steps of the demo on 1, 2 and 4 workers at every ZeRO stage; print digests: DATA=URI
	@$(BIN)/python -m tests.training.layouts --data "$(DATA)" --set batch.micro_batches=4 --set batch.pairs_per_micro_batch=16 \
		--set train.validation_micro_batches=4

compare: $(INSTALLED)  ## compare the first 30 steps of demo and all miniatures with another checkout, bit for bit: OLD=FOLDER
	@test -n "$(OLD)" || { echo "give a checkout: make compare OLD=../main"; exit 1; }
	@$(BIN)/python -m tests.training.compare_checkouts "$(OLD)" .

fuzz: $(INSTALLED)  ## run each file parser on 50,000 mutated inputs; those that reveal a fault are saved in runs/fuzz
	@$(BIN)/python -m tests.fuzz

TESTS ?= tests/private_ray/test_contract.py

test-ray: $(INSTALLED)  ## test the private interfaces of another Ray release: RAY=2.61.0 (TESTS=... for other tests)
	@test -n "$(RAY)" || { echo "give a release of Ray: make test-ray RAY=2.61.0"; exit 1; }
	@folder="$$(mktemp -d)" && trap 'rm -rf "$$folder"' EXIT INT TERM && \
		$(BIN)/python -m pip install --quiet --no-deps --target "$$folder" "ray==$(RAY)" && \
		PYTHONPATH="$$folder" $(BIN)/python -m pytest --quiet $(TESTS) || exit 1

lint: $(INSTALLED)  ## check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED)  ## fix style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

COMPILE = uv pip compile --quiet pyproject.toml --universal --python-version 3.11 \
	--no-emit-index-url --no-header --no-annotate

lock:  ## resolve requirements.lock and requirements-runtime.lock again (needs uv)
	$(COMPILE) --extra cluster --extra demo --extra dev --extra kubernetes --extra trackers --output-file requirements.lock
	$(COMPILE) --extra cluster --extra kubernetes --extra trackers --constraint requirements.lock --output-file requirements-runtime.lock

clean:  ## remove .venv; runs are kept
	rm -rf .venv

FORCE:

$(INSTALLED): FORCE  # install.py returns at once if nothing has changed
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) does not exist; give a Python interpreter: make PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 7) and 'mulan needs Python 3.11, 3.12 or 3.13')"
	@"$(PYTHON)" .make/install.py
