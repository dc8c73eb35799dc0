# make run    the quickstart on real FashionMNIST: teacher, baseline and distilled student in a few minutes
# make test-litert  the exporter litert, in an environment of its own
# make test-timm    the plugin kdrecipes-timm, likewise, with the newest torch, torchvision and timm (6 GB)
# make test   all tests          make test-fast   without the slow ones          make lint   ruff, mypy, pip-audit
# make soak   what `make test` leaves out: more sizes of networks whose families it tests, and deep ones in more formats,
#             more kills, recipes and cells of matrices; about ten minutes; writes results/soak.json
# make bench  how fast: against stock Keras and hand-written torch, under 25 minutes; QUICK=1 only sees that it runs
# make studies  what distillation buys, asked of many runs: hours, can be stopped and goes on; writes results/
# make docs   the documentation into site/, to be opened from disk or served by anything
# make browser  what the browser tests need beside: a Chromium and two npm packages; without them they are skipped
# make schema the editor's schema, schemas/recipe.schema.json           make clean  removes what these have made
# Each but clean creates or refreshes .venv first, when pyproject.toml, constraints.txt or a plugin's pyproject.toml
# changed. PYTHON=python3.12 names the interpreter. CONSTRAINTS= installs the newest versions that pyproject.toml allows
# instead of those that constraints.txt names. Both count when .venv is made: after `make clean`, or in a fresh clone.

PYTHON ?= python3
CONSTRAINTS ?= -c constraints.txt
BIN := .venv/bin
PLUGINS := $(wildcard plugins/*/pyproject.toml)
RUN_ARGS ?=
# geffnet names torchvision and keras-hub TensorFlow without needing them here; what else it imports, transformers brings.
WITHOUT_DEPENDENCIES := geffnet keras-hub

.PHONY: run test test-fast soak test-litert test-timm browser bench studies lint schema docs clean

run: .venv/ready
	@if $(BIN)/python -m kdrecipes.components.datasets.fashion_mnist; then \
	  $(BIN)/kdrecipes run recipes/quickstart.toml $(RUN_ARGS); \
	else \
	  echo "FashionMNIST could not be obtained; running recipes/digits.toml instead." >&2; \
	  $(BIN)/kdrecipes run recipes/digits.toml $(RUN_ARGS); \
	fi

test: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not soak" --durations 30

soak: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadfile -m soak -o junit_family=xunit1 --junitxml build/soak.xml; code=$$?; \
	  [ $$code -gt 1 ] || $(BIN)/python -m tests.soak build/soak.xml results/soak.json; exit $$code

test-fast: .venv/ready
	$(BIN)/python -m pytest -n auto --dist loadfile -m "not slow and not soak"

# LiteRT's converter brings jax and asks for older packages than constraints.txt names: it has an environment of its own.
test-litert: .venv-litert/ready
	.venv-litert/bin/python -m pytest tests/runs/test_export.py tests/testing/test_testing.py -k litert -rs

.venv-litert/ready: pyproject.toml
	$(PYTHON) -m venv .venv-litert
	.venv-litert/bin/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) torch
	.venv-litert/bin/python -m pip install --quiet --disable-pip-version-check -e '.[litert]' pytest hypothesis \
	  -e plugins/kdrecipes-efficientnet-lite
	.venv-litert/bin/python -m pip install --quiet --disable-pip-version-check --no-deps geffnet
	touch $@

# timm imports torchvision, which must match torch, and the CPU torch of constraints.txt has none. So no constraints here.
test-timm: .venv-timm/ready
	.venv-timm/bin/python -m pytest tests/plugins/test_timm_plugin.py -rs

.venv-timm/ready: pyproject.toml plugins/kdrecipes-timm/pyproject.toml
	$(PYTHON) -m venv .venv-timm
	.venv-timm/bin/python -m pip install --quiet --disable-pip-version-check torch torchvision timm
	.venv-timm/bin/python -m pip install --quiet --disable-pip-version-check -e '.[run]' pytest pytest-xdist hypothesis \
	  -e plugins/kdrecipes-timm
	touch $@

browser:
	@command -v chromium chromium-browser google-chrome google-chrome-stable >/dev/null || \
	  { apt-get update -qq && apt-get install -qq --yes chromium; } >/dev/null
	cd tests/browser && npm ci --silent --ignore-scripts

bench: .venv/ready
ifndef QUICK
	@$(BIN)/python -m kdrecipes.components.datasets.fashion_mnist || \
	  echo "FashionMNIST could not be obtained; random images of its shape stand in, and results/bench.json says so." >&2
endif
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

studies: .venv/ready
	$(BIN)/python -m studies.quickstart_seeds
	$(BIN)/python -m studies.steps few_labels
	$(BIN)/python -m studies.steps few_labels_pretrained
	$(BIN)/python -m studies.shares
	$(BIN)/python -m studies.labels
	$(BIN)/python -m studies.batch_norm

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/audit.py $(BIN)/pip-audit constraints.txt

# The editor's schema of the built-ins and of every package under plugins/.
schema: .venv/ready
	$(BIN)/kdrecipes schema --out schemas/recipe.schema.json

# Strict: a broken link, or a page that would load something from a network, fails it.
docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo site/index.html

.venv/docs: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[docs]'
	touch $@

# torch by itself first: where a build for this machine lies at hand, pip takes it before anything else asks for one.
.venv/ready: pyproject.toml constraints.txt $(PLUGINS)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) -e '.[run,test,lint]' \
	  $(addprefix -e ./,$(dir $(PLUGINS)))
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(CONSTRAINTS) --no-deps $(WITHOUT_DEPENDENCIES)
	touch $@

clean:
	rm -rf .venv .venv-litert .venv-timm runs build dist site *.egg-info
