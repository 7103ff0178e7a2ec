# Every command of the project. Bare `make` lists them.

MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON3 ?= python3
VENV    := .venv
PYTHON  := $(VENV)/bin/python
READY   := $(VENV)/.ready

STORE     ?= artifacts/models
RUNS      ?= artifacts/runs
DATASETS  ?= artifacts/datasets
EXAMPLES  ?= artifacts/examples
HOST      ?= 127.0.0.1
PORT      ?= 8500
REST_PORT ?= 8501
STRATEGY  ?= auto
DEVICES   ?= auto
SECONDS   ?= 600
# Processes that run tests; those of one file stay together. 1 shows output as it comes.
PROCESSES ?= $(shell n=$$(nproc); echo $$((n < 4 ? n : 4)))

# The shell reads it as a variable of its own: a text may hold quotes.
export INPUT

# $(call needs,MODEL): the value of MODEL, or a message that says what to type.
needs = $(or $($(1)),$(error $@ needs $(1)=, as in `make $@ $(example_$(@))`))
example_train    := MODEL=mnist_classifier
example_train-workers := MODEL=mnist_classifier WORKERS=2
example_evaluate := MODEL=mnist_classifier
example_show     := MODEL=mnist_classifier
example_predict  := MODEL=mnist_classifier INPUT=artifacts/examples/mnist_classifier/00.png
example_score    := MODEL=mnist_classifier INPUT=artifacts/examples/mnist_classifier OUTPUT=artifacts/scores/digits.csv
example_prepare  := DATASET=mnist

# $(call flag,--version,VERSION): the flag and its quoted value, or nothing.
flag = $(if $($(2)),$(1) '$($(2))')

.PHONY: help setup prepare train train-workers evaluate serve predict score bench bench-score bench-train show models \
	tensorboard check test test-slow test-network soak lock wheel clean

help: ## list these commands
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the locked dependencies (the others do it themselves)

