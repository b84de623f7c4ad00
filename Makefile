# Every target sets up what it needs first; all can be interrupted and repeated.
SHELL := /bin/bash
PY := .venv/bin/python

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-down test test-all faults test-changed test-unit test-gpu lint format generate verify images docs docs-serve bench lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv (done by every target that needs it)
	@scripts/setup.sh

demo: setup ## Local Kubernetes, chart, two fine-tuning runs, a retraining, ONNX, a bundle, tables (IMAGES=1: built trainer image)
	@$(PY) -m luthier_demo up $(if $(IMAGES),--trainer-image)

demo-down: setup ## Take the demo's cluster down, with all that it holds
	@$(PY) -m luthier_demo down

# The order of tests is as written; ORDER=random (or a seed) mixes them. STAGE=e2e runs one stage alone.
TEST := $(PY) scripts/test.py $(if $(ORDER),--order $(ORDER)) $(if $(STAGE),--stage $(STAGE))

test: setup ## Everything that a change can break: lint, generated files, tests, also on a real cluster
	@$(TEST)

test-all: setup ## The same, and the complete matrices of methods, architectures and precisions
	@$(TEST) --all

faults: setup ## Faults that last, in about half an hour: an API server that is gone, full quotas, replicas killed at random
	@$(TEST) --faults

test-changed: setup ## Tests that the changed files can reach (SINCE=HEAD, WITHIN=2 imports)
	@$(PY) scripts/changed_tests.py $(if $(SINCE),--since $(SINCE)) $(if $(WITHIN),--within $(WITHIN))

test-unit: setup ## Tests that need no cluster
	$(PY) -m pytest tests/unit

test-gpu: setup ## Tests that need a CUDA GPU, see docs/gpu.md
	$(PY) -m pytest tests/gpu

lint: setup ## ruff, mypy, import-linter, shellcheck
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy crds/luthier_api operator/luthier_operator trainer/luthier_trainer cli/luthier_cli cluster/luthier_cluster demo/luthier_demo bench scripts/images.py scripts/finish_image.py scripts/values_schema.py scripts/methods_table.py scripts/dashboards.py scripts/grafana.py scripts/test.py scripts/changed_tests.py scripts/site.py
	.venv/bin/lint-imports
	@if command -v shellcheck >/dev/null; then shellcheck scripts/*.sh .ci/run; fi

format: setup ## Format the code
	.venv/bin/ruff check --fix-only .
	.venv/bin/ruff format .

generate: setup ## Write the CRDs, the chart's copy of them and its dashboards, the API reference and docs/methods.md
	$(PY) -m luthier_api.generate
	$(PY) scripts/values_schema.py
	$(PY) scripts/methods_table.py
	$(PY) scripts/dashboards.py

verify: generate ## Fail when a generated file is not what the code generates
	git diff --exit-code -- crds charts/luthier/templates/crds.yaml charts/luthier/values.schema.json charts/luthier/files docs/reference docs/methods.md

images: setup ## Build the images operator and trainer (buildah, or Docker where an engine runs)
	@$(PY) scripts/images.py all

docs: setup ## Build the documentation as a site into out/site; docs-serve shows it while you write
	@$(PY) scripts/site.py

docs-serve: setup
	@$(PY) scripts/site.py --serve

bench: setup ## Measure, and compare with transformers.Trainer; prints tables
	@$(PY) -m luthier_demo prepare
	$(PY) -m bench

lock: setup ## Resolve the dependencies anew into requirements/
	scripts/lock.sh

clean: ## Remove .venv and what the tools left (clusters: make demo-down)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache out
