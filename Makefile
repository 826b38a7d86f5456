# One virtual environment, .venv, filled in steps: a target installs only what it needs, once.
#   make PYTHON=python3.12 ...    choose the interpreter .venv is made with
#   make test ARGS="-k score -x"  hand arguments on to pytest (or to the other tools)

VENV := .venv
PY := $(VENV)/bin/python
SUPPORTED := 3.10, 3.11, 3.12 or 3.13
# Also asks for ensurepip, which some systems' Python leaves out and venv cannot do without.
CHECK := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.10 python; do \
	$$python -c '$(CHECK)' >/dev/null 2>&1 && echo $$python && break; done)
ARGS ?=

INSTALL := $(PY) -m pip install --disable-pip-version-check -c constraints.txt
# One thread a process: more of them than cores slow small models down many times over.
RUN_TESTS := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(PY) -m pytest
SOURCES_OF_METADATA := pyproject.toml constraints.txt modeling_vital/_version.py

.DEFAULT_GOAL := help
.PHONY: help demo space test slow browser lint format wheel tiny experiment embed pairs clean
.NOTPARALLEL:

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 15

demo: $(VENV)/.demo  ## score the example pictures and clips
	$(VENV)/bin/vital score spaces_demo/examples $(ARGS)

space: $(VENV)/.space  ## the demo, in a browser (CPU, no network)
	GRADIO_ANALYTICS_ENABLED=False HF_HUB_OFFLINE=$${HF_HUB_OFFLINE:-1} $(PY) spaces_demo/app.py $(ARGS)

test: $(VENV)/.test  ## the tests: CPU, no network
	$(RUN_TESTS) $(ARGS)

slow: $(VENV)/.test  ## the tests that take longer, or several processes
	$(RUN_TESTS) -m "(slow or distributed) and not gpu and not network" $(ARGS) || test $$? -eq 5  # 5: there are none

browser: $(VENV)/.test  ## the demo in headless Chromium, which must be there; screenshots in build/screenshots
	VITAL_BROWSER=required $(RUN_TESTS) -m browser $(ARGS)

lint: $(VENV)/.test  ## ruff: rules and formatting, nothing is changed
	$(PY) -m ruff check $(ARGS) .
	$(PY) -m ruff format --check $(ARGS) .

format: $(VENV)/.test  ## ruff: mend what can be mended, and format
	$(PY) -m ruff check --fix $(ARGS) .
	$(PY) -m ruff format $(ARGS) .

wheel: $(VENV)/.test  ## build and check the packages in dist/
	rm -rf build/lib build/bdist.* dist
	$(PY) -m build --no-isolation
	$(PY) -m twine check --strict dist/*

tiny: $(VENV)/.data  ## fetch the data, train and measure vital-tiny (CPU, under build/)
	$(PY) -m training.tiny --recipe training/recipes/vital_tiny.yaml $(ARGS)

experiment: $(VENV)/.test  ## the paper's experiment at laptop scale: what is missing of it, and docs/experiment.md
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(PY) -m training.experiment $(ARGS)

embed: $(VENV)/.test  ## copy changed code files (*_vital.py) into the embedded checkpoints
	$(PY) -c "from transformers.dynamic_module_utils import custom_object_save as save; \
	from modeling_vital import VitalForConditionalGeneration as Model, zoo; \
	[save(Model.from_pretrained(zoo.resolve(name)), zoo.resolve(name)) for name in zoo.EMBEDDED]"

pairs: $(VENV)/.data  ## build the demonstration data set (CPU, under build/)
	$(PY) -m dataset_scripts build --config dataset_scripts/recipes/demo.yaml --output build/pairs $(ARGS)

clean:  ## remove .venv, packages and caches; what `make tiny` and `make pairs` made stays
	rm -rf $(VENV) build/lib build/bdist.* dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# torch goes first and alone: whatever asks for it later then finds the chosen build there.
$(VENV)/.torch: constraints.txt
	@test -n "$(PYTHON)" || { echo "No usable Python found. This needs Python $(SUPPORTED) with its venv module;" \
	"name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c '$(CHECK)' 2>/dev/null || { echo "$(PYTHON) cannot be used. This needs Python $(SUPPORTED) with" \
	"its venv module; name another: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	@touch $@

$(VENV)/.demo: $(VENV)/.torch $(SOURCES_OF_METADATA)
	$(INSTALL) -e ".[video]"
	@touch $@

$(VENV)/.space: $(VENV)/.torch $(SOURCES_OF_METADATA)
	$(INSTALL) -e ".[video,demo]"
	@touch $@

$(VENV)/.data: $(VENV)/.torch $(SOURCES_OF_METADATA)
	$(INSTALL) -e ".[video,data]"
	@touch $@

$(VENV)/.test: $(VENV)/.torch $(SOURCES_OF_METADATA)
	$(INSTALL) -e ".[video,data,train,eval,onnx,demo,dev]"
	@touch $@
