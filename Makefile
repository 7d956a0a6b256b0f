# Two commands: `make quickstart` runs the main job on the demo world, `make test` runs every check and test.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed
# albumentations, which img2dataset imports, otherwise asks the network for a newer version of itself
export NO_ALBUMENTATIONS_UPDATE = 1

CHECKS := check-types check-style check-format check-imports check-manifests

.PHONY: quickstart report test check $(CHECKS) test-slow torture cases clients bootstrap bootstrap-table real benchmarks lock clean

quickstart: $(INSTALLED)
	$(BIN)/capfilt run manifests/quickstart.yaml
	$(BIN)/python -m stages.demo.report out/world out

test: check
	$(BIN)/pytest -m "not slow and not gpu" -n 2

check: $(INSTALLED)
	$(MAKE) --no-print-directory --jobs=2 --output-sync $(CHECKS)

check-style:
	$(BIN)/ruff check .

check-format:
	$(BIN)/ruff format --check .

check-types:
	$(BIN)/mypy --num-workers 2

check-imports:
	$(BIN)/lint-imports

check-manifests:
	$(BIN)/capfilt validate manifests/*.yaml

test-slow: $(INSTALLED)
	$(BIN)/pytest -m slow

torture: $(INSTALLED)
	$(BIN)/python tests/torture/torture.py --faults 200

# a folder of situations that people have reported, each with a try.sh; WITHOUT leaves some out by how their names begin
cases: $(INSTALLED)
	$(BIN)/python tests/cases.py $(CASES) --without $(WITHOUT)

# the programs that read exports, as they are released; needs a package index and 800 MB
clients: $(INSTALLED)
	$(BIN)/python -m tests.clients.run

# what bootstrapping gives on the demo's world: 40 minutes a seed on two cores, and what was stopped goes on
bootstrap: $(INSTALLED)
	$(BIN)/python tests/benchmarks/bootstrap.py --seeds 1 2 3

# the paper's table in small, on one seed: a night
bootstrap-table: $(INSTALLED)
	$(BIN)/python tests/benchmarks/bootstrap.py --seeds 1 --arms all

# a round of bootstrapping on real pictures; needs a package index, apt-get, 10 GB of disk and an hour
real: $(INSTALLED)
	$(BIN)/python -m tests.real.run

benchmarks: $(INSTALLED)
	$(BIN)/python tests/benchmarks/scheduling.py --shards 40000
	$(BIN)/python tests/benchmarks/scale.py
	$(BIN)/python tests/benchmarks/sharding.py
	$(BIN)/python tests/benchmarks/download.py
	$(BIN)/python tests/benchmarks/hostile_web.py
	$(BIN)/python tests/benchmarks/compute.py --size base --dtype float32
	$(BIN)/python tests/benchmarks/compute.py --size base --dtype bfloat16 --images 2
	$(BIN)/python tests/benchmarks/qformer.py --batch 4
	$(BIN)/python tests/benchmarks/med.py --batch 4
	$(BIN)/capfilt run manifests/quickstart.yaml
	$(BIN)/python tests/benchmarks/ablation.py

$(INSTALLED): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -r requirements.lock
	$(BIN)/pip install --quiet --no-deps -e .
	touch $@

# needs uv; pins every version for every Python >= 3.11 and names no host
lock:
	uv pip compile pyproject.toml --extra dev --extra cluster --universal --python-version 3.11 \
		--no-annotate --no-header --no-emit-index-url --upgrade -o requirements.lock

clean:
	rm -rf out $(VENV)
