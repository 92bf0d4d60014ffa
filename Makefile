# make lab        JupyterLab on the first tutorial      make experiments  recompute stored results
# make test       lint, types, tests, notebooks         make figures      redraw figures/ from them
# make bench      the benchmark tables                  make notebooks    run the tutorials again
# make course     students' notebooks from tutorials/solutions/
# make slides     build/slides/session.html, for the session of 90 minutes
# make dist       sdist and wheel, the wheel tried in a fresh environment
# make site       build/site/; make site-serve shows it, make site-test tries it in Chromium
# make grade      grades COURSE=folder with nbgrader, two submissions at a time
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
# JupyterLab refuses to run as root, as one is in a container, unless told.
ROOT_USER = $(shell test "$$(id -u)" = 0 && echo --allow-root)
# Stored outputs are those of a machine without CUDA: lesson 17 would download models on one with it.
NO_GPU    = CUDA_VISIBLE_DEVICES=
export MPLBACKEND = Agg
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

.PHONY: lab test lint style types unit notebook-tests experiments figures bench course notebooks slides grade site site-serve site-test dist clean
.DELETE_ON_ERROR:

# The environment: rebuilt when what it is made of changes, left alone otherwise.
$(VENV)/ready: pyproject.toml constraints.txt tools/check_python.py
	$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

# What lessons need, without what tests need; with LESSONS=grid what 00 to 05 need, without torch.
LESSONS ?= course
LAB      = .lab-$(LESSONS)

$(LAB)/ready: pyproject.toml constraints.txt tools/check_python.py
	$(PYTHON) tools/check_python.py
	$(PYTHON) -m venv $(LAB)
	$(LAB)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[$(LESSONS)]"
	touch $@

lab: $(LAB)/ready
	$(LAB)/bin/jupyter lab $(ROOT_USER) tutorials/00_what_unlearning_asks.ipynb

# WORKERS tests run at a time, each on one core.
WORKERS ?= 2

test: lint unit notebook-tests

lint: $(VENV)/ready
	$(MAKE) --no-print-directory -j2 types style

style:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types:
	$(BIN)/mypy

unit: $(VENV)/ready
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

notebook-tests: $(VENV)/ready
	$(NO_GPU) $(BIN)/python -m pytest -o addopts= -q -n $(WORKERS) --dist loadfile --no-loadscope-reorder --nbval tutorials/solutions

experiments: $(VENV)/ready
	$(BIN)/python -m figures.experiments

figures: $(VENV)/ready
	$(BIN)/python -m figures.draw

bench: $(VENV)/ready
	$(BIN)/python -m benchmarks.run
	$(BIN)/python -m unlearnlab.benchmark --quick --folder build/benchmark

course: $(VENV)/ready
	$(BIN)/python -m tools.course

notebooks: $(VENV)/ready
	$(NO_GPU) $(BIN)/jupyter nbconvert --to notebook --execute --inplace tutorials/solutions/*.ipynb tutorials/kit/*.ipynb
	$(BIN)/python -m tools.course

slides: $(VENV)/ready
	$(BIN)/python -m tools.slides

# Colab's links need to know where the repository is served: make site REPOSITORY=owner/name
site: $(VENV)/ready
	$(BIN)/python -m tools.site $(if $(REPOSITORY),--repository $(REPOSITORY)) $(if $(PYODIDE),--pyodide $(PYODIDE))

site-serve: $(VENV)/ready
	$(BIN)/python -m tools.site --serve

site-test: $(VENV)/ready
	$(BIN)/python -m tools.site.trial

# COURSE is nbgrader's folder; JOBS submissions are graded at a time.
JOBS ?= 2

grade: $(VENV)/ready
	$(BIN)/python -m tools.grade "$(COURSE)" --jobs $(JOBS)

dist: $(VENV)/ready
	$(BIN)/python -m tools.release

# Everything that needs a CUDA device, in under ten minutes; it may be cut off.
gpu: $(VENV)/ready
	$(BIN)/python -m tools.gpu

clean:
	rm -rf $(VENV) .lab-* .pytest_cache .ruff_cache .mypy_cache
