# Everything runs in .venv, from wheels pinned by hash. `make demo` is the way in; `make test` is what CI runs.
PYTHON ?= python3
UV ?= uv
# Downloads are kept in the repository's own cache folder: nothing is left behind outside of it.
PIP := .venv/bin/python -m pip --quiet --disable-pip-version-check --cache-dir .cache/pip
RUN := .venv/.run.stamp
DEV := .venv/.dev.stamp

.PHONY: demo test proof lint lock clean bench

# Real input through a real worker, about a minute. JSON=1: one JSON object as the last line.
demo: $(RUN)
	@.venv/bin/memberstream demo $(if $(JSON),--json)

# Events per second against the peers, a quarter of an hour: bench/README.md. ONLY=ours,confluent-loop ROUNDS=3
# EVENTS_SCALE=0.1 (to try something) JSON=1 (one JSON object as the last line).
bench: $(RUN)
	@.venv/bin/python -m bench.throughput $(if $(ONLY),--only "$(ONLY)") $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(EVENTS_SCALE),--scale $(EVENTS_SCALE)) $(if $(JSON),--json)

# The core first, its every branch covered; then the rest, mostly waiting for servers, side by side.
test: lint
	.venv/bin/python -m pytest tests/core -n 2 --cov=models --cov-report=term:skip-covered
	.venv/bin/python -m pytest -n 3 --ignore=tests/core -m "not long" --durations=10

# What takes minutes, on Apache Kafka 4 and redis-server: kill -9, outages and stale workers under load.
proof: $(DEV)
	.venv/bin/python -m pytest -m long -n 2 --durations=10

lint: $(DEV)
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy
	.venv/bin/lint-imports

# What the worker, `memberstream local` and the demo need; wheels only, so that nothing is compiled.
$(RUN): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed. Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Setting up .venv (once, about a minute)" >&2
	@$(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes --only-binary :all: -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(RUN) requirements-dev.txt
	@$(PIP) install --require-hashes --only-binary :all: -r requirements-dev.txt
	@touch $@

# Both lists hold for every Python >= 3.11 on Linux and macOS. hatchling and editables install this project itself.
# Extras stay: of `coverage` pinned and `coverage[toml]` asked for, pip takes the newest, which has no hash here.
COMPILE := $(UV) pip compile --no-strip-extras --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"
lock:
	printf 'hatchling>=1.27\neditables>=0.5\n' | $(COMPILE) --extra embedded --output-file requirements.txt pyproject.toml -
	$(COMPILE) --extra embedded --extra export --extra parquet --extra pictures --extra readout --group dev \
		--constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
