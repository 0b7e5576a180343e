# `make demo` and `make test` need python3 (>= 3.11), pip and make, and nothing else.
# Every target sets up .venv by itself when it is missing or older than what defines it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := runs/demo
# The pip that is there installs into .venv: Debian's python3 cannot make one with a pip of its own.
PIP := $(PYTHON) -m pip --python $(BIN)/python install --quiet --constraint constraints.txt

.PHONY: demo test lint docs linkcheck bench clean

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "genrev needs Python 3.11 or newer; name one with: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON) -m venv --clear --without-pip $(VENV)
	$(PIP) --editable '.[dev]'
	@touch $@

demo: $(STAMP)
	rm -rf $(DEMO)
	$(BIN)/genrev train digits --out $(DEMO)
	$(BIN)/genrev evaluate $(DEMO) --metrics inversion,latent,frechet,prdc
	$(BIN)/genrev sample $(DEMO) -n 100 --seed 0 --out $(DEMO)/samples.png

# A process for each core, and files as a whole: tests of one share what they trained.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(PIP) --editable '.[dev,docs]'
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

# Links to other sites; this one target needs the network.
linkcheck: $(STAMP)
	$(PIP) --editable '.[dev,docs]'
	$(BIN)/python -m sphinx -D nb_execution_mode=off -b linkcheck docs docs/_build/linkcheck

bench: $(STAMP)
	$(BIN)/genrev bench transport

clean:
	rm -rf $(VENV) runs docs/_build
