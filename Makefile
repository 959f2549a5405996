# `make help` tells what each target does. The environment is made once, in .venv, from constraints.txt.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STRIP := $(BIN)/nbstripout --keep-id --extra-keys \
	"metadata.papermill metadata.language_info.version cell.metadata.papermill cell.metadata.execution"

.PHONY: help setup book check test suite test-book audit lab strip clean distclean
.DEFAULT_GOAL := help

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with every pinned package (README.md: disk and time)

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer was not found; name it: make setup PYTHON=/path/to/python3" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $@

book: $(READY) ## fine-tune, sample, measure and build the book: book/_build/html/index.html
	$(BIN)/python book/build.py

check: $(READY) ## check style, docstrings and types, and that the notebooks hold no output
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(STRIP) --verify notebooks/*.ipynb

test: $(READY) ## the same, and every test of the library and the notebooks (those of pages: make test-book)
	@$(MAKE) --no-print-directory --jobs 2 check suite

suite: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder \
		--ignore tests/book/test_book_pages.py

test-book: $(READY) ## look at every page of the built book in a browser (Chromium)
	$(BIN)/python -m pytest tests/book/test_book_pages.py

audit: ## look up the pinned packages among the known vulnerabilities (network; its own environment)
	$(PYTHON) -m venv $(VENV)/audit
	$(VENV)/audit/bin/pip install --quiet pip-audit
	$(VENV)/audit/bin/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks/00_start.ipynb

strip: $(READY) ## remove the outputs from the notebooks before a commit
	$(STRIP) notebooks/*.ipynb

clean: ## remove the built book (the runs stay)
	rm -rf book/_build .pytest_cache .ruff_cache .mypy_cache

distclean: clean ## remove the environment and every run too
	rm -rf $(VENV) runs *.egg-info
