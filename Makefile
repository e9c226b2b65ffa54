# Everything runs in .venv, which the first call of any target makes from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: demo test chaos lint format lock clean

demo: $(INSTALLED)  ## make the corpus, train, evaluate; results in runs/demo
	@$(BIN)/python -m jobs.demo

test: $(INSTALLED)  ## all tests, two files at a time
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

chaos: $(INSTALLED)  ## runs whose processes are killed at random, and a long one; what each of it costs
	@$(BIN)/python -m tests.chaos

lint: $(INSTALLED)  ## style, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(INSTALLED)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock:  ## pin anew what pyproject.toml asks for (needs uv)
	uv pip compile --quiet pyproject.toml --extra demo --extra dev --universal --python-version 3.11 \
		--no-emit-index-url --no-header --no-annotate --output-file requirements.lock

clean:  ## forget the environment; runs stay
	rm -rf .venv

$(INSTALLED): requirements.lock pyproject.toml
	@echo "installing into .venv (once; a few minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "mulan needs Python 3.11 or newer; set PYTHON=")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install -qq --requirement requirements.lock
	@$(BIN)/pip install -qq --no-deps --editable .
	@touch $@
