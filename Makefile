.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup setup-ray setup-bench repro experiments test test-all faults lint ui serve study \
	lessons fashion docs notebook bench bench-quick lock lock-ray lock-bench

COMPILE := uv pip compile pyproject.toml --extra pipeline --universal --generate-hashes \
	--no-emit-index-url --no-header --python-version 3.11 --upgrade -q

STUDY_TABLES := first_layer_ratios layer_factors scores mean_field \
	born_dead dead_units one_sign_shares health_saturated_fraction health_update_ratio kernel_times
LESSON_FIGURES := activation_functions accuracy_curves loss_curves accuracy_differences \
	gradient_first_layer health_backprop_rms health_dead_fraction health_saturated_fraction \
	preactivations theory

# An environment that was made in another folder, which pyvenv.cfg names, is made anew.
moved = $(shell grep -qsF " $$(pwd -P)/$(1)" "$(1)/pyvenv.cfg" || echo moved)
.PHONY: moved

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

PAGE := .dvc/plots/page.html

setup: $(VENV)/ready $(PAGE) ## install the locked requirements, in .venv

$(VENV)/ready: requirements.lock pyproject.toml $(call moved,$(VENV))
	@PYTHON=$(PYTHON) sh setup.sh

$(PAGE): $(VENV)/ready scripts/plots_page.py
	@python scripts/plots_page.py

setup-ray: $(VENV)-ray/ready ## install them with ray, in .venv-ray

$(VENV)-ray/ready: requirements-ray.lock pyproject.toml $(call moved,$(VENV)-ray)
	@PYTHON=$(PYTHON) sh setup.sh requirements-ray.lock

setup-bench: $(VENV)/ready $(VENV)-bench/ready ## install them with the benchmarked libraries, in .venv-bench: 8 GB

$(VENV)-bench/ready: requirements-bench.lock pyproject.toml $(call moved,$(VENV)-bench)
	@PYTHON=$(PYTHON) sh setup.sh requirements-bench.lock

repro: $(VENV)/ready $(PAGE) ## run the pipeline, from raw data to report and MLflow
	@PYTHONPATH=src python -m actlab.stages.preflight
	@dvc repro
	@PYTHONPATH=src python -m actlab.stages.answer

DEPENDENCIES := (src|data|models|results|timings|reports|custom|conf/activation|conf/network)
# Where DVC keeps experiments of the last commit, and what is queued.
EXPERIMENTS := "refs/exps/$$(git rev-parse --verify --quiet HEAD | sed 's,..,&/,')" refs/exps/celery

experiments: $(VENV)/ready ## list experiments since the last commit: values that differ, accuracies
	@if [ -n "$$(git for-each-ref $(EXPERIMENTS))" ]; then \
		dvc exp show --only-changed --drop Created --drop '$(DEPENDENCIES)(/[^:]*)?$$'; \
	else \
		echo "No experiments since the last commit: dvc exp run -S training.epochs=2 makes one"; \
	fi

test: $(VENV)/ready ## run the tests
	@pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-all: $(VENV)/ready ## run the tests on Python 3.11, 3.12 and 3.13; TESTS=... selects some
	@TESTS="$(TESTS)" sh scripts/test_all.sh 3.11 3.12 3.13

faults: $(VENV)/ready ## run the fault tests of docs/reliability.md, at full count
	@export ACTLAB_FAULTS=all status=0 kills=tests/faults/test_kills.py; \
	pytest $$kills || status=1; \
	pytest tests/faults tests/test_equality.py --ignore $$kills -n auto --maxprocesses 4 --dist load || status=1; \
	exit $$status

lint: $(VENV)/ready ## run ruff, pyright and import-linter
	@ruff check .
	@ruff format --check .
	@pyright
	@lint-imports --no-cache --no-logo

ui: $(VENV)/ready ## show the runs in the MLflow UI, on this machine only; PORT=...
	@python -m actlab.tracking.ui --port $(or $(PORT),5000)

serve: $(VENV)/ready ## serve a registered model, on this machine only; PORT=..., MODEL=models:/<name>@<alias>
	@python -m actlab.tracking.serving $(MODEL) --port $(or $(PORT),5001)

study: $(VENV)/ready ## update docs/study and the lessons from the last repro
	@mkdir -p docs/study docs/lessons/figures
	@cp reports/summary.csv reports/comparisons.csv reports/claims.csv reports/theory.csv $(STUDY_TABLES:%=reports/tables/%.csv) reports/figures/gradient_by_layer.png docs/study/
	@cp reports/data/sample_images.png $(LESSON_FIGURES:%=reports/figures/%.png) docs/lessons/figures/
	@python scripts/record_study.py
	@python scripts/write_lessons.py
	@python scripts/fill_pages.py

lessons: $(VENV)/ready ## write docs/lessons and the tables of docs/ from docs/study
	@python scripts/write_lessons.py
	@python scripts/fill_pages.py

fashion: $(VENV)/ready ## run the pipeline on Fashion-MNIST, update docs/fashion_mnist.md
	@dvc exp run --temp --name fashion --force -S data.name=fashion_mnist -S report.target_accuracy=0.87
	@mkdir -p docs/study/fashion_mnist
	@for name in summary comparisons claims; do \
		dvc get --quiet --force . reports/$$name.csv --rev fashion -o docs/study/fashion_mnist/$$name.csv; \
	done
	@python scripts/fill_pages.py

docs: $(VENV)/ready ## build the documentation as an offline site: site/index.html
	@NO_MKDOCS_2_WARNING=1 mkdocs build --strict
	@echo "The documentation: site/index.html"

notebook: $(VENV)/ready ## rerun the lessons' notebook: a minute
	@python scripts/run_notebook.py

bench: $(VENV)/ready $(VENV)-bench/ready ## time an epoch, compared with other libraries: an hour
	@dvc repro --quiet fetch-data
	@$(VENV)-bench/bin/python benchmarks/bench.py --write

bench-quick: $(VENV)/ready ## compare the time of an epoch with the baseline: some minutes
	@dvc repro --quiet fetch-data
	@python benchmarks/bench.py --quick

lock: $(VENV)/ready ## update requirements.lock to the newest versions
	@$(COMPILE) $(addprefix --extra ,dev docs joblib slurm optuna postgres) -o requirements.lock

lock-ray: $(VENV)/ready ## update requirements-ray.lock
	@$(COMPILE) --extra dev --extra ray -o requirements-ray.lock

lock-bench: $(VENV)/ready ## update requirements-bench.lock, consistent with requirements.lock
	@$(COMPILE) --extra dev --extra bench -c requirements.lock -o requirements-bench.lock
