# Each target builds the environment it needs; nothing installed by hand is used.
PYTHON ?= python3.11
VENV := .venv
PARITY := .venv-parity
BIN := $(VENV)/bin

.PHONY: help demo test check lint parity museum mutants exhaustive record vectors census docs docs-check clean

help:
	@echo "make demo    set up $(VENV); AdaHessian against Adam on the digits MLP: table and demo.png"
	@echo "make test    set up $(VENV); lint and tests"
	@echo "make check   lint and unit tests; NAME=lion: what belongs to that name besides"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make parity  set up $(PARITY) with the peers (torch, optax, ...) and run them live"
	@echo "make museum  old releases with known bugs, from the package index, against the reference"
	@echo "make census  every optimizer of the peers, unnamed, through the oracle, an hour: docs/census.md (LIBRARIES=\"torch optax\": these)"
	@echo "make mutants  does the evidence hold the rules? NAME=lion for one"
	@echo "make exhaustive  what make test samples, on every name"
	@echo "make docs    the site with a page for every method, in docs/_build/html"
	@echo "make docs-check  the built site in Chromium, light, dark and narrow; every link"
	@echo "make vectors test vectors of every gradient-only method and dialect, in docs/vectors"
	@echo "make bench   in $(PARITY): ratios beside the peers, growth, every method's step (4 minutes)"
	@echo "make bench-full  all sizes, solvers and transport, time to target (hours); written to asv_bench/results, for the site"
	@echo "make bench-gpu   the GPU set; needs numpy, scipy, cupy and torch, and installs nothing"
	@echo "make record  record the peers' trajectories anew"

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=24'
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

# torch comes first, from the pinned requirement, and constrains everything after it.
$(PARITY)/.done: pyproject.toml
	$(PYTHON) -m venv $(PARITY)
	$(PARITY)/bin/python -m pip install --quiet --upgrade 'pip>=24'
	$(PARITY)/bin/python -m pip install --quiet torch==2.13.0
	$(PARITY)/bin/python -m pip freeze | grep -i '^torch==' > $(PARITY)/constraints.txt
	$(PARITY)/bin/python -m pip install --quiet -c $(PARITY)/constraints.txt -e '.[dev,parity]'
	@# timm asks for torchvision, whose builds want another torch; its optimizers need neither.
	$(PARITY)/bin/python -m pip install --quiet --no-deps 'timm>=1.0.20'
	@touch $@

demo: $(VENV)/.done
	$(BIN)/refopt compare adahessian adam --problem mlp --batch-size 256 --budget 60 --adahessian.lr 0.15 --adam.lr 0.01 --plot demo.png

lint: $(VENV)/.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# problems/ is refopt.problems once installed; the checkers see it so, in a copy.
	rm -rf $(VENV)/tree && mkdir $(VENV)/tree && cp -r refopt $(VENV)/tree/ && cp -r problems $(VENV)/tree/refopt/
	cd $(VENV)/tree && ../bin/mypy --config-file ../../pyproject.toml --cache-dir ../../.mypy_cache
	cd $(VENV)/tree && ../bin/lint-imports --config ../../pyproject.toml

test: $(VENV)/.done lint
	$(BIN)/pytest -n 2

# For a loop of seconds: the linters, the unit tests, and with NAME=lion what belongs to that name.
check: $(VENV)/.done lint
	$(BIN)/pytest -n 2 tests/unit tests/evidence/test_registry.py
	$(if $(NAME),$(BIN)/pytest -n 2 tests/methods tests/parity/test_tapes.py tests/properties -k "$(NAME)")

parity: $(PARITY)/.done
	@# One thread a worker: the pools of torch, JAX and BLAS spin against each other.
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PARITY)/bin/pytest -n 2 tests/parity
	@# What `make test` has to skip: all else in there it has run.
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(PARITY)/bin/pytest -n 2 tests/properties -k "torch or jax or graph"
	$(PARITY)/bin/pytest tests/sweeps tests/unit -k "dask or under_mpi"

# One environment a release, over the peers'; not part of `make test`, nor of the checks of a push.
museum: $(PARITY)/.done
	$(PARITY)/bin/python -W ignore -m tests.museum.releases

census: $(PARITY)/.done
	$(PARITY)/bin/python -W ignore -m tests.census $(LIBRARIES)

# Every smallest edit of every rule against the method's own evidence: hours. NAME=lion: one.
mutants: $(VENV)/.done
	$(BIN)/python -m tests.evidence.hold $(NAME)

# What `make test` samples: each deviation on every method that it changes.
exhaustive: $(VENV)/.done
	$(BIN)/pytest -n 2 -m exhaustive

record: $(PARITY)/.done
	$(PARITY)/bin/python -m tests.parity.record

vectors: $(VENV)/.done
	$(BIN)/refopt vectors write --all -o docs/vectors

# Other jobs on the cores disturb these; what they disturbed says so.
bench: $(PARITY)/.done
	@date +%s > $(PARITY)/bench-began
	$(PARITY)/bin/python -m asv_bench.table elementwise copy leaves matrix figures --rounds 2 --more 0
	$(PARITY)/bin/python -m asv_bench.training_loop
	$(PARITY)/bin/python -m asv_bench.survey --quick --seconds 0.02
	$(PARITY)/bin/python -m asv_bench.growth
	@echo "make bench took $$(($$(date +%s) - $$(cat $(PARITY)/bench-began))) s"

bench-full: $(PARITY)/.done
	@# Written to asv_bench/results, from which the site makes its tables.
	$(PARITY)/bin/python -m asv_bench.table --rounds 5 --more 5 --record
	$(PARITY)/bin/python -m asv_bench.tracks --record
	$(PARITY)/bin/python -m asv_bench.growth --record
	$(PARITY)/bin/python -m asv_bench.survey --record
	$(PARITY)/bin/python -m asv_bench.training_loop --record
	$(PARITY)/bin/python -m asv_bench.sparse_logistic --record
	OMP_NUM_THREADS=1 $(PARITY)/bin/python -m asv_bench.bilevel --record
	OMP_NUM_THREADS=1 $(PARITY)/bin/python -m asv_bench.target --record

bench-gpu:
	$(PYTHON) -m asv_bench.gpu

$(VENV)/.docs: $(VENV)/.done
	$(BIN)/python -m pip install --quiet -e '.[docs]'
	@touch $@

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs docs/_build/html

# In a browser, which is not installed here; not part of `make test`.
docs-check: docs
	$(BIN)/pytest docs/check

clean:
	rm -rf $(VENV) $(PARITY) .venv-museum .pytest_cache .mypy_cache .ruff_cache
