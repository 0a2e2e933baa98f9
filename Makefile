# Every target does its own set-up: python3 (3.11 or newer, with venv) is all it needs.
# Another interpreter: PYTHON=python3.12 make test

PYTHON ?= python3
JOBS ?= 2
PYTEST_ARGS ?=
# "cuda": the tests of what a GPU computes run on one, and the benchmark is the GPU's.
DEVICE ?= cpu
# The version of CUDA that the GPU's driver knows: 12 or 13.
CUDA ?= 13

# Paths are relative, so that a checkout below a folder with a space in its name works.
VENV := .venv
PY := $(VENV)/bin/python

# For example "3.12 new"; empty when PYTHON does not run.
PROBE_CODE := import sys; v = sys.version_info; print("%d.%d %s" % (v[0], v[1], "new" if v >= (3, 11) else "old"))
PROBE := $(shell $(PYTHON) -c '$(PROBE_CODE)' 2>/dev/null)
VERSION := $(firstword $(PROBE))
HAS_VENV = $(shell $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null && echo yes)

# The last thing that an installation does is to write its stamp: an interrupted one is repeated.
STAMP := $(VENV)/installed-$(VERSION)
BENCH_STAMP := $(VENV)/installed-bench-$(VERSION)
GPU_STAMP := $(VENV)/installed-cuda$(CUDA)-$(VERSION)
ON_GPU := $(filter cuda,$(DEVICE))

.DEFAULT_GOAL := help
.PHONY: help demo test test-peers lint bench clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F '|' '{ printf "%-18s %s\n", $$1, $$2 }'

demo: $(STAMP)  ## detect objects in held-out pictures with the shipped weights
	$(PY) -m detection.demo

test: $(if $(ON_GPU),$(GPU_STAMP),$(STAMP))  ## the test suite: no network, no GPU, no data sets; DEVICE=cuda: on a GPU
ifneq ($(ON_GPU),)
	OPENBOOK_TEST_DEVICE=cuda $(PY) -m tests.core.compile_kernels
	OPENBOOK_TEST_DEVICE=cuda OPENBLAS_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) -W default -m device tests/core tests/test_devices.py $(PYTEST_ARGS)
else
	OPENBLAS_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) -m "not data and not peer" $(PYTEST_ARGS)
endif

test-peers: $(BENCH_STAMP)  ## install PyTorch and compare values and gradients with it
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(PY) -m pytest -q -n $(JOBS) -m peer $(PYTEST_ARGS)

lint: $(STAMP)  ## style and types
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(if $(ON_GPU),$(GPU_STAMP),$(BENCH_STAMP))  ## time the core beside PyTorch; DEVICE=cuda: on a GPU
	$(PY) -m benchmarks$(if $(ON_GPU),.cuda)

clean:  ## remove the environment and everything built; runs/ stays
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Reached only when a target needs the environment; $(error ...) stops with one line.
NEEDS := openbook needs Python 3.11 or newer
HOW = name one, as in: PYTHON=python3.12 make $(MAKECMDGOALS)

# An environment of another Python, or one that was never finished, is made anew.
$(STAMP): pyproject.toml
	$(if $(VERSION),,$(error $(NEEDS): "$(PYTHON)" does not run; $(HOW)))
	$(if $(filter new,$(PROBE)),,$(error $(NEEDS): "$(PYTHON)" is $(VERSION); $(HOW)))
	$(if $(HAS_VENV),,$(error "$(PYTHON)" cannot make environments: install its venv module (Debian, Ubuntu: apt install python$(VERSION)-venv)))
	@rm -f $(VENV)/installed-*
	@if ! $(PY) -c 'import sys, pip; sys.exit("%d.%d" % sys.version_info[:2] != "$(VERSION)")' 2>/dev/null; \
	then echo "$(PYTHON) -m venv $(VENV)"; $(PYTHON) -m venv --clear $(VENV); fi
	$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[dev]"
	@touch $@

$(BENCH_STAMP): $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[dev,bench]"
	@touch $@

$(GPU_STAMP): $(STAMP)
	$(PY) -m pip install --quiet --disable-pip-version-check --editable ".[dev,bench,cuda$(CUDA),cudnn]"
	@touch $@
