# Everything runs in .venv, which the first call of any target makes from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# two files at a time; a process has one thread, see tests/conftest.py
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

DATA ?= runs/demo/corpus

.DEFAULT_GOAL := help
.PHONY: FORCE help demo check test test-all test-long test-due chaos layouts compare fuzz test-ray lint format lock clean

help:  ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED)  ## render a corpus, train, evaluate; results in runs/demo
	@$(BIN)/python -m jobs.demo

check: lint  ## lint, and run every test that starts neither Ray nor another process
	@$(PYTEST) -m "not long" --in-process

test: $(INSTALLED)  ## run all tests except the long groups
	@$(PYTEST) -m "not long"

test-all: $(INSTALLED)  ## run all tests
	@$(PYTEST)

test-long: $(INSTALLED)  ## run groups of long tests: GROUP="learning chaos whole", or some of them
	@$(PYTEST) --long "$(GROUP)"

test-due: $(INSTALLED)  ## run the long groups whose turn it is, or whose folders have changed
	@groups="$$($(BIN)/python -m tests.long_groups)" && \
		echo "to repeat: make test-long GROUP=\"$$groups\"" && \
		$(MAKE) --no-print-directory test-long GROUP="$$groups"

chaos: $(INSTALLED)  ## train while processes are killed at random, and for 1,000 steps; print what each failure costs
	@$(BIN)/python -m tests.chaos

layouts: $(INSTALLED)  ## train 200 steps of the demo on 1, 2 and 4 workers at every ZeRO stage; print digests: DATA=URI
	@$(BIN)/python -m tests.training.layouts --data "$(DATA)" --set batch.micro_batches=4 --set batch.pairs_per_micro_batch=16

compare: $(INSTALLED)  ## compare the first 30 steps of demo and all miniatures with another checkout's, bit for bit: OLD=FOLDER
	@test -n "$(OLD)" || { echo "name a checkout: make compare OLD=../main"; exit 1; }
	@$(BIN)/python -m tests.training.compare_checkouts "$(OLD)" .

fuzz: $(INSTALLED)  ## mutate 50,000 inputs for each file parser; those that show a fault are kept in runs/fuzz
	@$(BIN)/python -m tests.fuzz

TESTS ?= tests/private_ray/test_contract.py

test-ray: $(INSTALLED)  ## test the private interfaces of another Ray release: RAY=2.61.0 (TESTS=... for other tests)
	@test -n "$(RAY)" || { echo "name a Ray: make test-ray RAY=2.59.0"; exit 1; }
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

lock:  ## resolve requirements.lock and requirements-runtime.lock anew (needs uv)
	$(COMPILE) --extra cluster --extra demo --extra dev --output-file requirements.lock
	$(COMPILE) --extra cluster --constraint requirements.lock --output-file requirements-runtime.lock

clean:  ## remove .venv; runs stay
	rm -rf .venv

FORCE:

$(INSTALLED): FORCE  # install.py returns at once when nothing has changed
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) is not here; name a Python: make PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 7) and 'mulan needs Python 3.11, 3.12 or 3.13')"
	@"$(PYTHON)" .make/install.py
