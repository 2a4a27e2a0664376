# Every target sets up .venv by itself from plain python3 (3.11 or newer) and is quick once that is done.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEPENDENCIES := .venv/.dependencies
NATIVE := hatch_build.py $(wildcard src/weft/agent/sandbox/native/*.[ch])
WORKERS ?= auto
SCALE ?= 0.05

.PHONY: demo test check bench docs serve engines lock clean

demo: $(STAMP)  ## the main job on a real git repository; REPO=path for another one
	@$(BIN)/weft demo $(if $(REPO),"$(REPO)")

test: $(STAMP)  ## the whole suite, but for what needs engines
	$(BIN)/pytest -q -n $(WORKERS) --ignore=tests/engines

check: $(STAMP)  ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)  ## every benchmark, one after the other, in its short form; SCALE=1 for the full one
	@for b in benchmarks/bench_*.py; do echo "== $$b"; $(BIN)/python $$b --scale $(SCALE) || exit 1; done

docs: $(STAMP)  ## the reference pages, from the docstrings
	$(BIN)/python docs/generate.py

serve: $(STAMP)  ## the server, on loopback
	@$(BIN)/weft serve

engines: $(STAMP)  ## install the real engines, and test against them
	sh tests/engines/install.sh

lock:  ## pin every dependency with its hashes, after a change to pyproject.toml
	$(BIN)/pip-compile --quiet --strip-extras --allow-unsafe --generate-hashes --no-emit-index-url \
	  --no-emit-find-links --no-emit-trusted-host --all-extras --no-header \
	  --output-file constraints.txt pyproject.toml

$(STAMP): $(DEPENDENCIES) $(NATIVE)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DEPENDENCIES): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "weft needs Python 3.11 or newer; set PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "python3 lacks venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --requirement constraints.txt
	@touch $@

clean:  ## remove the environment and every cache
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
