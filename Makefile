# `make quickstart` and `make test` do all the set-up: they create .venv and install pinned versions first.
PYTHON ?= python3
VENV := .venv
STAMP := $(VENV)/.installed

.PHONY: quickstart test check lab clean

quickstart: $(STAMP)
	$(VENV)/bin/nag run configs/quickstart.yaml

test: $(STAMP)
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" scripts/check

check: test

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,bench,quantize]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info
