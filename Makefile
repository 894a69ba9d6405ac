.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup setup-ray setup-bench repro test test-all faults lint ui study bench bench-quick \
	docs notebook lock lock-ray lock-bench

COMPILE := uv pip compile pyproject.toml --extra pipeline --universal --generate-hashes \
	--no-emit-index-url --no-header --python-version 3.11 --upgrade -q

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/ready ## the locked requirements, in .venv

$(VENV)/ready: requirements.lock pyproject.toml
	@PYTHON=$(PYTHON) sh setup.sh

setup-ray: $(VENV)-ray/ready ## the same with ray, in .venv-ray

$(VENV)-ray/ready: requirements-ray.lock pyproject.toml
	@PYTHON=$(PYTHON) sh setup.sh requirements-ray.lock

setup-bench: $(VENV)/ready $(VENV)-bench/ready ## the same with the peers that are benchmarked, in .venv-bench: 8 GB

$(VENV)-bench/ready: requirements-bench.lock pyproject.toml
	@PYTHON=$(PYTHON) sh setup.sh requirements-bench.lock

repro: $(VENV)/ready ## the whole pipeline, from raw data to report and MLflow
	@dvc repro
	@echo
	@echo "The report:  reports/report.html (and reports/report.md, reports/summary.csv)"
	@echo "The runs:    make ui"

test: $(VENV)/ready ## the tests
	@pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/ready ## the tests on Python 3.11, 3.12 and 3.13; TESTS=... for some of them
	@TESTS="$(TESTS)" sh scripts/test_all.sh 3.11 3.12 3.13

faults: $(VENV)/ready ## every fault that docs/reliability.md tells of, at full count
	@export ACTLAB_FAULTS=all status=0 kills=tests/faults/test_kills.py; \
	pytest $$kills || status=1; \
	pytest tests/faults --ignore $$kills -n auto --maxprocesses 4 --dist load || status=1; \
	exit $$status

lint: $(VENV)/ready ## ruff and pyright
	@ruff check .
	@ruff format --check .
	@pyright

ui: $(VENV)/ready ## the MLflow UI on this machine alone, with the runs
	@MLFLOW_DISABLE_TELEMETRY=true mlflow ui --backend-store-uri sqlite:///mlflow.db --host 127.0.0.1 --port $(or $(PORT),5000)

study: ## the README's numbers and main figure, from the last repro
	@mkdir -p docs/study
	@cp reports/summary.csv reports/comparisons.csv reports/claims.csv reports/tables/matched_trained.csv reports/figures/gradient_by_layer.png docs/study/

docs: $(VENV)/ready ## the documentation as a site: site/index.html, which reads offline
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "The documentation: site/index.html"

notebook: $(VENV)/ready ## the lesson's notebook, run anew, with its outputs: a minute
	@python scripts/run_notebook.py

bench: $(VENV)/ready $(VENV)-bench/ready ## an epoch beside Keras, PyTorch, JAX, NumPy and scikit-learn: docs/benchmarks.md
	@dvc repro --quiet fetch-data
	@$(VENV)-bench/bin/python benchmarks/bench.py --write

bench-quick: $(VENV)/ready ## a minute: an epoch beside its matrix products, against the baseline
	@dvc repro --quiet fetch-data
	@python benchmarks/bench.py --quick

lock: $(VENV)/ready ## requirements.lock with the newest versions, from pyproject.toml
	@$(COMPILE) $(addprefix --extra ,dev docs joblib slurm optuna postgres) -o requirements.lock

lock-ray: $(VENV)/ready ## requirements-ray.lock likewise
	@$(COMPILE) --extra dev --extra ray -o requirements-ray.lock

lock-bench: $(VENV)/ready ## requirements-bench.lock, what it shares with requirements.lock as there
	@$(COMPILE) --extra dev --extra bench -c requirements.lock -o requirements-bench.lock
