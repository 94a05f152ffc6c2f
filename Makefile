# Two commands matter: `make up` and `make test`. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
HOSTS ?= 3
LAB ?= lab
PYTEST_ARGS ?=
export PYTHON
# Without compiled files, starting Python and collecting the tests take three times as long.
unexport PYTHONDONTWRITEBYTECODE
ifdef DEBIAN_MIRROR
export DEBIAN_MIRROR
endif

BIN := .venv/bin

.PHONY: help up down test test-fast lint format bench image lock lab-up lab-down lab-deps venv clean fresh-machine-test

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 26

up: ## Start Drover on this machine, add the machine as a host, deploy examples/hello
	@scripts/up

down: ## Undo `make up`
	@scripts/down

test: ## Install what the tests need and run all of them
	@scripts/test

test-fast: venv ## Run the unit tests alone (no Docker, no databases; about two minutes on two cores)
	@$(BIN)/pytest -n 3 -m "not docker and not database and not e2e and not slow" $(PYTEST_ARGS)

lint: venv ## Check style, formatting, types and the import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict drover lab bench scripts/quickstart.py examples/hello/hello.py
	@$(BIN)/lint-imports

format: venv ## Format the code
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

bench: venv ## Run the benchmarks
	@$(BIN)/python -m bench

image: venv ## Build the Drover image
	@scripts/install-packages engine image
	@scripts/ensure-engine
	@scripts/build-image

lock: venv ## Pin the dependencies of pyproject.toml by version and hash (UPGRADE=1: newer versions)
	@scripts/lock

lab-up: venv lab-deps ## Start a lab of several hosts with a server and agents: make lab-up HOSTS=3
	@$(BIN)/python -m lab up --hosts $(HOSTS) --name $(LAB) --server --agents

lab-down: venv ## Remove the lab
	@$(BIN)/python -m lab down --name $(LAB)

lab-deps:
	@scripts/install-packages lab

venv:
	@scripts/install-packages python
	@scripts/make-venv

fresh-machine-test: ## Prove that a new Debian 12 needs nothing but the checkout (in a chroot; needs root)
	@scripts/fresh-machine-test

clean: ## Remove what was generated: the virtual environment, caches, build contexts
	@rm -rf .venv .state .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
