# make test and make demo work on a fresh clone with Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
RUN_DIR ?= runs

.PHONY: demo test lint unit official-weights clean

demo: .venv/package
	$(BIN)/vidnas run --demo --out $(RUN_DIR)/demo

test: lint unit

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two workers of one thread each: tests are many small networks, which do not use two threads well.
unit: .venv/dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2

# make official-weights FILES="X3D_S.pyth x3d_l.pyth"
official-weights: .venv/dev
	$(BIN)/python benchmarks/official_weights.py $(FILES)

.venv/package: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/dev: .venv/package
	$(BIN)/python -m pip install --quiet --editable ".[dev,export,peers]"
	touch $@

clean:
	rm -rf .venv build *.egg-info
