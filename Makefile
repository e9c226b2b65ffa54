# Everything runs in .venv, which the first call of any target makes from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
# two files at a time; a process has one thread, see tests/conftest.py
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile

DATA ?= runs/demo/corpus

.PHONY: FORCE demo check test test-all test-long test-due chaos layouts compare fuzz test-ray lint format lock clean

demo: $(INSTALLED)  ## make the corpus, train, evaluate; results in runs/demo
	@$(BIN)/python -m jobs.demo

check: lint  ## style, types, and every test that starts neither Ray nor another process
	@$(PYTEST) -m "not long" --in-process

test: $(INSTALLED)  ## all tests but the long ones
	@$(PYTEST) -m "not long"

test-all: $(INSTALLED)  ## all tests
	@$(PYTEST)

test-long: $(INSTALLED)  ## groups of long tests: GROUP="learning chaos whole", or some of them
	@$(PYTEST) --long "$(GROUP)"

test-due: $(INSTALLED)  ## the groups of long tests whose turn it is, or whose folders have changed
	@groups="$$($(BIN)/python -m tests.long_groups)" && \
		echo "to repeat: make test-long GROUP=\"$$groups\"" && \
		$(MAKE) --no-print-directory test-long GROUP="$$groups"

chaos: $(INSTALLED)  ## runs whose processes are killed at random, and a long one; what each of it costs
	@$(BIN)/python -m tests.chaos

layouts: $(INSTALLED)  ## 200 steps of the demo's training on 1, 2 and 4 workers at every ZeRO stage: the digests of each
	@$(BIN)/python -m tests.training.layouts --data "$(DATA)" --set batch.micro_batches=4 --set batch.pairs_per_micro_batch=16

compare: $(INSTALLED)  ## first steps of every small recipe, bit for bit those of another checkout: OLD=FOLDER
	@test -n "$(OLD)" || { echo "name a checkout: make compare OLD=../main"; exit 1; }
	@$(BIN)/python -m tests.training.compare_checkouts "$(OLD)" .

fuzz: $(INSTALLED)  ## 50,000 mutated files for each reader of files; those that show a fault are kept in runs/fuzz
	@$(BIN)/python -m tests.fuzz

TESTS ?= tests/private_ray/test_contract.py

test-ray: $(INSTALLED)  ## what mulan needs of Ray beyond its public interface, of another one: RAY=2.59.0 (TESTS=... more)
	@test -n "$(RAY)" || { echo "name a Ray: make test-ray RAY=2.59.0"; exit 1; }
	@folder="$$(mktemp -d)" && trap 'rm -rf "$$folder"' EXIT INT TERM && \
		$(BIN)/python -m pip install --quiet --no-deps --target "$$folder" "ray==$(RAY)" && \
		PYTHONPATH="$$folder" $(BIN)/python -m pytest --quiet $(TESTS) || exit 1

lint: $(INSTALLED)  ## style, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

COMPILE = uv pip compile --quiet pyproject.toml --universal --python-version 3.11 \
	--no-emit-index-url --no-header --no-annotate

lock:  ## pin anew what pyproject.toml asks for: all of it, and what the image needs (needs uv)
	$(COMPILE) --extra cluster --extra demo --extra dev --output-file requirements.lock
	$(COMPILE) --extra cluster --constraint requirements.lock --output-file requirements-runtime.lock

clean:  ## forget the environment; runs stay
	rm -rf .venv

FORCE:

$(INSTALLED): FORCE  # it asks itself whether there is anything to do
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) is not here; name a Python: make PYTHON=..."; exit 1; }
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 7) and 'mulan needs Python 3.11, 3.12 or 3.13')"
	@"$(PYTHON)" .make/install.py
