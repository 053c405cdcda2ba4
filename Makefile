PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help

help: ## say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt --editable '.[all]' --group dev
	touch $@

setup: $(READY) ## make the environment in .venv

demo: $(READY) ## solve fresh problems with the bundled pair
	$(BIN)/splitreason demo

lint: $(READY) ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint ## lint, types and every test
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

train-pair: $(READY) ## train the bundled pair anew
	$(BIN)/splitreason train pair --out build/pair

figures: $(READY) ## measure the bundled pair and write README's and model card's tables
	$(BIN)/splitreason bench pair --into README.md \
		--into splitreason_integrations/embedded/MODEL_CARD.md

.PHONY: help setup demo lint test train-pair figures
