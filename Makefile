# Short names for the scripts in scripts/. `make help` lists them.

VAR ?= var
GRPC_PORT ?= 9443
AWS_PORT ?= 9444
METRICS_PORT ?= 9464

.PHONY: help run test test-long bench lint format proto lock clean

help: ## Show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10
	@echo
	@echo 'Variables of run: VAR=$(VAR) GRPC_PORT=$(GRPC_PORT) AWS_PORT=$(AWS_PORT) METRICS_PORT=$(METRICS_PORT); of all: PYTHON=python3.x for the first set-up.'

run: ## Start the service with a SoftHSM token on loopback, re-encrypt a file, stay up until Ctrl-C
	@scripts/setup.sh run
	@.venv/bin/python scripts/dev_environment.py --var '$(VAR)' --grpc-port '$(GRPC_PORT)' --aws-port '$(AWS_PORT)' \
		--metrics-port '$(METRICS_PORT)'

test: ## Check everything: lint, types, imports, contract, all tests (PYTEST_ARGS adds options)
	@scripts/setup.sh test
	@scripts/lint.sh
	@.venv/bin/python -m pytest $(PYTEST_ARGS)

test-long: ## Run what takes long: AWS's SDKs of other languages, moto's suite, re-encrypt-all of 1,000,000 rows (ROWS=N)
	@scripts/setup.sh long
	@HSM_KMS_TEST_ROWS=$(or $(ROWS),1000000) .venv/bin/python -m pytest -m 'long or sized' $(PYTEST_ARGS)

bench: ## Measure the service beside its limits and write docs/performance.md (BENCH_ARGS=--short: a first look)
	@scripts/setup.sh bench
	@PYTHONPATH=tests .venv/bin/python -m bench $(BENCH_ARGS)

lint: ## Check lint, types, imports and contract only
	@scripts/setup.sh test
	@scripts/lint.sh

format: ## Format the code and mend what ruff can mend
	@scripts/setup.sh test
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

proto: ## Generate the Python code of the contract anew
	@scripts/setup.sh test
	@.venv/bin/python scripts/generate_contract.py

lock: ## Write the requirements files anew (UPGRADE=1 takes newer versions)
	@scripts/lock.sh

clean: ## Remove what was built or cached; var/ with its token and keys stays
	@rm -rf .venv dist build .cache .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis tools/node_modules
	@find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
