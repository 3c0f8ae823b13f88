# Two commands: `make demo` and `make test`. Each builds .venv by itself; `make` alone lists them all.
#   PYTHON=python3.12     the interpreter .venv is made from, 3.11 or newer (default: the first that is found)
#   TORCH_INDEX=https://  where to get torch from, and nothing else: name an index of CPU builds where the usual
#                         one would send several GB of CUDA libraries; read when .venv is built (`make clean` first)
#   ARGS="--full"         passed on to `pliant demo`, to pytest by `make test` and `make test-all`, or to `pliant bench`,
#                         which then leaves docs/performance.md as it is

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
TORCH_INDEX ?=
ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# Named on the pip line: a looser requirement may fetch another, far larger build.
TORCH := $(shell grep '^torch==' constraints.txt)
DESCRIBED_BY := pyproject.toml constraints.txt
# Tiny models are fastest on one thread; two workers use two cores.
PYTEST := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

define install
	@test -n "$(PYTHON)" || { echo "pliant needs Python 3.11 or newer: install one, or name it with PYTHON=/path/to/python"; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "PYTHON=$(PYTHON) is missing or older than 3.11: name a newer one"; exit 2; }
	$(PIP) --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(if $(TORCH_INDEX),$(PIP) install --no-deps --index-url $(TORCH_INDEX) $(TORCH))
	$(PIP) install -c constraints.txt $(TORCH) -e $(1)
endef

# Both ways of filling .venv must not run at once.
.NOTPARALLEL:
.PHONY: help demo bench test test-all checks fuzz constraints lock audit-deps clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@sed -n 's/^#   /  /p' Makefile

demo: .venv/.runtime  ## a real study in a few minutes, offline, ending in a report
	$(BIN)/pliant demo $(ARGS)

bench: .venv/.bench  ## pliant against its peers on this machine, half an hour; writes the table of docs/performance.md
	$(BIN)/pliant bench $(or $(ARGS),--markdown docs/performance.md)

test: checks  ## ruff, mypy, import direction and the tests
	$(PYTEST) -m "not slow and not gpu and not network" $(ARGS)

test-all: checks  ## the same with the slow tests
	$(PYTEST) -m "not gpu and not network" $(ARGS)

checks: .venv/.dev
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports

constraints: .venv/.dev  ## rewrite constraints.txt from the packages now in .venv
	{ sed -n '/^#/p' constraints.txt; $(PIP) freeze --all --exclude-editable \
		| grep -v '^pip==' | sed 's/+.*//' | sort -f; } > constraints.new
	mv constraints.new constraints.txt

# uv writes the hashes of every file of a version; of torch those of the CPU build, which TORCH_INDEX has.
lock: .venv/.lock-tools  ## rewrite requirements.lock, with hashes, from pyproject.toml and constraints.txt
	{ sed -n '/^#/p' requirements.lock; echo '$(TORCH)+cpu' > .venv/cpu.txt; UV_FIND_LINKS="$(PIP_FIND_LINKS)" \
		.venv/lock-tools/bin/uv pip compile --quiet --generate-hashes --no-header --no-annotate --extra dev \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 -c constraints.txt --override .venv/cpu.txt \
		--prerelease allow $(if $(TORCH_INDEX),--index-strategy unsafe-best-match --extra-index-url $(TORCH_INDEX)) \
		pyproject.toml; } > requirements.new
	mv requirements.new requirements.lock

audit-deps: .venv/.lock-tools  ## look the packages of requirements.lock up among known vulnerabilities; needs the network
	sed 's/+cpu / /' requirements.lock > .venv/audit.txt
	.venv/lock-tools/bin/pip-audit --disable-pip --no-deps -r .venv/audit.txt $(ARGS)

FUZZ_SECONDS ?= 60
fuzz: .venv/.dev  ## atheris on everything that reads files from outside, FUZZ_SECONDS a target; ARGS="spec plan" for some
	$(BIN)/python tests/fuzz/run.py --seconds $(FUZZ_SECONDS) $(ARGS)

clean:  ## remove .venv and everything built; studies in runs/ stay
	rm -rf .venv .fuzz build dist src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

.venv/.runtime: $(DESCRIBED_BY)
	$(call install,.)
	@touch $@

.venv/.bench: $(DESCRIBED_BY)
	$(call install,".[bench]")
	@touch .venv/.runtime $@

.venv/.dev: $(DESCRIBED_BY)
	$(call install,".[dev]")
	@touch .venv/.runtime .venv/.bench $@

.venv/.lock-tools: $(DESCRIBED_BY)
	@test -d .venv || $(PYTHON) -m venv .venv
	$(PYTHON) -m venv .venv/lock-tools
	.venv/lock-tools/bin/python -m pip --disable-pip-version-check install -q "uv>=0.11" "pip-audit>=2.9"
	@touch $@
