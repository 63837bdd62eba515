# Kinoray's commands: `make help` lists them. Needs GNU make, a POSIX shell and Python 3.11 or newer, nothing else.

VENV := .venv
PYTHON := $(VENV)/bin/python
# Named after the contents of what it was installed from, and made last: a second run finds it and does nothing, an
# edit or an interrupted run does not.
STAMP := $(VENV)/.installed-$(shell cat pyproject.toml constraints.txt | cksum | tr -s ' ' '-')
# Held by `make lock` to what every platform shares; constraints.txt says why these are left out.
UNLOCKED := pip|wheel|triton|cuda-.*|nvidia-.*

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help fuzz-configs setup setup-bench demo test test-ray test-jobs test-units test-slow test-chaos bench-decode bench-ingest bench-train bench-startup bench-predict bench-ablation bench-zoo fuzz check lock clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(STAMP) ## install everything into .venv (the first time: several GB, some minutes)

# The newest Python that is tried is the newest one that Ray has wheels for.
$(STAMP):
	@if ! $(PYTHON) -c '' 2>/dev/null; then \
	  for candidate in $(BASE_PYTHON) python3 python3.13 python3.12 python3.11; do \
	    if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then \
	      echo "setup: $(VENV) with $$($$candidate --version)"; \
	      $$candidate -m venv --clear $(VENV) && break || exit 1; \
	    fi; \
	  done; \
	fi; \
	if ! $(PYTHON) -c '' 2>/dev/null; then \
	  echo 'setup: no Python from 3.11 to 3.14 found as python3, python3.13, python3.12 or python3.11;' \
	    'install one, or name it: make setup BASE_PYTHON=/path/to/python3.12' >&2; \
	  exit 1; \
	fi
	@echo 'setup: installing into $(VENV); the first time this downloads several GB and takes some minutes'
	@rm -f $(VENV)/.installed-* $(VENV)/.bench-*
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo 'setup: done'

demo: setup ## train a small recognizer on generated videos, on this machine
	@$(PYTHON) jobs/train.py

test: setup ## run the tests: three parts side by side, the lines of each when it ends
	@$(MAKE) --no-print-directory --output-sync --jobs 3 test-ray test-jobs test-units

test-ray: setup
	@$(PYTHON) -m pytest -m 'not slow' tests/ray

test-jobs: setup
	@$(PYTHON) -m pytest -m 'not slow' tests/jobs

test-units: setup
	@OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m 'not slow' tests/unit tests/recipes tests/parity

test-slow: setup ## run the longer proofs
	@$(PYTHON) -m pytest -m slow

test-chaos: setup ## kill whatever a training runs on, at moments KINORAY_CHAOS_SEED draws: one table (half an hour)
	@$(PYTHON) -m pytest tests/chaos

# The other readers that bench-decode compares with; none of them is needed for anything else.
BENCH_STAMP := $(subst .installed-,.bench-,$(STAMP))
$(BENCH_STAMP): $(STAMP)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@

bench-decode: $(BENCH_STAMP) ## reading video against decord, torchcodec, OpenCV, PyAV and the decoder's own limit
	@$(PYTHON) benchmarks/decode.py

bench-ingest: setup ## clips from the files to the training worker: CPU time, ceiling, what limits it
	@$(PYTHON) benchmarks/ingest.py

bench-train: setup ## how long a model of some cost waits for its data
	@$(PYTHON) benchmarks/train.py

bench-predict: setup ## batch prediction beside the bare loop: MODEL=RUN VIDEOS=FOLDER
	@$(PYTHON) benchmarks/predict.py --model $(MODEL) --videos $(VIDEOS)

bench-ablation: setup ## what options of a recipe do to held-out accuracy: MANIFEST=CSV CLASSES=K OUT=FOLDER
	@$(PYTHON) benchmarks/ablation.py $(MANIFEST) $(CLASSES) $(OUT)

bench-zoo: setup ## MMAction2's configs in FOLDER: which become recipes, parameters and GFLOPs here and there
	@$(PYTHON) benchmarks/upstream_configs.py $(FOLDER)

fuzz: setup ## read N (2000) damaged videos: no crash, no hang, no error without the file's name
	@$(PYTHON) benchmarks/fuzz.py --cases $(or $(N),2000)

fuzz-configs: setup ## give jobs N (1000) damaged recipes, sites, sweeps and manifests: 0, or 2 and a message that names the place
	@$(PYTHON) benchmarks/fuzz_config.py --cases $(or $(N),1000)

bench-startup: setup ## seconds and memory from the command to the first training step
	@$(PYTHON) benchmarks/startup.py

check: setup ## formatting, lint, types, import rules
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -m mypy jobs
	@$(VENV)/bin/lint-imports

lock: ## resolve pyproject.toml anew and write constraints.txt (several GB, some minutes)
	@echo 'lock: resolving in build/lock; this downloads several GB and takes some minutes'
	@rm -rf build/lock && python3 -m venv build/lock
	@build/lock/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@{ sed -n '/^#/p' constraints.txt; \
	  build/lock/bin/python -m pip freeze --all --exclude-editable \
	    | grep -E '^[A-Za-z0-9._-]+==[^ ]+$$' | grep -viE '^($(UNLOCKED))=='; } > build/constraints.txt
	@mv build/constraints.txt constraints.txt && rm -rf build/lock
	@echo 'lock: constraints.txt written; `make check test` tells whether it holds'

clean: ## remove caches and build products; leaves .venv, runs and data
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	@find platform jobs tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
