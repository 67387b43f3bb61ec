# make notebooks   run the notebooks; executed copies and a summary go to executed/
# make test        run the tests
# make lab         open JupyterLab
# make bench       time our layers against PyTorch's
# make data        fetch CIFAR-10 (without it the notebooks use a stand-in)
# make lint        check the style and the types of the code
# make clean       remove everything the other targets made, except the data

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: notebooks test lab bench data lint clean

notebooks: $(READY)
	$(BIN)/python run_notebooks.py

test: $(READY)
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal

lab: $(READY)
	$(BIN)/jupyter lab

bench: $(READY)
	$(BIN)/python -m benchmarks

data: $(READY)
	$(BIN)/python -m cs231n.datasets

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror cs231n/kernels/c/*.h
	$(BIN)/mypy

# Make the environment again only when a file that it depends on has changed. PYTHONWARNINGS silences the
# warning that setuptools gives for every editable installation.
$(READY): pyproject.toml setup.py $(wildcard cs231n/kernels/*.pyx cs231n/kernels/c/*.h)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "Python 3.10 or newer is needed. Name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable ".[test]"
	@$(BIN)/python -c "from cs231n.kernels import load_kernels; load_kernels()"
	@touch $@

clean:
	rm -rf $(VENV) build executed *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(addprefix cs231n/kernels/*.,c so pyd)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
