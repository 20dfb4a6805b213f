# make figures [QUICK=1] [DATASET=mnist]   the nine experiments; figures and results land in figures/
# make report                              the README's numbers from the stored results
# make test                                the tests
# make benchmark                           how fast all this is: over an hour, idle machine
# make confirmation                        random labels on all of MNIST: a quarter of an hour on two cores
# Without make: see "Without make" in the README.
PYTHON ?= python3
python := .venv/bin/python
quick := $(if $(filter-out 0 no false,$(QUICK)),--quick)
dataset := $(if $(DATASET),--dataset $(DATASET))

.PHONY: figures report test benchmark confirmation
figures: .venv/installed
	@$(python) run_all.py $(quick) $(dataset)

report: .venv/installed
	$(python) -m report

benchmark: .venv/installed
	$(python) -m benchmarks.benchmark $(quick)
	$(python) -m benchmarks.benchmark_growth $(quick)
	$(python) -m benchmarks.benchmark_scaling $(quick)

# Memorization of all training images, by a larger network.
confirmation: .venv/installed
	$(python) hw1_3_random_labels.py --runs 1 --epochs 150 --train-size 60000 --hidden-width 512

test: .venv/installed-dev
	$(python) -m ruff check .
	$(python) -m pytest -n auto

.venv/bin/python:
	"$(PYTHON)" -m venv .venv

.venv/installed: requirements.txt | .venv/bin/python
	$(python) -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	@touch $@

.venv/installed-dev: requirements-dev.txt .venv/installed
	$(python) -m pip install --quiet --disable-pip-version-check --no-compile -r requirements-dev.txt
	@touch $@
