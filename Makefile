# The Redundancy Lab. `make` alone prints this help.
.DEFAULT_GOAL := help
.PHONY: help setup engine build stage-1 stage-2 stage-3 stage-4 stage-4-automatic stage-5 stage-6 stage-7 test test-all check unit integration schemas selftest status heal down figures measured measured-compare pictures clean

LAB := .venv/bin/lab
# A refuted expectation (exit 1) is a lesson, not a failure of make.
LESSON := || [ $$? -eq 1 ]

help: ## print this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

setup: .venv/.ready engine ## make the virtual environment, and a Docker Engine where none answers

.venv/.ready: pyproject.toml scripts/ensure-venv
	@scripts/ensure-venv

engine:
	@scripts/ensure-engine

build: setup ## build the images that are missing or outdated
	@$(LAB) build

stage-1: setup ## a single server: start it, kill it, see what a user saw
	@$(LAB) up 1 --replace
	@$(LAB) run 1 kill-box $(LESSON)

stage-2: setup ## the database on its own box: start it, kill the web box
	@$(LAB) up 2 --replace
	@$(LAB) run 2 kill-web $(LESSON)

stage-3: setup ## two web boxes behind a balancer: start it, kill a web box
	@$(LAB) up 3 --replace
	@$(LAB) run 3 kill-web $(LESSON)

stage-4: setup ## a standby database: start it, kill the primary, an operator promotes the standby
	@$(LAB) up 4 --replace
	@$(LAB) run 4 kill-primary-operator $(LESSON)

stage-4-automatic: setup ## the same with a monitor: kill the primary, and nobody is needed
	@$(LAB) up 4 --failover automatic --replace
	@$(LAB) run 4 kill-primary --failover automatic $(LESSON)

stage-5: setup ## a second balancer: start it, kill the one that has the address
	@$(LAB) up 5 --replace
	@$(LAB) run 5 kill-lb-active $(LESSON)

stage-6: setup ## three zones: start it, kill the zone that has the primary database
	@$(LAB) up 6 --replace
	@$(LAB) run 6 kill-zone-a $(LESSON)

stage-7: setup ## two regions and a witness: start it, kill the region that serves everybody
	@$(LAB) up 7 --replace
	@$(LAB) run 7 kill-region-eu $(LESSON)

test: setup check unit ## every test of the day: static checks, unit tests, each mechanism once on real Docker
	@.venv/bin/pytest -m 'docker and not night'

test-all: setup check ## every test and every variant, for nights; keeps docs/measured/test-all.json
	@.venv/bin/python -m scripts.night

check: .venv/.ready ## lint and types only
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

unit: .venv/.ready ## the tests that need no Docker
	@.venv/bin/pytest -m 'not docker' -n auto

integration: setup ## the tests on real Docker only: each mechanism once
	@.venv/bin/pytest -m 'docker and not night'

schemas: .venv/.ready ## write docs/schemas/ again, from what files may hold
	@.venv/bin/python -m lab.spec.schemas

selftest: build ## measure outages of known length
	@$(LAB) selftest

status: ## show what is up
	@$(LAB) status

heal: ## take back every fault
	@$(LAB) heal

down: ## remove everything that the lab has started
	@$(LAB) down --all

figures: .venv/.ready ## fill the figures of the documents from docs/measured, and say which are old
	@.venv/bin/python -m scripts.figures fill

measured: .venv/.ready ## keep the figures of a run for the documents: RUN=latest [NAME=...]
	@.venv/bin/python -m scripts.figures add "$(or $(RUN),latest)" $(if $(NAME),--name "$(NAME)")

measured-compare: .venv/.ready ## the same of a comparison: COMPARISON=compare/latest [NAME=...]
	@.venv/bin/python -m scripts.figures add-compare "$(or $(COMPARISON),compare/latest)" $(if $(NAME),--name "$(NAME)")

pictures: .venv/.ready ## make the pictures of docs/images again from kept runs (needs Chromium)
	@.venv/bin/python -m scripts.pictures

clean: ## remove the virtual environment and the caches (results stay)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
