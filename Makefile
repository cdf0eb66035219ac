# What people type. `make help` lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
RUN = JAVA_HOME="$$(tools/find_java.sh)" && export JAVA_HOME && $(VENV)/bin/
# Another wheel index for PyTorch, e.g. its CPU one: TORCH_INDEX=https://download.pytorch.org/whl/cpu make demo
TORCH_INDEX ?=
LAKE := .cache/demo/lake

.PHONY: help setup demo test test-fast lint format docs plots bench clean

help: ## List the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(VENV)/.installed ## Make .venv and install the project

$(VENV)/.installed: setup.cfg pyproject.toml conf/constraints.txt
	@tools/check_python.sh $(PYTHON)
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -c conf/constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## Run the whole night on MovieLens (or a generated world) and query it
	$(RUN)python -m crossrec_core.demo --cache .cache/demo
	$(RUN)python jobs/nightly.py --config conf/demo.toml
	@printf '\nThe published list of user 100k_42 of the thin platform:\n'
	$(VENV)/bin/crossrec recommend 100k_42 --domain ml_100k -n 5 --lake $(LAKE)
	@printf '\nEvery model on the held-out days:\n'
	$(VENV)/bin/crossrec sql --lake $(LAKE) "SELECT model, segment, n, round(value, 4) AS ndcg, round(ci_low, 4) AS ci_low, round(ci_high, 4) AS ci_high, num_users FROM latest_metrics WHERE metric = 'ndcg' AND n = 10 AND segment = 'all' ORDER BY value DESC"
	@printf '\nWhat the rich platform lent (the transfer report) and whom the guard serves, by segment of users:\n'
	$(VENV)/bin/crossrec sql --lake $(LAKE) "SELECT segment, round(value, 4) AS transferred, round(baseline_value, 4) AS target_only, round(ci_low, 4) AS gain_low, round(ci_high, 4) AS gain_high, verdict, num_users, decision AS served FROM transfer_gain WHERE metric = 'ndcg' AND n = 10 AND segment IN ('all', 'warm', 'new') ORDER BY segment"
	@printf '\nNext: export CROSSREC_LAKE=%s; source %s/bin/activate; crossrec --help; views and reports in sql/; your own log in README.md\n' $(LAKE) $(VENV)

test: setup ## Run all tests
	$(RUN)python -m pytest

test-fast: setup ## Run the tests that take seconds
	$(VENV)/bin/python -m pytest -m 'not spark and not slow'

lint: setup ## Check style, types and who imports whom
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	PYTHONPATH=. $(VENV)/bin/lint-imports

format: setup ## Put the code in its format
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

docs: setup ## Make docs/settings.md and docs/tables.md from the code
	$(VENV)/bin/python docs/make_reference.py

plots: setup ## Draw the plots of docs/ from benchmarks/results
	$(VENV)/bin/python benchmarks/plot.py

bench: setup ## Run the short benchmarks into .cache/bench
	$(RUN)python benchmarks/feed.py --repetitions 5 --out .cache/bench/feed.json
	$(RUN)python benchmarks/train_step.py --out .cache/bench/train_step.json
	$(RUN)python benchmarks/train.py --short --out .cache/bench/train.json
	$(RUN)python benchmarks/train_ranks.py --length 50 --rows 64 --steps 4 --out .cache/bench/train_ranks.json
	$(RUN)python benchmarks/topn_kernel.py --out .cache/bench/topn_kernel.json
	$(RUN)python benchmarks/large_catalogue.py --items 1000000 --shard-mib 64 --out .cache/bench/large_catalogue.json
	$(RUN)python benchmarks/metrics.py --users 20000 --skip "RePlay on Spark" --out .cache/bench/metrics.json
	$(RUN)python benchmarks/prepare.py --events 100000 --no-peers --skip "crossrec, all tables" --out .cache/bench/prepare.json
	$(RUN)python benchmarks/scoring_job.py --users 5000 --out .cache/bench/scoring_job.json

clean: ## Remove caches and the demo's lake, not .venv
	rm -rf .cache/demo/lake .mypy_cache .ruff_cache .import_linter_cache spark-warehouse
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
