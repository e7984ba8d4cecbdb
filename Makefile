# `make demo` and `make test` do everything on a fresh machine, set-up included.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
MINIMUM ?= .venv-minimum
export HF_HUB_OFFLINE = 1
export RAY_USAGE_STATS_ENABLED = 0
# Installed without bytecode: where none may be written, every process would compile torch anew (2 s of its start).
export PYTHONDONTWRITEBYTECODE =

.PHONY: help demo test test-fast test-minimum test-long chaos fuzz fuzz-guided check docs format bench gpu-wheels gpu-check gpu-report clean
help:
	@echo "demo       set up and run the demo sweep"
	@echo "test       set up and run the tests"
	@echo "test-long  the slow ones, and those that only run when asked for"
	@echo "test-fast  the same without the slow ones"
	@echo "test-minimum  test-fast with the lowest versions that pyproject.toml claims"
	@echo "chaos      30 runs whose processes are killed at random (one to two hours)"
	@echo "fuzz       20,000 random inputs for every loader (hours)"
	@echo "fuzz-guided  atheris on every loader, FUZZ_SECONDS each (300), or on FUZZ_TARGET alone"
	@echo "check      ruff, mypy --strict, layers, docs"
	@echo "docs       the documents and the reference as pages, into build/site"
	@echo "bench      short benchmarks, one table, beside the accepted figures"
	@echo "gpu-wheels fetch what gpu-check carries along"
	@echo "gpu-check  eight minutes on a machine with a CUDA card, torch and transformers; GPU_CHECK: its options"
	@echo "gpu-report its figures (GPU_RESULTS: the file) into docs/benchmarks.md"
	@echo "format     let ruff lay out the code"
	@echo "clean      remove the environment, runs and caches"

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]' -c constraints.txt
	touch $@

demo: $(STAMP)
	$(BIN)/python -m sweep run spaces/grpo.yaml

# Three at a time, also on two cores: what starts and kills processes often waits.
PYTEST := python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

# Without the layers, which `make check` has.
test: $(STAMP)
	$(BIN)/$(PYTEST) --ignore=tests/test_layers.py

test-fast: $(STAMP)
	$(BIN)/$(PYTEST) -m "not slow"

# An environment of its own: the packages that pyproject.toml names at their lowest, what these bring at its newest.
$(MINIMUM)/.installed: pyproject.toml constraints-minimum.txt
	$(PYTHON) -m venv $(MINIMUM)
	$(MINIMUM)/bin/pip install --quiet --disable-pip-version-check --upgrade pip  # Python 3.11's gives up on these
	$(MINIMUM)/bin/pip install --quiet --disable-pip-version-check --no-compile -e '.[dev]' -c constraints-minimum.txt
	touch $@

test-minimum: $(MINIMUM)/.installed
	$(MINIMUM)/bin/$(PYTEST) -m "not slow"

fuzz: $(STAMP)
	HYPOTHESIS_PROFILE=fuzz-long $(BIN)/python -m pytest tests/fuzz --timeout=0 $(FUZZ)

fuzz-guided: $(STAMP)
	@$(BIN)/python -c "import atheris" 2>/dev/null || \
		$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,fuzz]' -c constraints.txt >/dev/null 2>&1 || \
		{ echo "atheris could not be installed; it has wheels for x86-64 Linux and Python 3.11 to 3.13"; exit 1; }
	@$(BIN)/python -m tests.fuzz.guided $(or $(FUZZ_TARGET),all) --seconds $(or $(FUZZ_SECONDS),300)

chaos: $(STAMP)
	$(BIN)/python -m tests.chaos $(CHAOS)

test-long: $(STAMP)
	SWEEP_LONG=1 $(BIN)/python -m pytest -m "slow or long"

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py
	$(MAKE) --no-print-directory docs

# Every warning is an error: a link that leads nowhere, a public name without a word.
docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCH)

# Neither needs an environment: the check runs on machines where nothing can be installed.
gpu-wheels:
	$(PYTHON) -m benchmarks.gpu_check.wheels

gpu-check:
	$(PYTHON) -m benchmarks.gpu_check $(GPU_CHECK)

gpu-report: $(STAMP)
	$(BIN)/python -m benchmarks.gpu_check.report $(or $(GPU_RESULTS),build/gpu-check.jsonl)

clean:
	rm -rf $(VENV) $(MINIMUM) runs .pytest_cache .mypy_cache .ruff_cache *.egg-info
