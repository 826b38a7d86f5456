# One virtual environment, .venv, filled in steps: a target installs only what it needs, once.
#   make PYTHON=python3.12 ...    choose the interpreter .venv is made with
#   make test ARGS="-k score -x"  hand arguments on to pytest (or to the other tools); the tests then run in one process

VENV := .venv
PY := $(VENV)/bin/python
SUPPORTED := 3.10, 3.11, 3.12 or 3.13
# Also asks for ensurepip, which some systems' Python leaves out and venv cannot do without.
CHECK := import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info < (3, 14))
PYTHON ?= $(shell for python in python3 python3.11 python3.12 python3.13 python3.10 python; do \
	$$python -c '$(CHECK)' >/dev/null 2>&1 && echo $$python && break; done)
ARGS ?=
comma := ,

CONSTRAINTS := -c constraints.txt
TORCH := torch
INSTALL := $(PY) -m pip install --disable-pip-version-check $(CONSTRAINTS)
# One thread a process: more of them than cores slow small models down many times over. What is compiled is kept, also where
# the environment says otherwise: every process that a test starts would compile the package again.
RUN_TESTS := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONDONTWRITEBYTECODE= $(PY) -m pytest
# A file's tests stay together: what its fixtures make, they make once. Three processes keep two cores busy while one waits.
# For a few tests more processes only cost time.
PARALLEL := $(if $(ARGS),,-n 3 --dist loadfile)
# What `make lowest` tests: the package with these extras, which its tests read and make media with.
LOWEST_EXTRAS := cli,video,data,eval,openai
LOWEST_TESTS := tests/modeling_vital tests/cli tests/dataset_scripts tests/test_embedded_checkpoint.py \
	tests/test_remote_code.py
# What `make annotators` tests with: its torch goes with a torchvision, which constraints.txt has not.
ANNOTATORS := torch==2.14.1 torchvision==0.29.1 pyiqa==0.1.16
ANNOTATOR_TESTS := tests/dataset_scripts/test_pyiqa.py tests/dataset_scripts/test_paper_annotators.py
SOURCES_OF_METADATA := pyproject.toml constraints.txt modeling_vital/_version.py

.DEFAULT_GOAL := help
.PHONY: help demo space test slow peers browser lowest latest annotators cluster bounds lint format docs wheel tag tiny experiment reference pages pictures pairs speed speed-gpu clean
.NOTPARALLEL:

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 15

demo: $(VENV)/.demo  ## score the example pictures and clips
	$(VENV)/bin/vital score spaces_demo/examples $(ARGS)

space: $(VENV)/.space  ## the demo, in a browser (CPU, no network)
	GRADIO_ANALYTICS_ENABLED=False HF_HUB_OFFLINE=$${HF_HUB_OFFLINE:-1} $(PY) spaces_demo/app.py $(ARGS)

test: $(VENV)/.test  ## the tests: CPU, no network
	$(RUN_TESTS) $(PARALLEL) $(ARGS)

slow: $(VENV)/.test  ## the tests that take longer, or several processes
	$(RUN_TESTS) -m "(slow or distributed) and not gpu and not network" $(ARGS) || test $$? -eq 5  # 5: there are none

peers: $(VENV)/.test  ## the tests of transformers itself on our classes, with peft, TRL, accelerate, gradio_client
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(PY) -m tests.peers -q $(ARGS)

browser: $(VENV)/.test  ## the demo in headless Chromium, which must be there; screenshots in build/screenshots
	VITAL_BROWSER=required $(RUN_TESTS) -m browser $(ARGS)

lowest:  ## tests of package and data with the lowest versions allowed, in build/lowest; for Python 3.10
	rm -rf build/lowest
	$(PYTHON) -m venv build/lowest
	@$(MAKE) -s bounds > build/lowest/requirements.txt
	build/lowest/bin/python -m pip install --disable-pip-version-check -r build/lowest/requirements.txt \
	-e ".[$(LOWEST_EXTRAS)]" pytest pytest-xdist
	$(subst $(PY),build/lowest/bin/python,$(RUN_TESTS)) $(PARALLEL) $(LOWEST_TESTS) $(ARGS)

latest:  ## all tests with the latest versions allowed and torchvision beside them, in build/latest
	rm -rf build/latest
	$(MAKE) VENV=build/latest CONSTRAINTS= TORCH="torch torchvision" test

annotators:  ## the paper's annotators through the real pyiqa, weights random, in build/annotators
	rm -rf build/annotators
	$(PYTHON) -m venv build/annotators
	build/annotators/bin/python -m pip install --disable-pip-version-check $(ANNOTATORS) -e ".[video,data,annotators]" pytest
	$(subst $(PY),build/annotators/bin/python,$(RUN_TESTS)) $(ANNOTATOR_TESTS) $(ARGS)

cluster: $(VENV)/.cluster  ## build and score on a Ray cluster of this machine, workers killed, every row compared
	$(RUN_TESTS) -m "slow or not slow" -k ray tests/dataset_scripts/test_pipeline.py tests/cli/test_dataset.py
	rm -rf build/cluster
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(PY) -m benchmarks.cluster $(ARGS)

