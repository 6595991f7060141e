# The Redundancy Lab. `make` alone prints this help.
.DEFAULT_GOAL := help
# Only setup does two things at once: two makes in one virtual environment would break it.
ifndef PARALLEL
.NOTPARALLEL:
endif
.PHONY: help setup engine build stage-1 stage-2 stage-3 stage-4 stage-4-automatic stage-5 stage-6 stage-7 test test-all check unit integration schemas docs selftest status heal down figures measured measured-compare measured-spof pictures lock clean

LAB := .venv/bin/lab
# A refuted expectation (exit 1) is a lesson, not a failure of make.
LESSON := || [ $$? -eq 1 ]

help: ## print this help
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

# First what may need apt, one after the other; then the two at once: one waits for the network, the other for dpkg.
setup: ## make the virtual environment, and a Docker Engine where none answers
	@scripts/ensure-venv python
	@$(MAKE) -s --no-print-directory PARALLEL=1 -j 2 engine .venv/.ready

# What the lab needs to run; what its tests need comes with the first target that needs it.
.venv/.ready: pyproject.toml scripts/ensure-venv
	@scripts/ensure-venv

.venv/.dev: pyproject.toml scripts/ensure-venv
	@scripts/ensure-venv dev

engine:
	@scripts/ensure-engine

build: setup ## build the images that are missing or outdated
	@$(LAB) build

stage-1: setup ## a single server: start it, kill it, see what a user saw
	@$(LAB) up 1 --stop-others
	@$(LAB) run 1 kill-box $(LESSON)

stage-2: setup ## the database on its own box: start it, kill the web box
	@$(LAB) up 2 --stop-others
	@$(LAB) run 2 kill-web $(LESSON)

stage-3: setup ## two web boxes behind a balancer: start it, kill a web box
	@$(LAB) up 3 --stop-others
	@$(LAB) run 3 kill-web $(LESSON)

stage-4: setup ## a standby database: start it, kill the primary, an operator promotes the standby
	@$(LAB) up 4 --stop-others
	@$(LAB) run 4 kill-primary-operator $(LESSON)

stage-4-automatic: setup ## the same with a monitor: kill the primary, and no operator is needed
	@$(LAB) up 4 --failover automatic --stop-others
	@$(LAB) run 4 kill-primary --failover automatic $(LESSON)

stage-5: setup ## a second balancer: start it, kill the one that has the address
	@$(LAB) up 5 --stop-others
	@$(LAB) run 5 kill-lb-active $(LESSON)

stage-6: setup ## three zones: start it, kill the zone that has the primary database
	@$(LAB) up 6 --stop-others
	@$(LAB) run 6 kill-zone-a $(LESSON)

stage-7: setup ## two regions and a witness: start it, kill the region that serves all users
	@$(LAB) up 7 --stop-others
	@$(LAB) run 7 kill-region-eu $(LESSON)

test: setup check unit ## every test of the day: static checks, unit tests, each mechanism once on real Docker
	@.venv/bin/pytest -m 'docker and not night'

test-all: setup check ## every test and every variant, for nights; keeps docs/measured/test-all.json
	@.venv/bin/python -m scripts.night

check: .venv/.dev ## lint and types only
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

unit: .venv/.dev ## the tests that need no Docker
	@.venv/bin/pytest -m 'not docker' -n auto

integration: setup .venv/.dev ## the tests on real Docker only: each mechanism once
	@.venv/bin/pytest -m 'docker and not night'

schemas: .venv/.dev ## write docs/schemas/ again, from what files may hold
	@.venv/bin/python -m lab.spec.schemas

docs: .venv/.dev ## write docs/commands.md again, from the help of the commands
	@.venv/bin/python -m scripts.commands

selftest: build ## measure outages of known length
	@$(LAB) selftest

status: ## show what is up
	@$(LAB) status

heal: ## take back every fault
	@$(LAB) heal

down: ## remove everything that the lab has started
	@$(LAB) down --all

figures: .venv/.dev ## fill the figures of the documents from docs/measured, and say which are old
	@.venv/bin/python -m scripts.figures fill

measured: .venv/.dev ## keep the figures of a run for the documents: RUN=latest [NAME=...]
	@.venv/bin/python -m scripts.figures add "$(or $(RUN),latest)" $(if $(NAME),--name "$(NAME)")

measured-compare: .venv/.dev ## the same of a comparison: COMPARISON=compare/latest [NAME=...]
	@.venv/bin/python -m scripts.figures add-compare "$(or $(COMPARISON),compare/latest)" $(if $(NAME),--name "$(NAME)")

measured-spof: .venv/.dev ## the same of a search for single points of failure: SPOF=spof/latest [NAME=...]
	@.venv/bin/python -m scripts.figures add-spof "$(or $(SPOF),spof/latest)" $(if $(NAME),--name "$(NAME)")

pictures: .venv/.dev ## make the pictures of docs/images again from kept runs (needs Chromium)
	@.venv/bin/python -m scripts.pictures

lock: .venv/.dev ## lock the versions of packages that the images here have: after what was measured with them
	@.venv/bin/python -m scripts.lock

clean: ## remove the virtual environment and the caches (results stay)
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