$(READY): requirements.lock
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'error: Python 3.11 or later is needed. Received: $(PYTHON3) = '"$$($(PYTHON3) --version 2>&1)"'. Name another with `make $(MAKECMDGOALS) PYTHON3=python3.12`.' >&2; exit 2; }
	@test ! -L $(VENV) || { \
	  echo "error: $(VENV) is a link, and the environment that it leads to is older than requirements.lock. Setting up would clear it for all who use it. Type \`make setup\` where it is, or remove the link." >&2; exit 2; }
	@echo 'Setting up $(VENV) from requirements.lock: once, some minutes and 3.6 GB.'
	@$(PYTHON3) -m venv --clear $(VENV) || { \
	  echo 'error: no virtual environment could be made. On Debian and Ubuntu: apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock \
	  2> >(grep -v '^WARNING: Location' >&2)
	@echo 'Compiling bytecode, so that no command pays for it at its start.'
	@$(PYTHON) -m compileall -q -j 0 $(VENV)/lib > $(VENV)/compile.log 2>&1 || true
	@touch $@

prepare: $(READY) ## fetch and check DATASET without training
	@$(PYTHON) -m pipelines.prepare $(call needs,DATASET) --datasets '$(DATASETS)'

# The flags of a training, for both ways to start one.
TRAINING = $(call needs,MODEL) --store '$(STORE)' --runs '$(RUNS)' --datasets '$(DATASETS)' --examples '$(EXAMPLES)' \
  --strategy '$(STRATEGY)' --devices '$(DEVICES)' $(call flag,--tpu,TPU) $(call flag,--dataset,DATASET) $(foreach s,$(SET),--set '$(s)') $(if $(PROFILE),--profile)

train: $(READY) ## train MODEL, check it, export it to STORE; SET="epochs=2 dropout=0.3" DATASET= STRATEGY=auto|default|mirrored|multi_worker|tpu TPU=local DEVICES= PROFILE=1
	@$(PYTHON) -m pipelines.train $(TRAINING)

train-workers: $(READY) ## the same in WORKERS (2) processes of this machine that train together, as on several machines; LOGS=
	@$(PYTHON) -m pipelines.train_workers $(TRAINING) $(call flag,--workers,WORKERS) $(call flag,--logs,LOGS)

evaluate: $(READY) ## test metrics and confusion matrix of an exported MODEL; VERSION= DATASET=
	@$(PYTHON) -m pipelines.evaluate $(call needs,MODEL) --store '$(STORE)' --datasets '$(DATASETS)' \
	  $(call flag,--version,VERSION) $(call flag,--dataset,DATASET)

serve: $(READY) ## serve every model of STORE, or those that CONFIG= names, on gRPC PORT and REST REST_PORT; HOST=0.0.0.0 opens it to others; UPSTREAM=host:port,... forwards to TF Serving servers; ENGINE=tensorflow_model_server serves with that binary
	@exec $(PYTHON) -m pipelines.serve $(if $(UPSTREAM),--upstream='$(UPSTREAM)',$(if $(CONFIG),--model_config_file='$(CONFIG)',--store='$(STORE)')) --host='$(HOST)' --port='$(PORT)' --rest_api_port='$(REST_PORT)' $(call flag,--engine,ENGINE)

predict: $(READY) ## ask the running server about INPUT (.png .jpg .npy .json .txt, or a text); VERSION= HOST= PORT=; OUTPUT=boxes.png draws the objects found, TILE= pixels
	@$(if $(call needs,INPUT),)$(PYTHON) -m pipelines.predict $(call needs,MODEL) --input "$$INPUT" --server '$(HOST):$(PORT)' \
	  $(call flag,--version,VERSION) $(call flag,--output,OUTPUT) $(call flag,--tile,TILE)

score: $(READY) ## score INPUT (images, .npy, .txt, JSONL, CSV, Parquet, TFRecord, -) into OUTPUT (.jsonl .csv .parquet .tfrecord, shards-*.csv, a folder/, -); VERSION= LABEL= SIGNATURE= KEY= CARRY=a,b METRICS=1 TRUTH= MAX_ERRORS= RUNNER=local|upstream|DirectRunner|... UPSTREAM=host:port,... WORKERS= SHARD_ROWS= BATCH= BEAM="-- ..."
	@$(if $(call needs,INPUT),)$(PYTHON) -m pipelines.score $(call needs,MODEL) --input "$$INPUT" --output '$(call needs,OUTPUT)' \
	  --store '$(STORE)' $(call flag,--version,VERSION) $(call flag,--label,LABEL) $(call flag,--signature,SIGNATURE) \
	  $(call flag,--key,KEY) $(call flag,--carry,CARRY) $(if $(METRICS),--metrics) $(call flag,--truth,TRUTH) \
	  $(call flag,--max-errors,MAX_ERRORS) $(call flag,--runner,RUNNER) $(call flag,--upstream,UPSTREAM) \
	  $(call flag,--workers,WORKERS) $(call flag,--shard-rows,SHARD_ROWS) $(call flag,--batch-size,BATCH) $(BEAM)

bench: $(READY) ## measure the server beside others, for a MODEL of STORE (mnist_classifier); SECONDS= per cell, ROUNDS=, VERSION=
	@$(PYTHON) -m pipelines.bench_serving '$(or $(MODEL),mnist_classifier)' --store '$(STORE)' $(call flag,--version,VERSION) \
	  $(call flag,--seconds,SECONDS) $(call flag,--rounds,ROUNDS)

bench-score: $(READY) ## measure batch scoring beside a bare tf.data loop, for a MODEL of STORE (mnist_classifier); ROWS= ROUNDS= WORKERS= VERSION=
	@$(PYTHON) -m pipelines.bench_score '$(or $(MODEL),mnist_classifier)' --store '$(STORE)' $(call flag,--version,VERSION) \
	  $(call flag,--rows,ROWS) $(call flag,--rounds,ROUNDS) $(call flag,--workers,WORKERS)

bench-train: $(READY) ## measure training beside a bare loop and a textbook script, for a MODEL (mnist_classifier); ROUNDS= STEPS= SET= REPLICAS=1,2,4 WORKERS=1,2
	@$(PYTHON) -m pipelines.bench_train '$(or $(MODEL),mnist_classifier)' --datasets '$(DATASETS)' \
	  $(call flag,--rounds,ROUNDS) $(call flag,--steps,STEPS) $(call flag,--devices,REPLICAS) $(call flag,--workers,WORKERS) $(foreach s,$(SET),--set '$(s)')

show: $(READY) ## signatures, shapes, ops and provenance of an exported MODEL; VERSION=
	@$(PYTHON) -m pipelines.show $(call needs,MODEL) --store '$(STORE)' $(call flag,--version,VERSION)

models: $(READY) ## list models, data sets, licences and the versions in STORE
	@$(PYTHON) -m pipelines.models --store '$(STORE)' --datasets '$(DATASETS)'

tensorboard: $(READY) ## watch training in the browser
	@$(PYTHON) -m tensorboard.main --logdir '$(RUNS)' --host '$(HOST)'

check: $(READY) ## lint, format, types, import direction
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy
	@$(PYTHON) -m pytest -q tests/test_layers.py

test: $(READY) ## the fast tests; TESTS=tests/serving narrows them
	@$(PYTHON) -m pytest -n $(if $(filter 1,$(PROCESSES)),0,$(PROCESSES)) --dist loadfile -m 'not slow and not gpu and not network' $(TESTS)

test-slow: $(READY) ## the tests that take minutes
	@$(PYTHON) -m pytest -m slow $(TESTS)

test-network: $(READY) ## the tests that need the package index
	@$(PYTHON) -m pytest -m network $(TESTS)

soak: $(READY) ## a server under calls of every kind and reloads for SECONDS (600): memory, descriptors, threads stay
	@SOAK_SECONDS='$(SECONDS)' $(PYTHON) -m pytest -q -s -m slow tests/serving/test_soak.py

lock: $(READY) ## resolve setup.cfg anew into requirements.lock
	@$(PYTHON) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --upgrade \
	  --no-annotate --no-header --extra dev setup.cfg --output-file requirements.lock

wheel: $(READY) ## build dist/maaskit-*.whl
	@$(PYTHON) -m build --wheel --outdir dist .

clean: ## remove .venv, caches and builds; artifacts/ stays
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
