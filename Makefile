# Needs Python >= 3.11 and make, nothing else. Every path is relative, and programs of the virtual environment are started with
# `python -m`: a checkout may lie below a directory with a space in its name, and may be moved. hadolint is a binary: it may, too.
.SUFFIXES:
.PHONY: help run test lint bench bench-check docs screenshots faults faults-ci migrate status install install-dev assets lock clean

# Where bytecode is not written, every process compiles all of its sources, and every worker of the tests rewrites all asserts.
unexport PYTHONDONTWRITEBYTECODE

PY = .venv/bin/python
TICKSTREAM = $(PY) -m services.admin

help: ## what there is (this list)
	@echo "tickstream: real-time stock ticks over Redis Streams"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r what does; do printf '%-20s %s\n' "  $$what" "$$does"; done
	@echo
	@echo "Variables of the environment may follow: make run SCALE=\"analyzer=3 persister=2 gateway=2\" GATEWAY_PORT=9001"

run: install ## start Redis, PostgreSQL and every service; Ctrl-C stops them all
	@exec $(TICKSTREAM) up

test: install-dev ## the whole test suite against real servers (ARGS="-k name" selects)
	@exec $(PY) -m pytest $(ARGS)

lint: install-dev ## static checks: style, types, imports, Dockerfile, docker-compose.yml, deploy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c 'from importlinter.cli import lint_imports_command as check; check()'
	$(PY) -m yamllint --strict .yamllint docker-compose.yml deploy
	$(PY) -m check_jsonschema --builtin-schema vendor.compose-spec docker-compose.yml deploy/compose.secrets.yml
	.venv/bin/hadolint Dockerfile

bench: install-dev ## benchmarks of each step and of the whole pipeline, beside others (ARGS="append analyze" selects)
	@sh scripts/install.sh peers
	@exec $(PY) -m benchmarks $(ARGS)

bench-check: install-dev ## what each step costs, counted, against benchmarks/recorded.json (ARGS=--record writes it)
	@exec $(PY) -m benchmarks.check $(ARGS)

docs: install-dev ## write what is generated again: tables of docs/metrics.md, schemas and AsyncAPI of the contract
	$(PY) -m scripts.metrics_page
	$(PY) -m scripts.contract

faults: install-dev ## random faults from a seed (MINUTES=30 SEED=7), one line at the end
	@exec $(PY) -m tests.faults.endurance

# More at a time than in `make test`: these wait for leases to run out, and for files to be played.
faults-ci: install-dev ## the faults that take their time and are not in `make test`, a few minutes
	@exec $(PY) -m pytest -n6 -m long tests/faults tests/e2e $(ARGS)

migrate: install ## write the schema to DATABASE_URL and the configuration to REDIS_URL
	@exec $(TICKSTREAM) migrate

status: install ## partitions, lengths, lag and holders
	@exec $(TICKSTREAM) status

install: ## what `make run` needs, into .venv
	@sh scripts/install.sh run
	@sh scripts/assets.sh

install-dev: ## what tests and checks need, too
	@sh scripts/install.sh dev
	@sh scripts/assets.sh dev

assets: install ## what the pages load in a browser, into services/api/static/vendor (part of install)

screenshots: install-dev ## draw docs/images/ again, from a real pipeline
	@exec $(PY) -m scripts.screenshots

lock: ## compile pyproject.toml into requirements/*.txt again (needs uv)
	@sh scripts/lock.sh

clean: ## remove what was installed; the data in .data stays
	rm -rf .venv .venv-peers node_modules services/api/static/vendor
