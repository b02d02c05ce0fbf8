# `make run` starts UNICA, `make test` runs every check. Both install what is missing first.
PYTHON ?= python3
UNICA = .venv/bin/unica
BOOTSTRAP = hub_config/deploy/bootstrap.py

.PHONY: run test down status demo install

run: python
	@$(PYTHON) $(BOOTSTRAP) run $(ARGS)

test: python
	@$(PYTHON) $(BOOTSTRAP) test

install: python
	@$(PYTHON) $(BOOTSTRAP) install

down status demo:
	@$(UNICA) $@ $(ARGS)

.PHONY: python
python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    (apt-get install -y -qq python3.11 python3.11-venv || \
	      { apt-get update -qq && apt-get install -y -qq python3.11 python3.11-venv; }); \
	  else \
	    echo 'UNICA-100 There is no python3 on this machine.' >&2; \
	    echo '  -> On Debian 12: sudo apt-get install python3.11 python3.11-venv' >&2; exit 1; \
	  fi; }
