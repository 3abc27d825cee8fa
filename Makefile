# Everything runs in .venv, from wheels pinned by hash. `make demo` is the way in; `make test` is what CI runs.
PYTHON ?= python3
UV ?= uv
# Downloads are kept in the repository's own cache folder: nothing is left behind outside of it.
PIP := .venv/bin/python -m pip --quiet --disable-pip-version-check --cache-dir .cache/pip
# pip compiles on one core: 42 s of CPU for all that the tests need. Some packages hold files that no Python 3 compiles.
COMPILE_ALL = python -m compileall -q -q -j 0
RUN := .venv/.run.stamp
DEV := .venv/.dev.stamp
# Tests of one file mostly go to one process, which shares what they set up; who has none left takes from the others.
MANY := -n auto --dist worksteal --durations=10

.PHONY: demo quick core covered unit test proof lint style types types-of-tests docs package lock clean bench

# Real input through a real worker, about a minute. JSON=1: one JSON object as the last line. DEMO_CONSOLE=1: it stays
# open, with the console on its data. BOOSTED=1: with boosted trees as a third model.
demo: $(if $(DEMO_CONSOLE),$(DEV),$(RUN)) # the console's reports need statsmodels
	@.venv/bin/memberstream demo $(if $(JSON),--json) $(if $(DEMO_CONSOLE),--console) $(if $(BOOSTED),--boosted)

# Events per second against the peers, a quarter of an hour: bench/README.md. ONLY=ours,confluent-loop ROUNDS=3
# EVENTS_SCALE=0.1 (to try something) JSON=1 (one JSON object as the last line).
bench: $(RUN)
	@.venv/bin/python -m bench.throughput $(if $(ONLY),--only "$(ONLY)") $(if $(ROUNDS),--rounds $(ROUNDS)) \
		$(if $(EVENTS_SCALE),--scale $(EVENTS_SCALE)) $(if $(JSON),--json)

# What needs no server: style, types and contracts, the core, the rest of the units. Two at a time, and each shows its
# output when it is done.
quick: $(DEV)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync style types types-of-tests core unit

core:
	.venv/bin/python -m pytest tests/core -m "not long" --durations=10

# The same; every branch of the core must be covered. Counting costs a third more time.
covered:
	.venv/bin/python -m pytest tests/core -m "not long" --cov=memberstream.models --cov-report=term:skip-covered --durations=10

unit:
	.venv/bin/python -m pytest tests/unit --durations=10

# And what waits for servers, more processes than cores: tests/conftest.py.
test: $(DEV)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync style types types-of-tests covered unit
	.venv/bin/python -m pytest $(MANY) --ignore=tests/core --ignore=tests/unit -m "not long"

# What takes minutes: kill -9, outages and stale workers under load, on Apache Kafka 4 and redis-server; and each law on
# many random examples.
proof: $(DEV)
	.venv/bin/python -m pytest $(MANY) -m "long or hypothesis" --hypothesis-profile=many

lint: $(DEV)
	@$(MAKE) --no-print-directory --jobs=2 --output-sync style types types-of-tests

style:
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/typos
	.venv/bin/lint-imports

# mypy forgets what it knows when its options change: tests, with theirs, have a cache of their own.
types:
	.venv/bin/mypy

types-of-tests:
	MYPYPATH=.:tests:tests/kafka:tests/redis .venv/bin/mypy --cache-dir .mypy_cache/tests --explicit-package-bases \
		--implicit-reexport --allow-untyped-calls --no-warn-unreachable tests

# The documentation site, in site/. Strict: a broken link or anchor, or a request to another host, fails it.
docs: $(DEV)
	.venv/bin/python -m website.build

# Wheels and sdists of both distributions, in dist/; then the demo from the wheel, in an empty environment.
package: $(DEV)
	rm -rf dist .cache/package
	.venv/bin/python -m hatchling build -d dist
	cd clients/python && ../../.venv/bin/python -m hatchling build -d ../../dist
	$(PYTHON) -m venv .cache/package
	.cache/package/bin/python -m pip install --quiet --disable-pip-version-check --cache-dir .cache/pip --no-compile \
		--require-hashes --only-binary :all: -r requirements.txt
	-.cache/package/bin/$(COMPILE_ALL) .cache/package/lib
	.cache/package/bin/python -m pip install --quiet --disable-pip-version-check --no-deps dist/*.whl
	.cache/package/bin/python -m pip check
	cd .cache/package && bin/memberstream demo

# What the worker, `memberstream local` and the demo need; wheels only, so that nothing is compiled.
$(RUN): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed. Try: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	@echo "Setting up .venv (once, about a minute)" >&2
	@$(PYTHON) -m venv .venv
	@$(PIP) install --no-compile --require-hashes --only-binary :all: -r requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	-@.venv/bin/$(COMPILE_ALL) .venv/lib
	@touch $@

$(DEV): $(RUN) requirements-dev.txt
	@$(PIP) install --no-compile --require-hashes --only-binary :all: -r requirements-dev.txt
	-@.venv/bin/$(COMPILE_ALL) .venv/lib
	@touch $@

# Both lists hold for every Python >= 3.11 on Linux and macOS. hatchling and editables install this project itself.
# Extras stay: of `coverage` pinned and `coverage[toml]` asked for, pip takes the newest, which has no hash here.
COMPILE := $(UV) pip compile --no-strip-extras --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"
lock:
	printf 'hatchling>=1.27\neditables>=0.5\n' | $(COMPILE) --extra embedded --extra console --extra traces --output-file requirements.txt pyproject.toml -
	$(COMPILE) --extra embedded --extra console --extra traces --extra export --extra parquet --extra pictures --extra readout --group dev \
		--constraint requirements.txt --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf .venv .cache site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage
