# make train and make test need Python 3.11+ and nothing else: uv, if there is none, and all packages are set up on the way.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON3 ?= python3
# An uv of your own is used; without one, the project keeps its own in .uv/.
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
RUN := .venv/bin/python
ARGS ?=
export UV_COMPILE_BYTECODE ?= 1

.PHONY: help setup train test test-all bench mutants check lint format lock images docker-check docs clean

help:                    ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.synced     ## virtual environment with the locked packages, and the git filter of uv.lock

train: setup             ## the main job: a model, judged and recorded in runs/ (ARGS="seed=3 model=tabm")
	$(RUN) -m studperf.train model=mlp trainer.max_epochs=30 $(ARGS)

test: setup              ## the fast tests
	$(RUN) -m pytest -n 2 -m "not slow" $(ARGS)

test-all: setup          ## all tests, with branch coverage of at least 90 %
	$(RUN) -m pytest -n 2 --cov --cov-report=term-missing:skip-covered $(ARGS)

bench: setup             ## studperf beside its peers; docs/benchmarks.md is written anew (ARGS="--only steps")
	$(RUN) benchmarks/run.py --write docs/benchmarks.md $(ARGS)

mutants: setup           ## plant faults one at a time; the tests must notice each
	$(RUN) .ci/mutants.py $(ARGS)

# ruff's cache forgets that a module has moved, and so how imports are sorted
lint: setup              ## format, style and types, as CI checks them
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check --no-cache .
	$(RUN) -m mypy

check: lint test         ## what a commit must pass

format: setup            ## put style right where a tool can
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

lock: $(UV)              ## move all packages to their newest allowed versions
	$(UV) lock --upgrade
	$(UV) sync
	@touch .venv/.synced

images: setup            ## build the images of docker/, with docker or, where there is no engine, buildah
	$(RUN) docker/check.py build $(ARGS)

docker-check: setup      ## lint, build and run them; sizes and times (ARGS=serve for one)
	$(RUN) docker/check.py $(ARGS)

docs: $(UV)              ## the documentation as pages, in site/
	$(UV) run --group docs mkdocs build --strict

clean:                   ## remove what was set up and built, but no run
	rm -rf .venv .uv dist site .*_cache .coverage*

.uv/bin/uv:
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "studperf needs Python 3.11 or newer; name one with PYTHON3=...")'
	$(PYTHON3) -m venv .uv
	.uv/bin/pip install --quiet uv

# uv completes uv.lock on disk with the addresses of the index it uses; the filter keeps them out of commits, and `git add` tells git
# that nothing changed.
.venv/.synced: pyproject.toml uv.lock | $(UV)
	@if git rev-parse --git-dir >/dev/null 2>&1; then git config filter.lock.clean "$(PYTHON3) .ci/strip_lock.py"; fi
	$(UV) sync
	@if git ls-files --error-unmatch uv.lock >/dev/null 2>&1 && git diff --quiet -- uv.lock; then git add uv.lock; fi
	@touch $@
