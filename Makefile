# make figures [QUICK=1]   the nine experiments, one per core at a time; figures and results land in figures/
# make report              the README's numbers from the stored results
# make test                the tests
# make benchmark           how fast all this is, and how the cost grows: a quarter of an hour on an idle machine
PYTHON ?= python3
python := .venv/bin/python
scripts := $(sort $(wildcard hw1_*.py))
flags := $(if $(QUICK),--quick)

cores := $(shell getconf _NPROCESSORS_ONLN)

.PHONY: figures report test benchmark $(scripts)
# Networks this small gain little from a second thread: two scripts with one thread each are done far sooner.
figures: .venv/installed
	@OMP_NUM_THREADS=1 $(MAKE) --no-print-directory $(if $(findstring j,$(MAKEFLAGS)),,-j $(cores)) $(scripts)

$(scripts): .venv/installed
	@echo "== $@"
	@$(python) $@ $(flags)

report: .venv/installed
	$(python) -m common.report

benchmark: .venv/installed
	$(python) benchmark.py $(flags)
	$(python) benchmark_growth.py $(flags)

test: .venv/installed-dev
	$(python) -m ruff check .
	OMP_NUM_THREADS=1 $(python) -m pytest -n auto

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	$(python) -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(python) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