bounds:  ## the lowest versions that `make lowest` installs
	@sed -n '/^\(dependencies\|$(subst $(comma),\|,$(LOWEST_EXTRAS))\) = \[/,/^\]/s/^    "\([^"]*\)>=\([^"]*\)",.*/\1==\2/p' \
	pyproject.toml | sort -u

lint: $(VENV)/.test  ## ruff: rules and formatting; mypy: types of modeling_vital; zizmor: workflows; nothing is changed
	$(PY) -m ruff check $(ARGS) .
	$(PY) -m ruff format --check $(ARGS) .
	$(PY) -m mypy
	$(VENV)/bin/zizmor --offline --quiet .github

format: $(VENV)/.test  ## ruff: mend what can be mended, and format
	$(PY) -m ruff check --fix $(ARGS) .
	$(PY) -m ruff format $(ARGS) .

docs: $(VENV)/.docs  ## the documentation site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict $(ARGS)

wheel: $(VENV)/.test  ## build and check the packages in dist/
	rm -rf build/lib build/bdist.* dist
	$(PY) -m build --no-isolation
	$(PY) -m twine check --strict dist/*

tag:  ## whether TAG=vX.Y.Z is the version in modeling_vital/_version.py
	@grep -qxF '__version__ = "$(TAG:v%=%)"' modeling_vital/_version.py && test "$(TAG)" != "$(TAG:v%=%)" || \
	{ echo "The tag is '$(TAG)', but modeling_vital/_version.py says:" >&2; cat modeling_vital/_version.py >&2; exit 1; }

tiny: $(VENV)/.data  ## fetch the data, train vital-tiny and its family (under build/)
	$(PY) -m training.tiny $(ARGS)

experiment: $(VENV)/.test  ## the paper's experiment at laptop scale: what is missing of it, and docs/experiment.md
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false $(PY) -m training.experiment $(ARGS)

reference: $(VENV)/.test  ## make docs/command-line.md and its pages from the parser
	$(PY) -m modeling_vital.cli.reference docs/command-line.md

pages: $(VENV)/.test  ## measure anew what README and docs/ say of the weights; RATED=FOLDER with ratings.csv (path, mos)
	$(PY) -m benchmarks.sensitivity docs/scores.md
	$(PY) -m training.examples.denoise spaces_demo/examples docs/images/denoise.jpg --steps 100
	$(PY) -m training.suite.known_damage docs/where-is-it-bad.md
	$(if $(RATED),$(PY) -m benchmarks.own_scale "$(RATED)/ratings.csv" docs/on-your-own-scale.md, \
	@echo "no RATED=FOLDER: docs/on-your-own-scale.md and README's other metrics stay as they are" >&2)
	$(if $(RATED),$(PY) -m benchmarks.others "$(RATED)")

pictures: $(VENV)/.test  ## the pictures and outputs that README and docs/ show, from the examples; needs Chromium
	$(PY) -m benchmarks.pictures $(ARGS)
	HF_HUB_OFFLINE=1 $(PY) -m tests.fixtures.doc_blocks

pairs: $(VENV)/.data  ## build the demonstration data set (CPU, under build/)
	$(PY) -m dataset_scripts build --config dataset_scripts/recipes/demo.yaml --output build/pairs $(ARGS)

speed: $(VENV)/.test  ## measure speed and memory on the CPU, a quarter of an hour on two quiet cores; resumes after a stop
	$(PY) -m benchmarks --page docs/speed.md $(ARGS)

# Not in .venv: it is for a bare machine without network, whose own Python has torch with CUDA.
speed-gpu:  ## tests, speed and memory on a GPU, four minutes, with the Python that is there; ARGS=--toy: on the CPU
	$(or $(PYTHON),python3) -m benchmarks.gpu $(ARGS)

clean:  ## remove .venv, packages and caches; what `make tiny` and `make pairs` made stays
	rm -rf $(VENV) build/lowest build/latest build/annotators build/site build/lib build/bdist.* dist *.egg-info .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# torch goes first and alone: whatever asks for it later then finds the chosen build there.
$(VENV)/.torch: constraints.txt
	@test -n "$(PYTHON)" || { echo "No usable Python found. This needs Python $(SUPPORTED) with its venv module;" \
	"name one: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -c '$(CHECK)' 2>/dev/null || { echo "$(PYTHON) cannot be used. This needs Python $(SUPPORTED) with" \
	"its venv module; name another: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) $(TORCH)
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

$(VENV)/.cluster: $(VENV)/.test
	$(INSTALL) -e ".[ray]"
	@touch $@

$(VENV)/.docs: $(VENV)/.torch $(SOURCES_OF_METADATA)
	$(INSTALL) -e ".[docs]"
	@touch $@

$(VENV)/.test: $(VENV)/.torch $(SOURCES_OF_METADATA)
	$(INSTALL) -e ".[video,cli,data,train,eval,metrics,onnx,openai,demo,docs,dev]"
	@touch $@
