# make tutorial     environment, install, and the bit-counting lesson with its figures
# make test         unit tests, a quick run of every lesson, doctests (minutes)
# make test-newest  the same with a newer Python than that of .venv, where one is found
# make test-slow    headline results, live comparison with torch, installation (longer)
# make lint         ruff and mypy
# make clean        remove what the others made
#
# Every target makes the virtual environment .venv where there is none. It takes the first fit
# Python it finds. To use another one beside it: make test PYTHON=python3.13 VENV=.venv-3.13

VENV ?= .venv
PYTHON ?= python3 python3.14 python3.13 python3.12 python3.11 python
# newest first; those of pyenv also where they are not on the PATH
NEWER = $(foreach version,3.14 3.13 3.12,python$(version) $(call OF_PYENV,$(version)))
OF_PYENV = $(wildcard $(shell pyenv root 2>/dev/null)/versions/$(1).*/bin/python)
RUN := $(VENV)/bin/python
# tests in two processes; a file's tests stay together, for they share what is compiled (the slow
# ones in the order of names: else files with one test, which are the longest, would come last)
PARALLEL := --numprocesses 2 --dist loadfile
FIT := import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))
MINOR := import sys; print(sys.version_info.minor)

ifneq ($(words $(VENV)),1)
$(error VENV is "$(VENV)", but must be one folder without spaces in its name)
endif

.PHONY: tutorial test test-newest test-slow lint clean

tutorial: $(VENV)/.installed
	$(RUN) tutorials/02_bit_counting.py

test: $(VENV)/.installed-dev
	$(RUN) -m pytest $(PARALLEL)

# in a virtual environment of its own, which is kept: .venv-3.13
test-newest: $(VENV)/bin/python
	@usual=`$(RUN) -c '$(MINOR)'`; \
	for python in $(NEWER); do \
	    "$$python" -c '$(FIT)' 2>/dev/null || continue; \
	    minor=`"$$python" -c '$(MINOR)'`; \
	    [ "$$minor" -gt "$$usual" ] || continue; \
	    echo "make test with $$python, `"$$python" --version`, in .venv-3.$$minor"; \
	    exec $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-3.$$minor; \
	done; \
	echo "make test runs with no other Python: none newer than 3.$$usual was found"

test-slow: $(VENV)/.installed-peers
	$(RUN) -m pytest -m slow $(PARALLEL) --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

clean:
	rm -rf $(VENV) .venv-3.1[0-9] build dist figures *.egg-info .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@for python in $(PYTHON); do \
	    if "$$python" -c '$(FIT)' 2>/dev/null; then \
	        echo "making $(VENV) with $$python, `"$$python" --version`"; \
	        "$$python" -m venv --clear $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "$$python could not make the virtual environment $(VENV)" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "symrnn needs Python 3.11, 3.12, 3.13 or 3.14 with its modules venv and ensurepip." >&2; \
	echo "Of [$(PYTHON)] here:" >&2; \
	for python in $(PYTHON); do \
	    version=`"$$python" --version 2>/dev/null` || version="does not run"; \
	    echo "  $$python: $$version" >&2; \
	done; \
	echo "On Debian and Ubuntu the modules are in the package python3-venv." >&2; \
	echo "For a Python elsewhere: make PYTHON=/its/path/python3" >&2; \
	exit 1

$(VENV)/.installed: $(VENV)/bin/python setup.cfg pyproject.toml
	$(RUN) -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(RUN) -m pip install --quiet --editable ".[dev]"
	@touch $@

$(VENV)/.installed-peers: $(VENV)/.installed-dev
	$(RUN) -m pip install --quiet --editable ".[dev,peers]"
	@touch $@
