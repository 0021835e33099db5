# `make demo` shows the tool at work, `make test` runs every check, `make quick` those
# that a minute is enough for. Nothing else is needed on Debian or Ubuntu.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
VENV ?= .venv
PY := $(VENV)/bin/python

.PHONY: demo test test-all quick bench docs clean tools-demo tools-test

demo: tools-demo $(VENV)/.demo
	@ci/demo $(VENV)

test: tools-test
	@PYTHON=$(PYTHON) ci/check

test-all: tools-test
	@PYTHON=$(PYTHON) ci/check --all

quick:
	@PYTHON=$(PYTHON) ci/check --quick

bench: tools-test $(VENV)/.demo
	$(PY) -m pip install -q --group bench
	for script in benchmarks/*.py; do echo "== $$script"; $(PY) $$script; done

docs: tools-demo $(VENV)/.demo
	@$(PY) -m pip install -q --group docs
	@$(VENV)/bin/sphinx-build -W -n -q -b html docs docs/_build && echo docs/_build/index.html

tools-demo tools-test:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed (apt-get install python3)" >&2; exit 1; }
	@PYTHON=$(PYTHON) ci/install-tools $(subst tools-,,$@)

$(VENV)/.demo: pyproject.toml
	@$(PYTHON) -m venv $(VENV)
	@$(PY) -m pip install -q 'pip>=25.1'
	@$(PY) -m pip install -q -e '.[memray]' --group demo
	@touch $@

clean:
	rm -rf .venv .venv-* .tools sample_apps/build docs/_build leakguard-report dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
