# Two commands do everything on a fresh clone: `make demo` and `make test`.
PYTHON ?= python3
# A bare `torch` may bring gigabytes of CUDA packages; this version runs on any CPU. TORCH=torch takes the newest.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin

export HF_HUB_OFFLINE := 1
export HF_HUB_DISABLE_TELEMETRY := 1

.PHONY: demo test lint format tiny clean help

help:  ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

demo: $(VENV)/.train  ## install, then train on the embedded world and write runs/demo/report.html
	$(BIN)/credit train --config quickstart --output_dir runs/demo --overwrite

test: $(VENV)/.dev  ## install, then lint, type-check and run all tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest

format: $(VENV)/.dev  ## format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/.torch: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(TORCH)"
	@touch $@

$(VENV)/.train: $(VENV)/.torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train]'
	@touch $@

$(VENV)/.dev: $(VENV)/.train
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[train,dev]'
	@touch $@

clean:  ## remove the environment and the demo run
	rm -rf $(VENV) runs/demo
