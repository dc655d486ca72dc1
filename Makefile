# Every target does all its own set-up and is quick the second time. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
# The PyTorch that the project is tested with. On Linux, PyPI's build brings gigabytes of CUDA; for the CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_VERSION ?= 2.13.0
TORCH_INDEX ?=
STORE ?= store
RUNS ?= runs

# The peers that `make bench-peers` measures, separated by commas (empty: all).
PEERS ?=

# Containers: how many servers, which services (empty: all), and options of `docker build` such as --network=host.
SERVERS ?= 2
SERVICES ?=
BUILD_FLAGS ?=
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo docker-compose)

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PUBLISHED := $(STORE)/digits/1/manifest.json $(STORE)/areas/1/manifest.json $(STORE)/dates/1/manifest.json

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'

$(INSTALLED): pyproject.toml client/pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing Attendant and its dependencies into $(VENV) (some minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) \
		torch==$(TORCH_VERSION) --editable './client[cli]' --editable '.[cpu,train,dev]'
	@touch $@

.PHONY: install
install: $(INSTALLED)  ## make the virtual environment and install everything

$(STORE)/%/1/manifest.json: | $(INSTALLED)
	$(BIN)/python -m models train $* --out $(RUNS)/$*
	$(BIN)/python -m models export $* --run $(RUNS)/$*
	$(BIN)/python -m models verify $* --run $(RUNS)/$*
	$(BIN)/python -m models publish $* --run $(RUNS)/$* --store $(STORE) --alias stable

.PHONY: demo
demo: $(INSTALLED) $(PUBLISHED)  ## train, export, verify, publish, serve, call, show metrics
	$(BIN)/python -m examples.demo --store $(STORE) --runs $(RUNS) --out $(RUNS)/demo

.PHONY: attend
attend: $(STORE)/attend/1/manifest.json  ## publish the bare attention mechanisms, which need no training

# Published last, so that it stands for the whole family.
$(STORE)/attend/1/manifest.json: | $(INSTALLED)
	$(BIN)/python -m models attend --runs $(RUNS) --store $(STORE) --alias stable

.PHONY: serve
serve: $(INSTALLED) $(PUBLISHED)  ## serve the models until Ctrl-C
	$(BIN)/python -m server serve --store.path $(STORE) --telemetry.log-format text

.PHONY: test
test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest -n auto

# Texts that `make soak` asks for.
SOAK ?= 20000
.PHONY: soak
soak: $(INSTALLED)  ## write 20,000 texts for callers of all kinds while versions come and go; SOAK=2000 for fewer
	$(BIN)/python -m tests.soak --texts $(SOAK)

# The other build of ONNX Runtime installs the same package, so it has an environment of its own.
OPENVINO := .cache/openvino
.PHONY: test-openvino
test-openvino:  ## run the tests of precisions and providers on the OpenVINO build
	@test -x $(OPENVINO)/bin/python || $(PYTHON) -m venv $(OPENVINO)
	@$(OPENVINO)/bin/python -m pip install --quiet --disable-pip-version-check --editable ./client --editable '.[openvino]' \
		'hypothesis>=6.130,<7' 'onnx>=1.18,<2' 'protobuf<7' 'psutil>=5.9,<8' 'pytest>=8.4,<10' 'pytest-asyncio>=1,<2'
	$(OPENVINO)/bin/python -m pytest tests/integration/test_openvino.py tests/integration/test_session.py \
		tests/unit/server/runtime tests/unit/server/test_check.py

# What exports and answers for comparison; the comparison itself runs in the usual environment.
IMPORT := .cache/import
.PHONY: test-import
test-import: $(INSTALLED)  ## export encoder-decoders with Hugging Face's tools, import them, and compare with `generate`
	@test -x $(IMPORT)/bin/python || $(PYTHON) -m venv $(IMPORT)
	@$(IMPORT)/bin/python -m pip install --quiet --disable-pip-version-check \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) torch==$(TORCH_VERSION) \
		'onnxruntime>=1.24,<2' 'optimum-onnx>=0.1,<0.2' 'sentencepiece>=0.2,<0.3' 'transformers>=4.57,<4.58'
	HF_HUB_OFFLINE=1 $(IMPORT)/bin/python -W ignore -m tests.support.hugging_face_exports $(IMPORT)/exports
	HUGGING_FACE_EXPORTS=$(CURDIR)/$(IMPORT)/exports $(BIN)/python -m pytest tests/integration/test_import.py

.PHONY: bench
bench: $(INSTALLED)  ## measure the engine: batching on against off (about two minutes)
	$(BIN)/python -m benchmarks run engine --fresh

.PHONY: bench-peers
bench-peers: $(INSTALLED)  ## measure against other servers; resumable; PEERS=mosec,litserve for some of them
	$(BIN)/python -m benchmarks run peers --peers '$(PEERS)'

.PHONY: bench-generation
bench-generation: $(INSTALLED)  ## measure how text is written, against CTranslate2 and without a server; resumable; about 20 minutes
	$(BIN)/python -m benchmarks run generation

.PHONY: lint
lint: $(INSTALLED)  ## ruff, mypy, import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: protos
protos: $(INSTALLED)  ## generate the stubs from protos/
	$(BIN)/python -m protos.generate

.PHONY: check-protos
check-protos: $(INSTALLED)  ## generated stubs are fresh, buf lint is clean (needs npx)
	$(BIN)/python -m protos.generate --check
	cd protos && npx --yes @bufbuild/buf@1 lint

.PHONY: lock
lock: $(INSTALLED)  ## write the images' exact dependencies; UPGRADE=--upgrade for the newest
	@test -x $(VENV)/lock/bin/uv || $(PYTHON) -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1'
	PATH="$(CURDIR)/$(VENV)/lock/bin:$$PATH" $(BIN)/python deploy/lock.py $(UPGRADE)

.PHONY: images
images:  ## build the images attendant and attendant-train
	DOCKER_BUILDKIT=1 docker build $(BUILD_FLAGS) --build-arg REVISION=$$(git rev-parse HEAD) --tag attendant .
	DOCKER_BUILDKIT=1 docker build $(BUILD_FLAGS) --build-arg REVISION=$$(git rev-parse HEAD) --target train \
		$(if $(TORCH_INDEX),--build-arg TORCH_INDEX=$(TORCH_INDEX)) --tag attendant-train .

.PHONY: up
up:  ## start servers, Envoy, Prometheus and Grafana in containers; SERVERS=4 for more
	@deploy/up.sh '$(COMPOSE)' $(SERVERS) $(SERVICES)

.PHONY: down
down:  ## remove the containers; DOWN=--volumes for the store and all that was kept, too
	$(COMPOSE) down --remove-orphans $(DOWN)

.PHONY: e2e-containers
e2e-containers: $(INSTALLED) images  ## build, train, serve, call, watch and operate in containers, for real
	COMPOSE='$(COMPOSE)' $(BIN)/python -m pytest tests/containers -p no:cacheprovider -v

.PHONY: dashboards
dashboards: $(INSTALLED)  ## write the Grafana dashboards from deploy/grafana
	$(BIN)/python -m deploy.grafana

.PHONY: clean
clean:  ## remove the virtual environment, runs, the store and what benchmarks installed
	rm -rf $(VENV) $(RUNS) $(STORE) .cache client/*.egg-info *.egg-info
