# make demo  sets up .venv and registers two simulated volumes of 2.2 million voxels
# make test  sets up .venv and runs the tests, in two processes where there are two CPUs; what each took is in
#            runs/durations.csv
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: install demo test lint format clean

install: $(VENV)/.installed

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("tfreg needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[test]'
	@touch $@

# One simulated chest, registered from inhale to exhale by the command's defaults.
DEMO := runs/demo
DATA := $(DEMO)/data
demo: install
	rm -rf $(DEMO)
	$(BIN)/tfreg simulate --out $(DATA) --subjects 1 --shape 144 112 136 --spacing 2.6 2.6 2.6 --seed 1
	$(BIN)/tfreg register --out $(DEMO)/result \
	  --fixed $(DATA)/images/s001_exhale.nii.gz --moving $(DATA)/images/s001_inhale.nii.gz \
	  --fixed-labels $(DATA)/labels/s001_exhale.nii.gz --moving-labels $(DATA)/labels/s001_inhale.nii.gz \
	  --fixed-points $(DATA)/points/s001_exhale.csv --moving-points $(DATA)/points/s001_inhale.csv

# Whole files go to one process, so that what a file's tests share is made once; the long files come first.
SIDE_BY_SIDE := -n 2 --dist loadfile --no-loadscope-reorder
# Memory that a test gives back stays with its process for the next, and what Python compiled stays for the processes
# that tests start.
test: export MALLOC_MMAP_THRESHOLD_ := 33554432
test: export MALLOC_TRIM_THRESHOLD_ := 536870912
test: export PYTHONDONTWRITEBYTECODE :=
test: install
	@$(MAKE) --no-print-directory lint & lint=$$!; \
	$(BIN)/python -m pytest --durations-file=runs/durations.csv \
	  $$($(BIN)/python -c 'from tfreg.runtime.threads import usable_cpus; print("$(SIDE_BY_SIDE)" * (usable_cpus() > 1))'); \
	tests=$$?; wait $$lint && exit $$tests

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info runs/demo .pytest_cache .ruff_cache .hypothesis
