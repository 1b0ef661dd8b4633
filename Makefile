# Everything goes into .venv; nothing else on the machine is touched. `make help` lists the targets.

VENV := .venv
BIN := $(VENV)/bin
# The first Python on the PATH that is new enough; PYTHON=… chooses another.
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: help run demo test faults faults-cluster lint bench clean
help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

run: $(VENV)/server.installed  ## run a server in the foreground (ARGS="--help" shows what it can be told)
	@exec $(BIN)/twistd --nodaemon --pidfile= push $(ARGS)

demo: $(VENV)/demo.installed  ## look at it: a server, and two users who talk, in this terminal
	@exec $(BIN)/push-demo --two

# Tests with real servers mostly wait: three at a time take a third as long, on two cores too.
test: $(VENV)/test.installed  ## run all tests (TESTS=tests.wire for some, JOBS=1 one after the other)
	@$(BIN)/python -m twisted.trial --jobs=$(or $(JOBS),3) --temp-directory=$(VENV)/trial $(or $(TESTS),tests)

faults: $(VENV)/test.installed  ## kill the server and its workers 50 times (KILLS=…) under load, and look for what is lost
	@PUSH_FAULT_KILLS=$(or $(KILLS),50) $(BIN)/python -m twisted.trial --temp-directory=$(VENV)/trial \
		tests.integration.test_faults tests.integration.test_faults_workers

faults-cluster: $(VENV)/test.installed  ## kill, freeze and cut off the nodes of a cluster and Redis 50 times (KILLS=…) under load
	@PUSH_FAULT_KILLS=$(or $(KILLS),50) $(BIN)/python -m twisted.trial --temp-directory=$(VENV)/trial \
		tests.integration.test_cluster_faults tests.integration.test_cluster_failover tests.integration.test_cluster_hopping

lint: $(VENV)/lint.installed  ## check style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/server.installed  ## measure this machine (ARGS="--help" shows how)
	@$(MAKE) --no-print-directory -C bench
	@$(BIN)/python bench/run.py $(ARGS)

clean:  ## remove .venv and what was built
	rm -rf $(VENV) build *.egg-info

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "push needs Python 3.11 or newer, and there is none on the PATH: install one, or say PYTHON=/path/to/python3" >&2; \
		exit 1; fi
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "push needs Python 3.11 or newer, and $(PYTHON) is not: say PYTHON=/path/to/a/newer/python3" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >$(VENV).log 2>&1 && rm -f $(VENV).log || { rm -rf $(VENV) $(VENV).log; \
		echo "$(PYTHON) cannot make a virtual environment: install its venv module (Debian: apt-get install python3-venv)" >&2; \
		exit 1; }

# An editable install hides the twistd plugin, as the SDK lives in a folder of its own: so both are put on the path.
$(VENV)/%.installed: setup.cfg pyproject.toml | $(BIN)/python
	@echo "setting up $(VENV) for $* …"
	@$(PIP) --editable ".[server,$*]"
	@$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' > $(VENV)/purelib
	@printf '%s\n%s\n' "$(CURDIR)" "$(CURDIR)/sdk" > "$$(cat $(VENV)/purelib)/push_checkout.pth"
	@rm $(VENV)/purelib
	@touch $@
