# Everything a user needs: `make test`, `make demo`. Both create .venv the first time and are quick afterwards.
PYTHON ?= python3
SHIPPED := weights/MEMatte_T.safetensors
CHECKPOINT ?=
CONFIG ?=
MODEL = $(if $(CONFIG),--config-dir "$(CONFIG)") $(if $(CHECKPOINT),--checkpoint-dir "$(CHECKPOINT)")
DEMO_OUTPUT ?= output/demo
PYTEST_ARGS ?=

VENV := .venv
VENV_PYTHON := $(VENV)/bin/python
# The stamps are written only after success. INCOMPLETE lies there while packages are being installed: whoever finds it
# finds a set-up that was interrupted, and makes the environment anew.
READY := $(VENV)/.ready
READY_DEV := $(VENV)/.ready-dev
READY_APP := $(VENV)/.ready-app
INCOMPLETE := $(VENV)/.incomplete
USABLE := import sys, pip; sys.exit(sys.version_info < (3, 10))
ifneq ($(shell $(VENV_PYTHON) -c "$(USABLE)" 2>/dev/null && echo yes),yes)
BROKEN := broken-environment
endif

.PHONY: help setup test test-page app lint soak demo clean broken-environment

help:
	@echo "make test    set up .venv, check the style, run the tests (PYTEST_ARGS='-k name' to choose)"
	@echo "make demo    set up .venv, matte samples/ and score the result (CHECKPOINT=path CONFIG=path)"
	@echo "make app     set up .venv with Gradio and serve the page for matting by hand (APP_ARGS='--port 8000')"
	@echo "make test-page   the page's tests in Chromium (Debian: apt-get install chromium)"
	@echo "make setup   only set up .venv, without the developers' packages"
	@echo "make lint    only check the style"
	@echo "make soak    fuzzing, kills, faults and a long run: the table in tests/soak/README.md (takes up to an hour)"
	@echo "make clean   remove .venv, caches and the demo's output"
	@echo "PYTHON=python3.12 chooses the interpreter that .venv is made with (>= 3.10; default python3)"

setup: $(READY)

# $(1): the requirements file. torch and torchvision are resolved together, in the one pip call.
define install
	@"$(PYTHON)" -c "import sys; sys.exit(0 if sys.version_info >= (3, 10) else \
		'Python 3.10 or newer is needed, $(PYTHON) is ' + sys.version.split()[0] + '; choose another: make PYTHON=...')"
	@if [ -e $(INCOMPLETE) ] || ! $(VENV_PYTHON) -c "$(USABLE)" 2>/dev/null; then \
		echo "Creating $(VENV)"; rm -rf $(VENV); mkdir $(VENV); touch $(INCOMPLETE); "$(PYTHON)" -m venv $(VENV); fi
	@touch $(INCOMPLETE); rm -f $(READY) $(READY_DEV) $(READY_APP)
	@echo "Installing $(1) into $(VENV) (torch with CUDA: some 3 GB the first time)"
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check "pip>=23"
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r $(1)
	@$(VENV_PYTHON) tools/install_detectron2.py
	@rm $(INCOMPLETE); touch $(READY)
endef

$(READY): requirements.txt tools/install_detectron2.py $(BROKEN)
	$(call install,requirements.txt)

$(READY_DEV): requirements.txt requirements-dev.txt tools/install_detectron2.py $(BROKEN)
	$(call install,requirements-dev.txt)
	@touch $(READY_DEV)

# The page's packages join the finished environment, in one call with the others, so that versions fit each other.
$(READY_APP): requirements-app.txt $(READY)
	@echo "Installing requirements-app.txt into $(VENV)"
	@$(VENV_PYTHON) -m pip install --quiet --disable-pip-version-check -r requirements-app.txt
	@touch $(READY_APP)

app: $(READY_APP)
	$(VENV_PYTHON) tools/app.py $(APP_ARGS)

test-page: $(READY_DEV) $(READY_APP)
	$(VENV_PYTHON) -m pytest tests/tools/page -rs

test: lint
	$(VENV_PYTHON) -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

lint: $(READY_DEV)
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check --quiet .

soak: $(READY_DEV)
	OMP_NUM_THREADS=1 $(VENV_PYTHON) -m tests.soak --long

# On the samples with true alphas and on a photograph, with the shipped model or another. Looked at before the set-up:
# without weights nobody should wait for a download.
demo:
	@if [ ! -f "$(or $(CHECKPOINT),$(SHIPPED))" ]; then echo "make demo: there is no $(or $(CHECKPOINT),$(SHIPPED))$(if \
		$(CHECKPOINT),, yet; pass a model: make demo CHECKPOINT=path CONFIG=path)" >&2; exit 2; fi
	@$(MAKE) --no-print-directory setup
	$(VENV_PYTHON) inference.py $(MODEL) --data-dir samples --inference-dir "$(DEMO_OUTPUT)" \
		--output-kind alpha,rgba --overwrite
	$(VENV_PYTHON) evaluation.py --pred-dir "$(DEMO_OUTPUT)" --label-dir samples/mask --trimap-dir samples/trimap
	$(VENV_PYTHON) inference.py $(MODEL) --data-dir samples/photographs --inference-dir "$(DEMO_OUTPUT)/photographs" \
		--output-kind alpha,rgba --overwrite
	$(VENV_PYTHON) tools/contact_sheet.py --data-dir samples samples/photographs \
		--matte-dir "$(DEMO_OUTPUT)" "$(DEMO_OUTPUT)/photographs" --output "$(DEMO_OUTPUT)/sheet.png"

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis output/demo
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
