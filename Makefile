# `make demo`, `make test` and `make book` each work as the first command in a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
JOBS ?= 2
PORT ?= 8000
# Where torch without CUDA is, for computers without an NVIDIA GPU. `make demo TORCH_INDEX=` takes PyPI's torch.
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BROWSER_TESTS := tests/browser
# What `make test` skips where the extra `book` is not installed.
NEED_BOOK := tests/live/test_live_build.py tests/live/test_policy_graph.py tests/live/test_suites_picture.py tests/live/test_suites_port.py tests/live/test_widget.py tests/player/test_player.py
LIVE_PAGE := vla_tutorial/live/page
# What the live page is built from; `--vectors` adds what its tests compare it with.
LIVE_INPUTS = $(shell find vla_tutorial -type f -not -path '*/node_modules/*' -not -path '*/__pycache__/*')
LIVE_OPTIONS :=

.PHONY: help demo test lint format doctor notebooks book serve serve-demo test-book clean

help:  ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	  || { echo "Python 3.11 or 3.12 is needed; found $$($(PYTHON) --version). Try: make $(MAKECMDGOALS) PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Cannot make .venv; on Debian: apt-get install python3-venv"; exit 1; }

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing (a few minutes; torch is the largest part) ..."
	@$(BIN)/python tools/install_torch.py '$(TORCH_INDEX)' constraints.txt
	$(PIP) install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

$(VENV)/.installed-book: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[book]'
	@touch $@

$(VENV)/.installed-serve: $(VENV)/.installed
	$(PIP) install --quiet --constraint constraints.txt --editable '.[serve]'
	@touch $@

demo: $(VENV)/.installed  ## one task right and wrong, side by side: demo/index.html
	$(BIN)/vla-tutorial demo --out demo --overwrite

doctor: $(VENV)/.installed  ## check this machine and installation
	$(BIN)/vla-tutorial doctor

notebooks: $(VENV)/.installed-book  ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

book: $(VENV)/.installed-book _build/.live$(LIVE_OPTIONS)  ## build the site from nothing: _build/html/index.html
	@test -f book/clips/manifest.js || { echo "The clips are missing: $(BIN)/vla-tutorial clips --out book/clips"; exit 1; }
	rm -rf _build/html _build/.doctrees
	$(BIN)/python book/_ext/run_notebooks.py --jobs $(JOBS)
	$(BIN)/jupyter-book build . -W -n --keep-going --quiet
	cp -r _build/live _build/html/live && rm -rf _build/html/live/vectors
	$(BIN)/vla-tutorial lab handouts --out _build/html/class

_build/.live$(LIVE_OPTIONS): $(LIVE_INPUTS) | $(VENV)/.installed-book
	@rm -f _build/.live*
	$(BIN)/vla-tutorial live build --out _build/live $(LIVE_OPTIONS)
	@touch $@

serve:  ## show the site at http://localhost:8000 (PORT=...)
	@test -f _build/html/index.html || { echo "There is no site yet: make book"; exit 1; }
	@echo "http://localhost:$(PORT)/  (Ctrl-C stops it)"
	@$(PYTHON) vla_tutorial/live/server.py _build/html --port $(PORT)

serve-demo: $(VENV)/.installed-serve  ## one policy server and four simulators, as a class; the status page opens
	$(BIN)/python tools/serve_demo.py --port $(PORT)

test: lint  ## lint and all quick tests (real LIBERO)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile

test-book: $(VENV)/.installed-dev  ## the site: notebooks, links and every button in a real browser (npm, chromium)
	@$(MAKE) --no-print-directory book LIVE_OPTIONS=--vectors
	$(BIN)/python -m pytest -n $(JOBS) --dist loadfile $(NEED_BOOK)
	$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb
	$(BIN)/python -m pytest --nbmake --nbmake-timeout=600 -n $(JOBS) notebooks
	@site=$$(mktemp -d) && chmod 755 $$site && cp -r _build/html/. $$site && { $(BIN)/linkchecker --no-warnings --no-status $$site/index.html; \
	  status=$$?; rm -rf $$site; exit $$status; } # a copy, since linkchecker reads as the user nobody, who may not see this folder
	cd $(BROWSER_TESTS) && npm ci --no-audit --no-fund --silent && node --test --test-concurrency=1
	cd $(LIVE_PAGE) && npm ci --ignore-scripts --no-audit --no-fund --silent && npm run --silent check
	node --test --test-concurrency=1 tests/live/*.test.mjs

lint: $(VENV)/.installed-dev  ## ruff, mypy, the order of imports and the density of the code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest tests/test_house.py

format: $(VENV)/.installed-dev  ## let ruff lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the other targets made
	rm -rf $(VENV) demo build _build $(BROWSER_TESTS)/node_modules $(LIVE_PAGE)/node_modules *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
