# Every target does all its own set-up and is quick the second time. `make help` lists them.

PYTHON ?= python3
VENV ?= .venv
# The PyTorch that the project is tested with. On Linux, PyPI's build brings gigabytes of CUDA; for the CPU build:
#   make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_VERSION ?= 2.13.0
TORCH_INDEX ?=
STORE ?= store
RUNS ?= runs

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PUBLISHED := $(STORE)/digits/1/manifest.json $(STORE)/areas/1/manifest.json

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

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

.PHONY: serve
serve: $(INSTALLED) $(PUBLISHED)  ## serve the models until Ctrl-C
	$(BIN)/python -m server serve --store.path $(STORE) --telemetry.log-format text

.PHONY: test
test: $(INSTALLED)  ## run the tests
	$(BIN)/python -m pytest -n auto

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

.PHONY: clean
clean:  ## remove the virtual environment, runs and the store
	rm -rf $(VENV) $(RUNS) $(STORE) client/*.egg-info *.egg-info
